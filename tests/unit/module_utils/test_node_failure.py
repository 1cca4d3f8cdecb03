# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of a start that is in vain, before it and while it is waited for. Only systemd is a stand-in."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node import live as live_module
from ansible_collections.rayops.cluster.plugins.module_utils._node import start
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._node.failure import (
    raylet_words,
    start_problems,
    unit_problem,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._node.start import NodeError, StartError, wait_for_raylet
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import Unit

SYSTEMCTL = """#!/bin/sh
test "$1" = show && cat {directory}/shown
exit 0
"""


class Systemd:
    """Shows a unit as systemctl does, with the properties that a test sets."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shown = {"LoadState": "loaded", "ActiveState": "inactive", "NRestarts": "0", "DropInPaths": ""}
        (directory / "systemctl").write_text(SYSTEMCTL.format(directory=directory))
        (directory / "systemctl").chmod(0o755)

    def unit(self, name: str = "ray-head.service", **changed: str) -> Unit:
        self.shown.update(changed)
        text = "".join(f"{name}={value}\n" for name, value in self.shown.items())
        (self.directory / "shown").write_text(text)
        return Unit(name)

    def drop_in(self, text: str) -> str:
        path = self.directory / "own.conf"
        path.write_text(text)
        return str(path)


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(live_module, "ray_processes", lambda: [])
    return Systemd(tmp_path)


def head(directory: Path) -> dict:
    return {
        "network": {"node_ip_address": "127.0.0.1"},
        "ray": {"environment": str(directory), "temp_dir": str(directory / "t")},
        "gcs": {"storage": "rocksdb", "path": str(directory / "gcs")},
        "auth": {"allow_unauthenticated": True},
    }


def node(unit: Unit, config: dict, node_type: str = "head") -> LiveNode:
    return LiveNode(unit, compile_start(config, node_type), config)


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("[Service]\nExecStart=\nExecStart=/bin/false\n", True),
        ("[Service]\n  ExecStart = /bin/false\n", True),
        ("[Service]\nExecStart=\n", True),
        ("[Service]\nLimitNOFILE=5\nEnvironment=A=1 \\\nExecStart=/not/a/setting\n", False),
        ("[Service]\n# ExecStart=/bin/false\n;ExecStart=/bin/false\nExecStartPre=/bin/true\n", False),
    ],
)
def test_a_drop_in_that_replaces_the_command_is_named(systemd, text, replaced):
    path = systemd.drop_in(text)
    found = unit_problem(systemd.unit(DropInPaths=path, ExecStart="{ path=/bin/false ; argv[]=/bin/false ; x }"))
    assert bool(found) == replaced
    if found:
        assert found.kind == "unit_overridden" and found.fact.endswith(f"{path}, which starts /bin/false")
        assert "take ExecStart out of that file" in found.fix


def test_a_masked_unit_is_named(systemd):
    found = unit_problem(systemd.unit(LoadState="masked", FragmentPath="/etc/systemd/system/ray-head.service"))
    assert found and "is masked by /etc/systemd/system/ray-head.service" in str(found)
    assert "`systemctl unmask ray-head.service`" in str(found)


def spoil(directory: Path) -> None:
    (directory / "gcs").mkdir()
    logs = directory / "t" / "session_latest" / "logs"
    logs.mkdir(parents=True)
    (logs / "gcs_server.err").write_text("x Check failed: Corruption: bad block\n")


def test_storage_that_is_corrupt_is_named_before_a_start(systemd, tmp_path):
    live = node(systemd.unit(), head(tmp_path))
    assert start_problems(live, "head") == []
    spoil(tmp_path)
    found = start_problems(live, "head")
    assert [problem.kind for problem in found] == ["storage_corrupt"] and "Corruption: bad block" in str(found[0])
    assert start_problems(live, "worker") == []
    # Nothing is read of a host that has no unit, and so no user of Ray's.
    assert start_problems(node(systemd.unit(LoadState="not-found"), head(tmp_path)), "head") == []


def test_a_raylet_that_ends_by_itself_is_quoted(systemd, tmp_path):
    """It says so in a file of Ray's, and not in the unit's log."""
    live = node(systemd.unit(), head(tmp_path))
    assert raylet_words(live, 0) == ""
    logs = tmp_path / "t" / "session_latest" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.err").write_text("Check failed: another start\n")
    os.utime(logs / "raylet.err", (1, 1))
    (logs / "raylet.1.err").write_text("[C 1] x.cc:3588: Check failed: value() Timed out waiting for file a_1\n*** S\n")
    assert raylet_words(live, time.time() - 60) == "value() Timed out waiting for file a_1"
    assert raylet_words(live, time.time() + 60) == ""
    # A job may have put anything in its place.
    (logs / "raylet.1.err").unlink()
    (logs / "raylet.1.err").symlink_to("/etc/passwd")
    assert raylet_words(live, 0) == ""


def wait(live: LiveNode, node_type: str, seconds: float) -> float:
    began = time.monotonic()
    try:
        wait_for_raylet(live, node_type, 0, began + seconds, seconds)
    finally:
        live.waited = time.monotonic() - began
    return live.waited


def test_storage_that_turns_out_corrupt_ends_the_wait(systemd, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "_LOOK", 0.1)
    live = node(systemd.unit(ActiveState="active"), head(tmp_path))
    spoil(tmp_path)
    with pytest.raises(StartError, match="the GCS cannot read .*: Corruption: bad block: put a backup back"):
        wait(live, "head", 600)
    assert live.waited < 300


def test_a_crash_loop_ends_the_wait_and_one_restart_does_not(systemd, tmp_path):
    live = node(systemd.unit(ActiveState="activating", NRestarts="1"), head(tmp_path))
    with pytest.raises(NodeError, match="was not ALIVE within 1 s"):
        wait(live, "head", 1)
    path = systemd.drop_in("[Service]\nMemoryMax=1\n")
    systemd.unit(NRestarts="3", ExecMainCode="1", ExecMainStatus="203", DropInPaths=path)
    with pytest.raises(NodeError, match="again 3 times, the last time with exit status 203. It is changed by"):
        wait(live, "head", 600)
    assert live.waited < 300


def test_a_worker_without_its_head_is_in_no_crash_loop(systemd, tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        config = {**head(tmp_path), "network": {"node_ip_address": "127.0.0.1", "head_address": f"127.0.0.1:{port}"}}
        del config["gcs"]
        live = node(systemd.unit(ActiveState="activating", NRestarts="9"), config, "worker")
        with pytest.raises(NodeError, match="was not ALIVE within 1 s"):
            wait(live, "worker", 1)
        server.listen()
        with pytest.raises(NodeError, match="started it again 9 times"):
            wait(live, "worker", 600)
    assert live.waited < 300


def test_a_unit_that_is_stopped_between_two_tries_is_waited_for(systemd, tmp_path, monkeypatch):
    live = node(systemd.unit(ActiveState="inactive"), head(tmp_path))
    refresh, turns = live.refresh, iter("100")

    def next_try() -> None:
        systemd.unit(ActiveState="inactive", NRestarts=next(turns, "0"))
        refresh()

    # Stopped at each look, but first between another two tries.
    monkeypatch.setattr(live, "refresh", next_try)
    with pytest.raises(NodeError, match="was stopped while it was waited for"):
        wait(live, "head", 600)
    assert next(turns, None) is None


def test_a_unit_that_waits_for_what_it_needs_between_two_tries_is_waited_for(systemd, tmp_path):
    """Units that start before it take their time on a busy host."""
    live = node(systemd.unit(ActiveState="inactive", NRestarts="1", Job="2127"), head(tmp_path))
    with pytest.raises(NodeError, match="was not ALIVE within 1 s"):
        wait(live, "head", 1)


def test_a_worker_whose_head_speaks_otherwise_says_so(systemd, tmp_path, certificate):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        config = {**head(tmp_path), "network": {"node_ip_address": "127.0.0.1", "head_address": address}}
        del config["gcs"]
        tls = {**config, "tls": {"directory": str(certificate)}}
        threading.Thread(target=answer_in_plain, args=(server,), daemon=True).start()
        for unit in ({"ActiveState": "activating"}, {"ActiveState": "activating", "NRestarts": "9"}):
            with pytest.raises(NodeError, match="speaks no TLS .*, and ray_tls is on: run rayops.cluster.upgrade"):
                wait(node(systemd.unit(**unit), tls, "worker"), "worker", 1)


def answer_in_plain(server: socket.socket) -> None:
    """To whatever comes, as HTTP/2 does that nobody has encrypted."""
    with contextlib.suppress(OSError):
        while True:
            with server.accept()[0] as connection:
                connection.sendall(b"\0\0\0\4\0\0\0\0\0")

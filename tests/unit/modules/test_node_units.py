# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real processes, ports and files; systemctl is a stand-in that answers like systemd 252. molecule has the real one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

SYSTEMCTL = """#!/bin/sh
directory=$(dirname "$0")
echo "$@" >> "$directory/calls"
case $1 in
  show) cat "$directory/show" ;;
  start|restart) sed -i 's/^ActiveState=.*/ActiveState=active/' "$directory/show" ;;
esac
"""
SERVER = """
import socket, sys, time
with socket.create_server((sys.argv[1], int(sys.argv[2]))):
    print("listens", flush=True)
    time.sleep(120)
"""


class Host:
    """A directory with the stand-in, and what systemd says of its one unit."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "systemctl").write_text(SYSTEMCTL)
        (directory / "systemctl").chmod(0o755)
        (directory / "calls").write_text("")
        self.show()

    def show(self, active="inactive", enabled="disabled", pid=0, load="loaded", stale="no"):
        (self.directory / "show").write_text(
            f"LoadState={load}\nActiveState={active}\nUnitFileState={enabled}\nNeedDaemonReload={stale}\nMainPID={pid}\n"
        )

    def calls(self):
        lines = (self.directory / "calls").read_text().split("\n")
        return [line.split()[0] for line in lines if line and not line.startswith(("show", "reset-failed"))]


@pytest.fixture
def host(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Host(folder)


@pytest.fixture
def node_units(run_module):
    def run(check_mode=False, timeout=5, interrupt=True, **unit):
        options = {"units": [{"name": "demo.service", **unit}], "timeout": timeout, "interrupt": interrupt}
        return run_module("node_units", options, check_mode)

    return run


@pytest.fixture
def server():
    """A process that listens on a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", SERVER, "127.0.0.1", str(port)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process, {"address": "127.0.0.1", "port": port, "variable": "demo_port"}
        process.kill()


def running(host, server, **facts):
    """The stand-in says that the unit runs as that process, which started just now."""
    host.show(**{"active": "active", "enabled": "enabled", "pid": server[0].pid, **facts})


def test_a_stopped_unit_is_enabled_and_started(host, node_units):
    result = node_units()
    assert result["changed"] and host.calls() == ["enable", "start"]
    assert result["differences"] == [
        {"kind": "unit", "option": "demo.service", "declared": "runs with its files", "live": "stopped"}
    ]
    assert result["diff"]["before"] == "demo.service: stopped\n"


def test_check_mode_says_so_and_touches_nothing(host, node_units):
    host.show(load="not-found", enabled="")
    result = node_units(check_mode=True)
    assert result["changed"] and result["missing"] == ["demo.service"] and host.calls() == []
    assert node_units(check_mode=True, state="stopped")["missing"] == []


def test_a_unit_that_runs_with_its_files_is_left_alone(host, node_units, server, tmp_path):
    running(host, server)
    old = tmp_path / "old"
    old.write_text("")
    os.utime(old, (1, 1))
    result = node_units(restart_files=[str(old), f"{tmp_path}/none"], reload_files=[str(old)])
    assert not result["changed"] and host.calls() == []


@pytest.mark.parametrize("kind, verb", [("restart_files", "restart"), ("reload_files", "reload")])
def test_a_newer_file_is_read(host, node_units, server, tmp_path, kind, verb):
    running(host, server)
    time.sleep(0.05)
    (tmp_path / "new").write_text("")
    os.utime(tmp_path / "new", (time.time() + 60, time.time() + 60))
    result = node_units(check_mode=True, **{kind: [f"{tmp_path}/new"]})
    assert result["changed"] and f"before {tmp_path}/new was written" in result["differences"][0]["live"]
    node_units(**{kind: [f"{tmp_path}/new"]})
    assert host.calls() == [verb]


def test_a_newer_file_of_many_units_restarts_only_who_may_be_interrupted(host, node_units, server, tmp_path):
    """Its own files always do."""
    running(host, server, stale="yes")
    time.sleep(0.05)
    shared, own = tmp_path / "shared", tmp_path / "own"
    for path in (shared, own):
        path.write_text("")
    os.utime(shared, (time.time() + 60, time.time() + 60))
    os.utime(own, (1, 1))
    files = {"ask_files": [str(shared)], "restart_files": [str(own)]}
    result = node_units(interrupt=False, **files)
    assert result["failed"] and host.calls() == []
    assert result["msg"] == (f"demo.service runs with an older {shared}, and a restart would interrupt it: let that "
                             "be, with -e ray_interrupt=models.")
    result = node_units(check_mode=True, interrupt=False, **files)
    assert result["changed"] and "interrupts it." in str(result["warnings"])
    host.show()
    assert node_units(interrupt=False, **files)["changed"]
    running(host, server)
    (host.directory / "calls").write_text("")
    assert node_units(**files)["changed"] and host.calls() == ["restart"]
    os.utime(own, (time.time() + 60, time.time() + 60))
    assert node_units(interrupt=False, **files)["changed"] and host.calls() == ["restart", "restart"]


def test_a_newer_link_is_read(host, node_units, server, tmp_path):
    running(host, server)
    (tmp_path / "link").symlink_to("/nonexistent")
    os.utime(tmp_path / "link", (time.time() + 60, time.time() + 60), follow_symlinks=False)
    assert node_units(check_mode=True, restart_files=[f"{tmp_path}/link"])["changed"]


def test_an_older_unit_file_is_reloaded_first(host, node_units, server):
    running(host, server, stale="yes")
    node_units()
    assert host.calls() == ["daemon-reload", "restart"]


def test_a_unit_that_is_not_enabled_is_enabled_and_not_restarted(host, node_units, server):
    running(host, server, enabled="disabled")
    assert node_units()["changed"] and host.calls() == ["enable"]


def test_a_unit_that_is_to_be_stopped(host, node_units, server, tmp_path):
    running(host, server)
    assert node_units(state="stopped")["changed"] and host.calls() == ["stop", "disable"]
    host.show(load="not-found", enabled="")
    assert not node_units(state="stopped")["changed"]


def test_somebody_elses_unit_is_refused_and_never_stopped(host, node_units, server, tmp_path):
    running(host, server)
    result = node_units(owned_by=f"{tmp_path}/ours")
    assert result["failed"] and "systemctl disable --now demo.service" in result["msg"]
    assert not node_units(owned_by=f"{tmp_path}/ours", state="stopped")["changed"]
    assert host.calls() == []
    (tmp_path / "ours").write_text("")
    os.utime(tmp_path / "ours", (1, 1))
    assert not node_units(owned_by=f"{tmp_path}/ours")["changed"]


def test_a_port_in_use_is_refused_before_anything_is_touched(host, node_units, server):
    process, listens = server
    result = node_units(listens=[listens])
    assert result["failed"] and host.calls() == []
    assert result["msg"].startswith(f"127.0.0.1:{listens['port']} is taken by process {process.pid} (python")
    assert result["msg"].endswith("set demo_port to a free port, for demo.service.")


def test_a_port_on_another_address_is_free(host, node_units, server):
    listens = {**server[1], "address": "127.0.0.2"}
    assert node_units(check_mode=True, listens=[listens])["changed"]


def test_a_unit_that_does_not_listen_in_time_shows_its_last_words(host, node_units):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (host.directory / "journalctl").write_text("#!/bin/sh\necho 'cannot bind: the last words'\n")
    (host.directory / "journalctl").chmod(0o755)
    result = node_units(timeout=1, listens=[{"address": "127.0.0.1", "port": port, "variable": "demo_port"}])
    assert result["failed"] and f"does not listen on 127.0.0.1:{port}" in result["msg"]
    assert "cannot bind: the last words" in result["msg"]


@pytest.mark.parametrize(("facts", "forgotten"), [
    ({"active": "failed"}, True), ({"stale": "yes"}, True), ({"load": "not-found"}, False),
    ({"active": "active"}, False),
])
def test_what_is_gone_is_forgotten(host, node_units, facts, forgotten):
    host.show(**facts)
    assert node_units(state="absent", check_mode=True)["changed"] is forgotten
    assert host.calls() == []
    assert node_units(state="absent")["changed"] is forgotten
    assert host.calls() == (["daemon-reload"] if forgotten else [])
    assert ("reset-failed -- demo.service" in (host.directory / "calls").read_text()) is forgotten

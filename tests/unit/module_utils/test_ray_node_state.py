# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of a node: whether it lives, what else is on its host, and what of it is returned."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node.difference import (
    all_differences,
    restart_differences,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import ray_version
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import RayProcess, ray_processes
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest as _guest
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import Unit
from ansible_collections.rayops.cluster.plugins.modules.ray_node import RayNode
from tests.unit.module_utils.live_node import as_dict, with_raylet

FOREIGN = RayProcess(7, "raylet", ["raylet", "--gcs-address=10.0.0.99:6379"], "0::/user.slice/session-1.scope\n")


def test_a_node_whose_raylet_is_gone(host, older):
    host.run()
    assert host.differences() == {"raylet": ("running", "gone, although its unit is active")}
    assert all_differences(host.live())[1] == "restart"


def test_the_agent_says_whether_the_node_is_alive(host, older, agent):
    host.config["network"]["ports"] = {"dashboard_agent_listen": agent.server_port}
    host.run()
    node = with_raylet(host.live())
    assert node.health() == "alive" and not restart_differences(node)
    agent.status = 503
    assert as_dict(restart_differences(node)) == {"health": ("alive", "not alive (HTTP 503 from the node's agent)")}
    agent.shutdown()
    agent.server_close()
    assert as_dict(restart_differences(node)) == {"health": ("alive", "not alive (its agent does not answer)")}


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/api/local_raylet_healthz\r\n\r\n", b"nonsense\r\n", b"drip",
])
def test_who_answers_in_the_agents_place_does_not_hold_anybody_up(host, agent, answer):
    """A job that listens on the agent's port: it leads nowhere, and byte after byte does not last for ever."""
    def serve():
        with suppress(OSError), server.accept()[0] as connection:
            if answer == b"drip":
                for _piece in range(1000):
                    connection.sendall(b"H")
                    time.sleep(0.1)
            connection.sendall(answer % agent.server_port if b"%d" in answer else answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        host.config["network"]["ports"] = {"dashboard_agent_listen": server.getsockname()[1]}
        node = host.live()
        threading.Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        assert node.health(timeout=0.5).startswith("not alive (")
        # What drips would go on for 100 s.
        assert time.monotonic() - began < 50


def test_the_program_that_runs_is_systemds_word(host):
    """A process can write its command line anew, and whom root believes runs what it names."""
    host.unit.program = "/opt/ray/2.59.0/bin/ray"
    assert host.live().executable == host.live().start.executable, "nothing runs"
    host.run(words=[f"{host.directory}/bin/ray", "start"])
    node = host.live()
    assert node.supervisor.argv[-2:] == [f"{host.directory}/bin/ray", "start"]
    assert node.executable == "/opt/ray/2.59.0/bin/ray"
    # A daemon-reload shows what the next one would be.
    host.unit.program = "/opt/ray/2.60.0/bin/ray"
    node.refresh()
    assert node.executable == "/opt/ray/2.59.0/bin/ray"
    host.unit.main_pid = os.getpid()
    node.refresh()
    assert node.executable == "/opt/ray/2.60.0/bin/ray"


@pytest.mark.parametrize("program", ["", "bin/ray", "/opt/ray/../../tmp/bin/ray", "/usr/bin/env", "/opt/ray/bin/ray2"])
def test_a_program_that_is_no_ray_of_an_environment_is_not_believed(host, program):
    host.run()
    host.unit.program = program
    node = host.live()
    assert node.executable == node.start.executable


def test_the_agent_is_asked_without_a_proxy(host, agent, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://203.0.113.7:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    host.config["network"]["ports"] = {"dashboard_agent_listen": agent.server_port}
    assert host.live().health() == "alive"


def test_a_node_that_systemd_starts_again_and_again_is_not_one_that_starts(host, agent):
    host.config["network"]["ports"] = {"dashboard_agent_listen": agent.server_port}
    host.run()
    agent.status = 503
    assert host.live().starting and host.differences() == {}
    host.unit.restarts = 5
    assert host.differences() == {"health": ("alive", "starting, after 5 restarts by systemd")}
    agent.status = 200
    assert host.differences() == {}


def test_another_node_on_the_host_is_a_difference(host):
    host.run()
    node = host.live()
    node.processes += [
        FOREIGN,
        RayProcess(8, "gcs_server", ["gcs_server"], "0::/x\n"),
        RayProcess(9, "other", ["ray::f"], "0::/x\n"),
    ]
    found, action = all_differences(node)
    assert action == "reload"
    assert as_dict(found) == {
        "other Ray on this host, raylet 7": (None, "10.0.0.99:6379"),
        "other Ray on this host, gcs_server 8": (None, "its own cluster"),
    }


def test_the_node_as_it_is_returned(host, agent):
    host.run()
    node = with_raylet(host.live())
    described = node.describe()
    assert 0 <= described.pop("uptime") < 60
    assert described == {
        "id": next(word[len("--node_id=") :] for word in node.raylet.argv if word.startswith("--node_id=")),
        "address": "10.0.0.11",
        "state": "ALIVE",
        "pid": host.process.pid,
        "session": node.raylet.options["--session_dir"].rpartition("/")[2],
        "ray_version": None,
        "tls": False,
    }
    assert described["session"].startswith("session_")


def test_a_node_that_does_not_run_as_it_is_returned(host):
    assert host.live().describe() == {
        "id": None,
        "address": "10.0.0.11",
        "state": "inactive",
        "pid": None,
        "session": None,
        "ray_version": None,
        "uptime": None,
        "tls": None,
    }


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ({"head_address": "demo-head:6379", "node_ip_address": "10.0.0.11"}, "demo-head:6379"),
        ({"node_ip_address": "10.0.0.10", "ports": {"gcs": 6400}}, "10.0.0.10:6400"),
        ({}, "127.0.0.1:6379"),
    ],
)
def test_where_the_gcs_listens(host, network, address):
    host.config["network"] = network
    host.config.pop("resources")
    assert host.live("head").gcs_address == address


def test_the_version_of_ray_in_an_environment(tmp_path):
    packages = tmp_path / "lib" / "python3.12" / "site-packages"
    for name in ("ray_ascend-1.0.dist-info", "raylib-5.0.dist-info", "ray"):
        (packages / name).mkdir(parents=True)
    assert ray_version(str(tmp_path)) is None
    (packages / "ray-2.60.0.dist-info").mkdir()
    assert ray_version(str(tmp_path)) is None, "the metadata alone is what an interrupted installation leaves"
    (packages / "ray" / "__init__.py").touch()
    assert ray_version(str(tmp_path)) == "2.60.0"


def test_the_live_process_is_found_among_all(host):
    """The stand-in `ray` is seen in /proc as the supervisor that it is."""
    host.run()
    found = {process.pid: process.kind for process in ray_processes()}
    assert found[host.process.pid] == "start"


# As systemd 252 shows it.
SHOWN = (
    "LoadState=loaded\nActiveState=active\nMainPID=7\nUser={}\nExecStart={{ path={} ; argv[]={} ; ignore_errors=no ; "
    "start_time=[Wed 2026-11-25 19:18:00 UTC] ; stop_time=[n/a] ; pid=7 ; code=(null) ; status=0/0 }}\n"
)


@pytest.mark.parametrize(("user", "path", "argv", "program"), [
    ("ray", "/opt/ray/2.60.0/bin/ray", "/opt/ray/2.60.0/bin/ray start --block", "/opt/ray/2.60.0/bin/ray"),
    ("", "/srv/my ray/bin/ray", "'/srv/my ray/bin/ray' start", "/srv/my ray/bin/ray"),
    ("ray", "/opt/bin/ray", "x { path=/tmp/evil/bin/ray ; argv[]=y }", "/opt/bin/ray"),
])
def test_what_systemd_shows_of_a_unit(tmp_path, monkeypatch, user, path, argv, program):
    (tmp_path / "shown").write_text(SHOWN.format(user, path, argv))
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncat {tmp_path}/shown\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    unit = Unit("ray-head.service")
    assert (unit.program, unit.user) == (program, user)
    (tmp_path / "shown").write_text("LoadState=not-found\n")
    unit.refresh()
    assert (unit.program, unit.user) == ("", "")


@pytest.mark.parametrize(("script", "log"), [
    ("echo one; echo two", "one\ntwo"),
    ("head -c 1000000 /dev/zero | tr '\\0' a; echo; echo two", "a" * 2000 + "\ntwo"),
    ("exec cat /dev/zero", "journalctl wrote more than 1048576 bytes."),
])
def test_a_units_log_is_bounded(tmp_path, monkeypatch, script, log):
    """A process can write an entry of a gigabyte."""
    monkeypatch.setattr(_guest, "MOST", 1 << 20)
    for name, text in (("systemctl", "echo LoadState=loaded"), ("journalctl", script)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Unit("ray-head.service").journal() == log


def test_ray_is_asked_as_the_units_user(host):
    host.unit.user = "nobody"
    node = object.__new__(RayNode)
    node.live, node.config = host.live(), host.config
    assert node.live.user == "nobody"
    asked = node._cluster()
    assert asked.user == ("nobody" if os.geteuid() == 0 else None)
    host.unit.user = ""
    node.live = host.live()
    assert node._cluster().user is None

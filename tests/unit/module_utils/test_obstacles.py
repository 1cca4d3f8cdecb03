# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a node: the ports are real ones, held by processes of the test."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node import obstacles as module
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start, ports_of
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._node.obstacles import obstacles
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import RayProcess
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import Listener
from tests.unit.module_utils.live_node import StandInUnit


@pytest.fixture
def taken():
    """A port on all addresses that this process holds."""
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        yield server.getsockname()[1]


def node(ports, node_type="head", **config):
    declared = {"network": {"node_ip_address": "127.0.0.1", "head_address": "demo-head:6379", "ports": ports},
                "auth": {"token_path": "/etc/ray/auth_token"}, **config}
    if node_type == "head":
        del declared["network"]["head_address"]
    found = LiveNode(StandInUnit(), compile_start(declared, node_type), declared)
    found.processes = []
    return found


def install(tmp_path, user="nobody-yet", **more):
    return {"user": user, "python": sys.executable, "packages": ["ray"], "size": 1, **more}


def test_the_holder_of_a_port_is_named(taken):
    (found,) = obstacles(node({"gcs": taken}), None, True)
    assert found.kind == "port_taken"
    assert str(found).startswith(f"port {taken} of this host (ray_ports.gcs) is taken by ")
    assert f"process {os.getpid()} (" in str(found)
    assert str(found).endswith("or set ray_ports.gcs to a free port, for all hosts.")


def test_the_unit_of_the_holder_is_what_to_stop(monkeypatch):
    monkeypatch.setattr(module, "listeners", lambda *_where: [Listener(7, "redis-server", "redis-server.service")])
    found = obstacles(node({"gcs": 6379}), None, True)[0]
    assert "is taken by redis-server.service, process 7 (redis-server)" in found.fact
    assert found.fix.startswith("stop it (systemctl disable --now redis-server.service), or set ray_ports.gcs")


@pytest.mark.parametrize("name", [
    "gcs", "client_server", "dashboard", "node_manager", "object_manager", "dashboard_agent_grpc",
    "dashboard_agent_listen", "runtime_env_agent", "metrics_export", "autoscaler_metrics", "dashboard_metrics",
])
def test_every_port_of_a_node_is_looked_at(taken, name):
    head, worker = (obstacles(node({name: taken}, kind), None, True) for kind in ("head", "worker"))
    assert [problem.kind for problem in head] == ["port_taken"]
    heads_alone = ("gcs", "client_server", "dashboard", "autoscaler_metrics", "dashboard_metrics")
    assert bool(worker) == (name not in heads_alone)


def test_the_guides_own_port_is_the_heads(taken):
    found = node({}, redis={"port": taken})
    assert ports_of(found.start) == {"gcs": taken}
    assert obstacles(found, None, True)


def test_the_nodes_own_processes_hold_nothing(monkeypatch):
    live = node({"gcs": 6379})
    monkeypatch.setattr(module, "listeners", lambda *_where: [Listener(7, "gcs_server", live.unit.name)])
    assert obstacles(live, None, True) == []


def test_another_ray_holds_its_ports_only_where_it_stays(monkeypatch):
    live = node({"gcs": 6379})
    live.processes = [RayProcess(7, "gcs_server", ["gcs_server"], "0::/system.slice/mine.service\n")]
    holders = [Listener(8, "python", "mine.service"), Listener(7, "gcs_server", "")]
    monkeypatch.setattr(module, "listeners", lambda *_where: holders)
    assert obstacles(live, None, stop_others=True) == []
    assert [problem.kind for problem in obstacles(live, None, stop_others=False)] == ["port_taken"]


def test_a_way_that_is_closed_to_the_nodes_user_is_named(tmp_path):
    tmp_path.chmod(0o755)
    closed = tmp_path / "disk"
    closed.mkdir(mode=0o700)
    (tmp_path / "lib").symlink_to(closed)
    live = node({}, ray={"temp_dir": f"{tmp_path}/lib/ray", "environment": f"{tmp_path}/lib/opt/1"})
    found = [str(problem) for problem in obstacles(live, install(tmp_path), True)]
    assert f"{tmp_path}/lib/ray lies in {closed}, which is closed to user nobody-yet: chmod o+x {closed}." in found
    closed.chmod(0o711)
    assert f"which is closed to user nobody-yet: chmod o+x {closed}." not in str(
        [str(problem) for problem in obstacles(live, install(tmp_path), True)])


def test_a_link_that_is_not_roots_is_refused_before_anything_is_touched(tmp_path):
    anyone = tmp_path / "anyone"
    anyone.mkdir()
    anyone.chmod(0o777)
    (anyone / "ray").symlink_to("/etc")
    live = node({}, ray={"temp_dir": f"{anyone}/ray"})
    (found,) = [problem for problem in obstacles(live, install(tmp_path, python=""), True)
                if problem.kind == "path_refused"]
    assert str(found).startswith(f"{anyone}/ray goes through the link 'ray', which ")


def test_a_missing_environment_is_one_to_install(tmp_path):
    live = node({}, ray={"environment": f"{tmp_path}/opt/1"})

    def kinds(**more):
        return {problem.kind for problem in obstacles(live, install(tmp_path, **more), True)} - {"path_closed"}

    assert kinds() == set()
    assert kinds(python=f"{tmp_path}/python3") == {"python_missing"}
    assert kinds(size=10**18) == {"disk_small"}
    # The site's own, and one that is there, is not installed.
    assert kinds(python="", size=10**18) == set()
    (tmp_path / "opt/1/bin").mkdir(parents=True)
    (tmp_path / "opt/1/bin/ray").touch()
    assert kinds(python=f"{tmp_path}/python3", size=10**18) == set()

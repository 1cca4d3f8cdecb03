# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a node: the ports are real ones, held by processes of the test."""

from __future__ import annotations

import os
import platform
import pwd
import socket
import sys

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node import obstacles as module
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start, ports_of
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._node.obstacles import obstacles, versions
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


OWN = {"ray": "2.60.0", "python": platform.python_version()}
MINOR = ".".join(platform.python_version_tuple()[:2])


@pytest.mark.parametrize(("head", "python", "there", "variables", "said"), [
    ({}, True, False, {}, ""),
    (OWN, True, True, {}, ""),
    ({"ray": "", "python": ""}, True, True, {}, ""),
    ({"ray": "", "python": f"{MINOR}.99"}, True, False, {}, (
        f"w1 of pool h20 has Python {OWN['python']}, the head has Python {MINOR}.99, and Ray lets only equal ones "
        f"join: set ray_python in group_vars/ray_pool_h20.yml to an interpreter of Python {MINOR}.99.")),
    ({**OWN, "python": "3.1.4"}, True, True, {}, "to an interpreter of Python 3.1.4, and remove {path}, "),
    ({**OWN, "ray": "2.59.0"}, False, True, {}, (
        "w1 of pool h20 has Ray 2.60.0, the head has Ray 2.59.0, and Ray lets only equal ones join: set "
        "ray_environment_path in group_vars/ray_pool_h20.yml to an environment with Ray 2.59.0.")),
    ({**OWN, "python": f"{MINOR}.99"}, True, True, {"RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL": "minor"}, ""),
    ({**OWN, "python": "3.1.4"}, True, True, {"RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL": "minor"}, "3.1.4"),
])
def test_a_worker_has_the_heads_ray_and_python(tmp_path, head, python, there, variables, said):
    tmp_path.chmod(0o755)
    path = tmp_path / "opt" / "1"
    if there:
        (path / "bin").mkdir(parents=True)
        (path / "bin" / "ray").touch()
        (path / "bin" / "python").symlink_to(sys.executable)
        packages = path / "lib/python3.11/site-packages"
        (packages / "ray-2.60.0.dist-info").mkdir(parents=True)
        (packages / "ray").mkdir()
        (packages / "ray" / "__init__.py").touch()
    live = node({}, "worker", ray={"environment": str(path), "node_name": "w1"}, environment=variables)
    declared = install(tmp_path, user=pwd.getpwuid(os.geteuid()).pw_name, python=sys.executable if python else "",
                       head_versions=head, groups=["ray_pool_h20", "ray_workers"])
    found = [str(each) for each in obstacles(live, declared, True) if each.kind == "version_mismatch"]
    assert len(found) == bool(said) and said.format(path=path) in "".join(found)


def test_what_a_head_says_of_itself(tmp_path):
    live = node({}, ray={"environment": f"{tmp_path}/opt/1"})
    own = install(tmp_path, user=pwd.getpwuid(os.geteuid()).pw_name)
    assert versions(live, own) == {"ray": "", "python": platform.python_version()}
    assert versions(live, {**own, "python": ""}) == {"ray": "", "python": ""}

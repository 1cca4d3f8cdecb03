# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test of the network: who connects to whom, real connections, and what they mean."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import time

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._network import mesh, probe
from ansible_collections.rayops.cluster.plugins.module_utils._network.mesh import Peer, merged, peers_of, problems_of
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import (
    listeners,
    listening_on,
    local_ports,
)

NODES = ["head", "w1", "w2", "w3", "w4"]
PORTS = ("6381", "6382", "10002-19999")


@pytest.mark.parametrize(
    ("name", "nodes", "peers"),
    [
        ("head", NODES, ["w1", "w2", "w3", "w4"]),
        ("w1", NODES, ["head", "w4", "w2"]),
        ("w4", NODES, ["head", "w3", "w1"]),
        ("w2", ["head", "w1", "w2"], ["head", "w1"]),
        ("w1", ["head", "w1"], ["head"]),
        ("head", ["head"], []),
    ],
)
def test_the_head_is_the_centre_of_a_ring(name, nodes, peers):
    assert peers_of(name, nodes) == peers


def test_the_cost_is_in_proportion_to_the_nodes():
    nodes = ["head", *(f"w{number}" for number in range(100))]
    assert sum(len(peers_of(name, nodes)) for name in nodes) == 100 + 3 * 100


def sentences(answers, listening=frozenset({6381, 6382}), workload=40000):
    peer = Peer("w2", "10.0.0.2", PORTS, frozenset(listening), workload)
    return [str(problem) for problem in problems_of(peer, answers)]


def test_what_is_said_of_a_pair():
    assert sentences({6381: "open", 6382: "open", 10002: "refused", 40000: "open"}) == []
    assert sentences({6381: "open", 6382: "dropped", 10002: "refused", 40000: "open"}) == [
        "cannot reach w2 on 6382: open it in the security group, or in w2's firewall"]
    assert sentences({6381: "dropped", 6382: "dropped", 10002: "dropped", 40000: "dropped"}) == [
        "cannot reach w2 on 6381-6382, 10002-19999, 32768-60999: open them in the security group, or in w2's firewall"]
    assert sentences({6381: "open", 6382: "open", 10002: "refused", 40000: "refused"}) == [
        "cannot reach w2 on 32768-60999 (refused): open them in w2's firewall"]
    assert sentences({6381: "no_route"}) == [
        "cannot reach w2 on 6381 (no route): open it in w2's firewall, or give this host a route to it"]
    assert len(sentences({6381: "dropped", 6382: "refused"})) == 2


def test_a_node_that_is_down_is_no_firewalls_fault():
    assert sentences({6381: "refused", 6382: "refused", 10002: "refused", 40000: "open"}, listening=()) == []
    # It listened when it was asked, and has ended since.
    assert sentences({6381: "refused", 6382: "refused", 10002: "refused", 40000: "open"}, listening=(6381, 6382)) == []
    # Nor one whose listener could not be opened, or that tells nonsense.
    assert sentences({6381: "failed", 6382: "open"}, workload=0) == []


def test_ports_are_shown_in_order():
    assert merged(["6383", "52365", "6381", "6382", "10002-19999"]) == "6381-6383, 10002-19999, 52365"


def test_a_listener_ends_by_itself():
    port = probe.listen("127.0.0.1", 2, [])
    assert probe.WORKLOAD_PORTS[0] <= port <= probe.WORKLOAD_PORTS[1]
    assert port in listening_on("127.0.0.1")
    (listener,) = listeners("127.0.0.1", port)
    if os.geteuid() == 0:
        assert os.stat(f"/proc/{listener.pid}").st_uid == pwd.getpwnam("nobody").pw_uid
    # Nothing of this process is left to it: one socket, and the null device.
    found = {os.readlink(f"/proc/{listener.pid}/fd/{name}") for name in os.listdir(f"/proc/{listener.pid}/fd")}
    assert len(found) == 2 and "/dev/null" in found
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        assert connection.recv(1) == b""
    deadline = time.monotonic() + 10
    while port in listening_on("127.0.0.1"):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.1)


def test_a_listener_takes_nobodys_port(monkeypatch):
    monkeypatch.setattr(probe, "WORKLOAD_PORTS", (40100, 40101))
    assert [probe.listen("127.0.0.1", 1, [40100])] == [40101]
    with pytest.raises(OSError):
        probe.listen("192.0.2.1", 1, [])


def test_the_workloads_ports_are_the_hosts_own(tmp_path):
    assert probe.listen("127.0.0.1", 1, [40200], (40200, 40201)) == 40201
    assert Peer("w2", "10.0.0.2", ("6381",), workload=50001, among=(50000, 50999)).tried() == {
        6381: "6381", 50001: "50000-50999"}
    (tmp_path / "sys" / "net" / "ipv4").mkdir(parents=True)
    assert local_ports(str(tmp_path)) == (32768, 60999)
    (tmp_path / "sys" / "net" / "ipv4" / "ip_local_port_range").write_text("50000\t50999\n")
    assert local_ports(str(tmp_path)) == (50000, 50999)


def test_connections_are_told_apart():
    with socket.socket() as full, socket.socket() as free:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        free.bind(("127.0.0.1", 0))
        free.listen(10)
        crowd = [socket.socket() for _number in range(3)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        places = [free.getsockname(), *[full.getsockname()] * 5, closed.getsockname()]
        began = time.monotonic()
        # Linux drops what comes to a queue that is full, as a security group does: all at once, it takes the time once.
        assert probe.connect(places, 1) == ["open", *["dropped"] * 5, "refused"]
        assert 0.9 < time.monotonic() - began < 4
        for one in [*crowd, closed]:
            one.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.EHOSTUNREACH, "no_route"), (errno.ENETUNREACH, "no_route"), (errno.ETIMEDOUT, "dropped"),
     (errno.EACCES, "failed"), (0, "open")],
)
def test_errors_in_words(code, kind):
    assert probe._kind(code) == kind and kind in probe.KINDS


def test_many_connections_go_in_turns(monkeypatch):
    monkeypatch.setattr(probe, "MOST", 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free.listen(10)
        assert probe.connect([free.getsockname()] * 5, 2) == ["open"] * 5
    assert mesh.first_of("10002-19999") == 10002

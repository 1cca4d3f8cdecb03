# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table that shuts the cluster's ports: loaded by the real nft, in the way of real packets of another host's."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.netlink import delete_table
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.ports import Ports, declared, spans
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.rules import Rules, replacing
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.sources import networks, private, problems
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.table import Record, merged
from tests import nft
from tests.bed.engine import install

REPOSITORY = Path(__file__).resolve().parents[3]
INSIDE, OUTSIDE, INSIDE6, OUTSIDE6 = "10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"
# SSH, what is of the nodes, the monitors and the clients, a port of the workers, one of nobody, one of the workload.
LISTENING = (22, 6379, 6385, 8265, 15000, 30000, 40000)
PORTS = Ports.of({"cluster": ["6379", "10002-19999", "32768-60999"], "clients": ["8265"], "monitors": ["6385"]})
LISTENER = """
import socket, sys, threading
held = []
def echo(server):
    while True:
        connection = server.accept()[0]
        held.append(connection)
        threading.Thread(target=lambda: [connection.sendall(b) for b in iter(lambda: connection.recv(99), b"")]).start()
for port in map(int, sys.argv[1:]):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=echo, args=(server,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


class Pair:
    """A host with the table, and a host outside, each a network namespace with one end of a cable."""

    def __init__(self) -> None:
        mark = uuid.uuid4().hex[:6]
        self.host, self.outside = f"fwh{mark}", f"fwo{mark}"
        for name in (self.host, self.outside):
            run("ip", "netns", "add", name)
        other = ("peer", "name", "out0", "netns", self.outside)
        run("ip", "link", "add", "in0", "netns", self.host, "type", "veth", *other)
        for name, link, addresses in (
            (self.host, "in0", (INSIDE, INSIDE6)), (self.outside, "out0", (OUTSIDE, OUTSIDE6)),
        ):
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", link, "up")
            run("ip", "-n", name, "address", "add", f"{addresses[0]}/24", "dev", link)
            run("ip", "-n", name, "address", "add", f"{addresses[1]}/64", "dev", link, "nodad")
        self.listener = subprocess.Popen(
            ["ip", "netns", "exec", self.host, sys.executable, "-c", LISTENER, *map(str, LISTENING)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.listener.stdout.readline() == b"ready\n"
        shown = run("ip", "netns", "exec", self.host, "cat", "/sys/class/net/in0/address")
        self.mac = bytes.fromhex(shown.strip().replace(":", ""))

    def load(self, text: str) -> None:
        run("ip", "netns", "exec", self.host, "nft", "--check", "--file", "-", text=text)
        run("ip", "netns", "exec", self.host, "nft", "--file", "-", text=text)

    def rules(self, *, cluster=(INSIDE,), ports=PORTS, **sources) -> None:
        self.load(Rules(ports, cluster, **sources).render())

    def seen(self, address: str = INSIDE, ports=LISTENING, where: str = "outside") -> list[int]:
        """The ports that answer, from outside or from the host itself."""
        with inside(getattr(self, where)):
            return nft.open_ports(address, ports, 0.3)

    def listing(self, *words: str) -> str:
        return run("ip", "netns", "exec", self.host, "nft", "--stateless", "list", *words)

    def close(self) -> None:
        self.listener.kill()
        self.listener.wait()
        for name in (self.host, self.outside):
            subprocess.run(["ip", "netns", "delete", name], check=False)


def run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def inside(name: str):
    """This process is in a network namespace for a time."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        setns(there)
        yield
    finally:
        setns(own)
        os.close(own)
        os.close(there)


def setns(descriptor: int) -> None:
    import ctypes  # Python has os.setns since 3.12.

    assert ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture(name="pair", scope="module")
def pair_fixture():
    if os.geteuid() != 0:
        pytest.skip("root alone makes network namespaces")
    for program, package in (("nft", "nftables"), ("ip", "iproute2")):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            install(package)
    pair = Pair()
    yield pair
    pair.close()


def test_a_stranger_reaches_what_is_not_the_clusters_and_nothing_else(pair):
    pair.rules()
    assert pair.seen(ports=nft.ALL) == [22, 30000]
    assert pair.seen(INSIDE6) == [22, 30000]
    assert pair.seen(where="host") == list(LISTENING)
    assert pair.seen("127.0.0.1", where="host") == list(LISTENING)


@pytest.mark.parametrize("who, reached", [
    ("cluster", list(LISTENING)), ("clients", [22, 8265, 30000]), ("monitors", [22, 6385, 30000]),
])
def test_who_is_let_in_reaches_what_is_theirs(pair, who, reached):
    pair.rules(**{who: ["10.77.0.0/24", "fd77::/64"]})
    assert pair.seen() == reached
    assert pair.seen(INSIDE6) == reached


def test_everybody_can_be_a_client(pair):
    pair.rules(clients=["0.0.0.0/0", "::/0"])
    assert pair.seen() == pair.seen(INSIDE6) == [22, 8265, 30000]


def test_a_port_that_stays_open_in_a_shut_range(pair):
    pair.rules(ports=Ports(PORTS.cluster, PORTS.clients, PORTS.monitors, frozenset({15000})))
    assert pair.seen() == [22, 15000, 30000]


def test_a_connection_from_before_the_table_stays_and_one_of_the_hosts_own(pair):
    pair.load(replacing(""))
    with inside(pair.outside):
        before = socket.create_connection((INSIDE, 6379), timeout=5)
        server = socket.create_server((OUTSIDE, 0))
        server.settimeout(5)
    with inside(pair.host):
        # Its own port lies in the range that is shut.
        own = socket.create_connection(server.getsockname(), timeout=5)
    with before, server, own:
        pair.rules()
        before.sendall(b"still here")
        assert before.recv(99) == b"still here"
        answering = server.accept()[0]
        with answering:
            answering.sendall(b"back")
            assert own.recv(99) == b"back"
        with inside(pair.host), socket.create_connection(server.getsockname(), timeout=5) as after:
            assert after.getsockname()[0] == INSIDE


# What a packet can hide its ports behind: a SYN to 6379 from outside, as IPv6 with extension headers and in fragments.
def syn(source: str, target: str, port: int) -> bytes:
    # The kernel puts no packet together whose first fragment has not all of TCP's header: what follows it is 12 bytes.
    header = struct.pack("!HHIIBBHHH12x", 45678, port, 1, 0, 5 << 4, 2, 64000, 0, 0)
    pseudo = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return header[:16] + struct.pack("!H", checksum(pseudo + struct.pack("!II", len(header), 6) + header)) + header[18:]


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


OPTIONS = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # padding, RFC 8200


def options(following: int) -> bytes:
    return bytes([following]) + OPTIONS[1:]


def fragment(following: int, offset: int, more: bool) -> bytes:
    return struct.pack("!BBHI", following, 0, offset << 3 | more, 0x12345678)


def packets(port: int) -> dict[str, list[tuple[int, bytes]]]:
    """By a name, packets each with the number of their first header."""
    tcp = syn(OUTSIDE6, INSIDE6, port)
    return {
        "plain": [(6, tcp)],
        "behind options": [(60, options(6) + tcp)],
        "behind hop-by-hop and routing": [(0, options(60) + options(6) + tcp)],
        "an atomic fragment": [(44, fragment(6, 0, False) + tcp)],
        "two fragments": [(44, fragment(6, 0, True) + tcp[:24]), (44, fragment(6, 3, False) + tcp[24:])],
        "flags in the second fragment": [(44, fragment(6, 0, True) + tcp[:8]), (44, fragment(6, 1, False) + tcp[8:])],
        "ports in the second fragment": [
            (44, fragment(60, 0, True) + options(6)), (44, fragment(60, 1, False) + tcp)],
        "the second fragment first": [(44, fragment(6, 3, False) + tcp[24:]), (44, fragment(6, 0, True) + tcp[:24])],
        "fragments behind options": [
            (60, options(44) + fragment(6, 0, True) + tcp[:24]), (60, options(44) + fragment(6, 3, False) + tcp[24:])],
    }


def answered(pair: Pair, sent: list[tuple[int, bytes]], port: int) -> bool:
    """Whether the host answers with SYN and ACK from the port."""
    with inside(pair.outside), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD)) as wire:
        wire.bind(("out0", 0x86DD))
        wire.settimeout(0.3)
        for first, payload in sent:
            header = struct.pack("!IHBB", 6 << 28, len(payload), first, 64)
            packet = header + socket.inet_pton(socket.AF_INET6, OUTSIDE6) + socket.inet_pton(socket.AF_INET6, INSIDE6)
            wire.sendto(packet + payload, ("out0", 0x86DD, 0, 0, pair.mac))
        with contextlib.suppress(TimeoutError):
            while True:
                data = wire.recv(2000)
                if data[6] == 6 and struct.unpack("!HH", data[40:44]) == (port, 45678) and data[53] & 0x12 == 0x12:
                    return True
    return False


@pytest.mark.parametrize("name", list(packets(22)))
def test_ports_cannot_be_hidden_behind_ipv6_headers_and_fragments(pair, name):
    pair.rules()
    assert not answered(pair, packets(6379)[name], 6379)


@pytest.mark.parametrize("name", ["plain", "behind options", "an atomic fragment", "two fragments",
                                  "fragments behind options"])
def test_what_is_not_the_clusters_is_reached_behind_the_same_headers(pair, name):
    pair.rules()
    assert answered(pair, packets(22)[name], 22)


def test_tables_of_others_stay_and_ours_is_replaced_in_one_transaction(pair):
    others = "table ip rayops {\n chain c {\n counter\n }\n}\ntable inet other {\n set s {\n type ipv4_addr\n }\n}\n"
    pair.load(others)
    pair.rules()
    pair.rules(clients=["10.9.0.0/16"])
    assert "chain c" in pair.listing("table", "ip", "rayops")
    assert "set s" in pair.listing("table", "inet", "other")
    assert pair.listing("tables").count("table inet rayops\n") == 1
    pair.load("delete table ip rayops\ndelete table inet other\n")


def test_the_listing_is_the_same_after_it_was_loaded_again(pair):
    pair.rules(cluster=[f"10.0.{n}.{n}" for n in range(9, 0, -1)], clients=["10.3.0.0/16", "fd00::/8"])
    before = pair.listing("table", "inet", "rayops")
    pair.load(replacing(before))
    assert pair.listing("table", "inet", "rayops") == before
    pair.load(replacing(""))
    assert "inet rayops" not in pair.listing("tables")


def test_a_table_goes_where_nft_is_gone(pair):
    pair.load("table inet other {\n}\n")
    pair.rules()
    with inside(pair.host):
        delete_table("rayops")
    assert "inet rayops" not in pair.listing("tables")
    assert "inet other" in pair.listing("tables")
    with inside(pair.host), pytest.raises(FileNotFoundError):
        delete_table("rayops")
    pair.load("delete table inet other\n")


def test_a_host_is_believed_for_private_addresses_of_its_own_alone():
    said = ["10.0.0.5", "192.168.1.1", "100.64.0.9", "fd00::7", "8.8.8.8", "2001:db8::1", "fe80::1", "fe80::1%eth0",
            "fd00::7%eth0", "127.0.0.1", "0.0.0.0", "224.0.0.1", "10.0.0.0/8", "head", 7, None, {"a": 1}]
    assert private(said) == ["10.0.0.5", "100.64.0.9", "192.168.1.1", "fd00::7"]
    assert private("10.0.0.5") == private({"10.0.0.5": 1}) == []
    assert len(private([f"10.0.{n // 250}.{n % 250}" for n in range(500)])) == 64


@pytest.mark.parametrize("written, said", [
    (["10.0.0.0/33"], "has 10.0.0.0/33, which is no network: write one such as 10.20.0.0/16, or an address such as "
                      "10.20.0.7."),
    (["10.0.0.5/8"], "has 10.0.0.5/8, which is no network: write 10.0.0.0/8."),
    (["example.com"], "has example.com, which is no network: write one such as 10.20.0.0/16, or an address such as "
                      "10.20.0.7."),
    ("10.0.0.0/8", "is '10.0.0.0/8', which is no list: write networks such as [10.20.0.0/16]."),
])
def test_a_network_that_is_none_is_named_with_what_to_write(written, said):
    assert list(problems("ray_firewall_clients", written)) == [f"ray_firewall_clients {said}"]


def test_networks_that_are_none_the_worse_for_others():
    assert list(problems("x", ["10.0.0.0/8", "10.1.2.3", "fd00::/8", "0.0.0.0/0"])) == []
    assert networks(["10.0.0.0/8", "10.1.2.3", "fd00::1", "10.0.0.0/8"], 4) == ["10.0.0.0/8"]
    assert networks(["10.0.0.4", "fd00::1", "fd00::1/128"], 6) == ["fd00::1"]


def test_ports_go_to_who_uses_them():
    assert declared({
        "node": {"gcs": 6379, "dashboard": 8265, "client_server": 10001, "metrics_export": 6385},
        "mesh": ["10002-19999"], "redis": [6380], "monitor": ["6386", 9090], "serve": [8000],
        "models": {"clients": ["8001"], "cluster": ["29550"]}, "open": [443],
    }) == {
        "cluster": ["6379-6380", "29550"], "clients": ["8000-8001", "8265", "10001"],
        "monitors": ["6385-6386", "9090"], "open": ["443"], "shared": ["10002-19999"],
    }
    assert declared({}) == {"cluster": [], "clients": [], "monitors": [], "open": [], "shared": []}
    with pytest.raises(ValueError):
        declared({"redis": ["70000"]})


def test_nothing_is_opened_before_what_listens_there_has_stopped():
    before = Ports.of({"cluster": ["6379", "29550", "20443"], "clients": ["8001", "8002"], "monitors": ["9090"]})
    wanted = Ports.of({"cluster": ["6379", "8002"], "clients": ["29550", "8003"], "open": ["20443"]})
    kept = wanted.keeping(before)
    assert spans(kept.closed) == ["6379", "8001-8003", "9090", "20443", "29550"]
    # What was the nodes' alone is not yet the clients', and what is no longer the clients' is not theirs any more.
    assert spans(kept.clients) == ["8001", "8003"]
    assert spans(kept.monitors) == ["9090"]
    assert spans(wanted.listening(before, [22, 6379, 8001, 20443])) == ["8001"]


def test_what_is_known_of_a_host_that_was_not_asked_stays():
    known = Record(hosts={"head": ["10.0.0.5", "10.9.0.5"], "worker-1": ["10.0.0.6"], "gone": ["10.0.0.7"]})
    hosts = [{"name": "head", "addresses": ["10.0.0.5"], "found": None},
             {"name": "worker-1", "addresses": ["10.0.0.6"], "found": ["10.0.0.6", "10.8.0.6"]},
             {"name": "worker-2", "addresses": ["10.0.0.8"], "found": None}]
    after = {"head": ["10.0.0.5", "10.9.0.5"], "worker-1": ["10.0.0.6", "10.8.0.6"], "worker-2": ["10.0.0.8"]}
    assert merged(known, hosts, keep=False) == after
    assert merged(known, hosts, keep=True) == {**after, "gone": ["10.0.0.7"]}
    assert merged(None, hosts[2:], keep=True) == {"worker-2": ["10.0.0.8"]}

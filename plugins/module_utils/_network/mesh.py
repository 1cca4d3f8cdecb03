# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who of a cluster must reach whom, and what it means that one cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.rayops.cluster.plugins.module_utils._network.probe import WORKLOAD_PORTS
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem


@dataclass(frozen=True)
class Peer:
    """A node that others connect to.

    ports: its pinned ports, "6382" or, for a range, "10002-19999"; listening: those that something listens on, by its
    own word; workload: the port that its listener has, 0 for none; among: the first and the last port of its
    workload's.
    """

    name: str
    address: str
    ports: tuple[str, ...] = ()
    listening: frozenset[int] = field(default_factory=frozenset)
    workload: int = 0
    among: tuple[int, int] = WORKLOAD_PORTS

    def tried(self) -> dict[int, str]:
        """The ports to connect to, and the ports that each of them stands for."""
        found = {first_of(text): text for text in self.ports}
        return {**found, **({self.workload: "{}-{}".format(*self.among)} if self.workload else {})}


def first_of(ports: str) -> int:
    """The port, or the first one of a range."""
    return int(ports.partition("-")[0])


def peers_of(name: str, nodes: list[str]) -> list[str]:
    """Whom a node connects to: the head to every worker, a worker to the head and to its neighbours in the ring.

    :arg nodes: all nodes of the cluster, the head first.
    """
    head, ring = nodes[0], nodes[1:]
    if name == head:
        return ring
    at = ring.index(name)
    return [other for other in dict.fromkeys([head, ring[at - 1], ring[(at + 1) % len(ring)]]) if other != name]


def problems_of(peer: Peer, answers: Mapping[int, str]) -> list[Problem]:
    """What is wrong on the way to a node: what its neighbour cannot, without the name of that one, and the fix.

    :arg answers: what became of the connection to each port that was tried, one of probe.KINDS.
    """
    tried = peer.tried()
    # A port that nobody listens on is refused by any host, and a node may have ended since it was asked. Where the
    # workload's port answers, no firewall refuses.
    there = frozenset() if answers.get(peer.workload) == "open" else peer.listening | {peer.workload}
    by_kind: dict[str, list[str]] = {}
    for port, kind in answers.items():
        if kind in ("dropped", "no_route") or (kind == "refused" and port in there):
            by_kind.setdefault(kind, []).append(tried[port])
    return [_sentence(kind, peer.name, ports) for kind, ports in sorted(by_kind.items())]


def _sentence(kind: str, name: str, ports: list[str]) -> Problem:
    shown, it = merged(ports), "it" if len(ports) == 1 and "-" not in ports[0] else "them"
    if kind == "dropped":
        fix = f"open {it} in the security group, or in {name}'s firewall"
        return Problem(kind, f"cannot reach {name} on {shown}", fix)
    if kind == "refused":
        return Problem(kind, f"cannot reach {name} on {shown} (refused)", f"open {it} in {name}'s firewall")
    fix = f"open {it} in {name}'s firewall, or give this host a route to it"
    return Problem(kind, f"cannot reach {name} on {shown} (no route)", fix)


def merged(ports: list[str]) -> str:
    """Ports and ranges of ports in order, neighbours as one range."""
    spans = sorted((int(first), int(last or first)) for first, _dash, last in (text.partition("-") for text in ports))
    found: list[tuple[int, int]] = []
    for first, last in spans:
        if found and first == found[-1][1] + 1:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of module ray_network_test: who connects to whom, and what the answers mean.

Names, addresses and ports are the inventory's. Of what a host says, numbers and known words are used.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rayops.cluster.plugins.module_utils._network.mesh import (
    Peer,
    first_of,
    peers_of,
    problems_of,
)
from ansible_collections.rayops.cluster.plugins.module_utils._network.probe import KINDS, WORKLOAD_PORTS
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem

REGISTERED = "network_listener"
SECONDS, TIMEOUT = 120, 3


class ActionModule(ActionBase):
    """Sends a host the addresses and ports that it is to try, and nothing else of the cluster."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        run = self._listening if self._task.args.get("state") == "listening" else self._tested
        result.update(run(dict(self._task.args), task_vars or {}))
        return result

    def _listening(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        ends = time.time() + float(options.get("seconds", SECONDS))
        found = self._execute_module(module_args=options, task_vars=task_vars)
        ports = [str(text) for text in options.get("ports") or []]
        known = {name: found[name] for name in ("failed", "unreachable", "msg", "changed") if name in found}
        listening = set(map(first_of, ports)) & numbers(found.get("listening"))
        among = range_of(found.get("among"))
        own = {port for port in numbers([found.get("port")]) if among[0] <= port <= among[1]}
        return {
            **known, "address": options.get("address"), "ports": ports, "ends": ends,
            "port": max(own, default=0), "among": among, "listening": sorted(listening),
        }

    def _tested(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        nodes, name = list(options.pop("nodes", None) or []), task_vars["inventory_hostname"]
        timeout = float(options.get("timeout", TIMEOUT))
        if name not in nodes:
            raise AnsibleActionFail(f"nodes must name {name}, the host that is to test its network.")
        peers = [peer for peer in (peer_of(other, task_vars["hostvars"], timeout) for other in peers_of(name, nodes))
                 if peer]
        targets = [{"address": peer.address, "ports": list(peer.tried())} for peer in peers]
        found = self._execute_module(module_args={**options, "targets": targets}, task_vars=task_vars)
        if found.get("failed") or found.get("unreachable"):
            # What is wrong with the network is the controller's to say.
            return {key: value for key, value in found.items() if key != "problems"}
        problems = [problem for peer, answers in zip(peers, answers_of(found, targets))
                    for problem in problems_of(peer, answers)]
        return {
            "changed": False, "failed": bool(problems), "msg": said(name, problems, len(peers)),
            "problems": [{"detail": f"it {problem.fact}.", "person": f"{problem.fix}."} for problem in problems],
        }


def peer_of(name: str, hostvars: Mapping[str, Any], timeout: float) -> Peer | None:
    """The node of a host; None where it is not in the play, is down, or has no address to connect to."""
    found = hostvars[name].get(REGISTERED) if name in hostvars else None
    if not isinstance(found, Mapping) or "ports" not in found:
        return None
    try:
        address = str(ipaddress.ip_address(str(found["address"])))
    except ValueError:
        return None
    # A listener that has ended meanwhile, on a large cluster, would be refused.
    lives = found["ends"] > time.time() + 2 * timeout
    return Peer(name, address, tuple(found["ports"]), frozenset(found["listening"]), found["port"] if lives else 0,
                tuple(found.get("among", WORKLOAD_PORTS)))


def range_of(answer: Any) -> tuple[int, int]:
    """The ports of the workload's that a host says it has, the first and the last; Linux's own where it says none."""
    if isinstance(answer, list) and len(answer) == 2 and len(numbers(answer)) == 2:
        first, last = answer
        if 0 < first < last < 65536:
            return first, last
    return WORKLOAD_PORTS


def numbers(answer: Any) -> set[int]:
    """The whole numbers of a list that a host gave."""
    items = answer if isinstance(answer, list) else []
    return {item for item in items if isinstance(item, int) and not isinstance(item, bool)}


def answers_of(found: Mapping[str, Any], targets: list[dict[str, Any]]) -> list[dict[int, str]]:
    """What became of each port of each target. What is no answer to what was asked is left out."""
    answers = found.get("answers")
    if not isinstance(answers, list) or len(answers) != len(targets):
        return [{} for _target in targets]
    return [
        {port: kind for port, kind in zip(target["ports"], kinds) if kind in KINDS} if isinstance(kinds, list) else {}
        for target, kinds in zip(targets, answers)
    ]


def said(name: str, problems: list[Problem], count: int) -> str:
    """The result in words."""
    if problems:
        return "\n".join(f"{name} {problem}." for problem in problems)
    return f"{name} reaches {count} {'node' if count == 1 else 'nodes'}."

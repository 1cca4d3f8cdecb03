# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_switch
short_description: What became of all nodes of a cluster that stopped and started together
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Puts together what M(rayops.cluster.ray_node) returned on each host, in playbook C(upgrade).
positional: hostvars
options:
  _input: {description: The hosts., type: list, elements: str, required: true}
  hostvars: {description: "With what the module returned, registered as C(switch_drained), C(switch_head) and
      C(switch_worker).", type: dict, required: true}
"""

EXAMPLES = r"""
- name: Describe the stop
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts | rayops.cluster.ray_switch(hostvars)).stop }}"
"""

RETURN = r"""
_value: {description: "In C(problem), which nodes did not come up, and why, empty for none; and in C(stop), for how long
    the cluster was down.", type: dict}
"""

from collections.abc import Mapping, Sequence
from typing import Any


def ray_switch(hosts: Sequence[str], hostvars: Mapping[str, Any]) -> dict[str, str]:
    """What came of the stop and the start; see the documentation above."""
    drained, heads, workers = (answers(hosts, hostvars, f"switch_{name}") for name in ("drained", "head", "worker"))
    failed = {host: answer for host, answer in [*heads.items(), *workers.items()] if answer.get("failed")}
    # The workers wait for the head: there are either its words or theirs.
    reasons = dict.fromkeys(str(answer["msg"]) for answer in failed.values() if answer.get("msg"))
    # By each host's own clock. The last worker to stop was down for the shortest time, and the others waited for it.
    stops = numbers(workers, "stopped_seconds") or numbers(heads, "stopped_seconds")
    drain, head, worker = (max(found, default=0) for found in (
        numbers(drained, "seconds"), numbers(heads, "node", "uptime"), numbers(workers, "node", "uptime")))
    return {
        "problem": f"{', '.join(failed)}: " + "\n".join(reasons) if failed else "",
        "stop": (
            f"The workers finished and stopped within {drain} s. From then on the cluster was down for "
            f"{min(stops, default=0)} s, of which Ray itself needed {head} s on the head and then {worker} s on the "
            "workers."),
    }


def answers(hosts: Sequence[str], hostvars: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What was registered on each host, without those on which the task was skipped."""
    found = {host: hostvars[host].get(name) for host in hosts}
    return {host: each for host, each in found.items() if isinstance(each, Mapping) and not each.get("skipped")}


def numbers(found: Mapping[str, Any], *keys: str) -> list[float]:
    """A number out of each answer that has one."""
    values = list(found.values())
    for key in keys:
        values = [value.get(key) for value in values if isinstance(value, Mapping)]
    return [value for value in values if isinstance(value, (int, float)) and value]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_switch": ray_switch}

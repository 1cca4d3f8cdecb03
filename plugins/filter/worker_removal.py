# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: worker_removal
short_description: Which workers are to leave a cluster, and why they cannot
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Nobody is named, or who is no worker. Without them a pool would have fewer that are ALIVE than its
  C(min_workers), or the cluster no worker at all.
positional: groups, nodes, head_config
options:
  _input: {description: "The names of the workers, with commas between them, or as a list.", type: raw, required: true}
  groups: {description: The groups of the inventory., type: dict, required: true}
  nodes: {description: "The cluster's nodes, as M(rayops.cluster.ray_status) returns them. Without it only names are
      looked at.", type: list, elements: dict}
  head_config: {description: The declared state of the head., type: dict, default: {}}
"""

EXAMPLES = r"""
- name: Refuse a cluster that would be too small
  ansible.builtin.assert:
    that: removal.refusal == ''
    fail_msg: "{{ removal.refusal }}"
  vars:
    removal: "{{ ['worker-3'] | rayops.cluster.worker_removal(groups, cluster.nodes, head_config) }}"
"""

RETURN = r"""
_value: {description: "The C(names), and a C(refusal), one sentence with the fix in it; empty for none.", type: dict}
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any


def worker_removal(
    named: Any, groups: Mapping[str, list[str]], nodes: Sequence[Mapping[str, Any]] | None = None,
    head_config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The names and the refusal; see the documentation above."""
    listed = named if isinstance(named, (list, tuple)) else [named]
    names = re.findall(r"[^, ]+", ",".join(map(str, listed)))
    unknown = [name for name in names if name not in groups.get("ray_workers", [])]
    refusal = ""
    if unknown or not names:
        who = f"There is no worker {', '.join(dict.fromkeys(unknown))}" if unknown else "No worker is named"
        refusal = f"{who}: name each by its name in the inventory, -e remove_worker_hosts=worker-3,worker-4."
    elif nodes is not None and (amiss := problems(names, groups, nodes, head_config or {})):
        refusal = (
            f"Without {', '.join(names)} {', '.join(amiss)}: add workers first, lower "
            "head_config.worker_nodes.worker_node_types, or remove them all the same with -e remove_worker_force=true.")
    return {"names": names, "refusal": refusal}


def problems(
    names: list[str], groups: Mapping[str, list[str]], nodes: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> list[str]:
    """What would be amiss without some workers."""
    alive = {node["node_name"] for node in nodes if node["state"] == "ALIVE"}
    left = set(groups["ray_workers"]) & alive - set(names)
    if not left:
        return ["no worker would be left"]
    pools = (config.get("worker_nodes") or {}).get("worker_node_types") or {}
    found = []
    for pool, declared in pools.items():
        least, members = int((declared or {}).get("min_workers") or 0), set(groups.get(f"ray_pool_{pool}", []))
        if members & set(names) and len(members & left) < least:
            found.append(f"pool {pool} would have {len(members & left)} of {least} (min_workers)")
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"worker_removal": worker_removal}

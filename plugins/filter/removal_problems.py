# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: removal_problems
short_description: Why a cluster cannot do without some workers
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: A pool would have fewer that are ALIVE than its C(min_workers), or the cluster no worker at all.
positional: groups, alive, removed
options:
  _input: {description: "The declared state of the head, C(head_config).", type: dict, required: true}
  groups: {description: The groups of the inventory., type: dict, required: true}
  alive: {description: The names of the nodes that are ALIVE., type: list, elements: str, required: true}
  removed: {description: The workers to remove., type: list, elements: str, required: true}
"""

EXAMPLES = r"""
- name: Refuse a cluster that would be too small
  ansible.builtin.assert:
    that: head_config | rayops.cluster.removal_problems(groups, alive, ['worker-3']) | length == 0
"""

RETURN = r"""
_value: {description: "The problems, each what would be; empty for none.", type: list, elements: str}
"""

from collections.abc import Mapping
from typing import Any


def removal_problems(
    head_config: Mapping[str, Any], groups: Mapping[str, list[str]], alive: list[str], removed: list[str]
) -> list[str]:
    """What would be amiss without some workers; see the documentation above."""
    left = set(groups.get("ray_workers", [])) & set(alive) - set(removed)
    if not left:
        return ["no worker would be left"]
    pools = (head_config.get("worker_nodes") or {}).get("worker_node_types") or {}
    found = []
    for pool, declared in pools.items():
        least, members = int((declared or {}).get("min_workers") or 0), set(groups.get(f"ray_pool_{pool}", []))
        if members & set(removed) and len(members & left) < least:
            found.append(f"pool {pool} would have {len(members & left)} of {least} (min_workers)")
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"removal_problems": removal_problems}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: monitor_nodes
short_description: What the exporter ray-monitor is told of the nodes that the inventory declares
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Accelerators are those that are declared, else those that the cloud tells of a worker.
positional: head, tls_port
options:
  _input: {description: The variables of each host., type: list, elements: dict, required: true}
  head: {description: The name of the head., type: str, required: true}
  tls_port: {description: "The port on which each node shows its certificate; none for V(0).", type: int, default: 0}
"""

EXAMPLES = r"""
nodes: "{{ groups['ray'] | map('extract', hostvars) | rayops.cluster.monitor_nodes('head') }}"
"""

RETURN = r"""
_value: {description: C(pool) and where there are any C(gpus), C(npus) and C(tls) (host:port) of each, by its
  name., type: dict}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.filter.ray_models import address_of
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import bracketed

_POOL = "ray_pool_"


def monitor_nodes(hosts: Sequence[Mapping[str, Any]], head: str, tls_port: int = 0) -> dict[str, dict[str, Any]]:
    """Pools and accelerators by the names of nodes; see the documentation above."""
    found = {host["inventory_hostname"]: _node(host, host["inventory_hostname"] == head) for host in hosts}
    for host in hosts if int(tls_port) else []:
        found[host["inventory_hostname"]]["tls"] = f"{bracketed(address_of(host))}:{int(tls_port)}"
    return found


def _node(host: Mapping[str, Any], is_head: bool) -> dict[str, Any]:
    declared = (host.get("head_config") or {}).get("head_node") if is_head else host.get("worker_config")
    resources = (declared or {}).get("resources") or {}
    pools = sorted(group.removeprefix(_POOL) for group in host["group_names"] if group.startswith(_POOL))
    node: dict[str, Any] = {"pool": "head" if is_head else [*pools, "worker"][0]}
    for key, resource, found in (("gpus", "GPU", "ecs_gpu_count"), ("npus", "NPU", "ecs_npu_count")):
        count = int(resources.get(resource, 0 if is_head else host.get(found)) or 0)
        if count:
            node[key] = count
    return node


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"monitor_nodes": monitor_nodes}

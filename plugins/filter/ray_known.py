# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_known
short_description: What a host has to know of a Ray cluster's state
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Takes out of what M(rayops.cluster.ray_status) returned, which has all nodes, what is about one host. A cluster of a
    thousand nodes would else be sent to each of them.
positional: config
options:
  _input:
    description: What the module returned, as registered, also where it failed.
    type: dict
    required: true
  config:
    description: The declared state of the host's node, the content of its file.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at the worker
  rayops.cluster.ray_diagnosis:
    node_type: worker
    config: "{{ worker_declared }}"
    cluster: "{{ cluster_status | rayops.cluster.ray_known(worker_declared) }}"
"""

RETURN = r"""
_value:
  description: As O(rayops.cluster.ray_diagnosis#module:cluster).
  type: dict
"""

from collections.abc import Mapping
from typing import Any

NODE = ("node_id", "node_name", "ip", "state", "state_message")


def ray_known(status: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the GCS answers, the cluster's versions, and the nodes of the declared name or address."""
    nodes = status.get("nodes") or []
    name, address = config["ray"]["node_name"], config["network"]["node_ip_address"]
    own = [node for node in nodes if node.get("node_name") == name or node.get("ip") == address]
    return {
        "answers": bool(nodes),
        **{key: str(status.get(key) or "") for key in ("msg", "ray_version", "python_version")},
        "nodes": [{key: str(node.get(key) or "") for key in NODE} for node in own],
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_known": ray_known}

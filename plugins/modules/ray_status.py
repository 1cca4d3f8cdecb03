#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_status
short_description: Read a Ray cluster, or wait for its nodes
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Returns the nodes, resources and pending demands of a Ray cluster, as its Global Control Store (GCS) has them.
  - Waits for a number of nodes, for certain nodes or for resources, when O(wait_for) says so.
  - It needs no driver, so it leaves no job in the cluster, and it takes half a second.
extends_documentation_fragment: [rayops.cluster.attributes, rayops.cluster.connection]
attributes:
  check_mode:
    details: Reads the cluster, but does not wait. Where no cluster is yet, or not all of O(wait_for), it is skipped
      and says why.
  diff_mode: {support: N/A}
options:
  wait_for:
    description:
      - What to wait for. All of it must be there at the same time.
      - Only nodes that are C(ALIVE) count. A node that is C(DRAINING), or that was replaced by a restart, does not.
    type: dict
    suboptions:
      nodes:
        description: The number of nodes, the head included.
        type: int
      node_ips:
        description: Addresses of nodes, as given to C(ray start --node-ip-address).
        type: list
        elements: str
      node_names:
        description: Names of nodes, as given to C(ray start --node-name).
        type: list
        elements: str
      resources:
        description: "For each resource, the least total over all nodes, for example V({GPU: 8})."
        type: dict
  timeout:
    description:
      - How long to wait for O(wait_for), in seconds. A GCS that does not answer yet is waited for as well.
      - Without O(wait_for), the cluster is read once, and one that nobody listens for fails at once.
    type: float
    default: 30
  include_dead:
    description: Whether RV(nodes) has the C(DEAD) nodes that the GCS remembers.
    type: bool
    default: false
seealso: [{module: rayops.cluster.ray_smoke_test}]
"""

EXAMPLES = r"""
- name: Read the cluster
  rayops.cluster.ray_status:
  register: cluster

- name: Wait until each worker of the inventory has joined
  rayops.cluster.ray_status:
    wait_for:
      node_names: "{{ groups['ray_head'] + groups['ray_workers'] }}"
    timeout: 60

- name: Wait for 16 GPUs
  rayops.cluster.ray_status:
    wait_for:
      resources:
        GPU: 16
    timeout: 300
"""

RETURN = r"""
summary:
  description: The cluster in one line.
  returned: when the cluster was read
  type: str
  sample: 3 ALIVE, CPU 0/8 used, GPU 1/4 used
ray_version:
  description: The version that the cluster runs.
  returned: when the cluster was read
  type: str
  sample: 2.60.0
python_version:
  description: The Python version that the cluster runs.
  returned: when the cluster was read
  type: str
  sample: 3.11.7
environment_version:
  description: The version of Ray in O(environment).
  returned: when the cluster was read
  type: str
  sample: 2.60.0
session_name:
  description: The name of the cluster's session.
  returned: when the cluster was read
  type: str
  sample: session_2026-11-23_06-13-19_625132_4456
nodes:
  description: The nodes, the head first, then by name.
  returned: when the cluster was read
  type: list
  elements: dict
  contains:
    node_id: {description: Ray's ID of the node. A restarted node has a new one., type: str}
    node_name: {description: The name of the node., type: str}
    ip: {description: The address of the node., type: str}
    hostname: {description: The name of the host., type: str}
    port: {description: The port of the node manager., type: int}
    metrics_port: {description: The port of the node's metrics., type: int}
    is_head: {description: Whether this is the head., type: bool}
    state: {description: "V(ALIVE), V(DRAINING) or V(DEAD).", type: str}
    state_message: {description: Why the node is V(DEAD)., type: str}
    death: {description: "How a node that is V(DEAD) ended: V(expected), V(unexpected), V(given_up) (the head had no
        answer from it any more) or V(unspecified) (among others, while the head was stopped).", type: str}
    dead_for: {description: "Seconds since then, by the clock of the host that asked.", type: float}
    labels: {description: The labels of the node., type: dict}
    resources: {description: "The node's resources, in total and available; memory in bytes.", type: dict}
    activity: {description: "What keeps the node from being idle, in Ray's words.", type: list, elements: str}
    drain_deadline: {description: "When the node has to be drained, if it is V(DRAINING).", type: str}
    start_time: {description: When the node started., type: str, sample: "2026-11-23T06:13:23.927+00:00"}
    uptime: {description: "Seconds since then, not for a node that is V(DEAD).", type: float}
resources:
  description: The resources of all nodes that are V(ALIVE), in total, available and used; memory in bytes.
  returned: when the cluster was read
  type: dict
  sample: {total: {CPU: 8, GPU: 4}, available: {CPU: 8, GPU: 3}, used: {CPU: 0, GPU: 1}}
demands:
  description: What waits for resources, one entry per kind and shape.
  returned: when the cluster was read
  type: list
  elements: dict
  contains:
    kind: {description: "V(task_or_actor), V(placement_group) or V(request) (of the autoscaler).", type: str}
    resources: {description: What each of them needs., type: dict}
    count: {description: How many of them wait., type: int}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import (
    RayClusterError,
    connected,
    connection_arguments,
)


def define_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            **connection_arguments(),
            "wait_for": {
                "type": "dict",
                "options": {
                    "nodes": {"type": "int"},
                    "node_ips": {"type": "list", "elements": "str"},
                    "node_names": {"type": "list", "elements": "str"},
                    "resources": {"type": "dict"},
                },
            },
            "timeout": {"type": "float", "default": 30},
            "include_dead": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )


def wanted(module: AnsibleModule) -> dict[str, Any]:
    """O(wait_for) without what is not set, its amounts as numbers."""
    wait = {name: value for name, value in (module.params["wait_for"] or {}).items() if value}
    for name, minimum in wait.get("resources", {}).items():
        try:
            wait["resources"][name] = float(minimum)
        except (TypeError, ValueError):
            module.fail_json(msg=f"wait_for.resources.{name} must be a number, not {minimum!r}.")
    return wait


def shown(module: AnsibleModule, status: dict[str, Any]) -> dict[str, Any]:
    if status and not module.params["include_dead"]:
        status = {**status, "nodes": [node for node in status.get("nodes") or [] if node["state"] != "DEAD"]}
    return status


def main() -> None:
    module = define_module()
    cluster = connected({**module.params, "timeout": 0 if module.check_mode else module.params["timeout"]})
    try:
        status = cluster.status(wanted(module))
    except RayClusterError as error:
        found = shown(module, error.status)
        if module.check_mode and error.kind in ("no_ray", "unreachable", "missing", "user"):
            module.exit_json(changed=False, skipped=True, msg=f"Check mode does not wait. {error}", **found)
        module.fail_json(msg=str(error), **found)
    module.exit_json(changed=False, **shown(module, status))


if __name__ == "__main__":
    main()

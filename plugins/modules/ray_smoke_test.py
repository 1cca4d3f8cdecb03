#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_smoke_test
short_description: Run work on every CPU, GPU and NPU of a Ray cluster
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Runs one task per CPU, one per GPU and one per NPU, all at the same time, and checks what each of them returns.
  - Each task is bound to the node whose CPU, GPU or NPU it is for, so a node that does no work is found and named.
  - Each result travels through the object store, and must come back as the task made it.
  - Then an object is put on each node that has worked, and fetched on the next of them in a ring.
  - It must run on a host that has a node of the cluster, for example on the head.
extends_documentation_fragment: [rayops.cluster.attributes, rayops.cluster.connection]
attributes:
  check_mode: {details: "Runs no task, says how many it would run. Skipped where no cluster is yet."}
  diff_mode: {support: N/A}
  idempotent: {details: Leaves nothing in the cluster but a finished job in its list of jobs.}
options:
  nodes:
    description: Names of nodes that must be V(ALIVE) before any work runs. It waits for them, and fails without one.
    type: list
    elements: str
    default: []
  nodes_timeout:
    description: How long to wait for them, in seconds; not in check mode.
    type: float
    default: 30
  task_seconds:
    description: How long each task holds its CPU, GPU or NPU.
    type: float
    default: 1.0
  payload_bytes:
    description: How much data each task returns.
    type: int
    default: 8000000
  max_tasks:
    description:
      - The most tasks for each of CPU, GPU and NPU, spread evenly over the nodes. V(0) sets no limit.
      - Worth setting on a large cluster, since all data comes to this host.
    type: int
    default: 0
  in_use:
    description:
      - What to do about CPUs, GPUs and NPUs that do work already.
      - V(skip) leaves them out, since that they work is proved. So the test passes on a healthy cluster that is busy.
      - V(wait) gives them a task as well, which has to wait until they are free.
    type: str
    choices: [skip, wait]
    default: skip
  transfer_bytes:
    description: The size of the objects that are moved between the nodes. V(0) moves none.
    type: int
    default: 32000000
  transfer_seconds:
    description: How long moving them may take, in seconds.
    type: float
    default: 10
  timeout:
    description: How long all of it may take, in seconds.
    type: float
    default: 60
seealso: [{module: rayops.cluster.ray_status}]
"""

EXAMPLES = r"""
- name: Run work on the whole cluster
  rayops.cluster.ray_smoke_test:
  register: test

- name: Run work once each node of the inventory has joined
  rayops.cluster.ray_smoke_test:
    nodes: "{{ groups['ray_head'] + groups['ray_workers'] }}"

- name: Look at large clusters only, and quickly
  rayops.cluster.ray_smoke_test:
    task_seconds: 0.2
    payload_bytes: 100000
    max_tasks: 200
"""

RETURN = r"""
msg:
  description: The test in one line.
  returned: always
  type: str
  sample: "CPU: 4 tasks on 2 nodes, 4 at once, in 1.6 s; 32 MB from node to node, 410 MB/s at least."
summary:
  description: The cluster in one line, before the work.
  returned: success
  type: str
  sample: 3 ALIVE, CPU 0/8 used, GPU 1/4 used
transfers:
  description: The objects that were moved between nodes. Each V(seconds) is that of the node that fetched it.
  returned: success
  type: list
  elements: dict
  sample: [{source: worker-1, target: worker-2, bytes: 32000000, seconds: 0.078}]
seconds:
  description: How long all of it took, the start of the driver included.
  returned: success
  type: float
  sample: 2.2
resources:
  description: For V(CPU), V(GPU) and V(NPU), if the cluster has any, what was run there.
  returned: success
  type: dict
  contains:
    total: {description: How many the nodes that are V(ALIVE) have., type: int}
    in_use: {description: How many of them did work already when the test began., type: int}
    tasks: {description: "How many tasks ran, or would run, each with a right result.", type: int}
    nodes: {description: "How many tasks each node ran, by its name.", type: dict}
    parallel: {description: "How many tasks ran at the same moment, added up over the nodes.", type: int}
    seconds: {description: From the start of all tasks to the last result of these., type: float}
    sum_seconds: {description: What the tasks would have taken one after the other., type: float}
  sample:
    CPU: {total: 4, in_use: 0, tasks: 4, nodes: {worker-1: 2, worker-2: 2}, parallel: 4, seconds: 1.6, sum_seconds: 4.0}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import (
    RayClusterError,
    connected,
    connection_arguments,
)

NUMBERS = ("nodes_timeout", "task_seconds", "payload_bytes", "max_tasks", "transfer_bytes", "transfer_seconds")


def define_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            **connection_arguments(),
            "nodes": {"type": "list", "elements": "str", "default": []},
            "nodes_timeout": {"type": "float", "default": 30},
            "task_seconds": {"type": "float", "default": 1.0},
            "payload_bytes": {"type": "int", "default": 8000000},
            "max_tasks": {"type": "int", "default": 0},
            "in_use": {"type": "str", "choices": ["skip", "wait"], "default": "skip"},
            "transfer_bytes": {"type": "int", "default": 32000000},
            "transfer_seconds": {"type": "float", "default": 10},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )


def describe(resources: dict[str, Any], transfers: list[dict[str, Any]], dry_run: bool) -> str:
    parts = []
    for name, entry in resources.items():
        verb = "would run " if dry_run else ""
        part = f"{name}: {verb}{count(entry['tasks'], 'task')} on {count(len(entry['nodes']), 'node')}"
        if entry["tasks"] and not dry_run:
            part += f", {entry['parallel']} at once, in {entry['seconds']:.1f} s"
        if entry["in_use"]:
            part += f", {entry['in_use']} of {entry['total']} in use"
        parts.append(part)
    if transfers:
        slowest = min(entry["bytes"] / 1e6 / max(entry["seconds"], 1e-6) for entry in transfers)
        parts.append(f"{transfers[0]['bytes'] / 1e6:g} MB from node to node, {slowest:.0f} MB/s at least")
    return "; ".join(parts) + "."


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def main() -> None:
    module = define_module()
    params = module.params
    for option in NUMBERS:
        if params[option] < 0:
            module.fail_json(msg=f"{option} must not be negative, but is {params[option]}.")
    cluster = connected(params)
    options = {name: params[name] for name in (*NUMBERS, "nodes", "in_use")}
    if module.check_mode:
        options["nodes_timeout"] = 0
    try:
        result = cluster.smoke_test(**options, dry_run=module.check_mode)
    except RayClusterError as error:
        if module.check_mode and error.kind in ("no_ray", "unreachable", "missing", "no_cpu", "user"):
            module.exit_json(changed=False, skipped=True, msg=f"Check mode runs no task. {error}")
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, msg=describe(result["resources"], result["transfers"], module.check_mode), **result)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_diagnosis
short_description: Say what is wrong with a host of a Ray cluster, and mend small things
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Looks at the Ray node of a host, its unit, disks, token, address and storage, against the declared state and against
    what the cluster's GCS says.
  - It only looks, unless O(mend) says more. For each thing that it finds it says what C(rayops.cluster.recover)
    does, or what a person must do.
  - A sick host is no failure, and neither is something that cannot be looked at. It takes seconds.
options:
  node_type:
    description: What the node is. Without it the host has no Ray node, and only the host itself is looked at.
    type: str
    choices: [head, worker]
  config:
    description: The declared state, the content of the node's file.
    type: dict
    default: {}
  config_file:
    description: >-
      The file of the last run that configured the host. The default is C(/etc/ray/head-node.yaml) or
      C(/etc/ray/worker-node.yaml).
    type: path
  cluster:
    description: >-
      What the filter P(rayops.cluster.ray_known#filter) makes for this host of what M(rayops.cluster.ray_status)
      returned on the head. Without it nothing is compared with the GCS.
    type: dict
    default: {}
    suboptions:
      answers:
        description: Whether the GCS answers.
        type: bool
        default: false
      msg:
        description: Why it does not.
        type: str
        default: ""
      ray_version:
        description: The version that the cluster runs.
        type: str
        default: ""
      python_version:
        description: The Python version that the cluster runs.
        type: str
        default: ""
      nodes:
        description: The nodes that have this host's name or address, also the C(DEAD) ones.
        type: list
        elements: dict
        default: []
        suboptions:
          node_id: {description: Ray's ID of the node., type: str, required: true}
          node_name: {description: Its name., type: str, default: ""}
          ip: {description: Its address., type: str, default: ""}
          state: {description: Its state., type: str, default: ""}
          state_message: {description: Why it is C(DEAD)., type: str, default: ""}
  head_ip_address:
    description: The head's declared address, which its name must lead to.
    type: str
    default: ""
  ray_version:
    description: The declared version of Ray.
    type: str
    default: ""
  token_digest:
    description: The SHA-256 of the head's file with the cluster's token.
    type: str
    default: ""
  redis_service:
    description: The service that keeps the cluster's state on this host, if one does.
    type: str
    default: ""
  check_accelerators:
    description: Whether declared GPUs and NPUs must exist.
    type: bool
    default: true
  other_nodes:
    description: Whether other Ray nodes on this host are wrong (V(stop)) or left alone (V(ignore)).
    type: str
    choices: [stop, ignore]
    default: stop
  disk_limit:
    description: The part of a file system from which on it is full. Ray itself makes no object beyond 0.95.
    type: float
    default: 0.95
  crash_restarts:
    description: After so many restarts by systemd a unit is in a crash loop.
    type: int
    default: 3
  user:
    description: >-
      The user that Ray runs as, where its unit is not there yet to say so. What Ray may have changed is read as this
      user.
    type: str
    default: ray
  mend:
    description:
      - Those of the RV(steps) that are taken at once, on the host of a node. None of them ends a node.
      - A step that fails is no failure. What it was for is left to a person, with the reason.
    type: list
    elements: str
    choices: [count, enable, prune, remove, timers]
    default: []
  clock:
    description: The time of who asks, in seconds since the epoch. It is returned, beside this host's time.
    type: float
    default: 0
attributes:
  check_mode:
    support: full
    description: Says whether anything would be mended, and mends nothing.
  diff_mode:
    support: N/A
    description: What it mends is told in RV(findings), and what it removes is listed in RV(stale).
  idempotent:
    support: full
    description: What was mended is not found any more.
seealso:
  - module: rayops.cluster.ray_node
  - module: rayops.cluster.ray_status
"""

EXAMPLES = r"""
- name: Something is wrong with the worker, or nothing
  rayops.cluster.ray_diagnosis:
    node_type: worker
    config: "{{ lookup('file', 'worker-node.yaml') | from_yaml }}"
  register: worker
"""

RETURN = r"""
findings:
  description: What is wrong; empty for nothing.
  returned: always
  type: list
  elements: dict
  contains:
    problem:
      description:
        - One of C(unit_missing), C(unit_stopped), C(unit_failed), C(unit_disabled), C(timers_stopped), C(crash_loop),
          C(node_dead), C(node_starting), C(node_unknown), C(node_foreign), C(twin_nodes), C(not_as_declared),
          C(gcs_silent), C(storage_unreachable), C(storage_corrupt), C(disk_full), C(shm_full), C(token_mismatch),
          C(version_mismatch), C(environment_missing), C(address_changed), C(head_name), C(hardware_missing),
          C(plasma_shared) (the object store lies on a file system of several hosts), C(store_too_large) (for the
          memory), C(stale_files), C(wrong_declaration) and C(not_looked_at).
      type: str
    detail:
      description: A sentence with the facts.
      type: str
    mend:
      description: What recover does; empty for nothing.
      type: str
    person:
      description: What a person must do where recover does nothing, or in vain; empty for nothing.
      type: str
    step:
      description: How recover does it, one of RV(steps), or empty.
      type: str
steps:
  description: >-
    What recover does on this host, of C(count) (forget restarts), C(enable), C(hosts) (write the head's name),
    C(prune), C(redis) (configure and start it), C(remove) (RV(stale)), C(start) (bring the node to its declared
    state) and C(timers) (start them). What is of no use before a person has done something is left out.
  returned: always
  type: list
  elements: str
need:
  description:
    - What a playbook has to do for the host, in its order. V(node), bring the node to its declared state; V(redis), the
      same with Redis; V(head), look again when the head is back; V(person), nothing before a person has done something;
      or V(nothing).
  returned: always
  type: str
stale:
  description: Files of ended processes.
  returned: always
  type: list
  elements: str
clock:
  description: The time that was given, and this host's when the module began.
  returned: always
  type: dict
  sample: {asked: 1764000000.0, host: 1764000000.8}
"""

import time
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.findings import (
    Cluster,
    Declared,
    Finding,
    HostDiagnosis,
    KnownNode,
    gather,
    need_of,
    settle,
)
from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.mend import Mending
from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.node import NodeDiagnosis
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import RayConfigError
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import (
    LiveNode,
    redis_password,
    secrets_of,
    unit_of,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import SystemdError
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule


def define_module() -> UnloggedModule:
    text = {"type": "str", "default": ""}
    node = {"node_id": {"type": "str", "required": True},
            **dict.fromkeys(("node_name", "ip", "state", "state_message"), text)}
    cluster = {
        "answers": {"type": "bool", "default": False},
        **dict.fromkeys(("msg", "ray_version", "python_version"), text),
        "nodes": {"type": "list", "elements": "dict", "default": [], "options": node},
    }
    return UnloggedModule(
        argument_spec={
            "node_type": {"type": "str", "choices": ["head", "worker"]},
            "config": {"type": "dict", "default": {}},
            "config_file": {"type": "path"},
            "cluster": {"type": "dict", "default": {}, "options": cluster},
            "head_ip_address": text,
            "ray_version": text,
            "token_digest": {"type": "str", "default": "", "no_log": True},
            "redis_service": text,
            "check_accelerators": {"type": "bool", "default": True},
            "other_nodes": {"type": "str", "choices": ["stop", "ignore"], "default": "stop"},
            "disk_limit": {"type": "float", "default": 0.95},
            "crash_restarts": {"type": "int", "default": 3},
            "user": {"type": "str", "default": "ray"},
            "mend": {
                "type": "list", "elements": "str", "default": [],
                "choices": ["count", "enable", "prune", "remove", "timers"],
            },
            "clock": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )


def cluster_of(known: dict[str, Any]) -> Cluster:
    return Cluster(**{**known, "nodes": [KnownNode(**node) for node in known.get("nodes", [])]})


def declared_of(params: dict[str, Any]) -> Declared:
    return Declared(
        config=params["config"],
        config_file=params["config_file"] or f"/etc/ray/{params['node_type']}-node.yaml",
        cluster=cluster_of(params["cluster"]),
        head_address=params["head_ip_address"],
        ray_version=params["ray_version"],
        token_digest=params["token_digest"],
        redis_service=params["redis_service"],
        disk_limit=params["disk_limit"],
        crash_restarts=params["crash_restarts"],
        user=params["user"],
    )


def look(params: dict[str, Any], declared: Declared) -> tuple[list[Finding], NodeDiagnosis | None]:
    """What is wrong, and with which node; None where there is none, or it cannot be looked at."""
    node_type, wrong = params["node_type"], []
    try:
        if node_type:
            unit = unit_of(node_type)
            live = LiveNode(unit, compile_start(declared.config, node_type), declared.config)
            node = NodeDiagnosis(declared, node_type, live, params["check_accelerators"], params["other_nodes"])
            return gather(node.checks()), node
    except RayConfigError as error:
        person = "correct the variable that it names."
        wrong = [Finding("wrong_declaration", str(error), person=person, blocks="start")]
    except SystemdError as error:
        wrong = [Finding("not_looked_at", str(error), person="mend systemd, or reboot the host.", blocks="start")]
    return wrong + gather(HostDiagnosis(declared).checks()), None


def main() -> None:
    began = time.time()
    module = define_module()
    params, declared = module.params, declared_of(module.params)
    module.no_log_values.update((secrets_of(declared.config) | {redis_password(declared.config)}) - {""})
    findings, node = look(params, declared)
    findings, steps = settle(findings)
    # In check mode the head is taken to be back by then, so that what is said is all that would be done.
    wait = params["node_type"] == "worker" and not declared.cluster.answers and not module.check_mode
    need = need_of(findings, steps, "start" if params["node_type"] else "redis", wait)
    mending = Mending(node, module.check_mode)
    mending.take(findings, [step for step in steps if step in params["mend"]])
    module.exit_json(
        changed=mending.changed,
        findings=[finding.to_dict() for finding in findings],
        steps=steps,
        need=need,
        stale=harmless(node.stale) if node else [],
        clock={"asked": params["clock"], "host": began},
    )


if __name__ == "__main__":
    main()

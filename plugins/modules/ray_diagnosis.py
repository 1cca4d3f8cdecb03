#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_diagnosis
short_description: Say what is wrong with a host of a Ray cluster
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Looks at the Ray node of a host, its unit, disks, token, address and storage, against the declared state and against
    what the cluster's GCS says.
  - It only looks, unless O(remove_stale) says more. For each thing that it finds it says what C(rayops.cluster.recover)
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
      What M(rayops.cluster.ray_status) returned on the head, with the C(DEAD) nodes, also where it failed. Without it
      nothing is compared with the GCS.
    type: dict
    default: {}
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
  remove_stale:
    description: Whether files of ended processes are removed, by Ray's own user.
    type: bool
    default: false
  clock:
    description: The time of who asks, in seconds since the epoch. It is returned, beside this host's time.
    type: float
    default: 0
attributes:
  check_mode:
    support: full
    description: Says of the files of ended processes whether any would be removed, and removes none.
  diff_mode:
    support: N/A
    description: What it removes is listed in RV(stale).
  idempotent:
    support: full
    description: What was removed is not there any more.
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
          C(stale_files), C(wrong_declaration) and C(not_looked_at).
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

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.findings import (
    Declared,
    Finding,
    HostDiagnosis,
    gather,
    settle,
)
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
    return UnloggedModule(
        argument_spec={
            "node_type": {"type": "str", "choices": ["head", "worker"]},
            "config": {"type": "dict", "default": {}},
            "config_file": {"type": "path"},
            "cluster": {"type": "dict", "default": {}},
            "head_ip_address": {"type": "str", "default": ""},
            "ray_version": {"type": "str", "default": ""},
            "token_digest": {"type": "str", "default": "", "no_log": True},
            "redis_service": {"type": "str", "default": ""},
            "check_accelerators": {"type": "bool", "default": True},
            "other_nodes": {"type": "str", "choices": ["stop", "ignore"], "default": "stop"},
            "disk_limit": {"type": "float", "default": 0.95},
            "crash_restarts": {"type": "int", "default": 3},
            "user": {"type": "str", "default": "ray"},
            "remove_stale": {"type": "bool", "default": False},
            "clock": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )


def declared_of(params: dict) -> Declared:
    return Declared(
        config=params["config"],
        config_file=params["config_file"] or f"/etc/ray/{params['node_type']}-node.yaml",
        cluster=params["cluster"],
        head_address=params["head_ip_address"],
        ray_version=params["ray_version"],
        token_digest=params["token_digest"],
        redis_service=params["redis_service"],
        disk_limit=params["disk_limit"],
        crash_restarts=params["crash_restarts"],
        user=params["user"],
    )


def look(params: dict, remove: bool) -> tuple[list[Finding], list[str], bool]:
    """What is wrong, the files that are stale, and whether some of them are removed.

    :arg remove: remove them now, if that is asked for.
    """
    declared, node_type = declared_of(params), params["node_type"]
    if not node_type:
        return gather(HostDiagnosis(declared).checks()), [], False
    try:
        unit = unit_of(node_type)
        live = LiveNode(unit, compile_start(declared.config, node_type), declared.config)
        node = NodeDiagnosis(declared, node_type, live, params["check_accelerators"], params["other_nodes"])
    except RayConfigError as error:
        wrong = Finding("wrong_declaration", str(error), person="correct the variable that it names.", blocks="start")
        return [wrong, *gather(HostDiagnosis(declared).checks())], [], False
    except SystemdError as error:
        silent = Finding("not_looked_at", str(error), person="mend systemd, or reboot the host.", blocks="start")
        return [silent, *gather(HostDiagnosis(declared).checks())], [], False
    node.remove = remove and params["remove_stale"]
    findings = gather(node.checks())
    return findings, node.found, params["remove_stale"] and len(node.found) > len(node.kept)


def main() -> None:
    began = time.time()
    module = define_module()
    config = module.params["config"]
    module.no_log_values.update((secrets_of(config) | {redis_password(config)}) - {""})
    findings, stale, changed = look(module.params, remove=not module.check_mode)
    findings, steps = settle(findings)
    module.exit_json(
        changed=changed,
        findings=[finding.to_dict() for finding in findings],
        steps=steps,
        stale=harmless(stale),
        clock={"asked": module.params["clock"], "host": began},
    )


if __name__ == "__main__":
    main()

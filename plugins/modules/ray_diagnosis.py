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
    what the cluster's GCS says. For each thing that it finds it says what playbook C(rayops.cluster.recover) does, or
    what a person must do.
  - It only looks, unless O(mend) says more. A sick host is no failure, and neither is something that cannot be looked
    at. It takes seconds.
options:
  node_type: {description: "What the node is; without it the host has none.", type: str, choices: [head, worker]}
  config: {description: "The declared state, the content of the node's file.", type: dict, default: {}}
  config_file: {description: "The file of the last run. The default is that of role ray.", type: path}
  cluster: {description: "What M(rayops.cluster.ray_status) returned on the head, with the C(DEAD) nodes, also where it
      failed. A host is sent the nodes of its own name or address alone.", type: dict, default: {}}
  head_ip_address: {description: "The head's declared address, which its name must lead to.", type: str, default: ""}
  ray_version: {description: The declared version of Ray., type: str, default: ""}
  token_digest: {description: "The SHA-256 of the head's file with the cluster's token.", type: str, default: ""}
  authority: {description: "Whose certificates the head trusts, in PEM.", type: str, default: ""}
  redis_service: {description: "The service that keeps the cluster's state on this host.", type: str, default: ""}
  firewall: {description: Whether M(rayops.cluster.node_firewall) keeps this host., type: bool, default: false}
  check_accelerators: {description: Whether declared GPUs and NPUs must exist., type: bool, default: true}
  other_nodes: {description: Whether other Ray is wrong (V(stop))., type: str, choices: [stop, ignore], default: stop}
  disk_limit: {description: The part of a file system from which on it is full., type: float, default: 0.95}
  crash_restarts: {description: So many restarts by systemd make a crash loop., type: int, default: 3}
  user: {description: "Ray's user, where no unit says so. As this user Ray's files are read.", type: str, default: ray}
  mend: {description: "Those of RV(steps) that are taken at once. None ends a node. What fails is left to a person.",
      type: list, elements: str, choices: [count, enable, prune, remove, timers], default: []}
  clock: {description: "The time of who asks, in seconds since the epoch.", type: float, default: 0}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes: {diff_mode: {support: N/A, details: What it mends is told in RV(findings).}}
seealso: [{module: rayops.cluster.ray_status}]
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
        - One of C(unit_missing), C(unit_stopped), C(unit_failed), C(unit_disabled), C(unit_overridden) (it is masked,
          or a drop-in replaces its command), C(timers_stopped), C(crash_loop), C(node_dead),
          C(node_flapping) (the GCS gives it up again and again), C(node_starting), C(node_unknown), C(node_foreign),
          C(twin_nodes), C(not_as_declared), C(gcs_silent), C(storage_unreachable), C(storage_corrupt), C(disk_full),
          C(shm_full), C(token_mismatch), C(tls_mismatch) (with and without), C(certificate_expired),
          C(certificate_not_yet) (valid), C(certificate_foreign) (of another authority than the head's),
          C(certificate_unusable), C(version_mismatch), C(environment_missing), C(address_changed),
          C(head_name), C(hardware_missing), C(firewall_missing) (the table is not in force),
          C(plasma_shared) (the object store lies on a file system of several hosts), C(store_too_large) (for the
          memory), C(stale_files), C(wrong_declaration) and C(not_looked_at).
      type: str
    detail: {description: A sentence with the facts., type: str}
    mend: {description: What recover does; empty for nothing., type: str}
    person: {description: "What a person must do where recover does nothing, or in vain; or empty.", type: str}
    step: {description: "How recover does it, one of RV(steps), or empty.", type: str}
steps:
  description:
    - What recover does on this host, of C(count) (forget restarts), C(enable), C(hosts) (write the head's name),
      C(prune), C(redis) (configure and start it), C(remove) (RV(stale)), C(start) (bring the node to its declared
      state) and C(timers) (start them). What is of no use before a person has done something is left out.
  returned: always
  type: list
  elements: str
need: {description: "What a playbook has to do, in its order. C(node) and C(redis) are to be brought to their declared
  state, C(head) looked at when that is back, C(person) is to act first, or C(nothing)", returned: always, type: str}
stale: {description: Files of ended processes., returned: always, type: list, elements: str}
clock: {description: "The time C(asked), and the C(host)'s when the module began.", returned: always, type: dict}
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
    known_to,
    mend,
    need_of,
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
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule, hide


def define_module() -> UnloggedModule:
    text = {"type": "str", "default": ""}
    return UnloggedModule(
        argument_spec={
            "node_type": {"type": "str", "choices": ["head", "worker"]},
            "config": {"type": "dict", "default": {}},
            "config_file": {"type": "path"},
            "cluster": {"type": "dict", "default": {}},
            "head_ip_address": text,
            "ray_version": text,
            "token_digest": {"type": "str", "default": "", "no_log": True},
            "authority": text,
            "redis_service": text,
            "firewall": {"type": "bool", "default": False},
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


def declared_of(params: dict[str, Any], began: float) -> Declared:
    known = known_to(params["config"], params["cluster"])
    return Declared(
        config=params["config"],
        config_file=params["config_file"] or f"/etc/ray/{params['node_type']}-node.yaml",
        cluster=Cluster(**{**known, "nodes": [KnownNode(**node) for node in known["nodes"]]}),
        head_address=params["head_ip_address"],
        ray_version=params["ray_version"],
        token_digest=params["token_digest"],
        authority=params["authority"],
        clock_ahead=began - params["clock"] if params["clock"] else 0.0,
        redis_service=params["redis_service"],
        firewall=params["firewall"],
        disk_limit=params["disk_limit"],
        crash_restarts=params["crash_restarts"],
        user=params["user"],
    )


def look(params: dict[str, Any], declared: Declared) -> tuple[HostDiagnosis, list[Finding]]:
    """The node, or the host alone where there is none or it cannot be looked at, and what is wrong with it."""
    node_type, wrong = params["node_type"], []
    try:
        if node_type:
            unit = unit_of(node_type)
            live = LiveNode(unit, compile_start(declared.config, node_type), declared.config)
            node = NodeDiagnosis(declared, node_type, live, params["check_accelerators"], params["other_nodes"])
            return node, gather(node.checks())
    except RayConfigError as error:
        person = "correct the variable that it names."
        wrong = [Finding("wrong_declaration", str(error), person=person, blocks="start")]
    except SystemdError as error:
        wrong = [Finding("not_looked_at", str(error), person="mend systemd, or reboot the host.", blocks="start")]
    host = HostDiagnosis(declared)
    return host, wrong + gather(host.checks())


def main() -> None:
    began = time.time()
    module = define_module()
    params, declared = module.params, declared_of(module.params, began)
    hide(module, secrets_of(declared.config) | {redis_password(declared.config)})
    host, findings = look(params, declared)
    findings, steps = settle(findings)
    # In check mode the head is taken to be back by then, so that what is said is all that would be done.
    wait = params["node_type"] == "worker" and not declared.cluster.answers and not module.check_mode
    need = need_of(findings, steps, "start" if params["node_type"] else "redis", wait)
    taken = {name: step for name, step in host.steps().items() if name in steps and name in params["mend"]}
    changed = mend(findings, taken, module.check_mode)
    module.exit_json(
        changed=changed,
        findings=[finding.to_dict() for finding in findings],
        steps=steps,
        need=need,
        stale=harmless(host.stale),
        clock={"asked": params["clock"], "host": began},
    )


if __name__ == "__main__":
    main()

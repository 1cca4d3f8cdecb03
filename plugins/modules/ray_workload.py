#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_workload
short_description: Say what the stop of nodes would interrupt, and wait until models serve again
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Finds out from a cluster's GCS, and from Serve, which Serve applications, placement groups and running jobs live on
    which nodes, and what of it would end with the nodes that are to stop. Drivers of people's own are jobs too.
  - A Serve application is interrupted where no replica of one of its deployments is left elsewhere. A job is where its
    driver is on one of the nodes, or an actor that Ray does not restart, or a part of a placement group.
  - It fails where something would be interrupted that O(interrupt) does not allow. In check mode it warns.
  - A cluster that does not answer keeps no node from being stopped.
extends_documentation_fragment: [rayops.cluster.attributes, rayops.cluster.connection]
attributes: {diff_mode: {support: none}}
options:
  nodes:
    description: The names of the nodes that are to stop.
    type: list
    elements: str
    default: []
  batch:
    description: How many of them stop at once, a number or a percentage, as the serial of a play.
    type: str
    default: 100%
  alone:
    description: The names of nodes that are to stop as well, each by itself and in no batch, as the head.
    type: list
    elements: str
    default: []
  for_good:
    description: Whether the nodes do not come back. RV(running) has then what is left on the others.
    type: bool
    default: false
  interrupt:
    description: What may be interrupted, V(models), V(jobs) or V(all) of it. With V(ask) nothing may.
    type: str
    choices: [ask, models, jobs, all]
    default: all
  wait_for:
    description:
      - Serve applications that are waited for until they are RUNNING, with their replicas on nodes that live, and,
        where this host has the token probe and it knows their model, until a token has come back.
      - One that was deleted meanwhile is not waited for. Nor is anything in check mode.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The name of the application., type: str, required: true}
      deployments:
        description: Deployments for which fewer replicas than they want are enough, as where there is no room for more.
        type: list
        elements: dict
        default: []
        suboptions:
          name: {description: The name of the deployment., type: str, required: true}
          replicas: {description: How many are enough., type: int, required: true}
  probe:
    description: The token probe.
    type: path
    default: /usr/local/libexec/ray-model.py
  models_file:
    description: The models that the probe knows.
    type: path
    default: /etc/ray/models.yaml
  timeout:
    description: Within how many seconds the GCS must answer, and all of O(wait_for) must serve.
    type: float
    default: 30
seealso: [{module: rayops.cluster.ray_node}, {module: rayops.cluster.ray_status}]
"""

EXAMPLES = r"""
- name: Refuse to stop a model that has no other replica
  rayops.cluster.ray_workload:
    nodes: [worker-1, worker-2]
    batch: "1"
    interrupt: jobs

- name: Wait until the model serves again
  rayops.cluster.ray_workload:
    wait_for: [{name: deepseek}]
    timeout: 600
"""

RETURN = r"""
interrupted:
  description: What would be interrupted.
  returned: where O(wait_for) is empty
  type: list
  elements: dict
  contains:
    kind: {description: "V(models) or V(jobs).", type: str}
    said:
      description: What it is, and where it runs.
      type: str
      sample: Serve application deepseek (the only replica of LLMServer on worker-1, worker-2)
batches:
  description:
    - O(nodes) in the order in which they should stop, those that should stop together in one list. The nodes of a
      placement group are in one; nodes that carry nothing come first.
  returned: where O(wait_for) is empty
  type: list
  elements: list
  sample: [[worker-3], [worker-1, worker-2]]
running:
  description:
    - The Serve applications that are RUNNING, with their replicas, as O(wait_for) takes them.
    - One of which Serve says nothing now, as while its controller starts anew, counts as RUNNING, with a warning.
  returned: where O(wait_for) is empty
  type: list
  elements: dict
"""

import json
import os
import sys
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import (
    RayClusterError,
    connected,
    connection_arguments,
)
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.workload import Interruption, Workload, batch_size
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest

MOST_SAID = 10
# What a probe of one token may take before it is begun anew.
PROBE_SECONDS = 60


def refusal(found: list[Interruption], allowed: str) -> str:
    """Why nodes may not stop; empty where they may."""
    refused = [each for each in found if allowed not in ("all", each.kind)]
    if not refused:
        return ""
    kinds = {each.kind for each in refused} | ({allowed} if allowed in ("models", "jobs") else set())
    answer = kinds.pop() if len(kinds) == 1 else "all"
    return (
        f"This would interrupt {listed(refused)}. Wait until they have ended or have a replica on another node, or "
        f"let them be interrupted: -e ray_interrupt={answer}."
    )


def listed(found: list[Interruption]) -> str:
    more = f"; and {len(found) - MOST_SAID} more" if len(found) > MOST_SAID else ""
    return "; ".join(each.said for each in found[:MOST_SAID]) + more


def look(module: AnsibleModule) -> Workload:
    """What runs; nothing, with a warning, where the cluster does not say it."""
    try:
        return connected(module.params).workload()
    except RayClusterError as error:
        module.warn(f"What runs on the nodes is not known, and so not waited for: {error}")
        return Workload()


def wait(module: AnsibleModule) -> None:
    """Wait until the applications serve; fail with what they lack."""
    options = module.params
    deadline = time.monotonic() + options["timeout"]
    wanted = {
        each["name"]: {deployment["name"]: deployment["replicas"] for deployment in each["deployments"]}
        for each in options["wait_for"]
    }
    lacking = connected(options).wait_serving(wanted, options["timeout"])
    if lacking:
        module.fail_json(msg=guest.harmless((
            f"After {options['timeout']:g} s, {'; '.join(lacking)}. See why with `ray-env serve status` on the head.")))
    for name in sorted(declared(options) & set(wanted)):
        problem = probe(options, name, deadline)
        if problem:
            module.fail_json(msg=guest.harmless(f"{name} is RUNNING, but no token came back: {problem}."))


def declared(options: dict[str, Any]) -> set[str]:
    """The models that the probe can ask: those that need not sleep. The file is root's, and JSON."""
    if not os.path.exists(options["probe"]):
        return set()
    try:
        with open(options["models_file"], encoding="utf-8") as file:
            return {model["name"] for model in json.load(file)["models"] if model.get("replicas", 1)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def probe(options: dict[str, Any], name: str, deadline: float) -> str:
    """Ask a model until a token comes back; returns why none did. deadline: by the monotonic clock."""
    command = [sys.executable, "-I", options["probe"], "--config", options["models_file"], "--name", name]
    while True:
        answer: Any = None
        try:
            _code, output, errors = guest.run(command, options["user"], PROBE_SECONDS)
            problem = errors.strip().rpartition("\n")[2]
            answer = json.loads(output)
        except TimeoutError:
            problem = f"the probe did not end in {PROBE_SECONDS} s"
        except (ValueError, RecursionError):
            pass
        except (OSError, guest.GuestError) as error:
            problem = str(error)
        if isinstance(answer, dict):
            if answer.get("answered") is True:
                return ""
            problem = str(answer.get("error"))
        if time.monotonic() >= deadline:
            return (problem or "the probe says nothing")[:300].rstrip(".")
        time.sleep(1)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_arguments(),
            "nodes": {"type": "list", "elements": "str", "default": []},
            "batch": {"type": "str", "default": "100%"},
            "alone": {"type": "list", "elements": "str", "default": []},
            "for_good": {"type": "bool", "default": False},
            "interrupt": {"choices": ["ask", "models", "jobs", "all"], "default": "all"},
            "wait_for": {
                "type": "list", "elements": "dict", "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "deployments": {
                        "type": "list", "elements": "dict", "default": [],
                        "options": {
                            "name": {"type": "str", "required": True}, "replicas": {"type": "int", "required": True},
                        },
                    },
                },
            },
            "probe": {"type": "path", "default": "/usr/local/libexec/ray-model.py"},
            "models_file": {"type": "path", "default": "/etc/ray/models.yaml"},
            "timeout": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        size = batch_size(options["batch"], len(options["nodes"]))
    except ValueError:
        module.fail_json(msg=f"batch is {options['batch']}: use a number or a percentage, such as 25%.")
    if options["wait_for"]:
        try:
            if not module.check_mode:
                wait(module)
        except RayClusterError as error:
            module.fail_json(msg=str(error))
        module.exit_json(changed=False)
    workload = look(module)
    batches = workload.batches(options["nodes"], size)
    found = workload.interrupted([*batches, *([name] for name in options["alone"])])
    problem = refusal(found, options["interrupt"])
    gone = frozenset([*options["nodes"], *options["alone"]] if options["for_good"] else [])
    result = {"interrupted": [each._asdict() for each in found], "batches": batches, "running": workload.serving(gone)}
    if workload.unknown:
        module.warn(guest.harmless((
            f"Serve does not say now how its applications are ({', '.join(workload.unknown[:MOST_SAID])}): they are "
            "taken for RUNNING, and waited for.")))
    if problem and not module.check_mode:
        module.fail_json(msg=guest.harmless(problem), **guest.harmless(result))
    if found:
        module.warn(guest.harmless(problem or f"This interrupts {listed(found)}."))
    module.exit_json(changed=False, **guest.harmless(result))


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_job
short_description: Submit, stop or remove a job of a Ray cluster
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Submits a job to a Ray cluster once. Its O(submission_id) is what makes it the same job the next time.
  - It must run on a host that has a node of the cluster, for example on the head, and that reaches the dashboard.
    The controller needs neither.
  - A job belongs to a cluster that keeps its state. When that is lost, so are the jobs that it knows.
extends_documentation_fragment: [rayops.cluster.attributes, rayops.cluster.connection]
attributes:
  check_mode: {details: "Submits, stops and uploads nothing. Skipped where no cluster is yet."}
options:
  submission_id:
    description:
      - What the job is called. Letters, digits, C(_), C(-) and C(.), at most 100 of them.
      - If the cluster has a job of this name that is not the same, the module fails and says what differs.
    type: str
    required: true
  state:
    description:
      - V(submitted) submits the job if the cluster has none of that name. A job that has ended is not run again.
      - V(stopped) stops the job, and waits until it has ended. A job that is not there is stopped.
      - V(absent) stops the job, and then removes it from the list of jobs. Its name can be used again.
    type: str
    choices: [submitted, stopped, absent]
    default: submitted
  entrypoint:
    description: The command of the job, for a shell. It is shown in lists of jobs, so no secret belongs there.
    type: str
  working_dir:
    description:
      - Where the entrypoint runs. A directory or an archive C(.zip) of this host, which user O(user) must be able to
        read, or a URI such as V(s3://bucket/job.zip).
      - What is on this host is uploaded to the cluster, without what a C(.gitignore) or C(.rayignore) there excludes.
        With a changed file it is another job.
    type: str
  runtime_env:
    description:
      - The runtime environment of the job as Ray has it, such as C(env_vars), C(pip), C(py_modules), C(excludes).
      - The values of C(env_vars) are shown in no result, no diff and no log of this module. Whoever has the cluster's
        token can read them.
    type: dict
  metadata: {description: "Texts to keep with the job, by name. What is called a key, a token, a secret or a password is
      shown in no result.", type: dict}
  entrypoint_num_cpus:
    description:
      - CPUs that the entrypoint itself takes, beside its tasks and actors.
      - An entrypoint that takes nothing runs on the head, one that does on any node that has it.
    type: float
  entrypoint_num_gpus: {description: "GPUs that the entrypoint itself takes.", type: float}
  entrypoint_memory: {description: "Memory that the entrypoint itself takes, in bytes.", type: int}
  entrypoint_resources: {description: "Other resources that the entrypoint itself takes, by name.", type: dict}
  wait:
    description: Whether to wait until the job has C(SUCCEEDED). If it ends otherwise, the module fails.
    type: bool
    default: false
  timeout:
    description:
      - How long to wait for the end of the job, in seconds. A job that runs longer is left as it is, and the module
        fails.
      - A head that is away meanwhile is waited for.
    type: float
    default: 600
  log_lines: {description: "How many lines of the end of its log are shown of a job that was waited for.",
    type: int, default: 20}
seealso: [{module: rayops.cluster.ray_job_info}, {module: rayops.cluster.ray_serve}]
"""

EXAMPLES = r"""
- name: Submit a job and wait until it has succeeded
  rayops.cluster.ray_job:
    submission_id: "train-{{ version }}"
    entrypoint: python train.py --epochs 3
    working_dir: /srv/jobs/train
    runtime_env:
      env_vars: {HF_TOKEN: "{{ hf_token }}"}
    wait: true
    timeout: 7200

- name: Remove a job
  rayops.cluster.ray_job:
    submission_id: train-7
    state: absent
"""

RETURN = r"""
job:
  description: The job, as it is now. For O(state=absent), as it was.
  returned: when the cluster has it, or would have it
  type: dict
  contains:
    submission_id: {description: Its name., type: str}
    status: {description: "V(PENDING), V(RUNNING), V(SUCCEEDED), V(FAILED) or V(STOPPED).", type: str}
    message: {description: "What Ray says of it, the first line.", type: str}
    error_type: {description: "Why it V(FAILED), as Ray calls it.", type: str}
    driver_exit_code: {description: The code that its entrypoint ended with., type: int}
    driver_node_id: {description: The node that its entrypoint ran on., type: str}
    start_time: {description: When it was submitted., type: str, sample: "2026-11-23T06:13:23.927+00:00"}
    end_time: {description: When it ended., type: str}
    entrypoint: {description: Its command., type: str}
    runtime_env: {description: "Its runtime environment, the values of C(env_vars) hidden.", type: dict}
    metadata: {description: Its metadata., type: dict}
    entrypoint_num_cpus: {description: CPUs of its entrypoint., type: float}
    entrypoint_num_gpus: {description: GPUs of its entrypoint., type: float}
    entrypoint_memory: {description: "Memory of its entrypoint, in bytes.", type: int}
    entrypoint_resources: {description: Other resources of its entrypoint., type: dict}
log:
  description: The end of its log, without empty lines.
  returned: when the job was waited for
  type: list
  elements: str
  sample: ["epoch 3: loss 0.21", "done"]
differences:
  description: How the job of that name differs from this one. Secrets are hidden.
  returned: when the name is taken by another job
  type: list
  elements: dict
  contains:
    option: {description: What differs., type: str}
    declared: {description: The value here., type: raw}
    live: {description: The value of the job that is there., type: raw}
"""

import json
import re
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import (
    RayClusterError,
    connected,
    connection_arguments,
    told,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule

CONTENT = {
    "entrypoint": {"type": "str"},
    "runtime_env": {"type": "dict"},
    "metadata": {"type": "dict"},
    "entrypoint_num_cpus": {"type": "float"},
    "entrypoint_num_gpus": {"type": "float"},
    "entrypoint_memory": {"type": "int"},
    "entrypoint_resources": {"type": "dict"},
}
# It becomes a part of a path, of a file's name and of an actor's.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def define_module() -> UnloggedModule:
    return UnloggedModule(
        argument_spec={
            **connection_arguments(),
            **CONTENT,
            "submission_id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["submitted", "stopped", "absent"], "default": "submitted"},
            "working_dir": {"type": "str"},
            "wait": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 600},
            "log_lines": {"type": "int", "default": 20},
        },
        required_if=[("state", "submitted", ("entrypoint",))],
        supports_check_mode=True,
    )


def problem(params: dict[str, Any]) -> str | None:
    """What is wrong with the options; None for nothing."""
    name = params["submission_id"]
    if not NAME.fullmatch(name):
        return f"submission_id is {name!r}: use letters, digits, _, - and ., at most 100, a letter or a digit first."
    for option in ("entrypoint_num_cpus", "entrypoint_num_gpus", "entrypoint_memory", "timeout", "log_lines"):
        if (params[option] or 0) < 0:
            return f"{option} must not be negative, but is {params[option]}."
    if params["state"] == "submitted" and not params["entrypoint"].strip():
        return "entrypoint is empty: give the command of the job."
    if params["working_dir"] and (params["runtime_env"] or {}).get("working_dir"):
        return "working_dir is given twice, here and in runtime_env: leave one of them out."
    for option, texts in (("metadata", params["metadata"]), ("runtime_env.env_vars", env_vars(params))):
        if not isinstance(texts or {}, dict):
            return f"{option} must be a mapping of names to texts."
        for key, value in (texts or {}).items():
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                return f"{option}.{key} must be a text: write it in quotes."
    for key, value in (params["entrypoint_resources"] or {}).items():
        try:
            float(value)
        except (TypeError, ValueError):
            return f"entrypoint_resources.{key} must be a number."
    return None


def env_vars(params: dict[str, Any]) -> Any:
    return (params["runtime_env"] or {}).get("env_vars")


def declared(params: dict[str, Any]) -> dict[str, Any]:
    """The job as Ray wants it: whole, and its texts as texts."""
    environment = dict(params["runtime_env"] or {})
    if params["working_dir"]:
        environment["working_dir"] = params["working_dir"]
    if environment.get("env_vars"):
        environment["env_vars"] = {key: str(value) for key, value in environment["env_vars"].items()}
    return {
        **{name: params[name] for name in CONTENT},
        "runtime_env": environment,
        "metadata": {key: str(value) for key, value in (params["metadata"] or {}).items()},
        "entrypoint_resources": {key: float(value) for key, value in (params["entrypoint_resources"] or {}).items()},
    }


def diff(params: dict[str, Any], result: dict[str, Any]) -> dict[str, str]:
    """What --diff shows of a job that changes, or would."""
    name, job = params["submission_id"], result.get("job")
    text = "".join(
        f"{option}: {json.dumps(job[option], sort_keys=True)}\n" for option in CONTENT if job.get(option)
    ) if isinstance(job, dict) else ""
    shown = {
        "submitted": ("", text),
        "stopped": (f"status: {result.get('was')}\n", "status: STOPPED\n"),
        "absent": (f"status: {result.get('was')}\n{text}", ""),
    }[params["state"]]
    headers = {"before_header": f"job {name} (live)", "after_header": f"job {name} (declared)"}
    return {**headers, "before": shown[0], "after": shown[1]}


def main() -> None:
    module = define_module()
    params = module.params
    wrong = problem(params)
    if wrong:
        module.fail_json(msg=wrong)
    # Both may hold secrets.
    covered = {name: "hidden" for name in ("runtime_env", "metadata") if params[name]}
    shown = {"invocation": {"module_args": {**params, **covered}}}
    cluster, name, lines = connected(params), params["submission_id"], params["log_lines"]
    try:
        if params["state"] == "submitted":
            result = cluster.submit_job(
                name, **declared(params), wait=params["wait"], lines=lines, dry_run=module.check_mode
            )
        else:
            result = cluster.stop_job(name, params["state"] == "absent", lines, dry_run=module.check_mode)
    except RayClusterError as error:
        if module.check_mode and error.kind in ("no_ray", "unreachable", "user"):
            module.exit_json(changed=False, skipped=True, msg=f"Check mode submits and stops nothing. {error}", **shown)
        seen = {**error.status, "changed": bool(error.status.get("changed"))}
        module.fail_json(msg=told(error), **seen, **shown)
    changed = bool(result.get("changed"))
    found = {"job": result["job"]} if result.get("job") else {}
    if params["state"] == "submitted" and params["wait"] and not module.check_mode:
        found["log"] = result.get("log")
    module.exit_json(changed=changed, **found, **({"diff": diff(params, result)} if changed else {}), **shown)


if __name__ == "__main__":
    main()

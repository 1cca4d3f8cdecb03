#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_job_info
short_description: List the jobs of a Ray cluster
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Lists the jobs that were submitted to a Ray cluster, by M(rayops.cluster.ray_job) or by Ray's own command.
  - A program that joined the cluster by itself, C(ray.init), was not submitted and is not listed.
extends_documentation_fragment: [rayops.cluster.attributes, rayops.cluster.connection]
attributes: {diff_mode: {support: N/A}}
options:
  submission_ids:
    description: Only the jobs with these names. One that is not there is left out.
    type: list
    elements: str
  log_lines: {description: How many lines of the end of each log to return., type: int, default: 0}
  timeout: {description: "How long the cluster may take, in seconds.", type: float, default: 60}
seealso: [{module: rayops.cluster.ray_job}]
"""

EXAMPLES = r"""
- name: List the jobs
  rayops.cluster.ray_job_info:
  register: jobs

- name: Show which of them run
  ansible.builtin.debug:
    msg: "{{ jobs.jobs | selectattr('status', 'eq', 'RUNNING') | map(attribute='submission_id') }}"
"""

RETURN = r"""
jobs:
  description: The jobs, the one that was submitted first before the others.
  returned: success
  type: list
  elements: dict
  contains:
    submission_id: {description: Its name., type: str}
    status: {description: "V(PENDING), V(RUNNING), V(SUCCEEDED), V(FAILED) or V(STOPPED).", type: str}
    message: {description: "What Ray says of it, the first line.", type: str}
    error_type: {description: "Why it V(FAILED), as Ray calls it.", type: str}
    driver_exit_code: {description: The code that its entrypoint ended with., type: int}
    driver_node_id: {description: The node that its entrypoint ran on., type: str}
    start_time: {description: When it was submitted., type: str}
    end_time: {description: When it ended., type: str}
    entrypoint: {description: Its command., type: str}
    runtime_env: {description: "Its runtime environment, the values of C(env_vars) hidden.", type: dict}
    metadata: {description: Its metadata., type: dict}
    entrypoint_num_cpus: {description: CPUs of its entrypoint., type: float}
    entrypoint_num_gpus: {description: GPUs of its entrypoint., type: float}
    entrypoint_memory: {description: "Memory of its entrypoint, in bytes.", type: int}
    entrypoint_resources: {description: Other resources of its entrypoint., type: dict}
    log: {description: "The end of its log, where O(log_lines) says so.", type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import (
    RayClusterError,
    connected,
    connection_arguments,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_arguments(),
            "submission_ids": {"type": "list", "elements": "str"},
            "log_lines": {"type": "int", "default": 0},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        jobs = connected(params).jobs(params["submission_ids"], params["log_lines"])
    except RayClusterError as error:
        if module.check_mode and error.kind in ("no_ray", "unreachable", "user"):
            module.exit_json(changed=False, skipped=True, msg=f"There are no jobs yet. {error}")
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, jobs=jobs)


if __name__ == "__main__":
    main()

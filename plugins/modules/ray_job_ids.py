#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_job_ids
short_description: Skip the ids of jobs that a restored cluster has forgotten
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - The nodes that went on running remember the drivers of jobs that began after the backup as ended, and a driver's id
    is that of its job. They would grant nothing to a new job with such an id.
  - Where the file O(marker) is, takes ids from the cluster so that no job gets them, and removes the file.
extends_documentation_fragment: [rayops.cluster.attributes, rayops.cluster.connection]
attributes: {diff_mode: {support: none}}
options:
  marker: {type: path, required: true, description: The file that a restored state has until its ids are skipped.}
  count: {type: int, default: 2000, description: "How many ids, more than the jobs that began after the backup."}
  timeout: {type: float, default: 60, description: Within how many seconds the GCS must give them.}
"""

EXAMPLES = r"""
- name: Skip the ids of jobs that began after the backup
  rayops.cluster.ray_job_ids: {marker: /var/lib/ray/gcs/.skip_jobs}
"""

RETURN = r"""
next_id: {type: int, sample: 2008, returned: when ids were skipped, description: The number of the next job.}
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import (
    RayClusterError,
    connected,
    connection_arguments,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user, exists


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_arguments(),
            "marker": {"type": "path", "required": True},
            "count": {"type": "int", "default": 2000},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    options = module.params
    if options["count"] < 1:
        module.fail_json(msg=f"count is {options['count']}: use 1 or more.")
    user, marker = options["user"], options["marker"]
    try:
        # The directory of the state is the user's own, and so is what lies in it. A bare host has neither.
        due = exists(user) and as_user(user, lambda: os.path.lexists(marker))
        if not due or module.check_mode:
            module.exit_json(changed=due)
        next_id = connected(options).skip_job_ids(options["count"])
        as_user(user, lambda: os.unlink(marker))
    except (RayClusterError, GuestError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, next_id=next_id)


if __name__ == "__main__":
    main()

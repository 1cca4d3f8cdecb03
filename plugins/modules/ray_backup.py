#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_backup
short_description: Back up the state of a Ray cluster, look at it, or put a backup in its place
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - The state is what the GCS keeps in RocksDB. It is read with the rights of Ray's user alone: jobs can change it.
options:
  state:
    description:
      - V(saved) packs the state of this host and the cluster's token into an archive.
      - V(inspected) looks at the state of this host.
      - V(checked) reads an archive to its end, and fails unless it is whole and of this cluster.
      - V(restored) puts the state of an archive in place, and moves what is there aside. The GCS must not run.
    type: str
    choices: [saved, inspected, checked, restored]
    required: true
  gcs_path:
    description: The directory of the state.
    type: path
  token_path:
    description: The file with the cluster's token. With V(restored) it is written where it is missing.
    type: path
  user:
    description: The user who runs Ray.
    type: str
    default: ray
  archive:
    description: The archive that is checked or restored.
    type: path
  dest:
    description: The directory that an archive is saved to.
    type: path
  keep:
    description: The number of archives that are kept there.
    type: int
    default: 24
  cluster:
    description: The name of the cluster.
    type: str
  version:
    description: Its version of Ray.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
    details: O(state=saved) and O(state=restored) do nothing, and return nothing of a backup.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, the second run changes nothing.
    support: partial
    details: O(state=saved) and O(state=restored) do their work every time.
"""

EXAMPLES = r"""
- name: Look at the state
  rayops.cluster.ray_backup:
    state: inspected
    gcs_path: /var/lib/ray/gcs
    token_path: /etc/ray/auth_token
"""

RETURN = r"""
backup:
  description:
    - Of an archive C(archive), C(bytes), C(cluster_name), C(ray_version), C(storage), C(session), C(time), C(written),
      C(state_id), and C(pause_ms), for how long the GCS was paused, 0 where none ran.
    - Of the state that is there C(state), whether there is one, C(written), C(state_id), C(restored), the C(state_id)
      that it began as, and C(token), whether the token is there.
    - Of what was restored C(state_id), and C(aside), where that is which was there.
  type: dict
  returned: success
"""

import signal
import sys

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._backup import verbs
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless

# What each needs, by the options' names.
NEEDS = {
    "saved": (verbs.save, ("gcs_path", "token_path", "dest", "keep", "cluster", "version", "user")),
    "inspected": (verbs.inspect, ("gcs_path", "token_path", "user")),
    "checked": (verbs.check, ("archive", "cluster", "version")),
    "restored": (verbs.restore, ("archive", "gcs_path", "token_path", "user")),
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": [*NEEDS], "required": True},
            "gcs_path": {"type": "path"},
            "token_path": {"type": "path", "no_log": False},
            "user": {"type": "str", "default": "ray"},
            "archive": {"type": "path"},
            "dest": {"type": "path"},
            "keep": {"type": "int", "default": 24},
            "cluster": {"type": "str"},
            "version": {"type": "str"},
        },
        required_if=[("state", state, names) for state, (_verb, names) in NEEDS.items()],
        supports_check_mode=True,
    )
    verb, names = NEEDS[module.params["state"]]
    changes = module.params["state"] in ("saved", "restored")
    if changes and module.check_mode:
        module.exit_json(changed=True, backup={})
    # So that a run that is ended lets the GCS go on.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        answer = verb(**{name.removesuffix("_path"): module.params[name] for name in names})
    except (*verbs.ERRORS, OSError) as error:
        module.fail_json(msg=harmless(str(error)))
    module.exit_json(changed=changes, backup=harmless(answer))


if __name__ == "__main__":
    main()

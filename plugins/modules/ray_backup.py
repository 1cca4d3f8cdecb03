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
description: The state is what the GCS keeps in RocksDB. Jobs can change it, so it is read as Ray's user alone.
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
  gcs_path: {description: The directory of the state., type: path}
  token_path: {description: "The file with the cluster's token; V(restored) writes it where it is missing.", type: path}
  user: {description: The user who runs Ray., type: str, default: ray}
  archive: {description: The archive that is checked or restored., type: path}
  dest: {description: The directory that an archive is saved to., type: path}
  keep: {description: The number of archives that are kept there., type: int, default: 24}
  cluster: {description: The name of the cluster., type: str}
  version: {description: Its version of Ray., type: str}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes: {diff_mode: {support: none}, idempotent: {support: none}}
"""

EXAMPLES = r"""
- name: Look at the state
  rayops.cluster.ray_backup:
    state: inspected
    gcs_path: /var/lib/ray/gcs
    token_path: /etc/ray/auth_token
"""

RETURN = r"""
backup: {description: For P(rayops.cluster.backup_answer#filter) to vouch for., type: dict, returned: success}
"""

import signal

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


def ended(_number: int, _frame: object) -> None:
    raise SystemExit(143)


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
    signal.signal(signal.SIGTERM, ended)
    try:
        answer = verb(**{name.removesuffix("_path"): module.params[name] for name in names})
    except (*verbs.ERRORS, OSError) as error:
        module.fail_json(msg=harmless(str(error)))
    module.exit_json(changed=changes, backup=harmless(answer))


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_import
short_description: Try whether Ray and other packages of an environment can be imported
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Imports Ray and packages as Ray's user, in the environment's own Python, within five minutes. Nothing is changed.
options:
  environment:
    description: The virtual environment that has Ray.
    type: path
    required: true
  version:
    description: The version of Ray that it must hold.
    type: str
    required: true
  packages:
    description: Requirements whose packages must be importable, too, each by all modules that it brings.
    type: list
    elements: str
    default: []
  user:
    description: The user who runs Ray.
    type: str
    default: ray
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, the second run changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Try the new environment
  rayops.cluster.ray_import:
    environment: /opt/ray/2.60.0
    version: 2.60.0
    packages: [vllm]
"""

RETURN = r"""
version:
  description: The version of Ray that was imported.
  type: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._environment.imports import (
    ImportFailedError,
    imported_version,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "default": "ray"},
        },
        supports_check_mode=True,
    )
    environment, wanted = module.params["environment"], module.params["version"]
    try:
        found = imported_version(environment, module.params["user"], module.params["packages"])
    except ImportFailedError as error:
        module.fail_json(msg=str(error))
    if found != wanted:
        module.fail_json(msg=f"{environment} holds Ray {found}, and ray_version is {wanted}: declare what it holds.")
    module.exit_json(changed=False, version=found)


if __name__ == "__main__":
    main()

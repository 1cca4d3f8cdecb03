#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_dashboards
short_description: Keep the Grafana dashboards that Ray generates in a directory
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Ray prints them as its own user. Its environment may be anybody's, so root writes only what can be dashboards.
  - Those of other versions, whose identifiers are the same, go.
options:
  directory: {description: Where C(ray-<version>) is made for them., type: path, required: true}
  version: {description: The version of Ray., type: str, required: true}
  environment: {description: The virtual environment that has it., type: path, required: true}
  user: {description: Who runs it., type: str, default: ray}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes: {diff_mode: {support: none}}
"""

EXAMPLES = r"""
- name: Keep Ray's own dashboards
  rayops.cluster.ray_dashboards:
    directory: /etc/prometheus/ray/dashboards
    version: 2.60.0
    environment: /opt/ray/2.60.0
"""

RETURN = ""

import os
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._files.file import replace_file
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.environment import (
    Dashboard,
    RayClusterError,
    RayEnvironment,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened
from ansible_collections.rayops.cluster.plugins.module_utils._system.removal import Removal

SECONDS = 60
# Written last, so that a run that dies before is finished by the next.
COMPLETE = "complete"


def write(directory: str, name: str, dashboards: list[Dashboard]) -> None:
    """Write dashboards into the directory of this name, and remove those of other versions."""
    with opened(directory, make=0o755) as above:
        for other in os.listdir(above):
            if re.match(r"ray-[0-9]", other) and other != name and os.path.isdir(f"/proc/self/fd/{above}/{other}"):
                with opened(f"{directory}/{other}") as old:
                    Removal().empty(old)
                os.rmdir(other, dir_fd=above)
    files = {f"{dashboard['uid']}.json": dashboard["content"] for dashboard in dashboards}
    with opened(f"{directory}/{name}", make=0o755) as own:
        for file, content in {**files, COMPLETE: ""}.items():
            replace_file(own, file, content.encode(), os.geteuid(), os.getegid(), 0o644)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "environment": {"type": "path", "required": True},
            "user": {"type": "str", "default": "ray"},
        },
        supports_check_mode=True,
    )
    directory, name = module.params["directory"], f"ray-{module.params['version']}"
    missing = not os.path.exists(f"{directory}/{name}/{COMPLETE}")
    if missing and not module.check_mode:
        try:
            ray = RayEnvironment(module.params["environment"], module.params["user"], SECONDS)
            write(directory, name, ray.dashboards())
        except (RayClusterError, PathError, OSError) as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=missing)


if __name__ == "__main__":
    main()

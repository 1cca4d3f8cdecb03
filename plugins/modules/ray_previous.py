#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_previous
short_description: Keep what a Ray node runs, and go back to it
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Keeps the files that say what a node runs, its unit, its declared state and the unit of its backups, so that an
    upgrade can be taken back. No node is started or stopped, and systemd does not read its units anew.
options:
  state:
    description:
      - V(kept) copies the files of the node to O(path), unless they name O(environment) already, as after a run that
        was interrupted, or are not there.
      - V(present) fails unless files are kept, and Ray can be imported in the environment that they name.
      - V(restored) puts the kept files back.
    type: str
    choices: [kept, present, restored]
    default: kept
  node_type:
    description: Which node of this host it is about.
    type: str
    choices: [head, worker]
    required: true
  path:
    description: The directory of what is kept, root's alone.
    type: path
    default: /etc/ray/previous
  config_dir:
    description: Where the node's declared state lies.
    type: path
    default: /etc/ray
  environment:
    description: The environment that is to run, with O(state=kept).
    type: path
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
- name: Keep what runs
  rayops.cluster.ray_previous:
    node_type: worker
    environment: /opt/ray/2.60.0

- name: Put back what ran before
  rayops.cluster.ray_previous:
    node_type: worker
    state: restored
"""

RETURN = r"""
files:
  description: The files that were kept or put back.
  type: list
  elements: str
  returned: success
environment:
  description: The environment that the kept unit names; null for none.
  type: str
  returned: success
"""

import filecmp
import os
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._environment.imports import (
    ImportFailedError,
    imported_version,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened, read_regular

UNITS = "/etc/systemd/system"
# Its unit names the version, too, on a head that makes backups.
BACKUP = "ray-backup.service"
PROGRAM = re.compile(r"^ExecStart=(/\S+)/bin/ray ", re.MULTILINE)


class Previous:
    """What ran before, and what runs."""

    def __init__(self, module: AnsibleModule):
        self.module, self.path = module, module.params["path"]
        node_type = module.params["node_type"]
        self.unit = f"{UNITS}/ray-{node_type}.service"
        self.needed = [self.unit, f"{module.params['config_dir']}/{node_type}-node.yaml"]
        self.files = [*self.needed, f"{UNITS}/{BACKUP}"]

    def kept(self, file: str) -> str:
        """Where a file is kept."""
        return os.path.join(self.path, os.path.basename(file))

    def environment(self) -> str | None:
        """The environment that the kept unit names."""
        return environment_of(self.kept(self.unit))

    def keep(self) -> list[str]:
        """Keep the files of a node that runs another environment; returns them."""
        if environment_of(self.unit) in (None, self.module.params["environment"]):
            return []
        if not self.module.check_mode:
            with opened(self.path, 0o750):
                pass
        return self._copy([(file, self.kept(file)) for file in self.files])

    def restore(self) -> list[str]:
        """Put the kept files back; returns them."""
        return self._copy([(self.kept(file), file) for file in self.files])

    def _copy(self, pairs: list[tuple[str, str]]) -> list[str]:
        copied = []
        for source, target in pairs:
            if not os.path.exists(source) or os.path.exists(target) and filecmp.cmp(source, target, shallow=False):
                continue
            copied.append(source)
            if not self.module.check_mode:
                self.module.preserved_copy(source, f"{target}.new")
                os.replace(f"{target}.new", target)
        return copied

    def check(self) -> None:
        """Fail unless there is something to go back to.

        :raises ImportFailedError: its Ray cannot be imported.
        """
        environment = self.environment()
        if not environment or not all(os.path.exists(self.kept(file)) for file in self.needed):
            raise ImportFailedError("No unit and no declared state are kept.")
        imported_version(environment, self.module.params["user"], [])


def environment_of(unit: str) -> str | None:
    """The environment that the file of a unit names; None for none."""
    try:
        found = PROGRAM.search(read_regular(unit).decode())
    except (OSError, UnicodeDecodeError):
        return None
    return found.group(1) if found else None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": ["kept", "present", "restored"], "default": "kept"},
            "node_type": {"type": "str", "choices": ["head", "worker"], "required": True},
            "path": {"type": "path", "default": "/etc/ray/previous"},
            "config_dir": {"type": "path", "default": "/etc/ray"},
            "environment": {"type": "path"},
            "user": {"type": "str", "default": "ray"},
        },
        required_if=[("state", "kept", ["environment"])],
        supports_check_mode=True,
    )
    previous, files = Previous(module), []
    try:
        if module.params["state"] == "present":
            previous.check()
        else:
            files = previous.keep() if module.params["state"] == "kept" else previous.restore()
        environment = previous.environment()
    except ImportFailedError as error:
        module.fail_json(
            msg=f"{previous.path} names no environment that works: there was no upgrade, or it was removed. Declare "
            f"the version that is wanted, and run rayops.cluster.upgrade without ray_rollback. ({error})"
        )
    except PathError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(files), files=files, environment=environment)


if __name__ == "__main__":
    main()

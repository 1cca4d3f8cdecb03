#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_upgrade
short_description: Try what a Ray node is to run, keep what it runs, and go back to that
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Works on an environment, and on the files that say what a node runs, its unit, its declared state and the unit of
    its backups. No node is started or stopped, and systemd does not read its units anew.
options:
  state:
    description:
      - V(tried) imports Ray and O(packages) in O(environment), as Ray's user, and fails where that fails. Of vLLM, if
        it is there, C(vllm._C) is loaded, which links libraries of the host's.
      - V(kept) copies the files of the node to O(path), unless they are not there, or name O(environment) already by a
        run that was interrupted.
      - V(finished) says that no run is.
      - V(present) fails unless files are kept, and Ray can be imported in the environment that they name.
      - V(restored) puts the kept files back.
    type: str
    choices: [tried, kept, finished, present, restored]
    required: true
  node_type: {description: Which node of this host it is about., type: str, choices: [head, worker]}
  environment: {description: The environment that is to run., type: path}
  version: {description: The version of Ray that it must hold., type: str}
  packages: {description: "What it must hold, too, with all modules.", type: list, elements: str, default: []}
  user: {description: The user who runs Ray., type: str, default: ray}
  variables: {description: "What of the node's environment its libraries are found by, such as C(LD_LIBRARY_PATH).",
      type: dict, default: {}}
  path: {description: "The directory of what is kept, root's alone.", type: path, default: /etc/ray/previous}
  config_dir: {description: Where the node's declared state lies., type: path, default: /etc/ray}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes: {diff_mode: {support: none}}
"""

EXAMPLES = r"""
- name: Keep what runs
  rayops.cluster.ray_upgrade:
    state: kept
    node_type: worker
    environment: /opt/ray/2.60.0
"""

RETURN = r"""
files: {description: The files that were kept or put back., type: list, elements: str, returned: success}
environment: {description: "The one that was tried, or is kept; null for none.", type: str, returned: success}
"""

import filecmp
import os
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._environment.imported import (
    UnusableError,
    imported_version,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened, read_regular

UNITS = "/etc/systemd/system"
# Beside the kept files until the upgrade has finished: the environment that it is to.
UPGRADE = "upgraded-to"
PROGRAM = re.compile(r"^ExecStart=(/\S+)/bin/ray ", re.MULTILINE)


class Previous:
    """What a node ran before, and what it runs."""

    def __init__(self, module: AnsibleModule):
        self.module, self.path = module, module.params["path"]
        node_type = module.params["node_type"]
        self.unit = f"{UNITS}/ray-{node_type}.service"
        self.needed = [self.unit, f"{module.params['config_dir']}/{node_type}-node.yaml"]
        # The last one names the version, too, on a head that makes backups.
        self.files = [*self.needed, f"{UNITS}/ray-backup.service"]

    def kept(self, file: str) -> str:
        """Where a file is kept."""
        return os.path.join(self.path, os.path.basename(file))

    def environment(self) -> str | None:
        """The environment that the kept unit names."""
        return environment_of(self.kept(self.unit))

    def keep(self) -> list[str]:
        """Keep the files of a node for an upgrade to the environment; returns them.

        A node that other pools' packages do not concern has that environment already, and keeps it all the same: what
        was kept there is of an upgrade before. Only while this one has not finished, it is what ran before.
        """
        runs, wanted = environment_of(self.unit), self.module.params["environment"]
        if runs is None or (runs == wanted and self._kept_for() == wanted):
            return []
        if not self.module.check_mode:
            with opened(self.path, 0o750):
                pass
        copied = self._copy([(file, self.kept(file)) for file in self.files])
        if not self.module.check_mode:
            with open(self.kept(UPGRADE), "w", encoding="utf-8") as stream:
                stream.write(f"{wanted}\n")
        return copied

    def _kept_for(self) -> str:
        """The environment of the upgrade for which files were kept; empty for none."""
        try:
            return read_regular(self.kept(UPGRADE)).decode().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def finish(self) -> None:
        """The node runs what the upgrade was to."""
        if os.path.exists(self.kept(UPGRADE)) and not self.module.check_mode:
            os.unlink(self.kept(UPGRADE))

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
        """Fail unless there is something to go back to; raises UnusableError."""
        environment = self.environment()
        try:
            if not environment or not all(os.path.exists(self.kept(file)) for file in self.needed):
                raise UnusableError("No unit and no declared state are kept.")
            imported_version(environment, self.module.params["user"], [], self.module.params["variables"])
        except UnusableError as error:
            raise UnusableError(
                f"{self.path} names no environment that works: there was no upgrade, or it was removed. Declare the "
                f"version that is wanted, and run rayops.cluster.upgrade without ray_rollback. ({error})"
            ) from None


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
            "state": {"choices": ["tried", "kept", "finished", "present", "restored"], "required": True},
            "node_type": {"type": "str", "choices": ["head", "worker"]},
            "environment": {"type": "path"},
            "version": {"type": "str"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "default": "ray"},
            "variables": {"type": "dict", "default": {}},
            "path": {"type": "path", "default": "/etc/ray/previous"},
            "config_dir": {"type": "path", "default": "/etc/ray"},
        },
        required_if=[
            ("state", "tried", ["environment", "version"]), ("state", "kept", ["environment", "node_type"]),
            ("state", "finished", ["node_type"]), ("state", "present", ["node_type"]),
            ("state", "restored", ["node_type"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    try:
        if params["state"] == "tried":
            found = imported_version(params["environment"], params["user"], params["packages"], params["variables"])
            if found != params["version"]:
                wanted = params["version"]
                raise UnusableError(f"{params['environment']} holds Ray {found}, not {wanted}: declare that.")
            module.exit_json(changed=False, files=[], environment=params["environment"])
        previous, files = Previous(module), []
        if params["state"] == "present":
            previous.check()
        elif params["state"] == "finished":
            previous.finish()
        else:
            files = previous.keep() if params["state"] == "kept" else previous.restore()
        module.exit_json(changed=bool(files), files=files, environment=previous.environment())
    except (UnusableError, PathError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: promtool
short_description: Have Prometheus's checker at hand, without installing it
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Finds C(promtool) on the host, or unpacks it from the distribution's package, so that nothing else changes.
options:
  directory: {description: "Where it is unpacked, root's alone. It goes if nothing else is in it.", type: path,
      required: true}
  state: {description: Whether it is to be had or to be gone., type: str, choices: [present, absent], default: present}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes: {check_mode: {support: none}, diff_mode: {support: none}, idempotent: {support: none}}
"""

EXAMPLES = r"""
- name: Get Prometheus's checker
  rayops.cluster.promtool:
    directory: /var/lib/rayops/monitor-check
"""

RETURN = r"""
path: {description: The program., type: str, returned: state is present, sample: /usr/bin/promtool}
"""

import glob
import os
import shutil
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened

INSTALLED = "/usr/bin/promtool"
# Debian 13 has it in a package of its own, Debian 12 in that of Prometheus.
PACKAGES = ("promtool", "prometheus")


def run(module: AnsibleModule, *command: str) -> str:
    """Run a command in the directory; returns the last line of what it said when it failed, else nothing."""
    code, output, errors = module.run_command(list(command), cwd=module.params["directory"])
    return ((errors + output).strip().splitlines() or [f"{command[0]} ended with code {code}"])[-1] if code else ""


def unpack(module: AnsibleModule) -> str:
    """Fetch a package and unpack it; returns the program's path."""
    directory: str = module.params["directory"]
    remove(directory)
    # Root's alone: what runs out of it is root's, whoever has been in /var/tmp.
    with opened(directory, make=0o700):
        pass
    failed = run(module, "apt-get", "update", "-qq")
    for package in () if failed else PACKAGES:
        failed = run(module, "apt-get", "download", "-qq", package)
        if not failed:
            break
    for archive in glob.glob(f"{glob.escape(directory)}/*.deb"):
        failed = failed or run(module, "dpkg-deb", "--extract", archive, directory)
    if failed:
        module.fail_json(msg=(
            f"Prometheus's checker, which is to look at monitor_rules and monitor_scrape_configs, cannot be fetched: "
            f"{failed.rstrip('.')}. Let this host reach the distribution's packages."
        ))
    return directory + INSTALLED


def remove(directory: str) -> None:
    """Remove the directory."""
    if os.path.lexists(directory):
        shutil.rmtree(directory)
        # On a host that was bare.
        with suppress(OSError):
            os.rmdir(os.path.dirname(directory))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    )
    result: dict[str, Any] = {"changed": True}
    try:
        if module.params["state"] == "absent":
            remove(module.params["directory"])
        elif os.path.exists(INSTALLED):
            result = {"changed": False, "path": INSTALLED}
        else:
            result["path"] = unpack(module)
    except (PathError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

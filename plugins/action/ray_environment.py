# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings the wheelhouse of the controller to the host, and runs the module of the same name with it."""

from __future__ import annotations

import tarfile
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rayops.cluster.plugins.module_utils._environment.wheelhouse import packed


class ActionModule(ActionBase):
    """The controller's part of the module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, with a copy of the wheelhouse that goes with Ansible's own directory on the host."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        wheelhouse = arguments.get("wheelhouse")
        if wheelhouse and not self._task.check_mode:
            try:
                archive = packed(self._loader.path_dwim(wheelhouse))
            except (OSError, tarfile.TarError) as error:
                raise AnsibleActionFail(f"ray_wheelhouse {wheelhouse} cannot be packed: {error}.") from error
            self._make_tmp_path()
            # In a directory that nobody else may open, and that goes in any case.
            directory = self._connection._shell.tmpdir
            arguments["wheelhouse"] = self._connection._shell.join_path(directory, "wheelhouse.tar")
            self._transfer_file(archive, arguments["wheelhouse"])
            self._fixup_perms2((directory, arguments["wheelhouse"]))
        return self._execute_module(module_args=arguments, task_vars=task_vars)

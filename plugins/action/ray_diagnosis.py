# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of module ray_diagnosis: a host is not sent a whole cluster's nodes."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.findings import known_to


class ActionModule(ActionBase):
    """What is about other nodes stays here."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = dict(self._task.args)
        if isinstance(options.get("cluster"), dict):
            options["cluster"] = known_to(options.get("config") or {}, options["cluster"])
        result.update(self._execute_module(module_args=options, task_vars=task_vars))
        return result

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of module node_firewall: what of an answer is believed, and whether a host still is reached."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.hosts import firewall_hosts
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.sources import (
    address_of,
    ip_addresses,
    private,
)

# A connection of its own, and nothing but the way there: not through one that is open, no agent, no screen.
_ANEW = "-S none -a -x"


class ActionModule(ActionBase):
    """Lets a host keep its table only when it was reached with it, anew."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.variables = task_vars or {}
        options = dict(self._task.args)
        nodes = [str(name) for name in options.get("nodes") or []]
        options["name"] = str(self.variables.get("inventory_hostname", ""))
        found = self._module(options)
        if options.get("state") == "looked":
            found = self.looked(found, nodes, options["name"])
        elif found.get("trial") and not found.get("failed"):
            found = self.tried(found)
        result.update(found)
        return result

    def looked(self, found: dict[str, Any], nodes: list[str], name: str) -> dict[str, Any]:
        """Of a host's answer what is known words; refused where others are to let it in, and are left out."""
        if found.get("failed") or found.get("unreachable"):
            return {key: found[key] for key in ("failed", "unreachable", "msg", "exception") if key in found}
        hostvars, here = self.variables["hostvars"], self.variables.get("ansible_play_hosts_all", nodes)
        left_out = firewall_hosts([node for node in nodes if node not in here], hostvars)
        known = found.get("own") if isinstance(found.get("own"), list) else []
        strange = [address for address in ip_addresses(address_of(hostvars[name])) if address not in known]
        if left_out and strange:
            return {"failed": True, "changed": False, "msg": (
                f"{name} ({strange[0]}) is new to the cluster's firewalls, and --limit leaves out "
                f"{', '.join(left_out)}, which do not let it in yet: run rayops.cluster.firewall once without --limit, "
                "then this again."
            )}
        return {"changed": False, "addresses": private(found.get("addresses")), "nft": found.get("nft") is True}

    def tried(self, found: dict[str, Any]) -> dict[str, Any]:
        """Come in anew, and keep the table; or take it back."""
        trouble = self.trouble()
        if not trouble:
            kept = self._module({"state": "kept"})
            return kept if kept.get("failed") or kept.get("unreachable") else {**found, "trial": False}
        # Over the connection that is open; where that is gone too, the host does it by itself.
        self._module({"state": "withdrawn"})
        return {**found, "failed": True, "trial": False, "msg": (
            "With its new firewall this host does not answer a new connection, so the firewall is withdrawn: look "
            f"whether the port of SSH is one of the cluster's (ray_ports). {trouble}"
        )}

    def trouble(self) -> str:
        """What keeps the controller from coming in; empty for nothing."""
        connection = self._connection
        try:
            if connection.transport == "local":
                return ""
            if connection.transport != "ssh":
                connection.reset()
                return self._said(*connection.exec_command("true", sudoable=False))
            extra = connection.get_option("ssh_extra_args") or ""
            connection.set_option("ssh_extra_args", f"{extra} {_ANEW}".strip())
            try:
                return self._said(*connection.exec_command("true", sudoable=False))
            finally:
                connection.set_option("ssh_extra_args", extra)
        except AnsibleError as error:
            return str(error)

    @staticmethod
    def _said(code: int, _output: bytes, errors: bytes) -> str:
        return f"It ended with {code}: {errors.decode(errors='replace')[-500:]}" if code else ""

    def _module(self, options: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_args=options, task_vars=self.variables)
        return answer

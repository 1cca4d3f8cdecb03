# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of module ray_tls: has certificates signed, and the host write them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rayops.cluster.plugins.plugin_utils._tls import (
    Authority,
    AuthorityError,
    Leaf,
    alternative_names,
    certificates_in,
    issue,
    read,
)

# Of seconds. A new certificate has begun an hour ago.
MOST_SKEW = 1800


class ActionModule(ActionBase):
    """Of what a host says, the kind of what is wrong and its clock are used."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.variables, self.options = task_vars or {}, dict(self._task.args)
        self.host = str(self.variables.get("inventory_hostname", "this host"))
        self.known: Mapping[str, Any] = self.options.pop("authority", None) or {}
        self.names = [str(name.value) for name in alternative_names(map(str, self.options.get("names") or []))]
        self.days, self.renew_days = int(self.options.get("days", 90)), int(self.options.get("renew_days", 15))
        try:
            authority = self.authority()
            found = self.look(authority)
            if found.get("failed") or not found.get("kind"):
                return {**result, **found}
            leaf = self.signed(authority, str(found["kind"]))
        except AuthorityError as error:
            raise AnsibleActionFail(f"{self.known.get('source', 'ray_tls_dir')} {error}.") from None
        if self.options.get("state") == "compared":
            return {**result, **found}
        return {**result, **found, **self.write(leaf)}

    def authority(self) -> Authority | None:
        """Who signs; None where only its certificate is known, or not even that.

        :raises AuthorityError: it cannot sign.
        """
        if self.known.get("problem"):
            raise AnsibleActionFail(str(self.known["problem"]))
        certificate, key = str(self.known.get("certificate") or ""), str(self.known.get("key") or "")
        if not certificate:
            return None
        if not key:
            certificates_in(certificate)
            return None
        return read(certificate, key)

    def look(self, authority: Authority | None) -> dict[str, Any]:
        """What the host finds wrong."""
        options = {
            **self.options, "state": "compared", "names": self.names,
            "authority": {"certificate": self.known.get("certificate") or ""},
            "chain": authority.chain_certificate if authority else "",
        }
        began = time.time()
        found: dict[str, Any] = self._execute_module(
            module_name="rayops.cluster.ray_tls", module_args=options, task_vars=self.variables
        )
        if found.get("kind"):
            self.refuse_clock(float(found.get("clock") or began), began)
        return found

    def refuse_clock(self, clock: float, began: float) -> None:
        """A host that lives at another time would refuse what is signed now, or let in what has ended."""
        ahead = clock - time.time() if clock > time.time() else clock - began if clock < began else 0.0
        if abs(ahead) > MOST_SKEW:
            raise AnsibleActionFail(
                f"The clock of {self.host} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's, "
                "and certificates are valid by the clock: set it (timedatectl set-ntp true), then run this again."
            )

    def signed(self, authority: Authority | None, kind: str) -> Leaf | None:
        """A certificate for the host, where it needs one. To compare, that is a try.

        :raises AuthorityError: it cannot be signed.
        """
        if kind == "trust":
            return None
        if authority:
            return issue(authority, self.names, self.days, self.renew_days)
        if self.known.get("certificate") and not self.known.get("has_key"):
            raise AuthorityError(
                f"has lost its ca.key, and {self.host} needs a certificate: put the key back from a copy, or run "
                "rayops.cluster.upgrade with -e ray_tls_new_authority=true, which makes another for all nodes"
            )
        if self.options.get("state") != "compared" and not self._task.check_mode:
            raise AuthorityError("has no authority yet: run the playbook once with --tags head")
        return None

    def write(self, leaf: Leaf | None) -> dict[str, Any]:
        """Have the host keep what is new; the key before the certificate, which is what is looked at."""
        directory = str(self.options.get("directory", "/etc/ray/tls"))
        group = str(self.options.get("group", "ray"))
        own = {"group": group, "mode": "0640"}
        files = [
            {"path": directory, "state": "directory", "group": group, "mode": "0750"},
            {"path": f"{directory}/ca.pem", "content": str(self.known.get("certificate") or ""), **own},
        ]
        if leaf:
            files.append({"path": f"{directory}/node.key", "secret": leaf.key, **own})
            files.append({"path": f"{directory}/node.pem", "content": leaf.certificate, **own})
        done: dict[str, Any] = self._execute_module(
            module_name="rayops.cluster.node_files", module_args={"files": files}, task_vars=self.variables
        )
        return done

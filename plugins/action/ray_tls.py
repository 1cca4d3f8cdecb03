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

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import REJECTED
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
# What a host may say is wrong; the last ones can wait.
KINDS = REJECTED | {"", "surplus", "trust", "issuer", "ending"}
_FIX = ("put it back from a copy, or run rayops.cluster.upgrade with -e ray_tls_new_authority=true, which makes "
        "another for all nodes")


class ActionModule(ActionBase):
    """A host says what is wrong, in one of the known words, and what time it is."""

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
            if not self.known.get("certificate"):
                self.refuse_unknown(found["kind"])
            if not found["kind"]:
                return {**result, **found}
            leaf = self.signed(authority, found["kind"])
        except AuthorityError as error:
            raise AnsibleActionFail(f"{self.known.get('source', 'ray_tls_dir')} {error}.") from None
        done = {**result, **found, "diff": self.difference(found)}
        if self.options.get("state") != "compared" and not self._task.check_mode:
            self.write(leaf)
            self.refuse_still(self.look(authority))
        return done

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

    def refuse_unknown(self, kind: str) -> None:
        """No authority: not asked, for its host does not answer, or lost.

        :raises AuthorityError: it is needed, or is not to be replaced by the way.
        """
        if "certificate" not in self.known:
            if kind:
                raise AnsibleActionFail(
                    f"{self.host} needs a certificate ({kind}), and the head, which has the authority, does not "
                    "answer: mend the head first."
                )
        elif kind != "missing":
            raise AuthorityError(f"has lost its authority, which has signed what {self.host} runs with: {_FIX}")

    def look(self, authority: Authority | None) -> dict[str, Any]:
        """What the host finds wrong."""
        options = {
            **self.options, "state": "compared", "names": self.names,
            "authority": {"certificate": self.known.get("certificate") or ""},
            "chain": authority.chain_certificate if authority else "",
        }
        began = time.time()
        found = vouched(self._execute_module(
            module_name="rayops.cluster.ray_tls", module_args=options, task_vars=self.variables
        ))
        if found["kind"]:
            self.refuse_clock(found["clock"], began)
        return found

    def refuse_clock(self, clock: float, began: float) -> None:
        """A host that lives at another time would refuse what is signed now, or let in what has ended."""
        # It was read after the one, and before the other.
        ahead = max(clock - time.time(), 0) or min(clock - began, 0)
        if abs(ahead) > MOST_SKEW:
            side = "ahead of" if ahead > 0 else "behind"
            raise AnsibleActionFail(
                f"The clock of {self.host} is {abs(ahead):.0f} s {side} this machine's, and certificates are valid by "
                "the clock: set it (timedatectl set-ntp true), then run this again."
            )

    def signed(self, authority: Authority | None, kind: str) -> Leaf | None:
        """A certificate for the host, where it needs one. To compare, that is a try.

        :raises AuthorityError: it cannot be signed.
        """
        if kind == "trust" or not self.names:
            return None
        if authority:
            if str(self.options.get("head_kind") or "") == "trust" and kind in REJECTED and len(authority.bundle) > 1:
                raise AnsibleActionFail(
                    f"{self.host} needs a certificate ({kind}), and the head does not trust the authority that signs "
                    f"it before it has restarted: run this without {self.host} first (--limit 'all:!{self.host}'), "
                    "then with it."
                )
            return issue(authority, self.names, self.days, self.renew_days)
        if self.known.get("certificate") and not self.known.get("has_key"):
            raise AuthorityError(f"has lost its ca.key, and {self.host} needs a certificate: {_FIX}")
        if self.options.get("state") != "compared" and not self._task.check_mode:
            raise AuthorityError("has no authority yet: run the playbook once with --tags head")
        return None

    def difference(self, found: Mapping[str, Any]) -> dict[str, str]:
        """What changes, to be read by people; certificates themselves tell them nothing."""
        path = f"{self.options.get('directory', '/etc/ray/tls')}/node.pem"
        words = f" ({found['words']})" if found["words"] else ""
        return {
            "before": f"{found['kind']}{words}\n",
            "after": f"a certificate for {', '.join(self.names)}, {self.days} days\n" if found["kind"] != "trust" else
                     "other authorities are trusted\n",
            "before_header": path, "after_header": path,
        }

    def write(self, leaf: Leaf | None) -> None:
        """Have the host keep what is new; the certificate last, which is what is looked at."""
        directory, group = (str(self.options.get(name, usual))
                            for name, usual in (("directory", "/etc/ray/tls"), ("group", "ray")))
        own = {"group": group, "mode": "0640"}
        files = [
            {"path": directory, "state": "directory", "group": group, "mode": "0750"},
            {"path": f"{directory}/ca.pem", "content": str(self.known.get("certificate") or ""), **own},
        ]
        if leaf:
            files.append({"path": f"{directory}/node.key", "secret": leaf.key, **own})
            files.append({"path": f"{directory}/node.pem", "content": leaf.certificate, **own})
        done = self._execute_module(
            module_name="rayops.cluster.node_files", module_args={"files": files}, task_vars=self.variables
        )
        if done.get("failed"):
            raise AnsibleActionFail(str(done.get("msg", f"{directory} cannot be written.")))

    def refuse_still(self, found: Mapping[str, Any]) -> None:
        """What was put there is good for its host."""
        if found["rejected"]:
            words = found["words"] or found["kind"]
            raise AnsibleActionFail(f"{self.host} does not take the certificate that was made for it: {words}.")


def vouched(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a host says, as far as it is what the module returns.

    :raises AnsibleActionFail: it failed, or says something else.
    """
    kind, clock, ends = (answer.get(name) for name in ("kind", "clock", "ends"))
    if answer.get("failed"):
        raise AnsibleActionFail(str(harmless(str(answer.get("msg") or "The module ray_tls failed."))))
    sound = isinstance(kind, str) and isinstance(clock, (int, float)) and isinstance(ends, (int, float, type(None)))
    if not sound or kind not in KINDS:
        raise AnsibleActionFail("The host does not answer as the module ray_tls does: see what it runs.")
    return {"changed": bool(kind), "kind": kind, "rejected": kind in REJECTED, "clock": float(clock), "ends": ends,
            "words": str(harmless(str(answer.get("words") or ""))[:500])}

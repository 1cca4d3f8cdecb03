# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: do not import it from elsewhere.

"""The small things that a host mends by itself: none of them ends a node, and none needs another host."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.findings import Finding
from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.node import NodeDiagnosis
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import SystemdError, Unit

# Sessions of terabytes have many files.
PRUNE_SECONDS = 900.0


class Mending:
    """What is done on this host.

    :ivar changed: whether anything was, or would be in check mode.
    """

    def __init__(self, node: NodeDiagnosis | None, check: bool):
        self.node, self.check, self.changed = node, check, False
        self.steps: dict[str, Callable[[], str | None]] = {"prune": prune}
        if node:
            self.steps.update(
                count=node.unit.reset_failed, enable=node.unit.enable, timers=lambda: start_timers(node.unit),
                remove=lambda: self._remove(node),
            )

    def take(self, findings: list[Finding], steps: list[str]) -> None:
        """Take these steps for what was found; what cannot be done is left to a person."""
        for step in steps:
            left = self._left(step)
            for finding in findings if left else []:
                if finding.step == step:
                    finding.mend, finding.step, finding.person = "", "", f"{left} {finding.person}".strip()

    def _left(self, step: str) -> str:
        """Take a step; returns what is left for a person, empty for nothing."""
        if self.check:
            self.changed = True
            return ""
        try:
            left = self.steps[step]()
        except (SystemdError, GuestError) as error:
            return f"it could not be mended: {str(error).rstrip('.')}."
        self.changed = self.changed or step != "remove"
        return left or ""

    def _remove(self, node: NodeDiagnosis) -> str:
        """Remove the files of ended processes."""
        kept = node.remove_stale()
        self.changed = self.changed or len(kept) < len(node.stale)
        return f"remove {kept[0]}, which user {node.user} cannot." if kept else ""


def prune() -> None:
    """Remove what ended sessions left, and wait for that."""
    Unit("ray-prune.service").restart(PRUNE_SECONDS)


def start_timers(unit: Unit) -> None:
    """Start the timers of a node; one that runs is not touched."""
    for timer in unit.timers:
        Unit(timer).start()

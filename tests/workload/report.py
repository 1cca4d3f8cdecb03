# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers of a workload say."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Line:
    """One line of the workload's file.

    Kinds: ``counter`` and ``task`` are answers, with the seconds that they took; ``counter failed``, ``task failed``
    and ``task wrong`` what came instead of one; ``driver`` a driver that is connected; ``node gone``, ``died`` and
    ``hang`` its end; ``end`` the answers that a driver still waited for when it was stopped; ``start`` the supervisor.
    """

    time: float
    kind: str
    value: object
    seconds: float = 0


@dataclass(frozen=True)
class Report:
    """The lines, in their order."""

    lines: list[Line]

    def of(self, kind: str) -> list[Line]:
        return [line for line in self.lines if line.kind == kind]

    def moments(self, kind: str, since: float = 0) -> list[float]:
        """When answers of a kind were accepted."""
        return [line.time for line in self.of(kind) if line.time > since]

    def since(self, moment: float) -> Report:
        """What came after a moment, and the last answers before it, on which that follows."""
        before = [line for line in self.lines if line.time <= moment]
        last = [line for kind in ("counter", "task") for line in [x for x in before if x.kind == kind][-1:]]
        return Report([*last, *(line for line in self.lines if line.time > moment)])

    @property
    def counter_answers(self) -> int:
        return len(self.of("counter"))

    @property
    def task_answers(self) -> int:
        return len(self.of("task"))

    @property
    def lost(self) -> list[str]:
        """Where the counter went back or repeated itself: an accepted answer was lost."""
        return [
            f"{before.value} was followed by {after.value}"
            for before, after in pairwise(self.of("counter")) if after.value <= before.value
        ]

    @property
    def broken(self) -> list[str]:
        """Work of a living driver that came back wrong, as an error, or never."""
        found = [f"{kind}: {line.value}" for kind in ("task wrong", "task failed", "hang") for line in self.of(kind)]
        # The driver's own node has ended, and the driver with it: Ray promises it nothing, and the next one asks again.
        found = [text for text in found if "LocalRayletDiedError" not in text]
        return found + [f"never answered: {what}" for line in self.of("end") for what in line.value]

    @property
    def refused(self) -> list[str]:
        """Calls of the counter that came back as an error: they were not accepted, and asked again."""
        return [str(line.value) for line in self.of("counter failed")]

    @property
    def driver_restarts(self) -> int:
        return max(len(self.of("driver")) - 1, 0)

    def longest_wait(self, kind: str, since: float = 0) -> float:
        """The longest that an answer of a kind took which came after a moment, in seconds."""
        return max((line.seconds for line in self.of(kind) if line.time > since), default=0.0)

    def summary(self) -> str:
        return (
            f"{self.counter_answers} answers of the counter and {self.task_answers} of tasks, {len(self.lost)} lost, "
            f"{len(self.broken)} broken, {len(self.refused)} refused, {self.driver_restarts} restarts of the driver"
        )

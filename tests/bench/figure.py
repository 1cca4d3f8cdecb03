# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A figure: what was measured against what was promised."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field


@dataclass
class Figure:
    """One line of the table.

    ``values`` are all measurements, in ``unit``; the median is the figure. ``failed`` says what did not recover at all
    or was lost: that, unlike a missed budget, makes the bench fail.
    """

    name: str
    title: str
    values: list[float] = field(default_factory=list)
    budget: float | None = None
    unit: str = "s"
    storage: str = ""
    note: str = ""
    failed: str = ""

    @property
    def measured(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        if self.failed or self.measured is None:
            return "FAILED"
        if self.budget is None:
            return ""
        return "ok" if self.measured <= self.budget else "over"

    def to_dict(self) -> dict:
        return {**asdict(self), "measured": self.measured, "verdict": self.verdict}


def table(figures: Iterable[Figure]) -> str:
    """The figures as text, in columns."""
    rows = [("figure", "storage", "measured", "worst", "budget", "")]
    for figure in figures:
        worst = number(max(figure.values), figure.unit) if len(figure.values) > 1 else ""
        measured = "" if figure.measured is None else number(figure.measured, figure.unit)
        budget = "" if figure.budget is None else number(figure.budget, figure.unit)
        rows.append((figure.title, figure.storage, measured, worst, budget, figure.verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", *notes(figures)])


def notes(figures: Iterable[Figure]) -> list[str]:
    return [
        f"{figure.title}{f' ({figure.storage})' if figure.storage else ''}: {text}"
        for figure in figures
        for text in (figure.failed, figure.note)
        if text
    ]


def number(value: float, unit: str) -> str:
    return f"{value:.0f}" if not unit else f"{value:.1f} {unit}"

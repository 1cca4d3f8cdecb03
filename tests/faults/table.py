# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcomes as a line, as a table, as JSON, and as the page docs/faults.md in both languages."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bed.bed import CACHE, ROOT, write
from tests.faults import catalogue, chinese
from tests.faults.fault import Outcome

JSON = CACHE / "faults.json"
PAGE = ROOT / "docs" / "faults.md"
CHINESE_PAGE = ROOT / "docs" / "zh" / "faults.md"
TEMPLATES = Path(__file__).parent
COLUMNS = ["fault", "what the cluster does", "serves again", "promise", "no twin left", "longest wait: counter, task",
           "answers lost", "what `site.yml` then says"]


def seconds(value: float | None) -> str:
    return "never" if value is None else "at once" if value < 0.05 else f"{value:.1f} s"


def line(outcome: Outcome) -> str:
    """One line of progress."""
    waits = ", ".join(f"{kind} {wait:.1f} s" for kind, wait in outcome.waits.items())
    text = f"again {seconds(outcome.repaired)}, whole {seconds(outcome.whole)}, waits {waits}; site.yml: {outcome.site}"
    return "; ".join([text, *(f"FAILED: {what}" for what in outcome.failed)])


def row(outcome: Outcome) -> list[str]:
    fault = outcome.fault
    return [
        fault.title, fault.does, seconds(outcome.repaired), f"{fault.promise:g} s", seconds(outcome.whole),
        ", ".join(f"{wait:.1f} s" for wait in outcome.waits.values()), str(len(outcome.lost)), outcome.site,
    ]


def markdown(outcomes: list[Outcome]) -> str:
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(row, outcomes)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def write_json(outcomes: list[Outcome]) -> None:
    found = [
        {
            "name": outcome.fault.name, "promise": outcome.fault.promise, "repaired": outcome.repaired,
            "whole": outcome.whole, "waits": outcome.waits, "lost": outcome.lost, "refused": outcome.refused,
            "site": outcome.site, "failed": outcome.failed,
        }
        for outcome in outcomes
    ]
    write(JSON, json.dumps(found, indent=2) + "\n")


def write_page(outcomes: list[Outcome], version: str) -> None:
    """Write what was measured; the rows of other faults stay."""
    there = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = {line.split(" | ")[0]: line for line in [*there, *markdown(outcomes).splitlines()]}
    names = (f"| {name}" for name in [COLUMNS[0], "---", *(fault.title for fault in catalogue.FAULTS)])
    whole = "".join(f"{rows[name]}\n" for name in names if name in rows)
    write(PAGE, page("faults.md", version, whole))
    write(CHINESE_PAGE, page("faults.zh.md", version, chinese.table(whole)))


def page(template: str, version: str, rows: str) -> str:
    """The page that a template makes of the table."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return text.replace("VERSION", version).replace("TABLE\n", rows)

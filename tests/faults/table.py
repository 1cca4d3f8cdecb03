# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcomes as a line, as tables, as JSON, and as the page docs/faults.md in both languages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tests.bed.bed import CACHE, ROOT, write
from tests.faults import catalogue, chinese, served
from tests.faults.fault import Outcome
from tests.faults.served import ServedFault, ServedOutcome

JSON = CACHE / "faults.json"
PAGE = ROOT / "docs" / "faults.md"
CHINESE_PAGE = ROOT / "docs" / "zh" / "faults.md"
TEMPLATES = Path(__file__).parent
COLUMNS = ["fault", "what the cluster does", "serves again", "promise", "no twin left", "longest wait: counter, task",
           "answers lost", "what `site.yml` then says"]
SERVED_COLUMNS = ["fault", "what the model does", "longest without a token", "promise", "requests lost"]
# Instead of a table that has no row yet.
NOT_YET = "No row yet: the next `make faults` writes them."


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


def served_line(outcome: ServedOutcome) -> str:
    """One line of progress."""
    text = f"without a token {seconds(outcome.silence)}, requests lost {lost(outcome)}"
    return "; ".join([text, *sorted(set(outcome.lost)), *(f"FAILED: {what}" for what in outcome.failed)])


def lost(outcome: ServedOutcome) -> str:
    return f"{len(outcome.lost)} of {outcome.asked}"


def promise(fault: ServedFault) -> str:
    return f"{fault.promise:g} s" + ("" if fault.loses else ", no request lost")


def served_row(outcome: ServedOutcome) -> list[str]:
    fault = outcome.fault
    return [fault.title, fault.does, seconds(outcome.silence), promise(fault), lost(outcome)]


def markdown(outcomes: list[Outcome]) -> str:
    return as_table(COLUMNS, map(row, outcomes))


def served_markdown(outcomes: list[ServedOutcome]) -> str:
    return as_table(SERVED_COLUMNS, map(served_row, outcomes))


def as_table(columns: list[str], rows: Iterable[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [columns, ["---"] * len(columns), *rows])


def write_json(outcomes: list[Outcome], served: list[ServedOutcome]) -> None:
    found = [
        {
            "name": outcome.fault.name, "promise": outcome.fault.promise, "repaired": outcome.repaired,
            "whole": outcome.whole, "waits": outcome.waits, "lost": outcome.lost, "refused": outcome.refused,
            "site": outcome.site, "failed": outcome.failed,
        }
        for outcome in outcomes
    ] + [
        {
            "name": outcome.fault.name, "promise": outcome.fault.promise, "silence": outcome.silence,
            "asked": outcome.asked, "lost": outcome.lost, "failed": outcome.failed,
        }
        for outcome in served
    ]
    write(JSON, json.dumps(found, indent=2) + "\n")


def written(text: str) -> list[str]:
    """Both tables of the English page."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [*found, *[f"{NOT_YET}\n"] * (2 - len(found))]


def merged(new: str, old: str, titles: Iterable[str]) -> str:
    """A table with its new rows; those of other faults stay."""
    if not new:
        return old
    lines = new.splitlines()
    rows = {line.split(" | ")[0]: line for line in [*old.splitlines(), *lines[2:]]}
    kept = [rows[f"| {title}"] for title in titles if f"| {title}" in rows]
    return "".join(f"{line}\n" for line in [*lines[:2], *kept])


def write_page(faults: str, models: str, version: str) -> None:
    """Write both pages, in which a table that is empty here stays as it is."""
    before = written(PAGE.read_text(encoding="utf-8"))
    catalogues = ([fault.title for fault in catalogue.FAULTS], [fault.title for fault in served.FAULTS])
    tables = [merged(new, old, titles) for new, old, titles in zip((faults, models), before, catalogues)]
    write(PAGE, page("faults.md", version, *tables))
    write(CHINESE_PAGE, page("faults.zh.md", version, *map(chinese.table, tables)))


def page(template: str, version: str, faults: str, models: str) -> str:
    """The page that a template makes of the tables."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return text.replace("VERSION", version).replace("SERVED\n", models).replace("TABLE\n", faults)

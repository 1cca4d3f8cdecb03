# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which line of a program's log tells why it ended."""

from __future__ import annotations

import re

# Not more of a line: a pattern's time grows with its square.
_WIDTH = 1000
# Characters of the line that is told.
_TOLD = 300
_TRACEBACK = "Traceback (most recent call last):"
# What programs write when they give up, the most telling first; the second is all of what a traceback ends with.
_CHECK = re.compile(r"Check failed: (.*)")
_ALL = re.compile(r"(.*)")
_ERROR = re.compile(r"((?:\w+\.)*\w*(?:Error|Exception): .*)")
_WORDS = re.compile(r"((?:Bad file format|Wrong signature|Fatal|FATAL|.*[Cc]annot|.*[Ff]ailed (?:to|at)) .*)")
# What systemd says of each process that it ends with a unit.
_ENDED = re.compile(r"\S+\.service: Killing process ")
# How a program ends that is stopped; and what systemd says of whatever did not start.
_EMPTY = re.compile(r"KeyboardInterrupt|SystemExit|Failed to start \S+\.service\b")


def telling_line(log: str) -> str:
    """Of a log, the line that tells most of why something ended; empty where none does."""
    return _told(_unframed(log))[1]


def end_of(log: str, count: int = 6) -> str:
    """The last lines of a log up to the one that tells most, which is the last of them; without tracebacks' frames.

    :arg count: lines.
    """
    lines = _unframed(log)
    position, told = _told(lines)
    before = [line.rstrip() for line, _raised in lines[:position if told else None] if line.strip()]
    return "\n".join([*before, *([told] if told else [])][-count:])


def _unframed(log: str) -> list[tuple[str, bool]]:
    """The lines of a log without the frames of tracebacks, and of each whether a traceback ends with it."""
    found = []
    inside = False
    for line in (line[:_WIDTH] for line in log.splitlines() if not _ENDED.match(line)):
        if _TRACEBACK in line:
            inside = True
        elif not inside:
            found.append((line, False))
        elif line.strip() and not line[0].isspace():
            found.append((line, True))
            inside = False
    return found


def _told(lines: list[tuple[str, bool]]) -> tuple[int, str]:
    """Where the line that tells most stands, and what it says; empty where none does."""
    best: dict[int, tuple[int, str]] = {}
    for number, (line, raised) in enumerate(lines):
        if _EMPTY.match(line):
            continue
        found = _CHECK.search(line), _ALL.match(line) if raised else None, _ERROR.search(line), _WORDS.search(line)
        best.update({rank: (number, match.group(1)) for rank, match in enumerate(found) if match})
    number, said = best[min(best)] if best else (0, "")
    return number, " ".join(said.split())[:_TOLD]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cannot work on this host, said in one sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What is declared and this host cannot give.

    kind: its fixed name; fact: what is declared, and what is there; fix: what to do. Both are halves of one sentence.
    """

    kind: str
    fact: str
    fix: str

    def __str__(self) -> str:
        return f"{self.fact}: {self.fix}"

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a page of Markdown is not prose: headings, blocks of code, names in backticks, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

PROGRAMS = r"(?:ansible[\w-]*|curl|docker|git|make|pip|ssh[\w-]*|systemctl|journalctl|uv)"


def headings(text: str) -> list[int]:
    """The level of each heading."""
    return [len(marks) for marks in re.findall(r"^(#+) ", _without_fences(text), re.MULTILINE)]


def blocks(text: str) -> list[str]:
    """The blocks of code, indented by four spaces after an empty line, or fenced."""
    pattern = r"^```[^\n]*\n(.*?)^```$|(?:(?<=\n\n)|\A)((?:    [^\n]*\n|\n(?=    ))+)"
    return [fenced or re.sub(r"^    ", "", indented, flags=re.MULTILINE)
            for fenced, indented in re.findall(pattern, text + "\n", re.MULTILINE | re.DOTALL)]


def names(text: str) -> list[str]:
    """What stands in backticks, outside the blocks."""
    return [" ".join(name.split()) for name in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", _without_blocks(text))]


def uncommented(line: str) -> str:
    """A line of code without the comment at its end."""
    return re.sub(r"(?:^|\s+)#\s.*", "", line).rstrip()


def commands(text: str) -> Iterator[str]:
    """The shell's lines of the blocks, then the commands with an argument that stand in backticks, each once."""
    shell = re.sub(r"^```ya?ml\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [uncommented(line) for block in blocks(shell) for line in block.splitlines()]
    inline = [name for name in names(text) if re.match(PROGRAMS + r" \S", name)]
    yield from dict.fromkeys(line for line in [*lines, *inline] if line)


def _without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def _without_blocks(text: str) -> str:
    return re.sub(r"(?<=\n\n)(?:    [^\n]*\n|\n(?=    ))+", "", _without_fences(text))

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives that other hosts made, put into one without ever being unpacked: they may have been made to do harm."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from typing import IO

from ansible_collections.rayops.cluster.plugins.module_utils._system.bounded import add_file, is_file, members
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless

MOST_MEMBERS = 20000
# Characters and parts of a name.
_LONGEST, _DEEPEST = 1000, 40
# Notes on one host; what else is left out is counted.
_MOST_NOTES = 100


def safe_names(hosts: list[str]) -> list[str]:
    """Names of directories for hosts, whatever an inventory calls them: each another one, and no path."""
    found: list[str] = []
    for number, host in enumerate(hosts):
        name = re.sub(r"^\.|[^\w.-]", "_", host[:100], flags=re.ASCII)
        while not name or name.lower() in [*map(str.lower, found), "hosts.txt", "cluster.json"]:
            name += f"-{number}"
        found.append(name)
    return found


class Merged:
    """One archive, which is made of others.

    :arg top: the directory in it.
    :arg max_bytes: of a member of another archive.
    :arg total_bytes: of one other archive.
    """

    def __init__(self, stream: IO[bytes], top: str, max_bytes: int, total_bytes: int):
        self.archive = tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6)
        self.top, self.max_bytes, self.total_bytes = top, max_bytes, total_bytes

    def write(self, name: str, data: bytes, modified: int | None = None) -> None:
        """Add a regular file that its owner alone can read."""
        add_file(self.archive, f"{self.top}/{name}", len(data), io.BytesIO(data), modified)

    def add(self, directory: str, stream: IO[bytes]) -> list[str]:
        """Add the regular files of another archive below a directory.

        :returns: what is left out, and why; damage costs what comes behind it.
        """
        notes: list[str] = []
        found = self._members(stream, notes)
        while True:
            try:
                member = next(found, None)
            # Its bytes are another's: whatever they break in tarfile or zlib, the bundle goes on.
            except Exception as error:  # pylint: disable=broad-exception-caught
                notes.append(f"the rest: {' '.join(str(error).split()) or type(error).__name__}")
                break
            if member is None:
                break
            name, data, modified = member
            self.write(f"{directory}/{name}", data, modified)
        if len(notes) > _MOST_NOTES:
            notes[_MOST_NOTES:] = [f"{len(notes) - _MOST_NOTES} others"]
        notes = [harmless(note) for note in notes]
        if notes:
            self.write(f"{directory}/left-out.txt", "".join(f"{note}\n" for note in notes).encode(errors="replace"))
        return notes

    def _members(self, stream: IO[bytes], notes: list[str]) -> Iterator[tuple[str, bytes, int]]:
        files: set[str] = {"left-out.txt"}
        directories: set[str] = set()
        for number, (entry, blocks) in enumerate(members(stream, self.total_bytes)):
            if number >= MOST_MEMBERS:
                raise tarfile.ReadError(f"it has more than {MOST_MEMBERS} members")
            name = harmless(entry.name.partition("/")[2])
            parts = name.split("/")
            above = {"/".join(parts[:depth]) for depth in range(1, min(len(parts), _DEEPEST))}
            problem = self._problem(entry, parts)
            if not problem and (name in files | directories or above & files):
                problem = "its name is another's"
            if problem:
                notes.append(f"{entry.name[:_LONGEST]}: {problem}")
                continue
            files.add(name)
            directories |= above
            yield name, b"".join(blocks), int(min(max(entry.mtime, 0), 1 << 32))

    def _problem(self, entry: tarfile.TarInfo, parts: list[str]) -> str:
        """Why a member is left out; empty for none."""
        if not is_file(entry):
            return "no regular file"
        if len(entry.name) > _LONGEST or len(parts) > _DEEPEST or {"", ".", ".."} & {*parts, entry.name.split("/")[0]}:
            return "no name below its host's"
        return f"more than {self.max_bytes} bytes" if entry.size > self.max_bytes else ""

    def close(self) -> None:
        """End the archive."""
        self.archive.close()

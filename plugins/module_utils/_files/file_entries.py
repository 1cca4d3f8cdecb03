# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries of node_files that are files, or one line of a file."""

from __future__ import annotations

import os
import re
import shlex
import stat
import tempfile

from ansible_collections.rayops.cluster.plugins.module_utils._files.entries import HIDDEN, Entry, NodeEntries, mode_of
from ansible_collections.rayops.cluster.plugins.module_utils._files.file import node_file
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import with_interface
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError


class FileEntries(NodeEntries):
    """What is done to files."""

    def check_content(self, entry: Entry) -> None:
        """Refuse content that the entry's own command refuses."""
        command = shlex.split(entry["validate"])
        if self.module.check_mode and not self.module.get_bin_path(command[0]):
            return
        wanted = _wanted(entry)
        with node_file(entry["path"]) as file:
            if file.content() == wanted.encode():
                return
        with tempfile.NamedTemporaryFile(dir=self.module.tmpdir, suffix=os.path.basename(entry["path"])) as copy:
            copy.write(wanted.encode())
            copy.flush()
            code, output, errors = self.module.run_command([word.replace("%s", copy.name) for word in command])
        if code:
            # Nobody needs to see the secret that is wrong.
            told = "its output is not shown" if entry["secret"] is not None else (output + errors).strip()
            told = told.replace(copy.name, entry["path"])
            self.module.fail_json(msg=f"{entry['path']} is not accepted by {os.path.basename(command[0])}: {told}")

    def file(self, entry: Entry) -> bool:
        path, wanted = entry["path"], _wanted(entry)
        with node_file(path) as file:
            found = file.content()
            if file.shared() and (entry["regexp"] or not entry["force"]):
                # Its content may be that of a file that its readers must not read.
                raise PathError(
                    f"{path} has several names, and lies where others than root may write",
                    "remove it, and see who put it there.",
                )
            if entry["regexp"]:
                wanted = _with_line((found or b"").decode(errors="surrogateescape"), wanted, entry["regexp"])
            content = wanted.encode(errors="surrogateescape")
            if file.descriptor is not None and (found == content or not entry["force"]):
                return self.attributes(entry, file.descriptor, file)
            self._note(entry, found, wanted)
            if not self.module.check_mode:
                self.write(file, content, *self.ids(entry), mode_of(entry))
        return True

    def _note(self, entry: Entry, found: bytes | None, wanted: str) -> None:
        secret = entry["secret"] is not None
        before = "" if found is None else HIDDEN if secret else found.decode(errors="replace")
        self.diffs.append({
            "before_header": entry["path"], "after_header": entry["path"],
            "before": before, "after": "(another secret)\n" if secret else wanted,
        })

    def without_line(self, entry: Entry) -> bool:
        with node_file(entry["path"]) as file:
            before = (file.content() or b"").decode(errors="surrogateescape")
            after = "".join(line for line in before.splitlines(keepends=True) if not re.search(entry["regexp"], line))
            found = file.status
            if found is None or after == before:
                return False
            self._note(entry, before.encode(errors="surrogateescape"), after)
            if not self.module.check_mode:
                content = after.encode(errors="surrogateescape")
                self.write(file, content, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
        return True


def _wanted(entry: Entry) -> str:
    """What a file is to hold.

    :raises PathError: nothing says it.
    """
    text = entry["secret"] if entry["secret"] is not None else entry["content"]
    if text is None:
        raise PathError(f"{entry['path']} is to be a file", "give its content or secret.")
    return with_interface(str(text), entry["interface_of"]) if entry["interface_of"] else str(text)


def _with_line(text: str, line: str, regexp: str) -> str:
    """The text with the line in place of the first one that matches; further ones that match are dropped."""
    lines, placed = [], False
    for existing in text.removesuffix("\n").split("\n") if text else []:
        if not re.search(regexp, existing):
            lines.append(existing)
        elif not placed:
            lines.append(line)
            placed = True
    return "\n".join(lines if placed else lines + [line]) + "\n"

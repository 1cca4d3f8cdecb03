# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of the directories that this collection made, or found empty, on a host: those alone may it remove."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from ansible_collections.rayops.cluster.plugins.module_utils._files.file import replace_file
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import opened, path_of, read_regular
from ansible_collections.rayops.cluster.plugins.module_utils._system.removal import mount_id

RECORD = "/var/lib/rayops/directories"


class OwnDirectories:
    """The record: a file with one path a line, without links, in a directory of root's alone."""

    def __init__(self, record: str = RECORD):
        self.record = record

    def paths(self) -> list[str]:
        """What is recorded."""
        try:
            text = read_regular(self.record).decode(errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [line for line in text.split("\n") if line]

    def owns(self, directory: int) -> bool:
        """Whether an open directory is recorded, or lies in one that is, with nothing mounted in between."""
        paths = set(self.paths())
        here, mount = os.dup(directory), mount_id(directory)
        try:
            while paths and mount_id(here) == mount:
                place = path_of(here)
                if place in paths:
                    return True
                if place == "/":
                    break
                above = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = above
            return False
        finally:
            os.close(here)

    def note(self, path: str) -> None:
        """Record a path; before the directory is made, so that a run that dies in between leaves a known one."""
        self._change(lambda paths: paths if path in paths else [*paths, path])

    def forget(self, path: str) -> None:
        """Take a path out of the record."""
        if path in self.paths():
            self._change(lambda paths: [item for item in paths if item != path])

    def _change(self, change: Callable[[list[str]], list[str]]) -> None:
        directory, name = os.path.split(self.record)
        with opened(directory, make=0o700) as parent:
            # Two runs may be at work on a host.
            fcntl.flock(parent, fcntl.LOCK_EX)
            os.fchmod(parent, 0o700)
            text = "".join(f"{path}\n" for path in change(self.paths()))
            replace_file(parent, name, text.encode(errors="surrogateescape"), os.geteuid(), os.getegid(), 0o600)

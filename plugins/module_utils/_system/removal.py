# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes with a directory, decided and removed step by step from open directories: no path is looked up twice."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, path_of

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def mount_id(descriptor: int) -> str:
    """The mount that an open file lies on, proc(5): a bind mount of the same file system is another one."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as stream:
        return next(line.split()[1] for line in stream if line.startswith("mnt_id:"))


def is_mount_point(directory: int) -> bool:
    """Whether something is mounted where an open directory lies."""
    above = os.open("..", _FLAGS, dir_fd=directory)
    try:
        return mount_id(above) != mount_id(directory)
    finally:
        os.close(above)


@dataclass
class _Level:
    """A directory that is being emptied. Only the innermost one is open: a job may have nested thousands."""

    name: str
    identity: tuple[int, int]
    left: list[str]
    whole: bool = True


@dataclass
class Removal:
    """The removal of what is in a directory.

    What is mounted below it stays with all that is in it, and so does what is to be kept, and the directories above
    them; no link is followed.

    :ivar keep: paths, without links.
    :ivar check: nothing is touched.
    :ivar probe: as check, and it ends with the first thing that would go.
    :ivar goes: whether anything went, or would go.
    """

    keep: set[str] = field(default_factory=set)
    check: bool = False
    probe: bool = False
    goes: bool = False

    def empty(self, directory: int) -> bool:
        """Empty an open directory; returns whether nothing stays in it.

        :raises PathError: somebody moved a directory meanwhile; OSError: as the kernel says, with the path.
        """
        top, mount = path_of(directory), mount_id(directory)
        # Where a file system begins, its own directory stays.
        system = {"lost+found"} if is_mount_point(directory) else set()
        here = os.dup(directory)
        levels = [self._level(here, "", system)]
        try:
            while True:
                if self.probe and self.goes:
                    return False
                level = levels[-1]
                if level.left:
                    here = self._entry(here, levels, top, mount)
                    continue
                levels.pop()
                if not levels:
                    return level.whole
                above = os.open("..", _FLAGS, dir_fd=here)
                os.close(here)
                here = above
                if self._identity(here) != levels[-1].identity:
                    raise PathError(f"A directory in {top} was moved while it was removed",
                                    "see who did, and run again.")
                if level.whole:
                    self._remove(os.rmdir, level.name, here)
                levels[-1].whole &= level.whole
        finally:
            os.close(here)

    def _entry(self, here: int, levels: list[_Level], top: str, mount: str) -> int:
        """Remove the innermost directory's next entry, or enter it; returns which directory is innermost then."""
        level = levels[-1]
        name = level.left.pop()
        if self.keep and os.path.join(top, *[item.name for item in levels[1:]], name) in self.keep:
            level.whole = False
            return here
        try:
            is_directory = stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return here
        if not is_directory:
            try:
                self._remove(os.unlink, name, here)
            except OSError as error:
                # A file may be a mount point, too.
                if error.errno != errno.EBUSY:
                    raise
                level.whole = False
            return here
        below = os.open(name, _FLAGS, dir_fd=here)
        if mount_id(below) != mount or os.fstat(below).st_dev != level.identity[0]:
            os.close(below)
            level.whole = False
            return here
        os.close(here)
        levels.append(self._level(below, name, set()))
        return below

    def _remove(self, call: Callable[..., None], name: str, directory: int) -> None:
        if not (self.check or self.probe):
            try:
                call(name, dir_fd=directory)
            except OSError as error:
                raise OSError(error.errno, error.strerror, os.path.join(path_of(directory), name)) from None
        self.goes = True

    def _level(self, directory: int, name: str, stays: set[str]) -> _Level:
        return _Level(name, self._identity(directory), sorted(set(os.listdir(directory)) - stays, reverse=True))

    @staticmethod
    def _identity(directory: int) -> tuple[int, int]:
        status = os.fstat(directory)
        return status.st_dev, status.st_ino


def holds_something(directory: int, keep: set[str] | None = None) -> bool:
    """Whether a removal would take anything out of an open directory; a new file system's own directory is nothing."""
    removal = Removal(keep or set(), probe=True)
    removal.empty(directory)
    return removal.goes

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries of node_files that are directories, or are to be gone."""

from __future__ import annotations

import os
import re
import stat

from ansible_collections.rayops.cluster.plugins.module_utils._files.entries import (
    Entry,
    NodeEntries,
    diff_of_attributes,
    diff_of_removal,
    mode_of,
)
from ansible_collections.rayops.cluster.plugins.module_utils._files.file import set_attributes
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import (
    is_trusted_link,
    opened,
    opened_parent,
    opened_place,
    path_of,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.removal import (
    Removal,
    holds_something,
    is_mount_point,
)


class DirectoryEntries(NodeEntries):
    """What is done to directories, and what is removed."""

    def check_own(self, entry: Entry) -> None:
        """Refuse to remove a directory that is not ours."""
        path = entry["path"]
        try:
            with opened_parent(path) as (parent, name):
                if _is_foreign_link(name, parent):
                    return
            with opened(path) as directory:
                if self._kept_whole(entry, directory) or self.own.owns(directory):
                    return
                if not holds_something(directory, _keep(entry)):
                    return
                place = path_of(directory)
        except (FileNotFoundError, NotADirectoryError):
            return
        self.module.fail_json(
            msg=f"{place} was not made by rayops.cluster, and nothing was touched: remove what is Ray's there by hand, "
            f"or, if all that is in it may go, add the line {place} to {self.own.record} on this host."
        )

    def directory(self, entry: Entry) -> bool:
        path, make = entry["path"], None if self.module.check_mode else 0o755
        made, closed = False, set()

        def look(here: int) -> None:
            if entry["owner"] != "root" and self._closed(here):
                closed.add(path_of(here))

        try:
            with opened_place(path, make, look) as (parent, name):
                place = os.path.join(path_of(parent), name)
                try:
                    is_directory = stat.S_ISDIR(os.stat(name or ".", dir_fd=parent, follow_symlinks=False).st_mode)
                except FileNotFoundError:
                    if self.module.check_mode:
                        raise
                    if entry["own"]:
                        self.own.note(place)
                    os.mkdir(name, 0o700, dir_fd=parent)
                    self.label(parent, name)
                    made = is_directory = True
                if not is_directory:
                    self.module.fail_json(msg=f"{path} is a file and is to be a directory: move it away.")
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                directory = os.open(name or ".", flags, dir_fd=parent)
        except FileNotFoundError:
            made, directory = True, None
        if made:
            self.diffs.append({"before_header": path, "after_header": path, "before": "", "after": "directory\n"})
        if directory is None:
            return True
        try:
            if entry["own"] and not self.module.check_mode and not self.own.owns(directory):
                if not holds_something(directory):
                    self.own.note(path_of(directory))
            if made:
                set_attributes(directory, *self.ids(entry), mode_of(entry))
            return self.attributes(entry, directory) or made or bool(closed)
        finally:
            os.close(directory)

    def _closed(self, directory: int) -> bool:
        """Whether a directory of ours keeps everybody but root from what lies in it; it is opened then.

        An earlier version made those above a declared one with whatever mask the login brought.
        """
        found = os.fstat(directory)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077 or not self.own.owns(directory):
            return False
        before, after = set_attributes(directory, found.st_uid, found.st_gid, 0o755, self.module.check_mode)
        self.diffs.append(diff_of_attributes(path_of(directory), before, after))
        return True

    def absent(self, entry: Entry) -> bool:
        path = entry["path"]
        try:
            with opened_parent(path) as (parent, name):
                mode = os.stat(name or ".", dir_fd=parent, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) or (entry["own"] and stat.S_ISLNK(mode) and is_trusted_link(name, parent)):
                    gone = self._absent_directory(entry, parent, name)
                else:
                    gone = True
                    if not self.module.check_mode:
                        os.unlink(name, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if gone:
            self.diffs.append(diff_of_removal(path))
        if not stat.S_ISDIR(mode) and gone:
            self.removed.add(path)
        return gone

    def _absent_directory(self, entry: Entry, parent: int, name: str) -> bool:
        """Remove a directory, or empty the one that a link of root's leads to."""
        path, check = entry["path"], self.module.check_mode
        with opened(path) as directory:
            mine = not entry["own"] or self.own.owns(directory)
            if self._kept_whole(entry, directory):
                return False
            if entry["only"]:
                goes, whole = self._only(entry["only"], directory)
            elif not mine:
                return False
            elif not entry["force"] and set(os.listdir(directory)) - self._gone(path):
                self.kept.append(path)
                return False
            else:
                removal = Removal(_keep(entry), check)
                whole = removal.empty(directory)
                goes = removal.goes
            place = path_of(directory)
            stays = not whole or not mine or is_mount_point(directory) or stat.S_ISLNK(
                os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
            if not stays:
                self.removed.add(path)
            if not check:
                if not stays:
                    os.rmdir(name, dir_fd=parent)
                elif goes and not entry["only"]:
                    # What stays in it, a mount for one, is not of a user that may go next.
                    set_attributes(directory, os.geteuid(), os.getegid(), 0o755)
                if entry["own"]:
                    self.own.forget(place)
        return goes or not stays

    def _only(self, names: str, directory: int) -> tuple[bool, bool]:
        """Remove the files of these names from a directory; returns whether there were any, and whether all else is."""
        left = set(os.listdir(directory))
        going = {
            name for name in left if re.fullmatch(names, name)
            and not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
        }
        for name in sorted(going) if not self.module.check_mode else []:
            os.unlink(name, dir_fd=directory)
        return bool(going), left == going

    @staticmethod
    def _kept_whole(entry: Entry, directory: int) -> bool:
        """Whether a directory is, or lies in, what is to be kept."""
        return any(f"{path_of(directory)}/".startswith(f"{keep}/") for keep in _keep(entry))

    def _gone(self, directory: str) -> set[str]:
        """What check mode has only noted as gone from a directory."""
        return {os.path.basename(path) for path in self.removed if os.path.dirname(path) == directory}


def _keep(entry: Entry) -> set[str]:
    """What is to be kept, as declared and where it lies."""
    return {os.path.normpath(entry["keep"]), os.path.realpath(entry["keep"])} if entry["keep"] else set()


def _is_foreign_link(name: str, directory: int) -> bool:
    mode = os.stat(name or ".", dir_fd=directory, follow_symlinks=False).st_mode
    return stat.S_ISLNK(mode) and not is_trusted_link(name, directory)

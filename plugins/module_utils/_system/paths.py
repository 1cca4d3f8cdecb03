# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways through directories that others may write: each step is opened, and no link is followed that is not root's."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MOST_LINKS = 40  # As the kernel, path_resolution(7).


class PathError(Exception):
    """A path leads where nobody can vouch for it: fact and fix, of which the message is one sentence."""

    def __init__(self, fact: str, fix: str) -> None:
        super().__init__(f"{fact}: {fix}")
        self.fact, self.fix = fact, fix


def _owner(status: os.stat_result) -> str:
    try:
        return pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return f"user {status.st_uid}"


def _trusted(link: os.stat_result, directory: int, owners: set[int] | None = None) -> bool:
    """Whether root, or whoever runs this, made a link, and nobody else can have put it where it is."""
    # Another name of a link of root's is nobody's word.
    return link.st_uid in (owners or {0, os.geteuid()}) and link.st_nlink == 1 and holds_fast(directory, owners)


def holds_fast(directory: int, owners: set[int] | None = None) -> bool:
    """Whether only root, or whoever runs this, can put anything in the place of what is in an open directory."""
    held = os.fstat(directory)
    closed = not held.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or held.st_mode & stat.S_ISVTX
    return held.st_uid in (owners or {0, os.geteuid()}) and bool(closed)


def _refused(path: str, name: str, link: os.stat_result) -> PathError:
    return PathError(
        f"{path} goes through the link '{name}', which {_owner(link)} can have made, and root follows only its own",
        "remove the link, and see who put it there.",
    )


def open_directory(name: str, directory: int | None = None) -> int:
    """Open a directory, which is no link."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


@contextmanager
def opened(
    path: str, make: int | None = None, each: Callable[[int], None] | None = None, owners: set[int] | None = None
) -> Iterator[int]:
    """Open a directory, step by step.

    A link is followed where root made it in a directory that only root can change, such as one to a data disk.

    :arg path: an absolute path.
    :arg make: the mode of directories that are missing and made, as root's; without it none is made.
    :arg each: called with the descriptor of each directory on the way.
    :arg owners: whose links are followed, by number; by default root's, and those of whoever runs this.
    :returns: the descriptor of the directory.
    :raises PathError: somebody else's link is on the way.
    :raises OSError: as os.open, such as FileNotFoundError.
    """
    left = [part for part in os.path.normpath(path).split("/") if part]
    here, links = open_directory("/"), 0
    try:
        while left:
            if each:
                each(here)
            name = left.pop(0)
            try:
                status = os.stat(name, dir_fd=here, follow_symlinks=False)
            except FileNotFoundError as error:
                if make is None:
                    raise FileNotFoundError(error.errno, error.strerror, path) from None
                os.mkdir(name, 0o700, dir_fd=here)
                status = os.stat(name, dir_fd=here, follow_symlinks=False)
                below = open_directory(name, here)
                # Whatever mask the login brings.
                os.fchmod(below, make)
                os.close(below)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MOST_LINKS or not _trusted(status, here, owners):
                    raise _refused(path, name, status)
                target = os.readlink(name, dir_fd=here)
                left = [part for part in target.split("/") if part and part != "."] + left
                if target.startswith("/"):
                    os.close(here)
                    here = open_directory("/")
                continue
            try:
                below = open_directory(name, here)
            except NotADirectoryError as error:
                raise NotADirectoryError(error.errno, error.strerror, path) from None
            os.close(here)
            here = below
        if each:
            each(here)
        yield here
    finally:
        os.close(here)


@contextmanager
def opened_parent(
    path: str, make: int | None = None, each: Callable[[int], None] | None = None
) -> Iterator[tuple[int, str]]:
    """The directory that holds a path, opened as above, and the path's last name."""
    directory, name = os.path.split(os.path.normpath(path))
    with opened(directory, make, each) as descriptor:
        yield descriptor, name


@contextmanager
def opened_place(
    path: str, make: int | None = None, each: Callable[[int], None] | None = None
) -> Iterator[tuple[int, str]]:
    """As opened_parent, where root's links are followed at the last name too: the name is no link, or it is missing."""
    place = path
    for _link in range(_MOST_LINKS):
        with opened_parent(place, make, each) as (directory, name):
            try:
                status = os.stat(name or ".", dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                status = None
            if status is None or not stat.S_ISLNK(status.st_mode):
                yield directory, name
                return
            if not _trusted(status, directory):
                raise _refused(path, name, status)
            place = os.path.join(path_of(directory), os.readlink(name, dir_fd=directory))
    raise PathError(f"{path} goes through more than {_MOST_LINKS} links", "mend them.")


def path_of(descriptor: int) -> str:
    """Where an open directory lies, without links."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def real(path: str) -> str:
    """Where a directory lies once root's links are followed; raises as opened."""
    with opened(path) as descriptor:
        return path_of(descriptor)


def is_trusted_link(name: str, directory: int) -> bool:
    """Whether an entry of an open directory is a link that root follows."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISLNK(status.st_mode) and _trusted(status, directory)


def open_to_others(directory: int) -> bool:
    """Whether others than root, or who runs this, may make entries in an open directory."""
    held = os.fstat(directory)
    return held.st_uid not in {0, os.geteuid()} or bool(held.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def vouch(path: str) -> None:
    """Refuse a program, or a directory of programs, that root is to run and others than root can change or exchange.

    :raises PathError: one can, here or in a directory on the way; OSError: it cannot be found.
    """
    def held(status: os.stat_result, place: str, sticky: bool) -> None:
        free = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not (sticky and status.st_mode & stat.S_ISVTX)
        if status.st_uid in {0, os.geteuid()} and not free:
            return
        who = f"belongs to {_owner(status)}" if not free else "can be written by others than root"
        raise PathError(
            f"{path} is run by root, but {place} {who}",
            "let all of its path belong to root and be written by nobody else (chown root, chmod go-w), or name "
            "another one.",
        )

    with opened_place(path, each=lambda here: held(os.fstat(here), path_of(here), True)) as (directory, name):
        last = os.stat(name or ".", dir_fd=directory, follow_symlinks=False)
        held(last, os.path.join(path_of(directory), name), False)


def read_regular(path: str, limit: int = 1 << 20) -> bytes:
    """A regular file whose directories and name are no links but root's; a pipe or a device is not waited for.

    :arg limit: the most bytes that are read.
    :raises PathError, OSError: it is none, or cannot be read.
    """
    with opened_parent(path) as (directory, name):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PathError(f"{path} is no regular file", "remove it, and see who put it there.")
        return stream.read(limit)

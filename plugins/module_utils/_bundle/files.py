# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files for a support bundle, which others may have changed: no link is followed that is not root's, no pipe is waited
for, and what lies below Ray's directory is read as Ray's user."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import (
    PathError,
    open_directory,
    opened,
    opened_parent,
    opened_place,
    path_of,
    real,
)

_SESSION = re.compile(r"session_[\w.-]+", re.ASCII)
# Seconds that a file of Ray's user has: it may lie on a disk that hangs.
_PATIENCE = 20.0
# A session may hold the logs of a hundred thousand workers; the newest of so many are looked for.
_MOST = 100000


class Contents:
    """What was read of a file. begin, size: where it begins there, and how long the file is (0 in /proc), in bytes."""

    def __init__(self, stream: IO[bytes], status: os.stat_result | dict[str, Any], begin: int = 0):
        if not isinstance(status, dict):
            status = {"size": status.st_size, "modified": status.st_mtime, "file": [status.st_dev, status.st_ino]}
        self.stream, self.begin, self.size = stream, begin, int(status["size"])
        self.modified, self.identity = float(status["modified"]), tuple(status["file"])


def open_regular(name: str, directory: int | None = None) -> IO[bytes]:
    """Open a regular file; a link is not followed. Raises OSError."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("no regular file")
    return os.fdopen(descriptor, "rb")


def open_path(path: str) -> IO[bytes]:
    """Open a regular file whose directories are no links but root's. Raises OSError."""
    try:
        with opened_parent(path) as (directory, name):
            return open_regular(name, directory)
    except PathError as error:
        raise OSError(str(error)) from None


def followed(path: str) -> str:
    """The file that a path leads to, through root's links alone; the path itself where it is another's, or none.

    The directories on the way are opened again where it is read.
    """
    try:
        with opened_place(path) as (directory, name):
            return os.path.join(path_of(directory), name)
    except (PathError, OSError):
        return path


def read(path: str, limit: int = 1 << 20) -> str:
    """A text file, at most a megabyte of it; empty where it is missing or closed, or a link that is not root's."""
    try:
        with open_path(followed(path)) as stream:
            return stream.read(limit).decode(errors="surrogateescape")
    except OSError:
        return ""


def files_below(path: str) -> list[str]:
    """A file, or those in a directory; links are not followed but root's on the way."""
    if not os.path.isdir(path):
        return [path] if os.path.lexists(path) else []
    try:
        path = real(path)
    except (PathError, OSError):
        return [path]
    return sorted(os.path.join(directory, name) for directory, _names, names in os.walk(path) for name in names)


@contextmanager
def new_archive(path: str) -> Iterator[IO[bytes]]:
    """A file beside its place that is moved there in the end: nobody ever sees a half, nor anybody else the whole.

    :raises OSError: as the kernel says.
    """
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix=".support-bundle-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def session_logs(temp_dir: str, user: str) -> list[tuple[str, float]]:
    """The logs of Ray's live session that are not empty, and when each was last written.

    :returns: names below the directory of sessions.
    :raises GuestError: they cannot be read as that user.
    """
    return [tuple(pair) for pair in as_user(user, lambda: _list_logs(temp_dir), _PATIENCE)]


def _list_logs(temp_dir: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    try:
        with opened(temp_dir) as top:
            session = os.path.basename(os.readlink("session_latest", dir_fd=top))
            if not _SESSION.fullmatch(session):
                return []
            logs = _descend(top, f"{session}/logs")
    except FileNotFoundError:
        return []
    for directory, _directories, names, descriptor in os.fwalk(".", follow_symlinks=False, dir_fd=logs):
        for name in names:
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue  # Ray rotates its logs meanwhile.
            if status.st_size:
                inside = os.path.normpath(os.path.join(session, "logs", directory, name))
                found.append((inside, status.st_mtime))
        if len(found) > _MOST:
            break
    return found


def _descend(top: int, name: str) -> int:
    """A directory below another, through no link at all."""
    here = os.dup(top)
    for part in name.split("/"):
        below = open_directory(part, here)
        os.close(here)
        here = below
    return here


def read_as(user: str, top: str, name: str, limit: int) -> Contents:
    """The end of a file below a directory, read with a user's rights.

    :arg limit: bytes.
    :raises OSError: it cannot be read.
    """
    output = tempfile.TemporaryFile()
    try:
        status = as_user(user, lambda: _copy(top, name, limit, output.fileno()), _PATIENCE)
        # What the child copied, whatever it says of it.
        copied = os.fstat(output.fileno()).st_size
        return Contents(output, status, max(0, int(status["size"]) - copied))
    except GuestError as error:
        output.close()
        raise OSError(str(error)) from None


def _copy(top: str, name: str, limit: int, output: int) -> dict[str, Any]:
    directory, _slash, last = name.rpartition("/")
    with opened(top) as descriptor:
        below = _descend(descriptor, directory) if directory else os.dup(descriptor)
    with open_regular(last, below) as stream:
        status = os.fstat(stream.fileno())
        stream.seek(max(0, status.st_size - limit))
        left = limit
        while left > 0 and (block := stream.read(min(left, 1 << 20))):
            left -= os.write(output, block)
    return {"size": status.st_size, "modified": status.st_mtime, "file": [status.st_dev, status.st_ino]}

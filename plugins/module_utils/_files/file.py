# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file of a node, opened once: what is read, owned and replaced is what was opened, whoever else may write there."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import (
    PathError,
    open_to_others,
    opened_place,
)


@dataclass
class NodeFile:
    """A place for a file. parent is None where its directory is missing, descriptor where the file is."""

    path: str
    parent: int | None = None
    name: str = ""
    descriptor: int | None = None

    @property
    def status(self) -> os.stat_result | None:
        return None if self.descriptor is None else os.fstat(self.descriptor)

    def content(self) -> bytes | None:
        """All that is in it; None where it is missing."""
        if self.descriptor is None:
            return None
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        with open(self.descriptor, "rb", closefd=False) as stream:
            return stream.read()

    def shared(self) -> bool:
        """Whether it has another name, which somebody may have given to a file of root's, or root's name to theirs."""
        if self.descriptor is None or self.parent is None:
            return False
        return os.fstat(self.descriptor).st_nlink > 1 and open_to_others(self.parent)


@contextmanager
def node_file(path: str) -> Iterator[NodeFile]:
    """Open the place of a file; root's links are followed.

    :raises PathError: somebody else's link is on the way, or it is no regular file.
    :raises IsADirectoryError: it is a directory.
    """
    file = NodeFile(path)
    with ExitStack() as opened:
        with suppress(FileNotFoundError):
            file.parent, file.name = opened.enter_context(opened_place(path))
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file.descriptor = os.open(file.name or ".", flags, dir_fd=file.parent)
            opened.callback(os.close, file.descriptor)
        if file.descriptor is not None:
            mode = os.fstat(file.descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(mode):
                raise PathError(f"{path} is no regular file", "remove it, and see who put it there.")
        yield file


def replace_file(directory: int, name: str, content: bytes, uid: int, gid: int, mode: int) -> None:
    """Write a file beside and move it over the name, so that nobody reads a half, or a secret of the wrong mode.

    :arg directory: open; whatever has the name in it is replaced, and never written to.
    :raises OSError: as the kernel says.
    """
    temporary = f".ansible-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            set_attributes(stream.fileno(), uid, gid, mode)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        os.unlink(temporary, dir_fd=directory)
        # A container's engine mounts /etc/hosts: a mount point has no other name, and is written to.
        if error.errno != errno.EBUSY or open_to_others(directory):
            raise
        descriptor = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            set_attributes(stream.fileno(), uid, gid, mode)


def set_attributes(
    descriptor: int, uid: int, gid: int, mode: int, check: bool = False
) -> tuple[dict[str, str], dict[str, str]]:
    """Give an open file or directory its owner, group and mode.

    :returns: what differed: as it was, and as it is.
    """
    found = os.fstat(descriptor)
    before = {"owner": f"{found.st_uid}", "group": f"{found.st_gid}", "mode": f"0{stat.S_IMODE(found.st_mode):03o}"}
    after = {"owner": f"{uid}", "group": f"{gid}", "mode": f"0{mode:03o}"}
    differing = [key for key in before if before[key] != after[key]]
    if differing and not check:
        if {"owner", "group"} & set(differing):
            os.fchown(descriptor, uid, gid)
        # The kernel takes some bits of the mode away with the owner.
        os.fchmod(descriptor, mode)
    return {key: before[key] for key in differing}, {key: after[key] for key in differing}

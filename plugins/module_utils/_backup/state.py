# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state that a GCS keeps in RocksDB, as it is at one moment.

RocksDB appends to some of its files, makes others once, and changes none in place. So the GCS is paused only until all
are open and their sizes are known. Read up to those, they are what a crash at that moment would have left in both
of its databases, and what the GCS recovers from. Nothing is written beside the live files.

Any job can change the state: this is to be called with the rights of Ray's user alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import resource
import signal
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import open_directory

DATABASES = ("kv", "tables")
# Of the state that is there: which backup it was.
RESTORED = ".restored"
PAUSE_LIMIT = 10  # seconds
MOST_BYTES = 32 << 30  # of a state
MOST_FILES = 100000
BLOCK = 1 << 16
FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux, fcntl(2)
# What a state and an archive may hold, by name; no part is "." or "..".
NAME = re.compile(r"(?!\.)[\w.+-]{1,200}(/(?!\.)[\w.+-]{1,200}){0,9}", re.ASCII)
SUM = re.compile(r"[0-9a-f]{64}")


class BackupError(Exception):
    """A sentence: what does not work, and what helps."""


def open_file(name: str, directory: int | None = None) -> int:
    """Open a regular file for reading. Neither is a link followed nor a pipe waited for."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BackupError(f"{name} is no file that RocksDB writes: move it away.")
    return descriptor


def lock_holder(top: int) -> int:
    """The process that has one of the databases open, by RocksDB's own locks; 0 for none, -1 for one that has no name,
    such as whoever holds a lock of an open file description."""
    for database in DATABASES:
        try:
            directory = open_directory(database, top)
            try:
                descriptor = open_file("LOCK", directory)
            finally:
                os.close(directory)
        except FileNotFoundError:
            continue
        try:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, *_range, pid = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        finally:
            os.close(descriptor)
        if kind != fcntl.F_UNLCK:
            return pid if pid > 0 else -1
    return 0


def in_unit(pid: int, unit: str) -> bool:
    """Whether a process is one of this user's, in a unit; empty: in any or in none."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
        uids = re.findall(r"^Uid:(.*)$", stream.read(), re.MULTILINE)[0].split()
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as stream:
        units = {part for line in stream for part in line.strip().split("/")}
    return set(uids) == {str(os.getuid())} and (not unit or unit in units)


def states(pid: int) -> set[str]:
    """The states of a process's threads (proc(5), stat)."""
    found = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8", errors="replace") as stream:
                found.add(stream.read().rpartition(")")[2].split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # The thread ended.
    return found


@contextmanager
def signals(pid: int) -> Iterator[Callable[[int], None]]:
    """A way to signal this process, and never one that got its number later."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        yield lambda number: os.kill(pid, number)  # Linux before 5.3
        return
    try:
        yield lambda number: signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)


@contextmanager
def paused(path: str, pid: int, unit: str) -> Iterator[None]:
    """Let no thread of the process that holds the state run; whatever happens, all of them go on."""

    def too_long(_number: int, _frame: object) -> None:
        raise BackupError(f"The GCS could not be paused within {PAUSE_LIMIT} s: its disk may hang. It goes on.")

    if pid < 0:
        raise BackupError(f"Something that is no GCS holds the lock of {path}: nothing was paused. See who has it "
                          f"open: fuser -v {path}/*/LOCK.")
    with signals(pid) as send:
        if not in_unit(pid, unit):
            raise BackupError(f"Process {pid} holds the lock of {path} and is no GCS of {unit}: nothing was paused. "
                              "See who started it.")
        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(PAUSE_LIMIT)
        try:
            send(signal.SIGSTOP)
            # One that waits for the disk stops when that has answered.
            while states(pid) - {"T"}:
                time.sleep(0.0005)
            yield
        finally:
            send(signal.SIGCONT)
            signal.alarm(0)


class OpenFile:
    """A file of the state as it was at one moment. Its descriptor outlives its name."""

    def __init__(self, name: str, descriptor: int):
        self.name = name
        self.stream = os.fdopen(descriptor, "rb")
        status = os.fstat(descriptor)
        # Its owner may give it any time.
        self.size, self.written = status.st_size, min(max(status.st_mtime, 0), time.time())
        self.sum = hashlib.sha256()

    def read(self, length: int) -> bytes:
        """The next bytes, none beyond the size that it had."""
        data = self.stream.read(min(length, self.size - self.stream.tell()))
        self.sum.update(data)
        return data


def open_files(top: int) -> list[OpenFile]:
    """Open every file of the state. Links are not followed: the directory is not root's."""
    found = []
    for directory, _directories, names, descriptor in os.fwalk(".", follow_symlinks=False, dir_fd=top):
        for name in names:
            # Locks and RocksDB's own log hold no state.
            if not name.startswith((".", "LOCK", "LOG")):
                inside = os.path.normpath(os.path.join(directory, name))
                if not NAME.fullmatch(inside):
                    raise BackupError(f"{inside!r} is no file that RocksDB writes: move it away.")
                found.append(OpenFile(inside, open_file(name, descriptor)))
    if sum(file.size for file in found) > MOST_BYTES or len(found) > MOST_FILES:
        raise BackupError(f"The state has more than {MOST_BYTES} bytes or {MOST_FILES} files: see what is in it.")
    return sorted(found, key=lambda file: file.name)


def snapshot(top: int, path: str, unit: str) -> tuple[list[OpenFile], float]:
    """The files of the state at one moment, and for how long the GCS was paused, in seconds.

    :arg top: the directory of the state, open.
    :arg path: where it lies.
    :arg unit: the unit that runs the GCS; empty for any.
    :raises BackupError: there is no state, or it cannot be read at one moment.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _attempt in range(5):
        try:
            holder, began = lock_holder(top), time.monotonic()
            if holder:
                with paused(path, holder, unit):
                    files = open_files(top) if lock_holder(top) == holder else []
            else:
                files = open_files(top)
            if files and lock_holder(top) in (holder, 0):
                return files, time.monotonic() - began if holder else 0.0
        except (ProcessLookupError, FileNotFoundError):
            pass  # It ended, or began, just now.
        time.sleep(0.5)
    raise BackupError(f"{path} holds no state, or its GCS starts again and again: see journalctl -u ray-head.")


def state_id(sums: dict[str, str]) -> str:
    """One sum for the whole state."""
    return hashlib.sha256("".join(f"{name} {sums[name]}\n" for name in sorted(sums)).encode()).hexdigest()


def look(top: int) -> dict[str, Any]:
    """What state there is in an open directory, when it was last written, and which backup it began as."""
    sums, last = {}, 0.0
    for file in open_files(top):
        while file.read(BLOCK):
            pass
        file.stream.close()
        sums[file.name], last = file.sum.hexdigest(), max(last, file.written)
    restored = ""
    with contextlib.suppress(OSError, BackupError), os.fdopen(open_file(RESTORED, top), "rb") as stream:
        restored = stream.read(100).decode(errors="replace").strip()
    # Any job can have written it.
    restored = restored if SUM.fullmatch(restored) else ""
    return {"state": bool(sums), "written": last, "restored": restored, "state_id": state_id(sums) if sums else ""}

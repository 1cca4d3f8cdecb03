# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model that is brought to this host: each file copied aside and read back, then all of them put into their places.

What a share has is bytes, and never a path: no link in it is followed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._environment.needs import Room, room_problems
from ansible_collections.rayops.cluster.plugins.module_utils._files.file import set_attributes
from ansible_collections.rayops.cluster.plugins.module_utils._serving.record import Record
from ansible_collections.rayops.cluster.plugins.module_utils._serving.sources import (
    BLOCK,
    INCOMING,
    VARIABLE,
    digest_of,
    files_in,
    parent_of,
    status_of,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest
from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import (
    PathError,
    open_directory,
    open_to_others,
    opened,
    path_of,
)

# Files at once: one stream from a share is slower than its network, one digest slower than a disk.
STREAMS = 4
# Seconds for the names of a share.
LIST_SECONDS = 60
# Bytes that a disk keeps, beside what is brought; that are written before they are flushed.
RESERVE, FLUSHED = 10**9, 256 << 20
MODE = 0o644
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Copy:
    """One declared model on this host, as it is and as it is wanted.

    :ivar problems: why it cannot be brought, a sentence each with the fix in it.
    :ivar unread: files whose digest is not known; lacking: those that are to come, with what is in their places.
    :ivar changed: whether anything on this host was changed.
    """

    def __init__(self, declared: Mapping[str, Any], records: str):
        self.path, self.share = str(declared["path"]), str(declared["share"] or "")
        self.source = str(declared["source"] or "")
        self.sums: dict[str, str] = declared["sums"] or {}
        # Of the controller's files: what they are, and their digests where they are sent.
        self.sent = declared["files"]
        self.digests: dict[str, str] = {**(declared["digests"] or {}), **self.sums}
        self.record = Record(records, self.path)
        self.problems: list[str] = []
        self.wanted: dict[str, tuple[int, int]] = {}
        self.unread: list[str] = []
        self.lacking: dict[str, str | None] = {}
        self.changed = False

    @property
    def in_place(self) -> bool:
        return not (self.source or self.share)

    def refuse(self, text: str) -> None:
        """Note a problem: half a sentence."""
        self.problems.append(f"{VARIABLE}, {self.path}: {text}.")

    # What is there

    def look(self) -> None:
        """Compare what is there with what is wanted."""
        self.unread, self.lacking = [], {}
        try:
            with self._top() as top:
                gone = self._want(top)
                for name in self.wanted:
                    self._compare(name, top)
                if gone and self.lacking:
                    raise ValueError(gone)
                self._check_room(top)
        except (PathError, ValueError) as error:
            self.refuse(str(error).rstrip("."))
        except OSError as error:
            self.refuse(f"{error.strerror or error} ({error.filename or self.path}): see to that, and run again")

    @contextmanager
    def _top(self, make: bool = False) -> Iterator[int | None]:
        """The directory, opened; None where it is to be made. Nobody else may change what root brings."""
        with ExitStack() as stack:
            top = None
            try:
                top = stack.enter_context(opened(
                    self.path, make=0o755 if make else None, each=None if self.in_place else self._guard))
            except NotADirectoryError:
                raise ValueError("it is no directory: remove it, or correct path") from None
            except FileNotFoundError:
                if self.in_place:
                    raise ValueError("it is not there, on this host: mount it, or correct path") from None
            if top is not None and not self.in_place:
                self._guard(top, sticky=False)
            yield top

    @staticmethod
    def _guard(directory: int, sticky: bool = True) -> None:
        status = os.fstat(directory)
        is_open = open_to_others(directory)
        if is_open and not (sticky and status.st_mode & stat.S_ISVTX and status.st_uid in {0, os.geteuid()}):
            raise PathError(f"{path_of(directory)} can be changed by others than root",
                            "let it belong to root and be written by nobody else (chown root, chmod go-w), or bring "
                            "the model elsewhere")
        if not status.st_mode & stat.S_IXOTH:
            raise PathError(f"nobody but root and its group gets through {path_of(directory)}",
                            "let others go through it (chmod o+x), or bring the model elsewhere")

    def _want(self, top: int | None) -> str:
        """Find out which files are wanted; returns why their source cannot be asked, where what was brought says it."""
        if self.in_place:
            self.wanted = files_in(top, self.sums) if top is not None else {}
            return ""
        found, gone = self.sent, (f"source {self.source} is not there, on the controller, or is empty: see to that, or "
                                  "correct it")
        if self.share:
            found, gone = self._shared()
        if found:
            self.wanted = {str(name): (int(size), int(second)) for name, (size, second) in found.items()}
            return ""
        known = {name: digest for name, (_size, _second, digest) in self.record.files.items()}
        if not self.record.is_whole or self.sums not in ({}, known):
            raise ValueError(gone)
        # What was brought needs its source no more.
        self.wanted = {name: (size, second) for name, (size, second, _digest) in self.record.files.items()}
        return gone

    def _shared(self) -> tuple[dict[str, Any], str]:
        """The files of the share, and why there are none.

        :raises ValueError: it has what cannot be brought.
        """
        def names() -> dict[str, Any]:
            try:
                with opened(self.share) as directory:
                    return {"files": files_in(directory, self.sums) if os.listdir(directory) else {}}
            except (PathError, ValueError) as error:
                return {"refused": str(error).rstrip(".")}
            except OSError as error:
                raise ValueError(error.strerror) from None

        gone = f"share {self.share} is empty: see whether it is mounted on this host"
        try:
            found = guest.as_user("root", names, LIST_SECONDS)
        except guest.GuestError as error:
            said = str(error).removeprefix("As user root: ").rstrip(".")
            return {}, f"share {self.share} cannot be read ({said}): see whether it is mounted on this host"
        if "refused" in found:
            raise ValueError(f"share {self.share} cannot be used, {found['refused']}")
        return found["files"], gone

    def _compare(self, name: str, top: int | None) -> None:
        """Find out whether a file is as it is wanted."""
        status = status_of(top, name) if top is not None else None
        if status is None or not stat.S_ISREG(status.st_mode):
            if status is not None and stat.S_ISDIR(status.st_mode):
                raise ValueError(f"{name} is a directory and is to be a file: move it away")
            self.lacking[name] = None if status is None else "no file"
            return
        known, expected = self.record.of(name, status), self.digests.get(name, "")
        same = (status.st_size, int(status.st_mtime)) == self.wanted[name]
        own = self.in_place or (status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == MODE)
        if known and expected and known != expected:
            if self.in_place:
                self.refuse(self._other(name, known))
            else:
                self.lacking[name] = "another content"
        elif not (known and own and same):
            if same or expected and status.st_size == self.wanted[name][0]:
                self.unread.append(name)
            else:
                self.lacking[name] = f"{status.st_size} bytes" + (
                    ", of another time" if status.st_size == self.wanted[name][0] else "")

    def _other(self, name: str, digest: str) -> str:
        whose, wanted = "checksums" if name in self.sums else "its source", self.digests[name]
        return (f"{name} has the SHA-256 {digest[:16]}…, and {whose} {wanted[:16]}…: get the file anew, or correct "
                "checksums")

    def _check_room(self, top: int | None) -> None:
        """Refuse a disk that does not hold what lacks, without what lies aside already."""
        needed = sum(self.wanted[name][0] for name in self.lacking)
        if needed and top is not None:
            with suppress(FileNotFoundError, NotADirectoryError):
                staging = open_directory(INCOMING, top)
                try:
                    needed -= sum(self.wanted[name][0] for name in self.lacking if self._is_staged(name, staging))
                finally:
                    os.close(staging)
        if needed:
            for problem in room_problems([Room("the model", self.path, needed + RESERVE, f"path in {VARIABLE}")]):
                self.refuse(str(problem).rstrip("."))

    def _is_staged(self, name: str, staging: int) -> bool:
        """Whether a file lies aside as it was copied. The controller's is known by its size until it is read."""
        status = status_of(staging, aside(name))
        return bool(status and stat.S_ISREG(status.st_mode) and status.st_size == self.wanted[name][0] and (
            self.source or int(status.st_mtime) == self.wanted[name][1]))

    def differences(self) -> Differences:
        """What is to come."""
        found = Differences()
        for name, live in self.lacking.items():
            found.add(f"{self.path}/{name}", f"{self.wanted[name][0]} bytes", live)
        return found

    # What is done

    def bring(self, owner: int, beat: Callable[[], None]) -> list[tuple[str, bool]]:
        """Read what is unread, and bring what lacks.

        :arg owner: the number of the user who may put files of the controller's aside.
        :arg beat: called while it goes on.
        :returns: files of the controller's, and whether they lie aside already, while any is to be sent, or its digest
            to be said; nothing is put into its place then.
        """
        try:
            with self._top(make=bool(self.lacking)) as top:
                if top is None:
                    return []
                self._each(self.unread, lambda name: self._read(name, top, beat))
                if not self.lacking or self.problems:
                    return []
                return self._fill(top, owner, beat)
        except (PathError, ValueError) as error:
            self.refuse(str(error).rstrip("."))
        except OSError as error:
            self.refuse(f"{error.strerror or error}: see to that, and run again, what was copied stays")
        finally:
            if not self.problems and not self.lacking:
                self.record.is_whole = True
                self.record.files = {name: self.record.files[name] for name in self.wanted}
            if self.unread or self.changed:
                self.record.write()
        return []

    @staticmethod
    def _each(names: Sequence[str], call: Callable[[str], None]) -> None:
        with ThreadPoolExecutor(STREAMS) as pool:
            try:
                for done in [pool.submit(call, name) for name in names]:
                    done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _read(self, name: str, top: int, beat: Callable[[], None]) -> None:
        """Read a file that is in its place, and take it where it is the one that is wanted."""
        with parent_of(top, name) as (parent, last):
            descriptor = os.open(last, _READ, dir_fd=parent)
        try:
            status = os.fstat(descriptor)
            digest = digest_of(descriptor, beat)
            second = int(status.st_mtime) if self.in_place else self.wanted[name][1]
            if digest != self.digests.get(name, digest):
                if self.in_place:
                    self.record.note(name, status.st_size, second, digest)
                    self.refuse(self._other(name, digest))
                else:
                    self.lacking[name] = "another content"
                return
            if not self.in_place:
                self.changed |= bool(set_attributes(descriptor, os.geteuid(), os.getegid(), MODE)[0])
                os.utime(descriptor, (second, second))
            self.record.note(name, status.st_size, second, digest)
        finally:
            os.close(descriptor)

    def _fill(self, top: int, owner: int, beat: Callable[[], None]) -> list[tuple[str, bool]]:
        """Put what lacks aside, and, once all of it is there and right, into its place."""
        self._check_room(top)
        if self.problems:
            return []
        # What is known of the files is no longer that of those in their places.
        self.changed, self.record.is_whole = True, False
        if INCOMING not in os.listdir(top):
            os.mkdir(INCOMING, 0o700, dir_fd=top)
        staging = open_directory(INCOMING, top)
        try:
            os.fchmod(staging, 0o700)
            files = [(name, self._is_staged(name, staging)) for name in self.lacking] if self.source else []
            awaits = any(not staged or name not in self.digests for name, staged in files)
            # What is read from here on cannot be exchanged.
            os.fchown(staging, owner if awaits else os.geteuid(), -1)
            if awaits:
                return files
            if self.share:
                with opened(self.share) as share:
                    self._each(list(self.lacking), lambda name: self._copy(name, share, staging, beat))
            self._each(list(self.lacking), lambda name: self._verify(name, staging, beat))
            if not self.problems:
                self._commit(top, staging)
        finally:
            os.close(staging)
        return []

    def _copy(self, name: str, share: int, staging: int, beat: Callable[[], None]) -> None:
        """Copy a file of the share aside, unless it lies there. Its time is set when it is whole."""
        if self._is_staged(name, staging):
            return
        with parent_of(share, name) as (parent, last):
            reading = os.open(last, _READ, dir_fd=parent)
            shared = os.fstat(reading).st_nlink > 1 and open_to_others(parent)
        place = aside(name)
        try:
            status = os.fstat(reading)
            if not stat.S_ISREG(status.st_mode) or (status.st_size, int(status.st_mtime)) != self.wanted[name]:
                raise ValueError(f"{name} of {self.share} changes while it is copied: run again when nobody writes "
                                 "there")
            if shared:
                # Who may write there may have given another name to a file of root's.
                raise ValueError(f"{name} of {self.share} has another name, and others than root may write there: "
                                 "copy it to a file of its own")
            with suppress(FileNotFoundError):
                os.unlink(place, dir_fd=staging)
            writing = os.open(place, _WRITE, 0o600, dir_fd=staging)
            try:
                digest = _copied(reading, writing, status.st_size, beat)
                # Read back from the disk.
                os.fsync(writing)
                os.posix_fadvise(writing, 0, 0, os.POSIX_FADV_DONTNEED)
                os.utime(writing, (self.wanted[name][1], self.wanted[name][1]))
            except BaseException:
                os.unlink(place, dir_fd=staging)
                raise
            finally:
                os.close(writing)
        finally:
            os.close(reading)
        self.digests.setdefault(name, digest)

    def _verify(self, name: str, staging: int, beat: Callable[[], None]) -> None:
        """Make a file that lies aside root's, and read it, unless that was done. A wrong one goes."""
        descriptor = os.open(aside(name), _READ, dir_fd=staging)
        try:
            status, second = os.fstat(descriptor), self.wanted[name][1]
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise ValueError(f"{INCOMING} holds what is no file of its own: remove it, and see who put it there")
            was_own = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == MODE
            set_attributes(descriptor, os.geteuid(), os.getegid(), MODE)
            digest = self.record.of(name, status) if was_own else ""
            digest = digest or digest_of(descriptor, beat)
            if digest != self.digests.get(name, digest):
                os.unlink(aside(name), dir_fd=staging)
                self.refuse(self._other(name, digest))
                return
            os.utime(descriptor, (second, second))
            os.fsync(descriptor)
            self.record.note(name, status.st_size, second, digest)
        finally:
            os.close(descriptor)

    def _commit(self, top: int, staging: int) -> None:
        """All files into their places. A run that dies in between leaves a record that says so."""
        self.record.write()
        for name in list(self.lacking):
            with parent_of(top, name, make=True) as (parent, last):
                os.rename(aside(name), last, src_dir_fd=staging, dst_dir_fd=parent)
            del self.lacking[name]
        for left in os.listdir(staging):
            os.unlink(left, dir_fd=staging)
        os.rmdir(INCOMING, dir_fd=top)


def aside(name: str) -> str:
    """What a file is called while it lies aside."""
    return hashlib.sha256(name.encode()).hexdigest()


def _copied(reading: int, writing: int, size: int, beat: Callable[[], None]) -> str:
    """Copy an open file; returns the SHA-256 of what was read.

    :raises ValueError: it has not as many bytes.
    """
    found, left, block = hashlib.sha256(), size, memoryview(bytearray(BLOCK))
    flushed = left
    while count := os.readv(reading, [block]):
        left -= count
        found.update(block[:count])
        data = block[:count]
        while data:
            data = data[os.write(writing, data):]
        if left < 0:
            break
        if flushed - left > FLUSHED:
            # Or the last flush would take longer than its silence is borne.
            os.fdatasync(writing)
            flushed = left
        beat()
    if left:
        raise ValueError("a file of the share changes while it is copied: run again when nobody writes there")
    return found.hexdigest()

# Managed by rayops.cluster
"""Back up the cluster's state, which the GCS keeps in RocksDB, and put a backup in its place.

RocksDB appends to some of its files, makes others once, and changes none in place. So the GCS is paused only until all
are open and their sizes are known. Read up to those, they are what a crash at that moment would have left in both
of its databases, and what the GCS recovers from. Nothing is written beside the live files.

Root has the backups, and Ray's user the state, which any job can change: what reads the state and pauses the GCS is a
child process with the rights of that user alone. It writes into a file that root opened, and what it says is checked.
"""
from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import gzip
import hashlib
import json
import os
import pwd
import re
import resource
import select
import signal
import stat
import struct
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

DATABASES = ("kv", "tables")
MANIFEST = "manifest.json"
TOKEN = "auth_token"
# Of the state that is there: which backup it was.
RESTORED = ".restored"
# There as long as ids of jobs are to be skipped: a GCS went on after the backup and gave them away.
SKIP_JOBS = ".skip_jobs"
PAUSE_LIMIT = 10  # seconds
TIME_LIMIT = 25 * 60  # seconds that the child has; its unit has 30 minutes
MOST_BYTES = 32 << 30  # of a state
MOST_FILES = 100000
MOST_TEXT = 16 << 20  # bytes of a manifest, and of what the child says
BLOCK = 1 << 16
FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux, fcntl(2)
# What a state and an archive may hold, by name; no part is "." or "..".
NAME = re.compile(r"(?!\.)[\w.+-]{1,200}(/(?!\.)[\w.+-]{1,200}){0,9}", re.ASCII)
SUM = re.compile(r"[0-9a-f]{64}")
# What a manifest says, as anybody may have written it.
TEXTS = {"cluster_name": r"[\w.-]{1,200}", "ray_version": r"[\w.+-]{1,200}", "storage": r"rocksdb",
         "session": r"[\w.-]{0,200}", "state_id": SUM.pattern, "token_sum": SUM.pattern}
NUMBERS = {"time": 1 << 33, "written": 1 << 33, "pause_ms": 1 << 33}
# Whose links are followed: root's, and those of whoever runs this.
OWN = {0, os.getuid()}


class BackupError(Exception):
    """A sentence: what does not work, and what helps."""


def closed(directory: int) -> bool:
    """Whether nobody else can put anything in the place of what is there."""
    held = os.fstat(directory)
    return held.st_uid in OWN and (not held.st_mode & 0o022 or bool(held.st_mode & stat.S_ISVTX))


def open_directory(name: str, directory: int | None = None) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def open_file(name: str, directory: int | None = None) -> int:
    """Open a regular file for reading. Neither is a link followed nor a pipe waited for."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BackupError(f"{name} is no file that RocksDB writes: move it away.")
    return descriptor


@contextmanager
def opened(path: str, make: int | None = None) -> Iterator[int]:
    """Open a directory step by step, through no links but root's; make: the mode of those that are missing."""
    left, links, here = [part for part in os.path.normpath(path).split("/") if part], 0, open_directory("/")
    try:
        while left:
            name = left.pop(0)
            try:
                status = os.stat(name, dir_fd=here, follow_symlinks=False)
            except FileNotFoundError:
                if make is None:
                    raise
                os.mkdir(name, 0o700, dir_fd=here)
                below = open_directory(name, here)
                # Whatever mask root's session has.
                os.fchmod(below, make)
                os.close(below)
                status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if status.st_uid not in OWN or not closed(here) or links > 40:
                    raise BackupError(f"{path} goes through the link '{name}', which is not root's: remove it, and see "
                                      "who put it there.")
                target = os.readlink(name, dir_fd=here)
                left = [part for part in target.split("/") if part not in ("", ".")] + left
                below = open_directory("/") if target.startswith("/") else os.dup(here)
            else:
                below = open_directory(name, here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def as_user(user: str, path: str, call: Callable[[], object]) -> object:
    """Call a function in a child process that has the rights of a user alone, and return its answer.

    :arg path: where no such user is there yet, its owner's rights do: it may lie on a disk of another host.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        live(user, path, call, writing)
    os.close(writing)
    answer, deadline = b"", time.monotonic() + TIME_LIMIT
    try:
        while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
            block = os.read(reading, BLOCK)
            answer += block
            if not block or len(answer) > MOST_TEXT:
                break
        else:
            raise BackupError(f"It did not end within {TIME_LIMIT} s: see what else uses the disk of {path}.")
    finally:
        os.close(reading)
        end(child)
    try:
        found = json.loads(answer)
    except ValueError:
        raise BackupError("What reads the state was ended from outside: try again.") from None
    if "error" in found:
        raise BackupError(found["error"])
    return found["answer"]


def end(child: int) -> None:
    """End the child, which lets the GCS go on first; one that was stopped is killed."""
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(PermissionError):
            os.kill(child, number)
        deadline = time.monotonic() + (0.2 if number == 0 else 3)
        while time.monotonic() < deadline:
            if os.waitpid(child, os.WNOHANG)[0]:
                return
            time.sleep(0.005)


def live(user: str, path: str, call: Callable[[], object], writing: int) -> None:
    """The child's life."""
    try:
        if os.geteuid() == 0:
            uid, gid, groups = identity(user, path)
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
        # No terminal of root's is left to type into.
        os.setsid()
        os.chdir("/")
        answer = {"answer": call()}
    except FileNotFoundError:
        answer = {"answer": None}
    except BaseException as error:  # pylint: disable=broad-exception-caught
        answer = {"error": str(error) or type(error).__name__}
    try:
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writing, data):]
    finally:
        os._exit(0)


def identity(user: str, path: str) -> tuple[int, int, list[int]]:
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam(user)
        return entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid)
    with opened(path) as directory:
        status = os.fstat(directory)
    if not status.st_uid or not status.st_gid:
        raise BackupError(f"There is no user {user} on this host, and {path} is root's: see whose state it is.")
    return status.st_uid, status.st_gid, []


def lock_holder(path: str) -> int:
    """The process that has one of the databases open, by RocksDB's own locks; 0 for none, -1 for one that has no name,
    such as whoever holds a lock of an open file description."""
    for database in DATABASES:
        try:
            with opened(os.path.join(path, database)) as directory:
                descriptor = open_file("LOCK", directory)
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
        uids = re.search(r"^Uid:(.*)$", stream.read(), re.MULTILINE)[1].split()
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


def open_files(path: str) -> list[OpenFile]:
    """Open every file of the state. Links are not followed: the directory is not root's."""
    found = []
    with opened(path) as top:
        for directory, _directories, names, descriptor in os.fwalk(".", follow_symlinks=False, dir_fd=top):
            for name in names:
                # Locks and RocksDB's own log hold no state.
                if not name.startswith((".", "LOCK", "LOG")):
                    inside = os.path.normpath(os.path.join(directory, name))
                    if not NAME.fullmatch(inside):
                        raise BackupError(f"{inside!r} is no file that RocksDB writes: move it away.")
                    found.append(OpenFile(inside, open_file(name, descriptor)))
    if sum(file.size for file in found) > MOST_BYTES or len(found) > MOST_FILES:
        raise BackupError(f"{path} has more than {MOST_BYTES} bytes or {MOST_FILES} files: see what is in it.")
    return sorted(found, key=lambda file: file.name)


def snapshot(path: str, unit: str) -> tuple[list[OpenFile], float]:
    """The files of the state at one moment, and for how long the GCS was paused, in seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _attempt in range(5):
        try:
            holder, began = lock_holder(path), time.monotonic()
            if holder:
                with paused(path, holder, unit):
                    files = open_files(path) if lock_holder(path) == holder else []
            else:
                files = open_files(path)
            if files and lock_holder(path) in (holder, 0):
                return files, time.monotonic() - began if holder else 0.0
        except (ProcessLookupError, FileNotFoundError):
            pass  # It ended, or began, just now.
        time.sleep(0.5)
    raise BackupError(f"{path} holds no state, or its GCS starts again and again: see journalctl -u ray-head.")


def state_id(sums: dict[str, str]) -> str:
    """One sum for the whole state."""
    return hashlib.sha256("".join(f"{name} {sums[name]}\n" for name in sorted(sums)).encode()).hexdigest()


def add(archive: tarfile.TarFile, name: str, size: int, stream: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    archive.addfile(entry, stream)


def write(descriptor: int, token: bytes, options: argparse.Namespace) -> bool:
    """Write the archive: the files, the token, and the manifest with the sums of what was written."""
    files, pause = snapshot(options.gcs, options.unit)
    os.nice(10)
    session = [os.pread(file.stream.fileno(), min(file.size, 200), 0) for file in files if file.name == "session_name"]
    session = b"".join(session).decode(errors="replace").strip()
    with os.fdopen(descriptor, "wb", closefd=False) as stream, \
            tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as archive:
        for file in files:
            add(archive, f"gcs/{file.name}", file.size, file)
            file.stream.close()
        add(archive, TOKEN, len(token), BytesIO(token))
        sums = {file.name: file.sum.hexdigest() for file in files}
        manifest = json.dumps({
            "cluster_name": options.cluster, "ray_version": options.version, "storage": "rocksdb",
            "session": session if re.fullmatch(TEXTS["session"], session, re.ASCII) else "", "time": time.time(),
            "pause_ms": round(pause * 1000, 1), "written": max(file.written for file in files),
            "state_id": state_id(sums), "token_sum": hashlib.sha256(token).hexdigest(), "files": sums,
        }, indent=1).encode()
        add(archive, MANIFEST, len(manifest), BytesIO(manifest))
    return True


class Bounded:
    """What an archive unpacks to, read forwards, in small blocks, and no more of it than that: its headers are lies."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream, self.position, self.last, self.back = stream, 0, b"", 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= BLOCK or self.position > MOST_BYTES:
            raise tarfile.ReadError("more than a backup holds")
        before, self.back = self.last[-1:] if self.back and size else b"", 0
        data = self.stream.read(size - len(before))
        self.position += len(data)
        self.last = data or self.last
        return before + data

    def tell(self) -> int:
        return self.position - self.back

    def seek(self, offset: int, _whence: int = 0) -> None:
        """Forwards, or to the last byte, which tarfile reads again."""
        self.back = int(offset == self.position - 1)
        while self.tell() < offset:
            if not self.read(min(BLOCK, offset - self.tell())):
                raise tarfile.ReadError("it ends within a file")
        if self.tell() != offset:
            raise tarfile.ReadError("it goes backwards")

    def file(self, entry: tarfile.TarInfo) -> Iterator[bytes]:
        """The blocks of a file whose header was read just now."""
        self.seek(entry.offset_data)
        left = entry.size
        while left > 0:
            data = self.read(min(left, BLOCK))
            if not data:
                raise tarfile.ReadError("it ends within a file")
            left -= len(data)
            yield data


def unpack(source: int, path: str, into: str = "") -> dict:
    """Read an archive to its end, and write its files into a directory that only root can enter, if one is given.

    :returns: its manifest.
    """
    sums, manifest = {}, {}
    try:
        with os.fdopen(source, "rb", closefd=False) as packed, gzip.GzipFile(fileobj=packed) as plain:
            bounded = Bounded(plain)
            with tarfile.TarFile(fileobj=bounded) as archive:
                for entry in archive:
                    whole = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()
                    if not whole or not NAME.fullmatch(entry.name) or entry.name in sums or len(sums) > MOST_FILES:
                        raise BackupError(f"{path} is no backup: it holds {entry.name[:200]}.")
                    if entry.name == MANIFEST:
                        manifest = read_manifest(bounded.file(entry))
                    else:
                        where = os.path.join(into, entry.name) if into else os.devnull
                        sums[entry.name] = copied(bounded.file(entry), where)
            while bounded.read(BLOCK):
                pass  # To the sum at its end.
        wanted = {f"gcs/{name}": found for name, found in manifest["files"].items()} | {TOKEN: manifest["token_sum"]}
    except (tarfile.TarError, OSError, EOFError, ValueError, TypeError, KeyError, RecursionError,
            zlib.error) as error:
        raise BackupError(f"{path} is no whole backup ({type(error).__name__}: {error}): take another one.") from error
    if sums != wanted or manifest["state_id"] != state_id(manifest["files"]):
        raise BackupError(f"{path} is damaged, its sums differ: take another one.")
    return manifest


def read_manifest(blocks: Iterator[bytes]) -> dict:
    """A manifest whose every value is of its kind; raises ValueError, TypeError, KeyError and RecursionError."""
    data = b""
    for block in blocks:
        data += block
        if len(data) > MOST_TEXT:
            raise ValueError("its manifest is too long")
    read = json.loads(data)
    found = {name: read[name] for name in (*TEXTS, *NUMBERS)} | {"files": dict(read["files"])}
    wrong = [name for name, pattern in TEXTS.items()
             if not isinstance(found[name], str) or not re.fullmatch(pattern, found[name], re.ASCII)]
    wrong += [name for name, most in NUMBERS.items()
              if type(found[name]) not in (int, float) or not 0 <= found[name] <= most]
    if wrong or not all(SUM.fullmatch(str(value)) for value in found["files"].values()):
        raise ValueError(f"its manifest has no {', '.join(wrong) or 'sums'}")
    return found


def copied(blocks: Iterator[bytes], path: str) -> str:
    """Write a file of an archive; returns its sum."""
    if path != os.devnull:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    found = hashlib.sha256()
    with open(path, "wb" if path == os.devnull else "xb") as file:
        for block in blocks:
            found.update(block)
            file.write(block)
    return found.hexdigest()


def read_token(path: str) -> bytes:
    with os.fdopen(open_file(path), "rb") as stream:
        return stream.read(BLOCK)


def written(name: str, data: bytes, directory: int, group: int = -1, mode: int = 0o600) -> None:
    """Write a file anew, under its name from its last byte on."""
    new = f".{name}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=directory)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        if group >= 0:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
    os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)


def save(options: argparse.Namespace) -> dict:
    """Make a backup, read it again, and remove the oldest ones."""
    # Other clusters may have theirs in the same directory: whole names, never their beginnings.
    prefix = f"ray-backup-{options.cluster}-"
    ours = re.compile(re.escape(prefix) + r"\d{8}T\d{6}Z\.tar\.gz", re.ASCII)
    name = prefix + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + ".tar.gz"
    token, temporary, path = read_token(options.token), f".{name}", os.path.join(options.dest, name)
    with opened(os.path.dirname(options.dest), 0o755) as parent, contextlib.suppress(FileExistsError):
        os.mkdir(os.path.basename(options.dest), 0o700, dir_fd=parent)
    with opened(options.dest) as directory:
        for found in os.listdir(directory):
            if found.startswith(".") and ours.fullmatch(found[1:]):
                os.unlink(found, dir_fd=directory)  # Of a run that was killed.
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        try:
            if not as_user(options.user, options.gcs, lambda: write(descriptor, token, options)):
                raise BackupError(f"{options.gcs} holds no state.")
            os.lseek(descriptor, 0, os.SEEK_SET)
            manifest = unpack(descriptor, path)
            compare(manifest, path, options)
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            raise
        finally:
            os.close(descriptor)
        # What no GCS worked with may be broken: it takes no other one's place.
        if manifest["pause_ms"]:
            for old in sorted(found for found in os.listdir(directory) if ours.fullmatch(found))[:-options.keep]:
                os.unlink(old, dir_fd=directory)
        answer = told({**manifest, "archive": path, "bytes": size})
        # What is known of the last one.
        written(f"{prefix}latest.json", json.dumps(answer).encode(), directory)
    return answer


def compare(manifest: dict, path: str, options: argparse.Namespace) -> None:
    """Refuse a backup that is not of this cluster."""
    for key, wanted in (("cluster_name", options.cluster), ("ray_version", options.version)):
        if manifest[key] != wanted:
            raise BackupError(
                f"{path} is a backup of {key} {manifest[key]}, and this cluster's is {wanted}: "
                + ("take one of this cluster." if key == "cluster_name" else
                   f"set ray_version to {manifest[key]}, restore it, and upgrade then."))


def check(options: argparse.Namespace) -> dict:
    """Read a backup to its end, and refuse one that is not of this cluster."""
    with open(options.archive, "rb") as stream:
        manifest = unpack(stream.fileno(), options.archive)
        size = os.fstat(stream.fileno()).st_size
    compare(manifest, options.archive, options)
    return told({**manifest, "archive": options.archive, "bytes": size})


def told(manifest: dict) -> dict:
    """What of a manifest is shown."""
    return {key: value for key, value in manifest.items() if key not in ("files", "token_sum")}


def inspect(options: argparse.Namespace) -> dict:
    """What state there is, when it was last written, and which backup it began as."""
    nothing = {"state": False, "written": 0, "restored": "", "state_id": ""}
    found = as_user(options.user, options.gcs, lambda: look(options.gcs)) or nothing
    return {**found, "token": os.path.exists(options.token)}


def look(path: str) -> dict:
    sums, last = {}, 0.0
    for file in open_files(path):
        while file.read(BLOCK):
            pass
        file.stream.close()
        sums[file.name], last = file.sum.hexdigest(), max(last, file.written)
    restored = ""
    with contextlib.suppress(OSError, BackupError), opened(path) as directory, \
            os.fdopen(open_file(RESTORED, directory), "rb") as stream:
        restored = stream.read(100).decode(errors="replace").strip()
    # Any job can have written it.
    restored = restored if SUM.fullmatch(restored) else ""
    return {"state": bool(sums), "written": last, "restored": restored, "state_id": state_id(sums) if sums else ""}


def real(path: str) -> str:
    """Where a directory lies once root's links are followed."""
    try:
        with opened(path) as directory:
            return os.readlink(f"/proc/self/fd/{directory}")
    except (FileNotFoundError, NotADirectoryError):
        return path


def emptied(directory: int) -> None:
    """Remove all that is in a directory that only root can enter."""
    for name in os.listdir(directory):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            below = open_directory(name, directory)
            emptied(below)
            os.close(below)
            os.rmdir(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)


@contextmanager
def private_directory(name: str, parent: int) -> Iterator[int]:
    """A new directory that only root can enter, whoever its parent belongs to; it is gone afterwards."""
    with contextlib.suppress(FileNotFoundError):
        left = open_directory(name, parent)  # By a run that was killed.
        status = os.fstat(left)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not closed(parent):
            raise BackupError(f"{name} beside the state is in the way: see what it is, and move it away.")
        emptied(left)
        os.close(left)
        os.rmdir(name, dir_fd=parent)
    os.mkdir(name, 0o700, dir_fd=parent)
    new = open_directory(name, parent)
    try:
        status = os.fstat(new)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise BackupError(f"Somebody changes what is beside the state: {name} is not root's.")
        yield new
    finally:
        emptied(new)
        os.close(new)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=parent)


def restore(options: argparse.Namespace) -> dict:
    """Put a backup in the place of the state, which is moved aside."""
    os.umask(0o077)
    user = pwd.getpwnam(options.user)
    if as_user(options.user, options.gcs, lambda: lock_holder(options.gcs)):
        raise BackupError(f"A GCS runs with {options.gcs}: stop it first.")
    if os.path.ismount(options.gcs):
        raise BackupError(f"{options.gcs} is a mount point, which cannot be moved: let head_gcs_path lie below.")
    place, aside = real(options.gcs), ""
    name = os.path.basename(place)
    with open(options.archive, "rb") as archive, opened(os.path.dirname(place), 0o755) as parent, \
            private_directory(f".{name}.new", parent) as new:
        # By its descriptor: whoever owns the parent can rename the directory, but put nothing into it.
        inside = f"/proc/self/fd/{new}"
        manifest = unpack(archive.fileno(), options.archive, inside)
        written(RESTORED, f"{manifest['state_id']}\n".encode(), state := open_directory("gcs", new))
        if manifest["pause_ms"]:
            written(SKIP_JOBS, b"", state)
        for _directory, _directories, names, descriptor in os.fwalk(".", follow_symlinks=False, dir_fd=state):
            for file in [".", *names]:
                os.chown(file, user.pw_uid, user.pw_gid, dir_fd=descriptor, follow_symlinks=False)
        os.close(state)
        if not os.path.exists(options.token):
            with opened(os.path.dirname(options.token)) as directory:
                token = read_token(f"{inside}/{TOKEN}")
                written(os.path.basename(options.token), token, directory, user.pw_gid, 0o640)
        os.sync()
        with contextlib.suppress(FileNotFoundError):
            later = f"{name}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
            os.rename(name, later, src_dir_fd=parent, dst_dir_fd=parent)
            aside = os.path.join(os.path.dirname(place), later)
        os.rename("gcs", name, src_dir_fd=new, dst_dir_fd=parent)
    os.sync()
    return {"state_id": manifest["state_id"], "aside": aside}


VERBS = {
    save: ("gcs", "token", "dest", "keep", "cluster", "version", "user"),
    check: ("archive", "cluster", "version"),
    inspect: ("gcs", "token", "user"),
    restore: ("archive", "gcs", "token", "user"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Back up the cluster's state, or put a backup in its place.")
    verbs = parser.add_subparsers(required=True)
    for verb, names in VERBS.items():
        words = verbs.add_parser(verb.__name__, help=verb.__doc__)
        words.set_defaults(verb=verb)
        for name in names:
            words.add_argument(f"--{name}", required=True, type=int if name == "keep" else str)
        if verb is save:
            words.add_argument("--unit", default="ray-head.service", help="the unit that runs the GCS; empty for any")
    options = parser.parse_args()
    # So that a stop of the service ends a pause too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        answer = options.verb(options)
    except (BackupError, OSError) as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.exit("error" in answer)


if __name__ == "__main__":
    main()

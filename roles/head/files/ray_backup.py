# Managed by rayops.cluster
"""Back up the cluster's state, which the GCS keeps in RocksDB, and put a backup in its place.

RocksDB appends to some of its files, makes others once, and changes none in place. So the GCS is paused only until all
are open and their sizes are known. Read up to those, they are what a crash at that moment would have left in both
of its databases, and what the GCS recovers from. Nothing is written beside the live files.
"""
from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import pwd
import resource
import shutil
import signal
import stat
import struct
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

DATABASES = ("kv", "tables")
MANIFEST = "manifest.json"
TOKEN = "auth_token"
# Of the state that is there: which backup it was.
RESTORED = ".restored"
# There as long as ids of jobs are to be skipped: a GCS went on after the backup and gave them away.
SKIP_JOBS = ".skip_jobs"
LATEST = "latest.json"  # beside the archives: what is known of the last one
PAUSE_LIMIT = 10  # seconds
FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux, fcntl(2)


class BackupError(Exception):
    """A sentence: what does not work, and what helps."""


def lock_holder(path: str) -> int:
    """The process that has one of the databases open, by RocksDB's own locks; 0 for none."""
    for database in DATABASES:
        try:
            with open(os.path.join(path, database, "LOCK"), "rb") as stream:
                asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, *_range, pid = struct.unpack(FLOCK, fcntl.fcntl(stream, fcntl.F_GETLK, asked))
        except FileNotFoundError:
            continue
        if kind != fcntl.F_UNLCK:
            return pid
    return 0


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
def paused(pid: int) -> Iterator[None]:
    """Let no thread of the process run; whatever happens, all of them go on."""

    def too_long(_number: int, _frame: object) -> None:
        raise BackupError(f"The GCS could not be paused within {PAUSE_LIMIT} s: its disk may hang. It goes on.")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(PAUSE_LIMIT)
    try:
        os.kill(pid, signal.SIGSTOP)
        # One that waits for the disk stops when that has answered.
        while states(pid) - {"T"}:
            time.sleep(0.0005)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        signal.alarm(0)


class OpenFile:
    """A file of the state as it was at one moment. Its descriptor outlives its name."""

    def __init__(self, name: str, descriptor: int):
        self.name = name
        self.stream = os.fdopen(descriptor, "rb")
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BackupError(f"{name} is no file that RocksDB writes: move it away.")
        self.size, self.written = status.st_size, status.st_mtime
        self.sum = hashlib.sha256()

    def read(self, length: int) -> bytes:
        """The next bytes, none beyond the size that it had."""
        data = self.stream.read(min(length, self.size - self.stream.tell()))
        self.sum.update(data)
        return data


def open_files(path: str) -> list[OpenFile]:
    """Open every file of the state. Links are not followed: the directory is not root's."""
    found = []
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for directory, _directories, names, descriptor in os.fwalk(".", follow_symlinks=False, dir_fd=top):
            for name in names:
                # Locks and RocksDB's own log hold no state.
                if not name.startswith((".", "LOCK", "LOG")):
                    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=descriptor)
                    found.append(OpenFile(os.path.normpath(os.path.join(directory, name)), opened))
    finally:
        os.close(top)
    return sorted(found, key=lambda file: file.name)


def snapshot(path: str) -> tuple[list[OpenFile], float]:
    """The files of the state at one moment, and for how long the GCS was paused, in seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _attempt in range(5):
        holder, began = lock_holder(path), time.monotonic()
        try:
            if holder:
                with paused(holder):
                    files = open_files(path) if lock_holder(path) == holder else []
            else:
                files = open_files(path)
        except (ProcessLookupError, FileNotFoundError):
            continue  # It ended, or began, just now.
        if files and lock_holder(path) in (holder, 0):
            return files, time.monotonic() - began if holder else 0.0
        time.sleep(0.5)
    raise BackupError(f"{path} holds no state, or its GCS starts again and again: see journalctl -u ray-head.")


def state_id(sums: dict[str, str]) -> str:
    """One sum for the whole state."""
    return hashlib.sha256("".join(f"{name} {sums[name]}\n" for name in sorted(sums)).encode()).hexdigest()


def sum_of(path: str) -> str:
    with open(path, "rb") as stream:
        found = hashlib.sha256()
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def add(archive: tarfile.TarFile, name: str, size: int, stream: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    archive.addfile(entry, stream)


def write(temporary: str, options: argparse.Namespace) -> None:
    """Write the archive: the files, the token, and the manifest with the sums of what was written."""
    files, pause = snapshot(options.gcs)
    os.nice(10)
    session = [os.pread(file.stream.fileno(), file.size, 0) for file in files if file.name == "session_name"]
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as archive:
        for file in files:
            add(archive, f"gcs/{file.name}", file.size, file)
            file.stream.close()
        with open(options.token, "rb") as token:
            add(archive, TOKEN, os.fstat(token.fileno()).st_size, token)
        sums = {file.name: file.sum.hexdigest() for file in files}
        manifest = json.dumps({
            "cluster_name": options.cluster, "ray_version": options.version, "storage": "rocksdb",
            "session": b"".join(session).decode().strip(), "time": time.time(), "pause_ms": round(pause * 1000, 1),
            "written": max(file.written for file in files), "state_id": state_id(sums),
            "token_sum": sum_of(options.token), "files": sums,
        }, indent=1).encode()
        add(archive, MANIFEST, len(manifest), BytesIO(manifest))
        archive.fileobj.flush()
    with open(temporary, "rb") as stream:
        os.fsync(stream.fileno())


def unpack(path: str, into: str = "") -> dict:
    """Read an archive to its end, and write its files into a directory, if one is given; returns its manifest."""
    sums, manifest = {}, {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for entry in archive:
                name = os.path.normpath(entry.name)
                if not entry.isfile() or name.startswith(("/", "..")):
                    raise BackupError(f"{path} is no backup: it holds {entry.name}.")
                stream = archive.extractfile(entry)
                if name == MANIFEST:
                    manifest = json.loads(stream.read())
                else:
                    sums[name] = copied(stream, os.path.join(into, name) if into else os.devnull)
        wanted = {f"gcs/{name}": found for name, found in manifest["files"].items()} | {TOKEN: manifest["token_sum"]}
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, zlib.error) as error:
        raise BackupError(f"{path} is no whole backup ({type(error).__name__}: {error}): take another one.") from error
    if sums != wanted:
        raise BackupError(f"{path} is damaged, its sums differ: take another one.")
    return manifest


def copied(stream: object, path: str) -> str:
    """Write a file of an archive; returns its sum."""
    if path != os.devnull:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    found = hashlib.sha256()
    with open(path, "wb") as file:
        while block := stream.read(1 << 20):
            found.update(block)
            file.write(block)
    return found.hexdigest()


def save(options: argparse.Namespace) -> dict:
    """Make a backup, read it again, and remove the oldest ones."""
    prefix = f"ray-backup-{options.cluster}-"
    os.makedirs(options.dest, mode=0o700, exist_ok=True)
    for name in os.listdir(options.dest):
        if name.startswith(f".{prefix}"):
            os.unlink(os.path.join(options.dest, name))  # Of a run that was killed.
    name = prefix + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + ".tar.gz"
    temporary, path = os.path.join(options.dest, f".{name}"), os.path.join(options.dest, name)
    try:
        write(temporary, options)
        manifest = unpack(temporary)
        os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    # What no GCS worked with may be broken: it takes no other one's place.
    if manifest["pause_ms"]:
        for old in sorted(found for found in os.listdir(options.dest) if found.startswith(prefix))[:-options.keep]:
            os.unlink(os.path.join(options.dest, old))
    answer = told({**manifest, "archive": path, "bytes": os.path.getsize(path)})
    latest = os.path.join(options.dest, LATEST)
    with open(f"{latest}.new", "w", encoding="utf-8") as stream:
        json.dump(answer, stream)
    os.rename(f"{latest}.new", latest)
    return answer


def check(options: argparse.Namespace) -> dict:
    """Read a backup to its end, and refuse one that is not of this cluster."""
    manifest = unpack(options.archive)
    for key, wanted in (("cluster_name", options.cluster), ("ray_version", options.version)):
        if manifest[key] != wanted:
            raise BackupError(
                f"{options.archive} is a backup of {key} {manifest[key]}, and this cluster's is {wanted}: "
                + ("take one of this cluster." if key == "cluster_name" else
                   f"set ray_version to {manifest[key]}, restore it, and upgrade then."))
    return told({**manifest, "archive": options.archive, "bytes": os.path.getsize(options.archive)})


def told(manifest: dict) -> dict:
    """What of a manifest is shown."""
    return {key: value for key, value in manifest.items() if key not in ("files", "token_sum")}


def inspect(options: argparse.Namespace) -> dict:
    """What state there is, when it was last written, and which backup it began as."""
    try:
        files = open_files(options.gcs)
    except FileNotFoundError:
        files = []
    sums = {}
    for file in files:
        while file.read(1 << 20):
            pass
        file.stream.close()
        sums[file.name] = file.sum.hexdigest()
    restored = os.path.join(options.gcs, RESTORED)
    if os.path.exists(restored):
        with open(restored, encoding="utf-8") as stream:
            restored = stream.read().strip()
    else:
        restored = ""
    return {
        "state": bool(files), "written": max((file.written for file in files), default=0), "restored": restored,
        "state_id": state_id(sums) if files else "", "token": os.path.exists(options.token),
    }


def restore(options: argparse.Namespace) -> dict:
    """Put a backup in the place of the state, which is moved aside."""
    if lock_holder(options.gcs):
        raise BackupError(f"A GCS runs with {options.gcs}: stop it first.")
    if os.path.ismount(options.gcs):
        raise BackupError(f"{options.gcs} is a mount point, which cannot be moved: let head_gcs_path lie below.")
    user, new = pwd.getpwnam(options.user), f"{options.gcs}.new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(os.path.dirname(new), exist_ok=True)
    os.mkdir(new, mode=0o700)
    os.umask(0o077)
    manifest = unpack(options.archive, new)
    state, aside = os.path.join(new, "gcs"), ""
    with open(os.path.join(state, RESTORED), "w", encoding="utf-8") as stream:
        stream.write(f"{manifest['state_id']}\n")
    if manifest["pause_ms"]:
        with open(os.path.join(state, SKIP_JOBS), "w", encoding="utf-8"):
            pass
    for directory, directories, names in os.walk(state):
        for name in [".", *directories, *names]:
            os.chown(os.path.join(directory, name), user.pw_uid, user.pw_gid)
    if not os.path.exists(options.token):
        os.chown(os.path.join(new, TOKEN), 0, user.pw_gid)
        os.chmod(os.path.join(new, TOKEN), 0o640)
        shutil.move(os.path.join(new, TOKEN), options.token)
    os.sync()
    if os.path.lexists(options.gcs):
        aside = f"{options.gcs}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        os.rename(options.gcs, aside)
    os.rename(state, options.gcs)
    shutil.rmtree(new)
    os.sync()
    return {"state_id": manifest["state_id"], "aside": aside}


VERBS = {
    save: ("gcs", "token", "dest", "keep", "cluster", "version"),
    check: ("archive", "cluster", "version"),
    inspect: ("gcs", "token"),
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

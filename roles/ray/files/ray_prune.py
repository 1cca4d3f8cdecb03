# Managed by rayops.cluster
"""Remove what Ray leaves behind on this host: ended sessions, old logs of the live one, what dead nodes spilled.

Runs as Ray's user. Nothing outside the sessions and the spill directories is touched, no symbolic link below them is
followed, and what a running process uses stays.
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

DAY = 86400
GRACE = 3600  # seconds that a spill directory is left alone: its node may be starting
SESSION = re.compile(r"session_2[\w-]+")
# Every node leaves files such as metrics_export_port_<node id> in its host's session, and they outlive it.
PORT_FILE = re.compile(r"\w+_port_([0-9a-f]+)")
SPILL_DIRECTORY = re.compile(r"ray_spilled_objects_([0-9a-f]+)")
# raylet.out, its next life raylet.1.out, rotated raylet.out.1
LOG = re.compile(r".+\.(log|out|err)(\.\d+)?")
# worker-<id>-<job>-<pid>.out, python-core-worker-<id>_<pid>.log, event_CORE_WORKER_<pid>.log
LOG_OF_PROCESS = re.compile(r"(?:\w*worker|\w+-core|event)[-_].*[-_](\d{1,7})(\.\d+)?\.(log|out|err)(\.\d+)?")
SHARED_FILE_SYSTEM = re.compile(r"nfs4?|cifs|smb3|smbfs|ceph|glusterfs|lustre|gpfs|beegfs|9p|fuse\..*|ocfs2|gfs2")


@dataclass
class InUse:
    """What the running processes use, as far as this user may see them."""

    node_ids: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    # Names only: a path looks different from within a container. An equal name elsewhere merely keeps a file.
    written_files: set[str] = field(default_factory=set)
    spill_directories: set[str] = field(default_factory=set)

    def add_arguments(self, words: list[str], own: bool) -> None:
        """The arguments of a process. own: it is of this user, so that its paths are to be trusted."""
        for word in words:
            name, _equals, value = word.partition("=")
            self.sessions.update(SESSION.findall(word))
            if name in ("--node_id", "--node-id"):
                self.node_ids.add(value)
            # The raylet's name for where it spills, whichever way that was declared.
            if name == "--fallback_directory" and own:
                self.spill_directories.add(value)

    def add_files(self, process: str) -> None:
        """The open files of a process. Ray's log monitor reads the logs of workers that ended: only writers count."""
        for link in [f"{process}/cwd"] + [entry.path for entry in os.scandir(f"{process}/fd")]:
            try:
                target, mode = os.readlink(link), os.lstat(link).st_mode
            except OSError:
                continue  # It was closed.
            self.sessions.update(SESSION.findall(target))
            if mode & 0o200:
                self.written_files.add(os.path.basename(target))


def in_use() -> InUse:
    """Look at every process, proc(5)."""
    found = InUse()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as stream:
                found.add_arguments(stream.read().split("\0"), os.stat(f"/proc/{pid}").st_uid == os.getuid())
            found.add_files(f"/proc/{pid}")
        except OSError:
            continue  # It ended, or is another user's.
    return found


def runs(pid: int) -> bool:
    """Whether there is such a process, also one that /proc hides from this user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def files(path: str) -> Iterator[tuple[str, str, int, os.stat_result]]:
    """Every file below a directory: the directory that holds it, its name, that directory's descriptor, its status."""
    if not os.path.isdir(path):
        return
    for directory, _directories, names, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in names:
            try:
                yield directory, name, descriptor, os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue  # It vanished.


def size(path: str) -> int:
    """Bytes that a tree takes on its disk."""
    return sum(found.st_blocks * 512 for _directory, _name, _descriptor, found in files(path))


class Removal:
    """What is removed, counted by kind."""

    def __init__(self, dry_run: bool):
        self.dry_run = dry_run
        self.counts = {"session": 0, "log file": 0, "spill directory": 0}
        self.bytes = 0
        self.left: list[str] = []

    def _note(self, kind: str, path: str, freed: int) -> None:
        self.counts[kind] += 1
        self.bytes += freed
        if self.dry_run:
            sys.stdout.write(f"{path}\n")

    def tree(self, kind: str, path: str) -> None:
        """Remove a directory; shutil.rmtree follows no link, also not one that is put in its way meanwhile."""
        freed = size(path)
        if not self.dry_run:
            shutil.rmtree(path, ignore_errors=True)
            if os.path.lexists(path):
                self.left.append(path)
                self.bytes += max(freed - size(path), 0)
                return
        self._note(kind, path, freed)

    def file(self, kind: str, path: str, descriptor: int, freed: int) -> None:
        """Remove a file from an open directory."""
        try:
            if not self.dry_run:
                os.unlink(os.path.basename(path), dir_fd=descriptor)
        except FileNotFoundError:
            return
        except OSError:
            self.left.append(path)
            return
        self._note(kind, path, freed)

    def summary(self) -> str:
        """One line on what was done; a second one where something stayed."""
        plural = {"session": "sessions", "log file": "log files", "spill directory": "spill directories"}
        counted = [f"{count} {kind if count == 1 else plural[kind]}" for kind, count in self.counts.items() if count]
        verb = "Would remove" if self.dry_run else "Removed"
        text = f"{verb} {', '.join(counted) or 'nothing'}: {self.bytes} bytes.\n"
        if self.left:
            # systemd takes <4> for the level of a warning.
            text += f"<4>{len(self.left)} could not be removed, {self.left[0]} for one: remove them as root.\n"
        return text


def entries(path: str) -> list[os.DirEntry[str]]:
    """What a directory holds; nothing where it is gone or closed to this user."""
    try:
        return list(os.scandir(path))
    except OSError:
        return []


def directories(path: str, pattern: re.Pattern[str]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """The real directories in a directory whose names match, each with what the pattern's last group matched."""
    for entry in entries(path):
        match = pattern.fullmatch(entry.name)
        if match and entry.is_dir(follow_symlinks=False):
            yield entry, match.group(match.re.groups)


def modified(entry: os.DirEntry[str]) -> float:
    """When it was changed, in seconds since the epoch; one that vanished counts as new."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return time.time()


def last_written(session: os.DirEntry[str]) -> float:
    """When a session was last at work: its own time stops with its first minute, those of its logs with its last."""
    return max(modified(entry) for entry in [session, *entries(os.path.join(session.path, "logs"))])


def prune_spills(removal: Removal, sessions: list[os.DirEntry[str]], used: InUse) -> None:
    """Remove the spilled objects of nodes that ran here and run no longer: nobody can read them any more.

    A session is this host's own. A spilling directory may be shared with other hosts: there, only nodes that left their
    files in a session of this host are known to have run here.
    """
    local_ids: set[str] = set()
    for session in sessions:
        for entry in entries(session.path):
            match = PORT_FILE.fullmatch(entry.name)
            local_ids.update(match.groups() if match else [])
    inside = {session.path for session in sessions}
    for path in sorted(inside | used.spill_directories):
        for entry, node_id in directories(path, SPILL_DIRECTORY):
            known = path in inside or node_id in local_ids
            if known and node_id not in used.node_ids and modified(entry) < time.time() - GRACE:
                removal.tree("spill directory", entry.path)


def prune_logs(removal: Removal, session: str, used: InUse, oldest: float) -> None:
    """Remove the old logs of ended processes from a session: one with fault tolerance lives for months."""
    for directory, name, descriptor, found in files(os.path.join(session, "logs")):
        recent = found.st_mtime > oldest
        if recent or not LOG.fullmatch(name) or not stat.S_ISREG(found.st_mode) or name in used.written_files:
            continue
        # Which files another user's process writes cannot be seen, only whether it runs.
        process = LOG_OF_PROCESS.fullmatch(name)
        if runs(int(process[1])) if process else found.st_uid != os.getuid():
            continue
        removal.file("log file", os.path.join(directory, name), descriptor, found.st_blocks * 512)


def file_system(path: str) -> str:
    """The type of the file system that holds a path, such as ext4 or nfs4 (proc(5), mounts)."""
    best, kind = "", ""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as stream:
        for _device, point, found, *_rest in map(str.split, stream):
            point = point.replace("\\040", " ")
            if os.path.commonpath([point, path]) == point and len(point) >= len(best):
                best, kind = point, found
    return kind


def prune(temp_dir: str, keep_days: int, dry_run: bool) -> str:
    """Remove what may go; returns what to say."""
    top, oldest = os.path.realpath(temp_dir), time.time() - keep_days * DAY
    if SHARED_FILE_SYSTEM.fullmatch(file_system(top)):
        return f"{temp_dir} lies on a file system that other hosts share: nothing is removed there.\n"
    # The sessions come first: what starts after them cannot be old.
    sessions = [entry for entry, _name in directories(top, re.compile("(session_2.*)"))]
    latest = os.path.basename(os.path.realpath(os.path.join(top, "session_latest")))
    used, removal = in_use(), Removal(dry_run)
    prune_spills(removal, sessions, used)
    for session in sessions:
        alive = session.name == latest or session.name in used.sessions
        if not alive and last_written(session) < oldest:
            removal.tree("session", session.path)
        else:
            prune_logs(removal, session.path, used, oldest)
    return removal.summary()


def main() -> None:
    parser = argparse.ArgumentParser(description="Remove what Ray leaves behind on this host.")
    parser.add_argument("--temp-dir", required=True, help="Ray's own directory, which has its sessions")
    parser.add_argument("--keep-days", type=int, required=True, help="for which logs are kept")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    options = parser.parse_args()
    sys.stdout.write(prune(options.temp_dir, options.keep_days, options.dry_run))


if __name__ == "__main__":
    main()

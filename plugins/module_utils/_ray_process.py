# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: do not import it from elsewhere.

"""The live state of a node: Ray's processes on this host, read from /proc."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

# What Ray's processes show of themselves: a title, or the script or the module that their Python runs.
_TITLE = re.compile(r"ray::|ray-dashboard")
_PYTHON = re.compile(r"python[0-9.]*")
# Characters of a file of /proc: execve(2) takes a fourth of the stack, 2 MiB, for arguments and environment.
_MOST = 4 << 20
# What systemd.unit(5) lets a name be, but for a first hyphen.
_SERVICE = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*\.service")
_SCRIPT = re.compile(r".*/(site|dist)-packages/ray/|ray\.util\.client\.server$")


@dataclass
class RayProcess:
    """One process of Ray. kind: raylet, gcs_server, start (the supervising `ray start`) or other."""

    pid: int
    kind: str
    argv: list[str]
    cgroup: str

    @property
    def options(self) -> dict[str, str]:
        """The `--name=value` arguments of raylet and gcs_server."""
        return {
            name: value
            for name, equals, value in (word.partition("=") for word in self.argv if word.startswith("--"))
            if equals
        }

    @property
    def service(self) -> str:
        """The service that it is a part of; empty for none."""
        return service_of(self.cgroup)

    def in_unit(self, unit: str) -> bool:
        """Whether systemd started it as part of this unit."""
        return self.service == unit


def service_of(cgroup: str, proc: str = "/proc") -> str:
    """The service that systemd has a process in, by its /proc/<pid>/cgroup; empty for none.

    That is the first one below systemd's slices. What is below a service or a scope has the names that its own
    processes gave it, such as Ray's with Delegate=yes: another unit's, or an option of systemctl's.
    """
    path = _systemd_path(cgroup)
    # In a container that sees its host's hierarchy, systemd's begins where it is itself.
    top = _systemd_path(read_file(f"{proc}/1/cgroup")).rpartition("/init.scope")[0]
    inside = path[len(top):] if path.startswith(f"{top}/") else path
    for name in filter(None, inside.split("/")):
        if _SERVICE.fullmatch(name):
            return name
        if not name.endswith(".slice"):
            break
    return ""


def _systemd_path(cgroup: str) -> str:
    """A process's path in the hierarchy that systemd keeps, with cgroups version 1 or 2."""
    lines = [line.split(":", 2) for line in cgroup.splitlines() if line.count(":") >= 2]
    for wanted in ("name=systemd", ""):
        for _number, controllers, path in lines:
            if controllers == wanted:
                return path
    return ""


def read_file(path: str) -> str:
    """A file of /proc; empty where the process is gone or not ours to read. A process says itself how long it is."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(_MOST)
    except OSError:
        return ""


def _kind(argv: list[str]) -> str | None:
    program = os.path.basename(argv[0])
    if program in ("raylet", "gcs_server"):
        return program
    if _TITLE.match(argv[0]):
        return "other"
    # An editor or a pager that has a file of Ray's open is not Ray.
    command = [word for word in argv[1:] if not word.startswith("-")] if _PYTHON.fullmatch(program) else argv
    if command and os.path.basename(command[0]) in ("ray", "ray.scripts.scripts") and command[1:2] == ["start"]:
        return "start"
    return "other" if command is not argv and command and _SCRIPT.match(command[0]) else None


def ray_processes(proc: str = "/proc") -> list[RayProcess]:
    """Ray's processes on this host. Those in containers, seen from their host, are not this host's."""
    own_namespace = _namespace(proc, "self")
    found = []
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        process = _ray_process(proc, name, own_namespace)
        if process:
            found.append(process)
    return found


def _ray_process(proc: str, pid: str, own_namespace: str) -> RayProcess | None:
    argv = [word for word in read_file(f"{proc}/{pid}/cmdline").split("\0") if word]
    kind = _kind(argv) if argv else None
    # Root without the right to trace, as in many containers, cannot read the namespace: the process counts then.
    if not kind or _namespace(proc, pid) not in ("", own_namespace):
        return None
    cgroup = read_file(f"{proc}/{pid}/cgroup")
    # Without one it has ended meanwhile: nobody's then, and surely not a foreign one.
    return RayProcess(int(pid), kind, argv, cgroup) if cgroup else None


def _namespace(proc: str, pid: str) -> str:
    try:
        return os.readlink(f"{proc}/{pid}/ns/pid")
    except OSError:
        return ""


def environment_of(pid: int, proc: str = "/proc") -> dict[str, str]:
    """The environment that a process was started with; empty where it cannot be read."""
    pairs = (item.partition("=") for item in read_file(f"{proc}/{pid}/environ").split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def has_open(pid: int, name: str, proc: str = "/proc") -> bool:
    """Whether a process has a file of this name open, in whatever directory."""
    folder = f"{proc}/{pid}/fd"
    try:
        return any(os.path.basename(os.readlink(f"{folder}/{number}")) == name for number in os.listdir(folder))
    except OSError:
        return False  # It has ended, or has just closed one.


def open_files_limit(pid: int, proc: str = "/proc") -> int | None:
    """The hard limit of open files of a process; None for unlimited or unknown."""
    match = re.search(r"^Max open files\s+\S+\s+(\d+)", read_file(f"{proc}/{pid}/limits"), re.MULTILINE)
    return int(match.group(1)) if match else None


def started_at(pid: int, proc: str = "/proc") -> float | None:
    """When a process was started, in seconds since the epoch (proc(5): field 22 of stat, in clock ticks)."""
    stat = read_file(f"{proc}/{pid}/stat").rpartition(")")[2].split()
    uptime = read_file(f"{proc}/uptime").split()
    if len(stat) < 20 or not uptime:
        return None
    age = float(uptime[0]) - int(stat[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def foreign_nodes(processes: list[RayProcess], unit: str) -> list[RayProcess]:
    """The raylets and GCS servers that a hand or another program started beside the unit."""
    return [process for process in processes if process.kind in ("raylet", "gcs_server") and not process.in_unit(unit)]


def stop_foreign(unit: str, grace: float = 10.0, kill: bool = False) -> None:
    """End every Ray process outside the unit: SIGTERM, which lets a raylet leave its cluster, then SIGKILL.

    :arg unit: the unit whose own processes are left alone.
    :arg grace: seconds between the two signals.
    :arg kill: SIGKILL at once.
    """
    for number in (signal.SIGTERM, signal.SIGKILL)[kill:]:
        deadline = time.monotonic() + grace
        for process in _outside(unit):
            send(process.pid, number, lambda found: not found.in_unit(unit))
        while _outside(unit) and time.monotonic() < deadline:
            time.sleep(0.2)
        if not _outside(unit):
            return


def _outside(unit: str) -> list[RayProcess]:
    return [process for process in ray_processes() if not process.in_unit(unit)]


def send(pid: int, number: int, wanted: Callable[[RayProcess], bool], seconds: float = 0) -> bool:
    """Signal a process of Ray's, and wait for its end.

    The process is held while it is looked at, so that no other one that has its number by then is met.
    :arg wanted: whether it is still the one that is meant.
    :arg seconds: to wait.
    :returns: whether it has ended, or is none that is meant.
    """
    if pid <= 1:
        return True
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        found = _ray_process("/proc", str(pid), _namespace("/proc", "self"))
        if not found or not wanted(found):
            return True
        signal.pidfd_send_signal(held, number)
        return bool(select.select([held], [], [], seconds)[0])
    except ProcessLookupError:
        return True
    finally:
        os.close(held)

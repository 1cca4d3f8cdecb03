# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes as /proc shows them. A process writes its own command line and title: they are data, and prove nothing."""

from __future__ import annotations

import os
import re
import time

# Characters of a file of /proc: execve(2) takes a fourth of the stack, 2 MiB, for arguments and environment.
_MOST = 4 << 20
# What systemd.unit(5) lets a name be, but for a first hyphen.
_SERVICE = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*\.service")


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


def pid_namespace(proc: str, pid: str) -> str:
    """What names the PID namespace of a process; empty where it cannot be read."""
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

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live state of a node: Ray's processes on this host, read from /proc."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import pid_namespace, read_file, service_of

# What Ray's processes show of themselves: a title, or the script or the module that their Python runs.
_TITLE = re.compile(r"ray::|ray-dashboard")
_PYTHON = re.compile(r"python[0-9.]*")
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
    own_namespace = pid_namespace(proc, "self")
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
    if not kind or pid_namespace(proc, pid) not in ("", own_namespace):
        return None
    cgroup = read_file(f"{proc}/{pid}/cgroup")
    # Without one it has ended meanwhile: nobody's then, and surely not a foreign one.
    return RayProcess(int(pid), kind, argv, cgroup) if cgroup else None


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
        found = _ray_process("/proc", str(pid), pid_namespace("/proc", "self"))
        if not found or not wanted(found):
            return True
        signal.pidfd_send_signal(held, number)
        return bool(select.select([held], [], [], seconds)[0])
    except ProcessLookupError:
        return True
    finally:
        os.close(held)

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host must have before Ray is installed on it: a Python that Ray runs with, and room on its disks."""

from __future__ import annotations

import glob
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import vouch
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem

OLDEST_PYTHON = (3, 10)
_OLDEST = ".".join(map(str, OLDEST_PYTHON))
_MB, _GB = 10**6, 10**9
# Bytes that an environment takes with these packages and what they need. Ray 2.60 alone: 335 MB, and its bytecode.
_SIZES = {"ray": 500 * _MB, "torch": 6 * _GB, "vllm": 10 * _GB, "vllm-ascend": 10 * _GB}
# While it is installed, its wheels lie beside it.
_WITH_WHEELS = 1.5
# Logs and sessions of a node that starts. Ray makes no more objects on a disk that is full but for a twentieth.
_SESSIONS = _GB


@dataclass(frozen=True)
class Room:
    """Bytes that something needs. variable: what says where it lies, as the user's word."""

    what: str
    path: str
    size: int
    variable: str


def room_for_environment(path: str, packages: Iterable[str], size: int = 0) -> Room:
    """What an environment needs on its disk while it is installed.

    :arg packages: pip's requirements.
    :arg size: bytes that it takes, where the site knows; 0 goes by the packages.
    """
    names = (re.split(r"[^A-Za-z0-9._-]", package, maxsplit=1)[0] for package in packages)
    known = max((_SIZES.get(name.lower().replace("_", "-"), 0) for name in names), default=0)
    return Room("Ray's environment", path, int((size or known or _SIZES["ray"]) * _WITH_WHEELS), "ray_root")


def room_for_sessions(path: str) -> Room:
    """What a node that starts needs where its sessions lie."""
    return Room("sessions and logs", path, _SESSIONS, "ray_temp_dir")


def room_problems(rooms: Iterable[Room]) -> list[Problem]:
    """Which file systems have too little left for all that is to lie on them."""
    by_device: dict[int, list[Room]] = {}
    for room in rooms:
        by_device.setdefault(os.stat(_existing(room.path)).st_dev, []).append(room)
    found = []
    for together in by_device.values():
        place = _existing(together[0].path)
        status = os.statvfs(place)
        free, needed = status.f_bavail * status.f_frsize, sum(room.size for room in together)
        if free < needed:
            what = " and ".join(f"{_shown(room.size)} for {room.what} in {room.path}" for room in together)
            variables = " or ".join(room.variable for room in together)
            found.append(Problem(
                "disk_small", f"the file system {_mount_point(place)} has {_shown(free)} left, and {what} are needed",
                f"remove what nobody uses, enlarge it, or set {variables} to a directory on another one.",
            ))
    return found


def python_problem(python: str) -> Problem | None:
    """Why Ray cannot be installed with an interpreter; it is run, if only root can change it.

    :raises PathError: others than root could.
    """
    try:
        vouch(python)
    except (FileNotFoundError, NotADirectoryError):
        return Problem("python_missing", f"ray_python {python} does not exist on this host", _advice())
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, errors="replace",
                              timeout=30, check=False)
        version = re.fullmatch(r"(\d+)\.(\d+)\n", done.stdout)
    except (OSError, subprocess.TimeoutExpired):
        version = None
    if not version:
        return Problem("python_missing", f"ray_python {python} does not run as a Python", _advice())
    if tuple(map(int, version.groups())) < OLDEST_PYTHON:
        fact = f"ray_python {python} is Python {version[0].strip()}, and Ray needs {_OLDEST} or later"
        return Problem("python_old", fact, _advice())
    return None


def _advice(directories: tuple[str, ...] = ("/usr/bin", "/usr/local/bin")) -> str:
    """Which interpreter to use instead."""
    found = [path for directory in directories for path in glob.glob(f"{directory}/python3.*")]
    minors = {path: re.fullmatch(r".*/python3\.(\d+)", path) for path in found}
    fit = {path: int(match[1]) for path, match in minors.items() if match and (3, int(match[1])) >= OLDEST_PYTHON}
    if fit:
        return f"set it to {max(fit, key=lambda path: fit[path])}, which is there."
    return f"install Python {_OLDEST} or later, and name it."


def _existing(path: str) -> str:
    """Where a path leads, as far as that is there."""
    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _mount_point(path: str) -> str:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _shown(size: int) -> str:
    return f"{size / _GB:.1f} GB"

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a diagnosis reads from the host: disks, sockets, logs, names. Everything ends within seconds.

Who asks for Ray's own files asks as Ray's user (_system/guest.py): any job may have put something else in their place.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import read_tail
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import read_file

SECONDS = 3.0
# Ray gives each life of a raylet new names for these two, and never takes a name that exists.
_SOCKET = re.compile(r"(raylet|plasma_store)(\.\d+)?")


def full_disks(paths: Iterable[str], limit: float) -> list[tuple[str, str]]:
    """The file systems that are full: the first of the paths on each, and in words what is used up."""
    found, seen = [], set()
    for path in paths:
        if not path or not os.path.exists(path) or os.stat(path).st_dev in seen:
            continue
        seen.add(os.stat(path).st_dev)
        space = os.statvfs(path)
        # As Ray counts: what only root may still use is used.
        for name, total, free in (
            ("its space", space.f_blocks, space.f_bavail), ("its inodes", space.f_files, space.f_favail)
        ):
            if total and 1 - free / total >= limit:
                found.append((path, f"{100 - 100 * free / total:.0f} % of {name}"))
    return found


def visible_bytes(directory: str) -> tuple[int, str]:
    """What files with names take in a directory, and the largest of them. Ray's own object store has no name there."""
    total, largest, name = 0, 0, ""
    for folder, _folders, names in os.walk(directory):
        for entry in names:
            path = os.path.join(folder, entry)
            try:
                size = os.lstat(path).st_blocks * 512
            except OSError:
                continue  # It vanished.
            total += size
            if size > largest:
                largest, name = size, path
    return total, name


def _sockets(temp_dir: str) -> Iterator[str]:
    for path in glob.glob(f"{glob.escape(temp_dir)}/session_2*/sockets/*"):
        try:
            if _SOCKET.fullmatch(os.path.basename(path)) and stat.S_ISSOCK(os.lstat(path).st_mode):
                yield path
        except OSError:
            continue  # It vanished.


def stale_sockets(temp_dir: str, proc: str = "/proc") -> list[str]:
    """The sockets of raylets and object stores that no process has."""
    # In this order: one that is made in between is in both.
    files = list(_sockets(os.path.realpath(temp_dir)))
    bound = {line.split(None, 7)[-1] for line in read_file(f"{proc}/net/unix").splitlines()}
    return sorted(path for path in files if path not in bound)


def stale_files(temp_dir: str, clusters: list[str]) -> list[str]:
    """What ended processes left: their sockets, and the file with the address of a cluster that is none of these."""
    named = os.path.join(temp_dir, "ray_current_cluster")
    cluster = read_tail(named).strip()
    return stale_sockets(temp_dir) + ([named] if cluster and cluster not in clusters else [])


def remove_stale(temp_dir: str, clusters: list[str]) -> list[str]:
    """Remove it; returns what could not be removed."""
    left = []
    for path in stale_files(temp_dir, clusters):
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError:
            left.append(path)
    return left


def addresses_of(name: str) -> set[str]:
    """The addresses that the host has for a name, from its files or its name servers."""
    try:
        done = subprocess.run(
            ["getent", "ahosts", name], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


def digest_of(path: str) -> str:
    """The SHA-256 of a regular file of a megabyte at most; empty where there is none."""
    try:
        # No pipe is waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            return hashlib.sha256(stream.read(1 << 20)).hexdigest() if regular else ""
    except OSError:
        return ""

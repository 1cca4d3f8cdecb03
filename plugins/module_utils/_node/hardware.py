# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this host can really give: accelerators, memory, shared memory and addresses, against what is declared."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._node.config import resources_of
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import interfaces
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem

# Plasma maps its memory files into every process of the node: on a file system that other hosts share, that is slow
# and ends in SIGBUS.
_SHARED_FILE_SYSTEMS = re.compile(r"^(nfs4?|cifs|smb3|smbfs|ceph|glusterfs|lustre|gpfs|beegfs|9p|fuse\..*|ocfs2|gfs2)$")


def count_gpus(dev: str = "/dev") -> int:
    """NVIDIA GPUs that the driver shows, by their device nodes."""
    return _count_devices(dev, r"nvidia\d+")


def count_npus(dev: str = "/dev") -> int:
    """Ascend NPUs that the driver shows, by their device nodes."""
    return _count_devices(dev, r"davinci\d+")


def _count_devices(dev: str, pattern: str) -> int:
    try:
        return sum(1 for name in os.listdir(dev) if re.fullmatch(pattern, name))
    except OSError:
        return 0


def total_memory(meminfo: str = "/proc/meminfo") -> int:
    """The host's memory in bytes; 0 where unknown."""
    try:
        with open(meminfo, encoding="ascii") as stream:
            match = re.search(r"^MemTotal:\s+(\d+) kB", stream.read(), re.MULTILINE)
    except OSError:
        return 0
    return int(match.group(1)) * 1024 if match else 0


def file_system_of(path: str, mounts: str = "/proc/mounts") -> str:
    """The type of the file system that holds a path, such as ext4, tmpfs or nfs4; empty where unknown."""
    real = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open(mounts, encoding="utf-8", errors="replace") as stream:
            entries = [line.split() for line in stream]
    except OSError:
        return ""
    for entry in entries:
        point = entry[1].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, entry[2]
    return kind


def size_of(path: str) -> int:
    """The size in bytes of the file system that holds a path, or its nearest parent that exists."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    stat = os.statvfs(path)
    return stat.f_frsize * stat.f_blocks


def has_address(address: str) -> bool:
    """Whether an IP address is one of this host's own: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _object_store_problem(config: dict[str, Any]) -> Problem | None:
    store = config.get("object_store") or {}
    system = config.get("system_config") or {}
    directory = store.get("plasma_directory") or system.get("plasma_directory") or "/dev/shm"
    kind = file_system_of(directory)
    if _SHARED_FILE_SYSTEMS.match(kind):
        return Problem(
            "plasma_shared", f"plasma_directory {directory} lies on {kind}, which other hosts share",
            "the object store is this node's own memory, so leave plasma_directory out and /dev/shm is used.",
        )
    declared, size, memory = store.get("memory") or 0, size_of(directory), total_memory()
    fact = f"object_store.memory is {declared} bytes, but"
    if declared > size:
        return Problem("shm_full", f"{fact} {directory} holds {size}", (
            f"lower it, or enlarge the file system (mount -o remount,size={declared} {directory})."))
    if memory and declared >= memory:
        return Problem("store_too_large", f"{fact} this host has {memory} bytes of memory", "lower it.")
    return None


def _address_problem(address: str | None) -> Problem | None:
    if not address:
        return None
    fact = f"network.node_ip_address {address}"
    if _is_loopback(address):
        fact += " is a loopback address, which no other host can reach"
    elif not has_address(address):
        fact += " is not an address of this host"
    else:
        return None
    own = ", ".join(f"{own} ({name})" for own, name in interfaces().items() if not _is_loopback(own))
    return Problem("address_changed", fact, "set ray_node_ip_address to its private one" + (
        f"; it has {own}." if own else "."))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def problems(config: dict[str, Any], node_type: str, accelerators: bool = True) -> list[Problem]:
    """What the declared state asks of this host and this host does not have.

    :arg config: the content of the node's file.
    :arg node_type: ``head`` or ``worker``.
    :arg accelerators: False lets GPUs and NPUs be declared that are not there, as Ray does.
    :returns: of the kinds hardware_missing, address_changed, plasma_shared (the object store lies on a file system of
      several hosts), shm_full (it is larger than its file system) and store_too_large (than the memory).
    """
    found = []
    resources = resources_of(config, node_type)
    where = "head_node.resources" if node_type == "head" else "resources"
    for name, present, device in (("GPU", count_gpus(), "/dev/nvidia*"), ("NPU", count_npus(), "/dev/davinci*")):
        declared = resources.get(name) or 0
        if accelerators and declared > present:
            found.append(Problem(
                "hardware_missing", f"{where}.{name} is {declared:g}, but this host shows {present} ({device})",
                "correct it, load the driver, or set ray_check_accelerators: false for logical ones.",
            ))
    memory = total_memory()
    if memory and (resources.get("memory") or 0) > memory:
        fact = f"{where}.memory is {resources['memory']} bytes, but this host has {memory}"
        found.append(Problem("hardware_missing", fact, "lower it."))
    address = _address_problem((config.get("network") or {}).get("node_ip_address"))
    store = _object_store_problem(config)
    return found + [problem for problem in (address, store) if problem]

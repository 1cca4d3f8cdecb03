# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who listens on a TCP port of this host, read from /proc (proc(5): net/tcp)."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import read_file, service_of

_LISTEN = "0A"  # include/net/tcp_states.h: TCP_LISTEN
_ANY = ("0.0.0.0", "::")
# Linux's own range for ports that nobody chose, and where a host has it.
LOCAL_PORTS, _RANGE = (32768, 60999), "sys/net/ipv4/ip_local_port_range"


@dataclass
class Listener:
    """A process that listens. service: the systemd unit that it is a part of; empty where it cannot be told."""

    pid: int
    program: str
    service: str

    def __str__(self) -> str:
        who = f"process {self.pid} ({self.program})" if self.pid else "a process that cannot be seen from here"
        return f"{self.service}, {who}" if self.service else who


def listeners(address: str, port: int, proc: str = "/proc") -> list[Listener]:
    """Those who listen on the port, on the address itself or on all addresses."""
    inodes = _inodes(address, port, proc)
    if not inodes:
        return []
    found = [_describe(pid, proc) for pid in os.listdir(proc) if pid.isdigit() and inodes & _sockets(pid, proc)]
    return found or [Listener(0, "", "")]


def listening_on(address: str, proc: str = "/proc") -> set[int]:
    """The ports on which somebody listens, on the address itself or on all addresses."""
    return {found.port for found in _listening(address, proc)}


def owners(proc: str = "/proc") -> dict[int, set[int]]:
    """The numbers of the users whose sockets wait for other hosts, by port. A socket of the kernel's own is root's."""
    found: dict[int, set[int]] = {}
    for each in _listening("0.0.0.0", proc):
        if not _is_loopback(each.address):
            found.setdefault(each.port, set()).add(each.user)
    return found


def local_ports(proc: str = "/proc") -> tuple[int, int]:
    """The first and the last port that this host gives to who asks for none; Linux's own where it cannot be read."""
    try:
        with open(f"{proc}/{_RANGE}", encoding="ascii") as stream:
            # For a longer one, as of other files of /proc, the kernel has no memory.
            words = stream.read(100).split()
    except OSError:
        words = []
    return (int(words[0]), int(words[1])) if len(words) == 2 else LOCAL_PORTS


def _inodes(address: str, port: int, proc: str) -> set[str]:
    return {found.inode for found in _listening(address, proc) if found.port == port}


@dataclass(frozen=True)
class _Socket:
    """A socket that listens. user: the number of who made it, or whom it was given to."""

    address: str
    port: int
    user: int
    inode: str


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _listening(address: str, proc: str) -> Iterator[_Socket]:
    """Each socket that listens there."""
    for name in ("tcp", "tcp6"):
        for line in read_file(f"{proc}/net/{name}").splitlines()[1:]:
            words = line.split()
            host, _colon, number = words[1].rpartition(":")
            if words[3] == _LISTEN:
                bound = _decode(host)
                if bound in _ANY or address in _ANY or bound in (address, f"::ffff:{address}"):
                    yield _Socket(bound, int(number, 16), int(words[7]), words[9])


def _decode(host: str) -> str:
    """The kernel prints an address as 32-bit words in the host's own byte order."""
    words = [int(host[at:at + 8], 16) for at in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def _sockets(pid: str, proc: str) -> set[str]:
    folder, found = f"{proc}/{pid}/fd", set()
    try:
        for name in os.listdir(folder):
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"{folder}/{name}"))
            if match:
                found.add(match.group(1))
    except OSError:
        pass  # It has ended meanwhile.
    return found


def _describe(pid: str, proc: str) -> Listener:
    service = service_of(read_file(f"{proc}/{pid}/cgroup"), proc)
    return Listener(int(pid), harmless(read_file(f"{proc}/{pid}/comm").strip()), service)

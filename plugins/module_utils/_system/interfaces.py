# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""This host's IP addresses, the interface of each, and the one that is its own."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import re
import socket
import struct

from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import read_file

# Stands for the interface of a node in what is compiled elsewhere: only the node itself knows its name.
INTERFACE = "@interface@"
# The kernel takes other names, too: they would need quotes wherever they are written.
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
# Addresses that are documentation's own: nothing is sent to them.
_FAR = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_SIOCGIFCONF = 0x8912  # netdevice(7)
_MOST = 1 << 16
_ENTRY = 40  # bytes of a struct ifreq on 64-bit machines: 16 of the name, then a struct sockaddr_in


def interfaces(proc: str = "/proc") -> dict[str, str]:
    """Each address of this host with the name of its interface, IPv4 first; link-local ones of IPv6 are left out."""
    buffer = array.array("B", bytes(_MOST))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        asked = struct.pack("iP", _MOST, buffer.buffer_info()[0])
        size = struct.unpack("iP", fcntl.ioctl(probe, _SIOCGIFCONF, asked))[0]
    found = {}
    for at in range(0, size, _ENTRY):
        entry = buffer[at:at + _ENTRY].tobytes()
        label = entry[:16].partition(b"\0")[0].decode(errors="replace")
        found[socket.inet_ntoa(entry[20:24])] = label.partition(":")[0]
    for words in map(str.split, read_file(f"{proc}/net/if_inet6").splitlines()):
        address = ipaddress.IPv6Address(int(words[0], 16))
        if not address.is_link_local:
            found[str(address)] = words[5]
    return found


def interface_of(address: str) -> str:
    """The interface that carries an address: that of a bond, a bridge or a VLAN, not the ones below it.

    :returns: its name; empty where no interface of this host carries the address, or its name is unusual.
    """
    try:
        name = interfaces().get(str(ipaddress.ip_address(address)), "")
    except (OSError, ValueError):
        return ""
    return name if _NAME.fullmatch(name) else ""


def bracketed(address: str) -> str:
    """An IP address or a host's name as it stands before a port."""
    return f"[{address}]" if ":" in address else address


def own_address() -> str:
    """The address that this host's default route begins with, else its only one beside loopback's.

    :returns: it; empty where there is none, or more than one to choose from.
    """
    for family, far in _FAR:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
            except OSError:
                continue
            return str(probe.getsockname()[0])
    found = [address for address in interfaces() if not ipaddress.ip_address(address).is_loopback]
    return found[0] if len(found) == 1 else ""


def with_interface(text: str, address: str) -> str:
    """A text with the name of the interface that carries an address in place of INTERFACE.

    Where none carries it, the lines with INTERFACE are left out.
    """
    name = interface_of(address) if INTERFACE in text else ""
    if name:
        return text.replace(INTERFACE, name)
    return "".join(line for line in text.splitlines(keepends=True) if INTERFACE not in line)

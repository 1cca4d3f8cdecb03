# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""This host's IP addresses, and the interface of each."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct

from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import read_file

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

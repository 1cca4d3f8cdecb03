# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network interface that carries an address of this host, and this host's own address."""

from __future__ import annotations

import ipaddress
import re
import socket

from ansible_collections.rayops.cluster.plugins.module_utils._system.addresses import interfaces

# Stands for the interface of a node in what is compiled elsewhere: only the node itself knows its name.
INTERFACE = "@interface@"
# The kernel takes other names, too: they would need quotes wherever they are written.
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
# Addresses that are documentation's own: nothing is sent to them.
_FAR = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def interface_of(address: str) -> str:
    """The interface that carries an address: that of a bond, a bridge or a VLAN, not the ones below it.

    :returns: its name; empty where no interface of this host carries the address, or its name is unusual.
    """
    try:
        name = interfaces().get(str(ipaddress.ip_address(address)), "")
    except (OSError, ValueError):
        return ""
    return name if _NAME.fullmatch(name) else ""


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

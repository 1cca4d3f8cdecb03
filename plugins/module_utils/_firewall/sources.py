# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may come to a host of the cluster: addresses and networks, and what is wrong with those that are declared."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What a host may say of itself. A public address is many people's way out; those of a link have no host to themselves.
_PRIVATE = [ipaddress.ip_network(text) for text in (
    "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]
# More than this are not the addresses of one host.
MOST = 64


def private(answer: Any) -> list[str]:
    """The private addresses among those that a host says are its own; whatever else it says is left out."""
    found: set[str] = set()
    for text in answer[:MOST] if isinstance(answer, list) else []:
        try:
            address = ipaddress.ip_address(text) if isinstance(text, str) and "%" not in text else None
        except ValueError:
            continue
        if address and any(address.version == each.version and address in each for each in _PRIVATE):
            found.add(str(address))
    return sorted(found)


def address_of(host: Mapping[str, Any]) -> str:
    """A host's private address by its variables, as ray_node_ip_address has it by default."""
    names = ("ray_node_ip_address", "ecs_private_ip", "ansible_host", "inventory_hostname")
    return str(next(host[name] for name in names if host.get(name)))


def ip_addresses(text: str) -> list[str]:
    """The address of a host in the inventory; none where that is a name, whose host says itself what it has."""
    try:
        return [str(ipaddress.ip_address(text))]
    except ValueError:
        return []


def problems(variable: str, declared: Any) -> Iterator[str]:
    """What is wrong with declared networks, a sentence each with the fix in it."""
    if not isinstance(declared, list):
        yield f"{variable} is {declared!r}, which is no list: write networks such as [10.20.0.0/16]."
        return
    for text in declared:
        try:
            ipaddress.ip_network(str(text))
        except ValueError:
            yield f"{variable} has {text}, which is no network: {_instead(str(text))}."


def _instead(text: str) -> str:
    """What to write in place of something that is no network."""
    try:
        return f"write {ipaddress.ip_network(text, strict=False)}"
    except ValueError:
        return "write one such as 10.20.0.0/16, or an address such as 10.20.0.7"


def networks(sources: Iterable[str], version: int) -> list[str]:
    """Addresses and networks of a version of IP, without those that lie in others: a set of nftables has no overlaps.

    :raises ValueError: one of them is none.
    """
    own: list[Any] = [each for each in map(ipaddress.ip_network, sources) if each.version == version]
    collapsed = ipaddress.collapse_addresses(own)
    return [str(each.network_address if each.prefixlen == each.max_prefixlen else each) for each in collapsed]

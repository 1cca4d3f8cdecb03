# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts of the cluster have a firewall of ours, or something left of it, and where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.sources import (
    address_of,
    ip_addresses,
    private,
)


def firewall_hosts(nodes: Iterable[str], hostvars: Mapping[str, Any], which: str = "declared") -> list[str]:
    """Names of hosts; see the documentation of the filter of this name."""
    hosts = {name: hostvars[name] for name in nodes if name in hostvars}
    on = [name for name, own in hosts.items() if boolean(own.get("ray_firewall", False), strict=False)]
    if which == "surplus":
        return [name for name in on if _said(hosts[name], "ray_firewall_table", "surplus")]
    if which == "left":
        off = [name for name in hosts if name not in on]
        return off if any(_said(hosts[name], "ray_node_plan", "firewall") for name in off) else []
    return on


def firewall_sources(nodes: Iterable[str], hostvars: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hosts of the cluster as each of them is to know the others: {name, addresses, found}.

    Names and addresses are the inventory's. A host is believed for private addresses of its own (ray_firewall_found).
    """
    sources = []
    for name, host in ((name, hostvars[name]) for name in nodes if name in hostvars):
        said = host.get("ray_firewall_found")
        own = said.get("addresses") if isinstance(said, Mapping) else None
        found = None if own is None else private(list(own))
        sources.append({"name": name, "addresses": ip_addresses(address_of(host)), "found": found})
    return sources


def _said(host: Mapping[str, Any], registered: str, key: str) -> bool:
    """Whether a host's answer to a task has a mark."""
    answer = host.get(registered)
    return isinstance(answer, Mapping) and answer.get(key) is True

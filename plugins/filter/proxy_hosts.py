# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: proxy_hosts
short_description: The hosts on which there is something to do about the proxy
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - All of them where a proxy is wanted. Otherwise those of which the tasks that write the files of head and monitor
    have told that something of an earlier one is left, so that nobody is asked for it.
positional: wanted, directory
options:
  _input: {description: The variables of each host., type: list, elements: dict, required: true}
  wanted: {description: Whether there shall be a proxy., type: bool, required: true}
  directory: {description: Where a proxy has its files., type: str, required: true}
"""

EXAMPLES = r"""
hosts: "{{ groups['ray_head'] | map('extract', hostvars) | rayops.cluster.proxy_hosts(false, '/etc/ray-proxy') }}"
"""

RETURN = r"""
_value: {description: The names of the hosts., type: list, elements: str}
"""

from collections.abc import Iterable, Mapping
from typing import Any

# What the tasks that write the files of a node and of a monitor have registered.
_ANSWERS = ("ray_files", "monitor_files")


def proxy_hosts(hosts: Iterable[Mapping[str, Any]], wanted: bool, directory: str) -> list[str]:
    """The names; see the documentation above."""
    return [host["inventory_hostname"] for host in hosts if wanted or any(_keeps(host, directory))]


def _keeps(host: Mapping[str, Any], directory: str) -> Iterable[bool]:
    """Whether each answer says that the host has the directory still. A host may say what it likes, or nothing."""
    for name in _ANSWERS:
        answer = host.get(name)
        kept = answer.get("kept") if isinstance(answer, Mapping) else None
        yield isinstance(kept, (list, tuple)) and directory in kept


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"proxy_hosts": proxy_hosts}

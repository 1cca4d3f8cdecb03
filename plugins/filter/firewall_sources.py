# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: firewall_sources
short_description: The hosts of a cluster with their addresses, as each is to know the others
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - For O(rayops.cluster.node_firewall#module:hosts). Names and addresses are the inventory's.
  - What a host itself says with O(rayops.cluster.node_firewall#module:state=looked), registered as
    C(ray_firewall_found), is believed for private addresses of its own.
positional: hostvars
options:
  _input: {description: The names of all hosts of the cluster., type: list, elements: str, required: true}
  hostvars: {description: Ansible's own., type: dict, required: true}
"""

EXAMPLES = r"""
sources: "{{ groups['ray_head'] | rayops.cluster.firewall_sources(hostvars) }}"
"""

RETURN = r"""
_value: {description: "C(name), C(addresses) and C(found) of each.", type: list, elements: dict}
"""

from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.hosts import firewall_sources


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"firewall_sources": firewall_sources}

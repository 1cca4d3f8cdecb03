# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: firewall_hosts
short_description: The hosts of the plays about the cluster's firewall
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Where C(ray_firewall) is off everywhere, and no host has something left of it, there are none.
positional: hostvars, which
options:
  _input: {description: The names of all hosts of the cluster., type: list, elements: str, required: true}
  hostvars: {description: Ansible's own., type: dict, required: true}
  which:
    description:
      - V(declared) are those with C(ray_firewall).
      - V(surplus), those of them that C(ray_firewall_table) says shut something that is not declared any more.
      - V(left), the others, if one of them has something left of it, by what C(ray_node_plan) says. Each of them then
        looks what it has itself.
    type: str
    choices: [declared, surplus, left]
    default: declared
"""

EXAMPLES = r"""
- name: Shut the cluster's ports to strangers
  hosts: "{{ groups['ray_head'] | rayops.cluster.firewall_hosts(hostvars) }}"
"""

RETURN = r"""
_value: {description: Their names., type: list, elements: str}
"""

from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.hosts import firewall_hosts


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"firewall_hosts": firewall_hosts}

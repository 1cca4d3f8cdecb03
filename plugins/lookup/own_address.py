# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: own_address
short_description: The address of this machine in its network
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Finds the address that the controller's default route begins with, and sends nothing. Where there is no default
    route, it is the only address beside the loopback interface's.
  - It is for a cluster on the machine where Ansible runs, as in C(inventories/local).
options: {}
"""

EXAMPLES = r"""
- name: The machine's address is shown
  ansible.builtin.debug:
    msg: "{{ lookup('rayops.cluster.own_address') }}"
"""

RETURN = r"""
_raw: {description: "The address, IPv4 if there is one.", type: list, elements: str}
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import own_address


class LookupModule(LookupBase):
    """The lookup of this file."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        address = own_address()
        if not address:
            raise AnsibleLookupError(
                "This machine has no default route and not exactly one address: set ray_node_ip_address to the one "
                "that Ray shall use."
            )
        return [address]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: firewall_ports
short_description: Which ports of a host are the cluster's, by who may use them
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Sorts what the host's parts in the cluster listen on, for M(rayops.cluster.node_firewall).
options:
  _input:
    description:
      - C(node), the ports of its node by their names in C(ray_ports), and C(mesh), those that other nodes connect to.
      - C(redis), C(monitor) and C(serve), lists of ports; C(models), what the models have there, C(clients) and
        C(cluster); C(open), ports that are never shut.
      - A part that the host does not have is left out or empty.
    type: dict
    required: true
"""

EXAMPLES = r"""
ports: "{{ {'node': {'gcs': 6379, 'dashboard': 8265}, 'mesh': ['10002-19999']} | rayops.cluster.firewall_ports }}"
"""

RETURN = r"""
_value: {description: "C(cluster), C(clients), C(monitors), C(open) and C(shared), ports and ranges each.", type: dict}
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.ports import declared


def firewall_ports(parts: dict[str, Any]) -> dict[str, list[str]]:
    """Ports by who may use them; see the documentation above."""
    try:
        return declared(parts)
    except ValueError as error:
        raise AnsibleFilterError(f"firewall_ports: {error}.") from None


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"firewall_ports": firewall_ports}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_next_steps
short_description: What a user needs to know of a Ray cluster that runs
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: The dashboard's address, the place of its token, or of the login at its proxy, and the next command.
positional: inventory, proxy
options:
  _input: {description: What is declared for the head., type: dict, required: true}
  inventory: {description: The inventory's sources., type: list, elements: str, default: []}
  proxy: {description: "Of the proxy before it the C(url), the C(password) (its file on the head, empty where users are
      given), and whether what is behind it is C(shut) to others. Empty for none.", type: dict, default: {}}
"""

EXAMPLES = r"""
- name: Say what comes next
  ansible.builtin.debug:
    msg: "{{ _head_node_config | rayops.cluster.ray_next_steps(ansible_inventory_sources) }}"
"""

RETURN = r"""
_value: {description: "A line each.", type: list, elements: str}
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import bracketed

# It listens there for whoever is on the head, or for everybody.
_LOCAL = ("127.0.0.1", "::1", "localhost")
_ANY = ("0.0.0.0", "::", "")


def ray_next_steps(
    head: Mapping[str, Any], inventory: Sequence[str] = (), proxy: Mapping[str, Any] | None = None
) -> list[str]:
    """The lines; see the documentation above."""
    network, auth = head["network"], head.get("auth") or {}
    host, port = str(network.get("dashboard_host") or ""), network["ports"]["dashboard"]
    address = bracketed(network["node_ip_address"] if host in _ANY else host)
    tunnel = f" (on the head alone: ssh -L {port}:{address}:{port} to it first)" if host in _LOCAL else ""
    token = auth.get("token_path")
    sources = " ".join(f"-i {shlex.quote(short(str(source)))}" for source in inventory)
    following = f"Next: ansible-playbook rayops.cluster.status {sources}".rstrip()
    if proxy:
        login = f"admin, with the password in {proxy['password']} on the head" if proxy["password"] else \
            "a name and the password of ray_proxy_users"
        return [
            f"Dashboard: {proxy['url']}", f"Its login: {login}",
            *([] if proxy["shut"] else [
                f"Beside the proxy stay open, without TLS: the dashboard's own port {port} (asks for the token), Ray's "
                "ports and the models' (ask for token and keys), metrics (ask for nothing): set ray_firewall, or let "
                "the security group shut them"]),
            following,
        ]
    return [
        f"Dashboard: http://{address}:{port}{tunnel}",
        f"Its token: in {token} on every node, for root and the group of Ray's user" if token else
        "Its token: none is asked for, so whoever reaches it can run code on every node",
        following,
    ]


def short(source: str) -> str:
    """A file below the working directory as it was typed there; Ansible makes whole paths of them."""
    inside = os.path.isabs(source) and os.path.commonpath([source, os.getcwd()]) == os.getcwd()
    return os.path.relpath(source) if inside else source


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_next_steps": ray_next_steps}

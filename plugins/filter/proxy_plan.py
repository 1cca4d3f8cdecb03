# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: proxy_plan
short_description: What the proxy of a host has behind it, and why it cannot work
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Says which page is where, without secrets, and what of the variables cannot be.
options:
  _input: {description: "What is declared, as role proxy collects it.", type: dict, required: true}
"""

EXAMPLES = r"""
- name: Put the proxy before the pages
  ansible.builtin.import_role: {name: rayops.cluster.proxy}
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    problems: {description: "What cannot work, a sentence each with the fix in it.", type: list, elements: str}
    listen: {description: The address and the port., type: str}
    names: {description: What the certificate is to name., type: list, elements: str}
    home: {description: "Where C(/) leads, if no page is there.", type: str}
    pages: {description: "C(path), C(url) and whether it gets the cluster's C(token).", type: list, elements: dict}
    models: {description: "C(name), C(servers) and the C(route) at them.", type: list, elements: dict}
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.filter.port_problems import port_problems
from ansible_collections.rayops.cluster.plugins.filter.ray_models import cluster_of
from ansible_collections.rayops.cluster.plugins.module_utils._serving.compile import places
from ansible_collections.rayops.cluster.plugins.module_utils._serving.models import read
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import bracketed

LEAST_PASSWORD = 12
# What Linux hands out to connections by itself: of the workload, too.
EPHEMERAL = range(32768, 61000)
# Listens for everybody.
_ANY = ("0.0.0.0", "::", "")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:.]{2,45}")
# A token as HTTP has it (RFC 6750); everything else would be read by nginx, too.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
GLANCE = "/prometheus/consoles/ray.html"


def proxy_plan(declared: Mapping[str, Any]) -> dict[str, Any]:
    """The plan; see the documentation above."""
    pages = list(_pages(declared))
    return {
        "problems": [*_of_users(declared["users"]), *_of_place(declared), *_of_token(str(declared["token"]))],
        "listen": f"{bracketed(str(declared['address']))}:{declared['port']}",
        "names": [name for name in dict.fromkeys(map(str, declared["names"])) if name not in _ANY],
        "home": "" if any(page["path"] == "/" for page in pages) else GLANCE,
        "pages": pages,
        "models": list(_models(declared["models"], declared["cluster"])),
    }


def _pages(declared: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    dashboard, monitor = declared["dashboard"], declared["monitor"]
    if dashboard:
        host = str(dashboard.get("dashboard_host") or "")
        # One that listens for everybody is asked where its node is.
        address = bracketed(str(dashboard["node_ip_address"]) if host in _ANY else host)
        yield {"path": "/", "url": f"http://{address}:{dashboard['ports']['dashboard']}", "token": True}
    for name in ("prometheus", "alertmanager") if monitor else ():
        address = bracketed("127.0.0.1" if monitor["address"] in _ANY else str(monitor["address"]))
        yield {"path": f"/{name}/", "url": f"http://{address}:{monitor[name]}/", "token": False}


def _models(declared: Sequence[Any], cluster: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that can be read: role serve refuses the others, before anything is touched."""
    if not declared:
        return
    where = cluster_of(cluster)
    for model in read(declared)[0]:
        found = [place.partition("/") for _name, _host, place in places(model, where)]
        if found:
            _server, slash, route = found[0]
            servers = list(dict.fromkeys(server for server, _slash, _route in found))
            yield {"name": model.name, "servers": servers, "route": slash + route}


def _of_users(users: Any) -> Iterator[str]:
    """No password is shown."""
    if not isinstance(users, Mapping):
        yield 'ray_proxy_users is no dictionary: write a password for each name, such as {alice: "{{ vault_alice }}"}.'
        return
    for name, password in users.items():
        if not _NAME.fullmatch(str(name)):
            yield (f"ray_proxy_users has {str(name)[:64]!r}, which is no name: use letters, digits and . _ @ -, 64 at "
                   "most.")
        elif isinstance(password, bool) or not isinstance(password, (str, int)):
            yield f"ray_proxy_users: the password of {name} is not text: write it in quotes."
        elif len(str(password)) < LEAST_PASSWORD or re.search(r"[\x00-\x1f\x7f]", str(password)):
            yield (f"ray_proxy_users: the password of {name} is shorter than {LEAST_PASSWORD} characters, or has "
                   "control characters: use a longer one, or leave ray_proxy_users out, and one is made on the head.")


def _of_place(declared: Mapping[str, Any]) -> Iterator[str]:
    port = int(declared["port"])
    if not 1 <= port <= 65535:
        yield f"ray_proxy_port is {port}: use 1 to 65535, such as 443."
    elif port in EPHEMERAL:
        yield (f"ray_proxy_port is {port}, and from {EPHEMERAL[0]} to {EPHEMERAL[-1]} are the ports of connections: "
               "choose another, such as 443 or 8443.")
    yield from port_problems({**declared["monitor_ports"], "ray_proxy_port": port}, declared["ports"])
    for name in declared["names"]:
        if not _HOST.fullmatch(str(name)):
            yield (f"ray_proxy_name is {name}, which is no name or address of a host: write it without https:// and "
                   "port, such as ray.example.com.")
            return


def _of_token(token: str) -> Iterator[str]:
    if token and not _TOKEN.fullmatch(token):
        yield ("ray_auth_token has a character that no token in a request may have: use letters, digits and "
               ". _ ~ + / -, or set ray_proxy to false.")


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"proxy_plan": proxy_plan}

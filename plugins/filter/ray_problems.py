# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_problems
short_description: Why a cluster's variables cannot work
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Checks the variables of role ray, on the controller and before anything is touched.
positional: sandbox_defaults
options:
  _input: {description: "The variables of the cluster, as tasks_from preflight of role ray collects them.",
      type: dict, required: true}
  sandbox_defaults: {description: "Every directive that C(ray_sandbox) may set, with the collection's value.",
      type: dict, required: true}
"""

EXAMPLES = r"""
- name: Check the cluster's variables
  ansible.builtin.import_role:
    name: rayops.cluster.ray
    tasks_from: preflight
"""

RETURN = r"""
_value: {description: "What cannot work, a sentence each with the fix in it.", type: list, elements: str}
"""

import os
import re
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.compat.version import LooseVersion

from ansible_collections.rayops.cluster.plugins.filter.ray_sandbox import ray_sandbox
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.sources import problems as network_problems
from ansible_collections.rayops.cluster.plugins.module_utils._node.redis import read_url

OLDEST = "2.57.0"
# What each of these variables may be, and what to write instead.
_FORMS = {
    "ray_redis_password": (r"[A-Za-z0-9._~+/=-]*", "ray_redis_password has a character that systemd and Redis read "
                           "differently: use letters, digits and . _ ~ + / = -."),
    "ray_journal_max_use": (r"([0-9]+[KMGT]?)?", "ray_journal_max_use is {0}: use a number with K, M, G or T, such as "
                            "1G."),
    "ray_temp_dir": (r".{0,40}", "ray_temp_dir {0} is too long: Ray keeps sockets below it, whose paths may have 107 "
                     "bytes; use 40 at most."),
}


def ray_problems(variables: dict[str, Any], sandbox_defaults: dict[str, Any]) -> list[str]:
    """What cannot work, a sentence each."""
    sandboxes = [ray_sandbox(own, sandbox_defaults, refuse=False) for own in variables["sandboxes"]]
    return [
        *_of_hosts(variables),
        *(problem for sandbox in sandboxes for problem in sandbox["problems"]),
        *(said.format(variables[name]) for name, (form, said) in _FORMS.items()
          if not re.fullmatch(form, str(variables[name]), re.DOTALL)),
        *_of_files(variables),
        *(problem for name in ("ray_firewall_clients", "ray_firewall_monitors")
          for problem in network_problems(name, variables[name])),
    ]


def _of_hosts(variables: dict[str, Any]) -> Iterator[str]:
    heads, name, declared = variables["heads"], variables["ray_cluster_name"], variables["head_config"]
    if len(heads) != 1:
        yield (f"Group ray_head has {len(heads)} hosts and must have exactly one: tag one instance with "
               "ray-node-type=head, or name one host in the group.")
    for tagged in variables["cluster_names"]:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,55}[A-Za-z0-9])?", str(tagged)):
            yield f"ray_cluster_name is {tagged}, which is no host name: use letters, digits and hyphens, 57 at most."
    versions = list(dict.fromkeys(map(str, variables["versions"])))
    if len(versions) > 1:
        yield (f"The hosts declare Ray {' and '.join(versions)}: a cluster runs one version, so set ray_version once, "
               "for all hosts.")
    version = str(variables["ray_version"])
    if not version[:1].isdigit() or LooseVersion(version) < LooseVersion(OLDEST):
        yield f"ray_version is {version}: use {OLDEST} or later, the first that drains a node when it is stopped."
    of_head = [models for host, models in variables["models"].items() if host in heads]
    others = [host for host, models in variables["models"].items() if models not in ([], *of_head)]
    if others:
        yield (f"ray_serve_models of {', '.join(others)} is not that of the head: they are the models of the cluster, "
               "so set it once, in group_vars/all.yml.")
    yield from _of_proxy(variables["proxies"], heads)
    yield from _of_redis(variables)
    if isinstance(declared, dict) and declared.get("cluster_name", name) != name:
        yield (f"head_config.cluster_name is {declared['cluster_name']}, but ray_cluster_name is {name}: set "
               "ray_cluster_name to the name that every host shall use.")


def _of_proxy(proxies: dict[str, bool], heads: list[str]) -> Iterator[str]:
    """Head and monitors, and whether each is told to have one."""
    of_head = [wanted for host, wanted in proxies.items() if host in heads]
    others = [host for host, wanted in proxies.items() if wanted not in of_head]
    if of_head and others:
        yield (f"ray_proxy of {', '.join(others)} is not that of the head: what is shut on the one would be open on "
               "the other, so set it once, in group_vars/all.yml.")


def _of_redis(variables: dict[str, Any]) -> Iterator[str]:
    url, ca_file, servers = variables["ray_redis_url"], variables["ray_redis_ca_file"], variables["redis_servers"]
    storage = variables["ray_gcs_storage"]
    if not url and storage == "redis" and len(servers) != 1:
        yield ("ray_gcs_storage is redis, so group ray_redis must have exactly one host: tag an instance with "
               "ray-node-type=redis, set ray_redis_url to a Redis of your own, or use rocksdb.")
    if url and servers:
        yield (f"Group ray_redis has {servers[0]}, and ray_redis_url names a Redis of your own: one of them keeps the "
               "state, so take the host out of the group or leave out ray_redis_url.")
    if url and storage != "redis":
        yield f"ray_redis_url is set, and ray_gcs_storage is {storage}: leave one of them out."
    if not url and ca_file:
        yield "ray_redis_ca_file is set without ray_redis_url: set both, or none."
    if ca_file and not os.path.isfile(variables["redis_ca_source"]):
        yield f"ray_redis_ca_file {ca_file} is no file on this machine: name the CA's certificate, in PEM."
    if not url:
        return
    try:
        server = read_url(str(url), ca_file)
    except ValueError as error:
        yield f"ray_redis_url {error}."
        return
    if server.tls and not ca_file:
        yield ("ray_redis_url begins with rediss://, and the CA of its certificate is not known: name its file on this "
               "machine in ray_redis_ca_file.")
    if not server.tls and ca_file:
        yield "ray_redis_ca_file is set, and ray_redis_url begins with redis://: write rediss:// for TLS."
    if server.username and not variables["ray_redis_password"]:
        yield f"ray_redis_url names the user {server.username}: set ray_redis_password to its password."


def _of_files(variables: dict[str, Any]) -> Iterator[str]:
    """Those on the controller."""
    wheelhouse, constraints = variables["ray_wheelhouse"], variables["ray_constraints"]
    if wheelhouse and not os.path.isdir(wheelhouse):
        yield f"ray_wheelhouse {wheelhouse} is no directory on this machine: fill one with pip download -d."
    if constraints and not os.path.isfile(variables["constraints_file"]):
        yield (f"ray_constraints {constraints} is no file on this machine: name one, as uv pip compile "
               "--generate-hashes writes it.")


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_problems": ray_problems}

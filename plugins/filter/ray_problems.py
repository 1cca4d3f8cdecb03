# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_problems
short_description: Why a cluster's variables cannot work
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Checks the variables of role ray, on the controller and before anything is touched.
positional: sandbox_defaults
options:
  _input:
    description: The variables of the cluster, as tasks_from preflight of role ray collects them.
    type: dict
    required: true
  sandbox_defaults:
    description: Every directive that C(ray_sandbox) may set, with the collection's value.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Check the cluster's variables
  ansible.builtin.import_role:
    name: rayops.cluster.ray
    tasks_from: preflight
"""

RETURN = r"""
_value:
  description: What cannot work, a sentence each with the fix in it.
  type: list
  elements: str
"""

import os
import re
from typing import Any

from ansible.module_utils.compat.version import LooseVersion

from ansible_collections.rayops.cluster.plugins.filter.ray_sandbox import ray_sandbox
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import STORAGES

OLDEST = "2.57.0"
_CLUSTER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,55}[A-Za-z0-9])?")
# Ray keeps sockets below it.
_TEMP_DIR = 40


def ray_problems(variables: dict[str, Any], sandbox_defaults: dict[str, Any]) -> list[str]:
    """What cannot work, the first cause first."""
    return _of_groups(variables) + _of_values(variables, sandbox_defaults) + _of_paths(variables)


def _of_groups(variables: dict[str, Any]) -> list[str]:
    found = []
    if len(variables["heads"]) != 1:
        found.append(
            f"Group ray_head has {len(variables['heads'])} hosts and must have exactly one: tag one instance with "
            "ray-node-type=head, or name one host in the group."
        )
    for name in variables["cluster_names"]:
        if not _CLUSTER_NAME.fullmatch(str(name)):
            found.append(
                f"ray_cluster_name is {name}, which is no host name: use letters, digits and hyphens, 57 at most."
            )
    versions = list(dict.fromkeys(variables["versions"]))
    if len(versions) > 1:
        found.append(
            f"The hosts declare Ray {' and '.join(map(str, versions))}: a cluster runs one version, so set ray_version "
            "once, for all hosts."
        )
    if variables["ray_gcs_storage"] == "redis" and len(variables["redis_servers"]) != 1:
        found.append(
            "ray_gcs_storage is redis, so group ray_redis must have exactly one host: tag an instance with "
            "ray-node-type=redis, or use rocksdb."
        )
    return found


def _of_values(variables: dict[str, Any], sandbox_defaults: dict[str, Any]) -> list[str]:
    found = []
    version, storage = str(variables["ray_version"]), variables["ray_gcs_storage"]
    if not re.match(r"[0-9]", version) or LooseVersion(version) < LooseVersion(OLDEST):
        found.append(
            f"ray_version is {version}: use {OLDEST} or later, the first that drains a node when it is stopped."
        )
    if storage not in STORAGES:
        found.append(f"ray_gcs_storage is {storage}: use rocksdb, redis or memory.")
    for sandbox in variables["sandboxes"]:
        found += ray_sandbox(sandbox, sandbox_defaults, refuse=False)["problems"]
    name, declared = variables["ray_cluster_name"], variables["head_config"]
    declared_name = declared.get("cluster_name", name) if isinstance(declared, dict) else name
    if declared_name != name:
        found.append(
            f"head_config.cluster_name is {declared_name}, but ray_cluster_name is {name}: set ray_cluster_name to the "
            "name that every host shall use."
        )
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]*", str(variables["ray_redis_password"])):
        found.append(
            "ray_redis_password has a character that systemd and Redis read differently: use letters, digits and "
            ". _ ~ + / = -."
        )
    if not re.fullmatch(r"([0-9]+[KMGT]?)?", str(variables["ray_journal_max_use"])):
        found.append(
            f"ray_journal_max_use is {variables['ray_journal_max_use']}: use a number with K, M, G or T, such as 1G."
        )
    return found


def _of_paths(variables: dict[str, Any]) -> list[str]:
    """Those on the controller, and the one whose length counts."""
    found = []
    wheelhouse, constraints, temp_dir = (
        str(variables[name] or "") for name in ("ray_wheelhouse", "ray_constraints", "ray_temp_dir")
    )
    if wheelhouse and not os.path.isdir(wheelhouse):
        found.append(f"ray_wheelhouse {wheelhouse} is no directory on this machine: fill one with pip download -d.")
    if constraints and not os.path.isfile(variables["constraints_file"]):
        found.append(
            f"ray_constraints {constraints} is no file on this machine: name one, as uv pip compile --generate-hashes "
            "writes it."
        )
    if len(temp_dir) > _TEMP_DIR:
        found.append(
            f"ray_temp_dir {temp_dir} is too long: Ray keeps sockets below it, whose paths may have 107 bytes; use "
            f"{_TEMP_DIR} at most."
        )
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_problems": ray_problems}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is called, where it is reached, and in which groups it is. No network, no Ansible."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_filters import as_items
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import Variables, tag

TAG_CLUSTER = "ray-cluster-name"
TAG_NODE_TYPE = "ray-node-type"
TAG_POOL = "ray-user-node-type"
GROUP_ALL = "huawei_ecs"
PREFIX = "ecs_"
GROUP_WORKERS = "ray_workers"
POOL_PREFIX = "ray_pool_"
CLUSTER_PREFIX = "ray_cluster_"
NODE_GROUPS = {"head": "ray_head", "worker": GROUP_WORKERS, "redis": "ray_redis", "monitor": "ray_monitor"}
# The groups of group_by: its values, the variable of each (text, or a list of texts), how the group's name begins.
GROUPED_BY = {
    "account": ("ecs_account", "account_"),
    "accelerator": ("ecs_accelerator", "accelerator_"),
    "availability_zone": ("ecs_availability_zone", "az_"),
    "enterprise_project": ("ecs_enterprise_project_id", "enterprise_project_"),
    "flavor": ("ecs_flavor", "flavor_"),
    "image": ("ecs_image_name", "image_"),
    "os": ("ecs_os_type", "os_"),
    "os_version": ("ecs_os_version", "os_version_"),
    "region": ("ecs_region", "region_"),
    "security_group": ("ecs_security_groups", "security_group_"),
    "status": ("ecs_status", "status_"),
    "subnet": ("ecs_subnet_id", "subnet_"),
    "vpc": ("ecs_vpc_id", "vpc_"),
}
# A host of one of these names would be the controller itself, or its variables would become a group's.
TAKEN_NAMES = frozenset(("localhost", "127.0.0.1", "::1", "all", "ungrouped", GROUP_ALL, *NODE_GROUPS.values()))

Render = Callable[[str, Variables], str]
# Each with its parent, "" for none.
Groups = list[tuple[str, str]]


def clusters(hosts: Iterable[Variables]) -> list[str]:
    """The names of the Ray clusters that the instances belong to; "" for nodes without the tag of a cluster."""
    tags = [variables["ecs_tags"] for variables in hosts]
    return sorted({each.get(TAG_CLUSTER, "") for each in tags if TAG_NODE_TYPE in each})


def check_clusters(hosts: Iterable[Variables], several: bool) -> list[str]:
    """The clusters of the instances. Refuses those whose heads and workers would melt into one.

    several: whether one inventory may hold more than one. Raises HuaweiError that names the clusters.
    """
    found = clusters(hosts)
    if len(found) > 1 and not several:
        names = ", ".join(cluster or f"(no tag {TAG_CLUSTER})" for cluster in found)
        raise HuaweiError(
            f"The instances belong to {len(found)} Ray clusters ({names}): set cluster_name, or the variable "
            "RAY_CLUSTER_NAME, to the one that is meant, or several_clusters to true."
        )
    return found


def check_cluster_groups(hosts: Iterable[Variables], groups: Iterable[Groups]) -> None:
    """Refuse clusters of which one's group is another's too, once their names are safe.

    groups: those of each host. Raises HuaweiError that names both.
    """
    owners: dict[str, str] = {}
    for variables, own in zip(hosts, groups):
        cluster = variables["ecs_tags"].get(TAG_CLUSTER, "")
        for group, _parent in own:
            if group.startswith(CLUSTER_PREFIX) and owners.setdefault(group, cluster) != cluster:
                both = " and ".join(each or f"(no tag {TAG_CLUSTER})" for each in sorted((owners[group], cluster)))
                raise HuaweiError(f"The Ray clusters {both} would share the group {group}: rename one of them.")


def ray_groups(variables: Variables, several: bool) -> Groups:
    """The Ray groups of an instance, before their names are made safe.

    several: there is more than one cluster, so a group of its role is its cluster's, and no play can mix them.
    """
    tags = variables["ecs_tags"]
    group = NODE_GROUPS.get(tags.get(TAG_NODE_TYPE, ""), "")
    pool = tags.get(TAG_POOL, "") if group == GROUP_WORKERS else ""
    if not several:
        found = [(group, "")] if group else []
        # A child, so that the variables of a pool win over those of all workers.
        return found + ([(POOL_PREFIX + pool, group)] if pool else [])
    if TAG_NODE_TYPE not in tags:
        return []
    cluster = CLUSTER_PREFIX + tags.get(TAG_CLUSTER, "")
    found = [(cluster, "")]
    if group:
        role = f"{cluster}_{group.removeprefix('ray_')}"
        found.append((role, cluster))
        found += [(f"{cluster}_pool_{pool}", role)] if pool else []
    return found


def plain_groups(variables: Variables, kinds: Sequence[str]) -> list[str]:
    """The groups of group_by, before their names are made safe. kinds: keys of GROUPED_BY, or tag:KEY."""
    found = []
    for kind in kinds:
        if kind.startswith("tag:"):
            value = tag(variables, kind[4:])
            if value is not None:
                found.append(f"tag_{kind[4:]}_{value}" if value else f"tag_{kind[4:]}")
        else:
            name, prefix = GROUPED_BY[kind]
            found += [prefix + each.lower() for each in as_items(variables[name]) if each]
    return found


def named(variables: Variables, prefix: str) -> Variables:
    """The variables by the names that a host has them by."""
    if prefix == PREFIX:
        return variables
    return {prefix + name.removeprefix(PREFIX): value for name, value in variables.items()}


def connect_address(variables: Variables, preference: Sequence[str]) -> Optional[str]:
    """The first address of the preference list (private_ip, public_ip, ipv6) that the instance has."""
    return next((variables[f"ecs_{kind}"] for kind in preference if f"ecs_{kind}" in variables), None)


def shared_names(names: Sequence[str]) -> dict[str, int]:
    """The names that more than one instance has, with how many do."""
    return {name: count for name, count in Counter(names).items() if count > 1}


def wanted_names(hosts: Iterable[Variables], preference: Sequence[str], render: Render) -> list[str]:
    """What each instance is to be called, made safe for Ansible, in order; not unique yet.

    preference: id, name, hostname, private_ip, public_ip, ipv6, tag:KEY, or a template, which render evaluates with
    the instance's variables. The first that is not empty counts, else the id.
    """
    return [_safe_name(_preferred(variables, preference, render)) for variables in hosts]


def unique_names(names: Sequence[str], hosts: Sequence[Variables], taken: Collection[str]) -> list[str]:
    """The names with the instance's id appended where several share one, or where it means something else to Ansible.

    taken: names of groups.
    """
    counts = Counter(names)
    ids = [_safe_name(variables["ecs_id"]) for variables in hosts]
    alone = [counts[name] == 1 and not _is_taken(name) and name not in taken for name in names]
    used = {name for name, free in zip(names, alone) if free}
    result = []
    for name, free, own in zip(names, alone, ids):
        result.append(name if free else _unused(f"{name}-{own}", used))
        used.add(result[-1])
    return result


def _is_taken(name: str) -> bool:
    return name in TAKEN_NAMES or name.startswith((POOL_PREFIX, CLUSTER_PREFIX))


def _unused(name: str, used: Collection[str]) -> str:
    """Another instance may be called as this one is with its id."""
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def _preferred(variables: Variables, preference: Sequence[str], render: Render) -> str:
    for wanted in preference:
        found: Optional[str]
        if "{{" in wanted:
            found = render(wanted, variables)
        elif wanted.startswith("tag:"):
            found = tag(variables, wanted[4:])
        else:
            found = variables.get(f"ecs_{wanted}")
        if found:
            return found
    return str(variables["ecs_id"])


def _safe_name(name: str) -> str:
    """A name that --limit can address and that ssh cannot take for an option: letters of any script, digits, "_-."."""
    # A letter and its accent are one character then.
    return re.sub(r"^\W", "_", re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", name)))

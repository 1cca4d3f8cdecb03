# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a row of the ECS API to host variables, a host name and Ray groups. No network, no Ansible."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError

TAG_CLUSTER = "ray-cluster-name"
TAG_NODE_TYPE = "ray-node-type"
TAG_POOL = "ray-user-node-type"
GROUP_ALL = "huawei_ecs"
GROUP_WORKERS = "ray_workers"
POOL_PREFIX = "ray_pool_"
NODE_GROUPS = {"head": "ray_head", "worker": GROUP_WORKERS, "redis": "ray_redis", "monitor": "ray_monitor"}
CHARGING = {"0": "on_demand", "1": "prepaid", "2": "spot"}
# A host of one of these names would be the controller itself, or its variables would become a group's.
TAKEN_NAMES = frozenset(("localhost", "127.0.0.1", "::1", "all", "ungrouped", GROUP_ALL, *NODE_GROUPS.values()))

Variables = dict[str, Any]


@dataclass(frozen=True)
class Filters:
    """What an instance must match: one of the statuses, and of each tag one of its values. An empty list admits all."""

    statuses: list[str]
    tags: dict[str, list[str]]

    def match(self, variables: Variables) -> bool:
        """The server's own filters are wider: its ACTIVE gives REBOOT too, and a tag value matches within others."""
        if self.statuses and variables["ecs_status"] not in self.statuses:
            return False
        own = variables["ecs_tags"]
        return all(key in own and (not values or own[key] in values) for key, values in self.tags.items())


def host_variables(server: Mapping[str, Any], region: str, project_id: str) -> Variables:
    """The ecs_* variables of one instance. An unknown value is an empty string, 0, a list or a dict, never None.

    ecs_private_ip, ecs_public_ip and ecs_ipv6 are there only when the instance has such an address. Left out on
    purpose: user_data (it can hold a password hash) and the metadata that users may fill with anything.
    """
    metadata = _mapping(server.get("metadata"))
    addresses = _addresses(_mapping(server.get("addresses")))
    variables = {
        "ecs_id": server["id"],
        "ecs_name": _text(server.get("name")),
        "ecs_hostname": _text(server.get("OS-EXT-SRV-ATTR:hostname")),
        "ecs_status": _text(server.get("status")),
        "ecs_region": region,
        "ecs_availability_zone": _text(server.get("OS-EXT-AZ:availability_zone")),
        "ecs_project_id": _text(server.get("tenant_id")) or project_id,
        "ecs_enterprise_project_id": _text(server.get("enterprise_project_id")),
        "ecs_vpc_id": _text(metadata.get("vpc_id")) or next(iter(_mapping(server.get("addresses"))), ""),
        **_hardware(_mapping(server.get("flavor"))),
        "ecs_image_id": _text(_mapping(server.get("image")).get("id")),
        "ecs_image_name": _text(metadata.get("image_name")),
        "ecs_os_type": _text(metadata.get("os_type")),
        "ecs_charging_mode": CHARGING.get(_text(metadata.get("charging_mode")), ""),
        "ecs_key_name": _text(server.get("key_name")),
        "ecs_security_groups": [_text(_mapping(group).get("name")) for group in _list(server.get("security_groups"))],
        "ecs_created": _text(server.get("created")),
        "ecs_tags": parse_tags(_list(server.get("tags"))),
        "ecs_private_ips": addresses["private"],
        "ecs_public_ips": addresses["public"],
    }
    first = {"ecs_private_ip": "private", "ecs_public_ip": "public", "ecs_ipv6": "ipv6"}
    variables.update((name, addresses[kind][0]) for name, kind in first.items() if addresses[kind])
    return variables


def _hardware(flavor: Mapping[str, Any]) -> Variables:
    gpu_count, gpu_name = _accelerators(flavor.get("gpus"))
    npu_count, npu_name = _accelerators(flavor.get("asic_accelerators"))
    return {
        "ecs_flavor": _text(flavor.get("id")) or _text(flavor.get("name")),
        "ecs_vcpus": _number(flavor.get("vcpus")),
        "ecs_ram": _number(flavor.get("ram")),
        "ecs_gpu_count": gpu_count,
        "ecs_gpu_name": gpu_name,
        "ecs_npu_count": npu_count,
        "ecs_npu_name": npu_name,
        "ecs_accelerator": "gpu" if gpu_count else "npu" if npu_count else "none",
    }


def parse_tags(rows: Iterable[Any]) -> dict[str, str]:
    """Tags as a dict. The API gives "key=value" or a bare "key"; those of Huawei itself (_sys_*) are dropped."""
    pairs = (str(row).partition("=")[::2] for row in rows if isinstance(row, str))
    return {key: value for key, value in pairs if key and not key.startswith("_sys_")}


def check_one_cluster(hosts: Iterable[Variables]) -> None:
    """Refuse instances of two Ray clusters: their heads and workers would melt into one.

    Raises HuaweiError that names the clusters.
    """
    nodes = [variables["ecs_tags"] for variables in hosts if TAG_NODE_TYPE in variables["ecs_tags"]]
    clusters = sorted({tags.get(TAG_CLUSTER, "") for tags in nodes})
    if len(clusters) > 1:
        names = ", ".join(cluster or f"(no tag {TAG_CLUSTER})" for cluster in clusters)
        raise HuaweiError(
            f"The instances belong to {len(clusters)} Ray clusters ({names}): "
            "set cluster_name, or the variable RAY_CLUSTER_NAME, to the one that is meant."
        )


def ray_groups(variables: Variables) -> tuple[str, str]:
    """The group of the instance's ray-node-type and, for a worker, the name of its pool; "" for what it has not."""
    tags = variables["ecs_tags"]
    group = NODE_GROUPS.get(tags.get(TAG_NODE_TYPE, ""), "")
    return group, tags.get(TAG_POOL, "") if group == GROUP_WORKERS else ""


def connect_address(variables: Variables, preference: Sequence[str]) -> Optional[str]:
    """The first address of the preference list (private_ip, public_ip, ipv6) that the instance has."""
    return next((variables[f"ecs_{kind}"] for kind in preference if f"ecs_{kind}" in variables), None)


def host_names(hosts: Sequence[Variables], preference: Sequence[str], on_duplicate: str) -> list[str]:
    """A unique inventory name for each instance, in order.

    preference: id, name, hostname, private_ip, public_ip or tag:KEY; the first that is not empty counts, else the id.
    on_duplicate: suffix (every instance of a shared name gets its id appended) or fail.
    Raises HuaweiError for a duplicate when on_duplicate is fail.
    """
    names = [_safe_name(_preferred(variables, preference)) for variables in hosts]
    counts = Counter(names)
    result = []
    for name, variables in zip(names, hosts):
        if counts[name] > 1 and on_duplicate == "fail":
            raise HuaweiError(
                f"{counts[name]} instances are called {name}: rename them, or set on_duplicate_name to suffix."
            )
        taken = counts[name] > 1 or name in TAKEN_NAMES or name.startswith(POOL_PREFIX)
        result.append(f"{name}-{variables['ecs_id']}" if taken else name)
    return result


def _preferred(variables: Variables, preference: Sequence[str]) -> str:
    for wanted in preference:
        if wanted.startswith("tag:"):
            found = variables["ecs_tags"].get(wanted[4:])
        else:
            found = variables.get(f"ecs_{wanted}")
        if found:
            return found
    return variables["ecs_id"]


def _safe_name(name: str) -> str:
    """A name that --limit can address and that ssh cannot take for an option: letters of any script, digits, "_-."."""
    return re.sub(r"^\W", "_", re.sub(r"[^\w.-]", "_", name))


def _addresses(networks: Mapping[str, Any]) -> dict[str, list[str]]:
    """Addresses by kind, the primary network card's first. An EIP's row carries the version as a string, like all."""
    found: dict[str, list[tuple[bool, str]]] = {"private": [], "public": [], "ipv6": []}
    for rows in networks.values():
        for row in _list(rows):
            row = _mapping(row)
            address = _text(row.get("addr"))
            if not address:
                continue
            kind = "public" if row.get("OS-EXT-IPS:type") == "floating" else "private"
            if str(row.get("version")) == "6":
                kind = "ipv6"
            found[kind].append((row.get("primary") is not True, address))
    return {kind: [address for _rank, address in sorted(rows, key=lambda row: row[0])] for kind, rows in found.items()}


def _accelerators(rows: Any) -> tuple[int, str]:
    """How many devices a flavor has in all, and their names."""
    devices = [_mapping(row) for row in _list(rows)]
    names = dict.fromkeys(_text(device.get("name")) for device in devices)
    return sum(_number(device.get("count")) for device in devices), ", ".join(name for name in names if name)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> int:
    """The API gives numbers as strings here and as numbers there."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0

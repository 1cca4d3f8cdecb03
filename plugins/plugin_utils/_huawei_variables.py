# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a row of the ECS API to host variables, whatever the row holds. No network, no Ansible."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import RegionResult

Variables = dict[str, Any]

CHARGING = {"0": "on_demand", "1": "prepaid", "2": "spot"}
POWER = {"0": "pending", "1": "running", "3": "paused", "4": "shutdown", "6": "crashed", "7": "suspended"}
NESTED = ("ecs_tags", "ecs_system_tags", "ecs_network_interfaces")
# Names of tags that are Huawei's, and one by which it marks bare metal; not every such server has it.
SYSTEM_TAG = "_sys_"
TAG_BARE_METAL = "__type_baremetal"
TAG_ENTERPRISE_PROJECT = "_sys_enterprise_project_id"
FLAVOR_BARE_METAL = "physical."
ARCHITECTURES = {"x86": "x86_64", "arm64": "aarch64"}
# Text fields of the row, and of its metadata. Left out on purpose: user_data, which can hold a password's hash, and
# the metadata that users fill with anything.
TEXTS = {
    "ecs_name": "name",
    "ecs_hostname": "OS-EXT-SRV-ATTR:hostname",
    "ecs_description": "description",
    "ecs_status": "status",
    "ecs_vm_state": "OS-EXT-STS:vm_state",
    "ecs_task_state": "OS-EXT-STS:task_state",
    "ecs_availability_zone": "OS-EXT-AZ:availability_zone",
    "ecs_enterprise_project_id": "enterprise_project_id",
    "ecs_key_name": "key_name",
    "ecs_user_id": "user_id",
    "ecs_host_id": "hostId",
    "ecs_root_device": "OS-EXT-SRV-ATTR:root_device_name",
    "ecs_reservation_id": "OS-EXT-SRV-ATTR:reservation_id",
    "ecs_created": "created",
    "ecs_updated": "updated",
    "ecs_launched": "OS-SRV-USG:launched_at",
    "ecs_auto_terminate_time": "auto_terminate_time",
}
METADATA_TEXTS = {
    "ecs_image_name": "image_name",
    "ecs_os_type": "os_type",
    "ecs_os_version": "os_version",
    "ecs_agency_name": "agency_name",
}


def host_variables(
    server: Mapping[str, Any],
    region: str,
    project_id: str,
    account: str = "",
    flavor: Optional[Mapping[str, Any]] = None,
    expires: str = "",
    host_keys: Optional[list[str]] = None,
) -> Variables:
    """The ecs_* variables of one instance. An unknown value is an empty string, 0, false, a list or a dict, never None.

    server: a row of the list API, with an id. flavor: what the flavor API says of the row's flavor, if it was asked.
    expires: when an instance that was paid for in advance ends. host_keys: what its console shows, if it was asked.
    ecs_private_ip, ecs_public_ip, ecs_ipv6, ecs_expires and ecs_host_keys are there only when the instance has such a
    thing.
    """
    metadata = mapping(server.get("metadata"))
    scheduler = mapping(server.get("os:scheduler_hints"))
    group_ids, group_names = security_groups(server)
    charging = charging_mode(server)
    system_tags = _system_tags(server)
    variables: Variables = {name: text(server.get(key)) for name, key in TEXTS.items()}
    variables.update((name, text(metadata.get(key))) for name, key in METADATA_TEXTS.items())
    variables.update(
        ecs_id=text(server["id"]),
        ecs_power_state=POWER.get(text(server.get("OS-EXT-STS:power_state")), ""),
        ecs_fault=text(mapping(server.get("fault")).get("message")),
        ecs_locked=text(server.get("locked")) == "true",
        ecs_frozen=text(metadata.get("EcmResStatus")) == "freeze",
        ecs_account=account,
        ecs_region=region,
        ecs_project_id=text(server.get("tenant_id")) or project_id,
        ecs_image_id=text(mapping(server.get("image")).get("id")),
        ecs_charging_mode=charging,
        ecs_spot=charging == "spot",
        ecs_security_groups=group_names,
        ecs_security_group_ids=group_ids,
        ecs_volume_ids=_texts(
            mapping(volume).get("id") for volume in as_list(server.get("os-extended-volumes:volumes_attached"))
        ),
        ecs_server_groups=_texts(as_list(scheduler.get("group"))),
        ecs_dedicated_host_ids=_texts(as_list(scheduler.get("dedicated_host_id"))),
        ecs_tags=parse_tags(as_list(server.get("tags"))),
        ecs_system_tags=system_tags,
        ecs_bare_metal=_is_bare_metal(server),
        **_hardware(mapping(server.get("flavor")), flavor or {}),
        **_network(server, text(metadata.get("vpc_id"))),
    )
    # Rows of bare metal have it only there.
    variables["ecs_enterprise_project_id"] = variables["ecs_enterprise_project_id"] or system_tags.get(
        TAG_ENTERPRISE_PROJECT, ""
    )
    if expires:
        variables["ecs_expires"] = expires
    if host_keys:
        variables["ecs_host_keys"] = host_keys
    return variables


def all_variables(result: RegionResult) -> list[Variables]:
    """The variables of all instances of a project."""
    job, flavors = result.job, result.flavors
    found = []
    for row in result.servers:
        flavor = mapping(flavors.get(text(mapping(row.get("flavor")).get("id"))))
        expires = result.expires.get(row["id"], "")
        keys = result.host_keys.get(row["id"])
        found.append(host_variables(row, job.region, result.project_id, job.account.name, flavor, expires, keys))
    return found


def filter_fields() -> list[str]:
    """The variables, without their prefix, whose values can be compared with a pattern."""
    names = [*host_variables({"id": ""}, "", ""), "ecs_private_ip", "ecs_public_ip", "ecs_ipv6", "ecs_expires"]
    return sorted(name[4:] for name in names if name not in NESTED)


def charging_mode(server: Mapping[str, Any]) -> str:
    """on_demand, prepaid or spot, or "" where the row does not say. Bare metal has another name for it."""
    metadata = mapping(server.get("metadata"))
    return CHARGING.get(text(metadata.get("charging_mode")) or text(metadata.get("chargingMode")), "")


def security_groups(server: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The ids and the names of an instance's security groups. Not every region gives the ids."""
    groups = [mapping(group) for group in as_list(server.get("security_groups"))]
    return _texts(group.get("id") for group in groups), _texts(group.get("name") for group in groups)


def parse_tags(rows: Iterable[Any]) -> dict[str, str]:
    """The user's own tags as a dict. The API gives "key=value" or a bare "key", and those of Huawei among them."""
    return {key: value for key, value in _pairs(rows) if not key.startswith(SYSTEM_TAG)}


def tag(variables: Variables, key: str) -> Optional[str]:
    """The value of a tag of an instance, of the user's or of Huawei's own; None where it has no such tag."""
    tags: dict[str, str] = variables["ecs_system_tags" if key.startswith(SYSTEM_TAG) else "ecs_tags"]
    return tags.get(key)


def text(value: Any) -> str:
    """A value as text that can be written anywhere; "" for what is none. The API is not strict about its types."""
    if isinstance(value, str):
        # Half a surrogate pair cannot be written to the cache nor to a terminal.
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else ""


def _pairs(rows: Iterable[Any]) -> Iterable[tuple[str, str]]:
    for row in rows:
        key, _sign, value = text(row).partition("=") if isinstance(row, str) else ("", "", "")
        if key:
            yield key, value


def _system_tags(server: Mapping[str, Any]) -> dict[str, str]:
    """Huawei's own tags. Some stand in a list of their own, some among the user's."""
    found = {key: value for key, value in _pairs(as_list(server.get("tags"))) if key.startswith(SYSTEM_TAG)}
    own = ((text(mapping(row).get("key")), text(mapping(row).get("value"))) for row in as_list(server.get("sys_tags")))
    return {**found, **{key: value for key, value in own if key}}


def _is_bare_metal(server: Mapping[str, Any]) -> bool:
    flavor = mapping(server.get("flavor"))
    if any(text(flavor.get(name)).startswith(FLAVOR_BARE_METAL) for name in ("id", "name")):
        return True
    return any(key == TAG_BARE_METAL for key, _value in _pairs(as_list(server.get("tags"))))


def _hardware(flavor: Mapping[str, Any], details: Mapping[str, Any]) -> Variables:
    """What the flavor has. The list's own figures go before those of the flavor API, which some regions need."""
    extra = mapping(details.get("os_extra_specs"))
    gpus = as_list(flavor.get("gpus")) or _json_list(extra.get("info:gpus"))
    npus = as_list(flavor.get("asic_accelerators")) or _json_list(extra.get("info:asic_accelerators"))
    name = text(flavor.get("id")) or text(flavor.get("name"))
    hardware = {
        "ecs_flavor": name,
        "ecs_vcpus": number(flavor.get("vcpus")),
        "ecs_ram": number(flavor.get("ram")),
        "ecs_arch": ARCHITECTURES.get(text(extra.get("ecs:instance_architecture")), "") or _architecture(name),
        **_accelerators("gpu", gpus),
        **_accelerators("npu", npus),
    }
    kinds = [kind for kind in ("gpu", "npu") if hardware[f"ecs_{kind}_count"]]
    hardware["ecs_accelerator"] = kinds[0] if kinds else "none"
    return hardware


def _architecture(flavor: str) -> str:
    """The names of Kunpeng flavors begin with k: kc1, km1, kat2, and physical.kat2ne of bare metal."""
    return "" if not flavor else "aarch64" if flavor.removeprefix(FLAVOR_BARE_METAL).startswith("k") else "x86_64"


def _accelerators(kind: str, rows: Iterable[Any]) -> Variables:
    """How many devices there are in all, their names, and the memory of one; of different ones the smallest."""
    devices = [mapping(row) for row in rows]
    counts = [max(number(device.get("count")), 0) for device in devices]
    names = dict.fromkeys(text(device.get("name")) for device in devices)
    sizes = [size for size in (number(device.get("memory_mb")) for device in devices) if size > 0]
    return {
        f"ecs_{kind}_count": sum(counts),
        f"ecs_{kind}_name": ", ".join(name for name in names if name),
        f"ecs_{kind}_memory": min(sizes, default=0),
    }


def _network(server: Mapping[str, Any], vpc_id: str) -> Variables:
    networks = mapping(server.get("addresses"))
    interfaces = _interfaces(networks, as_list(server.get("network_interfaces")))
    found = {
        "ecs_private_ips": [address for each in interfaces for address in each["private_ips"]],
        "ecs_public_ips": [address for each in interfaces for address in each["public_ips"]],
        "ecs_ipv6_addresses": [address for each in interfaces for address in each["ipv6_addresses"]],
    }
    first = {"ecs_private_ip": "ecs_private_ips", "ecs_public_ip": "ecs_public_ips", "ecs_ipv6": "ecs_ipv6_addresses"}
    return {
        "ecs_vpc_id": vpc_id or text(next(iter(networks), "")),
        "ecs_subnet_id": next((each["subnet_id"] for each in interfaces if each["subnet_id"]), ""),
        "ecs_network_interfaces": interfaces,
        **found,
        **{name: found[kind][0] for name, kind in first.items() if found[kind]},
    }


def _interfaces(networks: Mapping[str, Any], details: Iterable[Any]) -> list[Variables]:
    """The network interfaces, the primary one first. The API gives an address a row: those of a port belong together.

    The row of an EIP names the port of its private address. A row without a port is an interface of its own.
    """
    interfaces: dict[Any, Variables] = {}
    for vpc_id, rows in networks.items():
        for row in map(mapping, as_list(rows)):
            address = _address(row.get("addr"))
            if address is None:
                continue
            port = text(row.get("OS-EXT-IPS:port_id"))
            interface = interfaces.setdefault(port or len(interfaces), _interface(port, text(vpc_id)))
            interface["mac"] = interface["mac"] or text(row.get("OS-EXT-IPS-MAC:mac_addr"))
            floating = row.get("OS-EXT-IPS:type") == "floating"
            if row.get("primary") is True and not floating:
                interface["primary"] = True
            kind = "ipv6_addresses" if address.version == 6 else "public_ips" if floating else "private_ips"
            interface[kind].append(str(address))
    for detail in map(mapping, details):
        own = interfaces.get(text(detail.get("port_id")) or None)
        if own:
            own["subnet_id"] = text(detail.get("subnet_id"))
            own["primary"] = own["primary"] or detail.get("primary") is True
    return sorted(interfaces.values(), key=lambda interface: not interface["primary"])


def _interface(port: str, vpc_id: str) -> Variables:
    return {
        "port_id": port,
        "mac": "",
        "primary": False,
        "vpc_id": vpc_id,
        "subnet_id": "",
        "private_ips": [],
        "public_ips": [],
        "ipv6_addresses": [],
    }


def _address(value: Any) -> Any:
    """An IP address, or None: ssh would read another text as a host name, or as an option."""
    try:
        # The zone of an IPv6 address can be any text.
        return ipaddress.ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        return None


def _json_list(value: Any) -> list[Any]:
    try:
        return as_list(json.loads(value)) if isinstance(value, str) else []
    except (ValueError, RecursionError):
        return []


def _texts(values: Iterable[Any]) -> list[str]:
    return [each for each in map(text, values) if each]


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, if it is one, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """A list, if it is one, or an empty one."""
    return value if isinstance(value, list) else []


def number(value: Any) -> int:
    """The API gives numbers as strings here and as numbers there."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the simulated instances come from, and what a row of the ECS list API looks like."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path
from typing import Any, Optional

DEFAULT_REGION = "cn-north-4"
DEFAULT_FLAVOR = "s7.large.2"
RAY_TAGS = ("ray-cluster-name", "ray-node-type", "ray-user-node-type")
GPU_V100 = {"name": "Nvidia Tesla V100S 32GB", "count": 1, "memory_mb": 32768}
NPU_910 = {"name": "Ascend 910", "count": 8, "memory_mb": 32768}
FLAVORS: dict[str, dict[str, Any]] = {
    "s7.large.2": {"vcpus": "2", "ram": "4096"},
    "c7.2xlarge.4": {"vcpus": "8", "ram": "32768"},
    "kc1.large.2": {"vcpus": "2", "ram": "4096"},
    "p2s.2xlarge.8": {"vcpus": "8", "ram": "65536", "gpus": [GPU_V100]},
    "p2s.16xlarge.8": {"vcpus": "64", "ram": "524288", "gpus": [{**GPU_V100, "count": 8}]},
    "kat2.48xlarge.8": {"vcpus": "192", "ram": "1572864", "asic_accelerators": [NPU_910]},
    "physical.kat2ne.48xlarge.8.ei.pod101": {"vcpus": "192", "ram": "1572864", "asic_accelerators": [NPU_910]},
    "physical.s4.large": {"vcpus": "32", "ram": "196608"},
}
BARE_METAL = "physical."
# What the API of flavors says beyond that. Some regions say it only there.
EXTRA_SPECS: dict[str, dict[str, str]] = {
    "kc1.large.2": {"ecs:instance_architecture": "arm64"},
    "kat2.48xlarge.8": {"ecs:instance_architecture": "arm64", "info:asic_accelerators": json.dumps([NPU_910])},
    "p2s.2xlarge.8": {"ecs:instance_architecture": "x86", "info:gpus": json.dumps([GPU_V100])},
}
# What real instances carry: the simulator must tempt the plugin to leak it.
USER_DATA = base64.b64encode(b"#!/bin/bash\necho 'root:$6$salt$notapassword' | chpasswd -e\n").decode()


def project_id(region: str) -> str:
    """The project of a region; always the same for the same name."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{region}.simulator.invalid").hex


class FileSource:
    """Instances from a JSON file: a list of short forms (see README.md), read again when the file changes."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._stamp: Optional[int] = None
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def rows(self, region: str) -> list[dict[str, Any]]:
        stamp = self.path.stat().st_mtime_ns
        if stamp != self._stamp:
            self._rows = _by_region(json.loads(self.path.read_text(encoding="utf-8")))
            self._stamp = stamp
        return self._rows.get(region, [])

    def console(self, server_id: str) -> str:
        return ""


class ContainerSource:
    """The Docker containers that run now and carry a label, such as "rayops.bed=demo"."""

    def __init__(self, label: str) -> None:
        # Only here: files of instances need nothing beside the standard library.
        import docker

        self.label, self.docker = label, docker.from_env(timeout=30)

    def rows(self, region: str) -> list[dict[str, Any]]:
        found = self.docker.containers.list(filters={"label": self.label}, ignore_removed=True)
        return _by_region([_container(each.attrs) for each in found if each.status == "running"]).get(region, [])

    def console(self, server_id: str) -> str:
        """The keys, as cloud-init prints them when an instance starts first."""
        container = self.docker.containers.get(uuid.UUID(server_id).hex)
        keys = container.exec_run(["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"]).output.decode()
        return f"-----BEGIN SSH HOST KEY KEYS-----\n{keys}-----END SSH HOST KEY KEYS-----\n"


def server_row(short: dict[str, Any]) -> dict[str, Any]:
    """A row as ListServersDetails gives it, from a short form. "raw" in it replaces fields of the row as they are."""
    name = short.get("name", "server")
    region = short.get("region", DEFAULT_REGION)
    vpc = short.get("vpc_id") or str(uuid.uuid5(uuid.NAMESPACE_DNS, f"vpc.{region}"))
    nics = short.get("nics", [short])
    row = {
        "id": short.get("id") or str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{region}.{name}")),
        "name": name,
        "status": short.get("status", "ACTIVE"),
        "addresses": {vpc: [address for number, nic in enumerate(nics) for address in _addresses(nic, number)]},
        "flavor": _flavor(short.get("flavor", DEFAULT_FLAVOR)),
        "metadata": {
            "vpc_id": vpc,
            "image_name": "Debian 12.0.0 64bit",
            "os_type": short.get("os_type", "Linux"),
            "os_bit": "64",
            "charging_mode": short.get("charging_mode", "0"),
            "metering.imagetype": "gold",
        },
        # A tag without a value is a bare key; those of the cloud itself stand among the others.
        "tags": [f"{key}={value}" for key, value in short.get("tags", {}).items()]
        + ["_sys_root_resource_id=0"]
        + [f"{key}={value}" if value else key for key, value in short.get("system_tags", {}).items()],
        "sys_tags": [],
        "image": {"id": "5c8b6f5e-0000-4000-8000-000000000001"},
        "security_groups": [{"name": group} for group in short.get("security_groups", ["default"])],
        "tenant_id": project_id(region),
        "enterprise_project_id": short.get("enterprise_project_id", "0"),
        "key_name": "ops",
        "locked": False,
        "created": "2026-11-01T08:00:00Z",
        "updated": "2026-11-01T08:01:00Z",
        "progress": "",
        "description": "",
        "OS-EXT-AZ:availability_zone": short.get("availability_zone", f"{region}a"),
        "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:power_state": 1,
        "OS-EXT-SRV-ATTR:hostname": short.get("hostname", name),
        "OS-EXT-SRV-ATTR:user_data": USER_DATA,
    }
    if "expires" in short:
        # Only API version 1.1 tells it.
        row["market_info"] = {"charge_mode": "prePaid", "prepaid_info": {"expired_time": short["expires"]}}
    if row["flavor"]["name"].startswith(BARE_METAL):
        _bare_metal(row)
    row.update(short.get("raw", {}))
    return row


def _bare_metal(row: dict[str, Any]) -> None:
    """What is different about the row of a bare metal server: a tag, and where charging and project stand."""
    row["tags"].append("__type_baremetal")
    row["metadata"]["chargingMode"] = row["metadata"].pop("charging_mode")
    row["sys_tags"].append({"key": "_sys_enterprise_project_id", "value": row.pop("enterprise_project_id")})


def flavor_rows() -> list[dict[str, Any]]:
    """The flavors as ListFlavors gives them."""
    return [
        {**_flavor(name), "gpus": None, "asic_accelerators": None, "os_extra_specs": EXTRA_SPECS.get(name, {})}
        for name in FLAVORS
    ]


def _flavor(name: str) -> dict[str, Any]:
    plain = {"id": name, "name": name, "disk": "0", "vcpus": "2", "ram": "4096", "gpus": [], "asic_accelerators": []}
    return {**plain, **FLAVORS.get(name, {})}


def _addresses(nic: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """The rows of a network interface. That of an EIP names the port of its private address, and says primary, too."""
    wanted = [("fixed", "4", nic.get("private_ip", "192.168.0.10")), ("floating", "4", nic.get("public_ip"))]
    wanted.append(("fixed", "6", nic.get("ipv6")))
    return [
        {
            "version": version,
            "addr": address,
            "primary": nic.get("primary", True),
            "OS-EXT-IPS:type": kind,
            "OS-EXT-IPS-MAC:mac_addr": f"fa:16:3e:00:00:{number + 1:02}",
            "OS-EXT-IPS:port_id": nic.get("port_id", f"0f1e2d3c-0000-4000-8000-{number + 2:012}"),
        }
        for kind, version, address in wanted
        if address
    ]


def _by_region(shorts: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    regions: dict[str, list[dict[str, Any]]] = {}
    for short in shorts:
        regions.setdefault(short.get("region", DEFAULT_REGION), []).append(server_row(short))
    return regions


def _container(inspected: dict[str, Any]) -> dict[str, Any]:
    labels = inspected["Config"]["Labels"] or {}
    networks = inspected["NetworkSettings"]["Networks"]
    address = (networks.get("bridge") or next(iter(networks.values()), {})).get("IPAddress")
    return {
        "id": str(uuid.UUID(inspected["Id"][:32])),
        "name": labels.get("ecs.name") or inspected["Name"].lstrip("/"),
        "region": labels.get("ecs.region", DEFAULT_REGION),
        "flavor": labels.get("ecs.flavor", DEFAULT_FLAVOR),
        "private_ip": address,
        "tags": {key: labels[key] for key in RAY_TAGS if labels.get(key)},
    }

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.vars.reserved import is_reserved_name

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import (
    filter_fields,
    host_variables,
    parse_tags,
    tag,
)
from tests.ecs_simulator.instances import USER_DATA, flavor_rows, project_id, server_row

REGION = "cn-north-4"
VPC = "vpc-1"


def variables(**short: Any) -> dict[str, Any]:
    return host_variables(server_row(short), REGION, project_id(REGION))


def row(address: str, kind: str = "fixed", version: Any = "4", **more: Any) -> dict[str, Any]:
    return {"addr": address, "version": version, "OS-EXT-IPS:type": kind, **more}


def test_all_variables_of_an_ordinary_instance() -> None:
    tags = {"ray-node-type": "worker", "note": "a=b", "empty": ""}
    found = variables(
        name="节点",
        id="id-1",
        flavor="p2s.16xlarge.8",
        private_ip="10.0.0.5",
        public_ip="1.2.3.4",
        ipv6="fd00::5",
        vpc_id=VPC,
        tags=tags,
        hostname="node",
    )
    assert found == {
        "ecs_id": "id-1",
        "ecs_name": "节点",
        "ecs_hostname": "node",
        "ecs_description": "",
        "ecs_status": "ACTIVE",
        "ecs_vm_state": "active",
        "ecs_task_state": "",
        "ecs_power_state": "running",
        "ecs_fault": "",
        "ecs_locked": False,
        "ecs_frozen": False,
        "ecs_account": "",
        "ecs_region": REGION,
        "ecs_availability_zone": "cn-north-4a",
        "ecs_project_id": project_id(REGION),
        "ecs_enterprise_project_id": "0",
        "ecs_vpc_id": VPC,
        "ecs_subnet_id": "",
        "ecs_network_interfaces": [
            {
                "port_id": "0f1e2d3c-0000-4000-8000-000000000002",
                "mac": "fa:16:3e:00:00:01",
                "primary": True,
                "vpc_id": VPC,
                "subnet_id": "",
                "private_ips": ["10.0.0.5"],
                "public_ips": ["1.2.3.4"],
                "ipv6_addresses": ["fd00::5"],
            }
        ],
        "ecs_private_ips": ["10.0.0.5"],
        "ecs_public_ips": ["1.2.3.4"],
        "ecs_ipv6_addresses": ["fd00::5"],
        "ecs_private_ip": "10.0.0.5",
        "ecs_public_ip": "1.2.3.4",
        "ecs_ipv6": "fd00::5",
        "ecs_flavor": "p2s.16xlarge.8",
        "ecs_vcpus": 64,
        "ecs_ram": 524288,
        "ecs_arch": "x86_64",
        "ecs_accelerator": "gpu",
        "ecs_gpu_count": 8,
        "ecs_gpu_name": "Nvidia Tesla V100S 32GB",
        "ecs_gpu_memory": 32768,
        "ecs_npu_count": 0,
        "ecs_npu_name": "",
        "ecs_npu_memory": 0,
        "ecs_bare_metal": False,
        "ecs_image_id": "5c8b6f5e-0000-4000-8000-000000000001",
        "ecs_image_name": "Debian 12.0.0 64bit",
        "ecs_os_type": "Linux",
        "ecs_os_version": "",
        "ecs_charging_mode": "on_demand",
        "ecs_spot": False,
        "ecs_auto_terminate_time": "",
        "ecs_key_name": "ops",
        "ecs_agency_name": "",
        "ecs_security_groups": ["default"],
        "ecs_security_group_ids": [],
        "ecs_volume_ids": [],
        "ecs_root_device": "",
        "ecs_server_groups": [],
        "ecs_dedicated_host_ids": [],
        "ecs_host_id": "",
        "ecs_reservation_id": "",
        "ecs_user_id": "",
        "ecs_created": "2026-11-01T08:00:00Z",
        "ecs_updated": "2026-11-01T08:01:00Z",
        "ecs_launched": "",
        "ecs_tags": tags,
        "ecs_system_tags": {"_sys_root_resource_id": "0"},
    }
    assert USER_DATA not in json.dumps(found)


def test_names_are_legal_and_not_reserved() -> None:
    names = variables(public_ip="1.2.3.4", ipv6="fd00::5")
    assert all(name.startswith("ecs_") and name.isidentifier() and not is_reserved_name(name) for name in names)


def test_npu_instance() -> None:
    found = variables(flavor="kat2.48xlarge.8")
    assert (found["ecs_npu_count"], found["ecs_npu_name"], found["ecs_gpu_count"]) == (8, "Ascend 910", 0)
    assert found["ecs_accelerator"] == "npu"


def test_private_instance_has_no_public_variable() -> None:
    found = variables(private_ip="10.0.0.5")
    assert "ecs_public_ip" not in found and "ecs_ipv6" not in found
    assert found["ecs_public_ips"] == []


@pytest.mark.parametrize(
    "raw",
    [
        {"id": "x"},
        {
            "id": "x",
            "addresses": {},
            "flavor": None,
            "metadata": {},
            "tags": None,
            "security_groups": [{}],
            "image": "",
        },
        {
            "id": "x",
            "addresses": [],
            "flavor": {"vcpus": "", "gpus": None},
            "tags": [None, {}],
            "security_groups": None,
        },
        {"id": "x", "addresses": {VPC: [None, {"addr": ""}]}, "name": None, "OS-EXT-SRV-ATTR:hostname": None},
    ],
)
def test_poor_rows_still_give_an_instance(raw: dict[str, Any]) -> None:
    found = host_variables(raw, REGION, "p")
    assert found["ecs_id"] == "x" and found["ecs_vcpus"] == 0 and found["ecs_tags"] == {}
    assert "ecs_private_ip" not in found and None not in found.values()


def test_primary_address_first_in_whatever_order_and_version_type() -> None:
    """The row of an EIP says primary, whichever port it is bound to: only its port tells whose it is."""
    second, first = {"OS-EXT-IPS:port_id": "p2"}, {"OS-EXT-IPS:port_id": "p1"}
    raw = {
        "id": "x",
        "addresses": {
            VPC: [
                row("10.0.0.9", primary=False, **second),
                row("fd00::1", version=6, **second),
                row("9.9.9.9", "floating", primary=True, **second),
                row("8.8.8.8", "floating", primary=True, **first),
                row("10.0.0.2", primary=True, version=4, **first),
            ]
        },
        "network_interfaces": [{"port_id": "p1", "subnet_id": "s1"}, {"port_id": "gone"}, {"port_id": ""}, None],
    }
    found = host_variables(raw, REGION, "p")
    assert found["ecs_private_ips"] == ["10.0.0.2", "10.0.0.9"]
    assert (found["ecs_private_ip"], found["ecs_public_ip"], found["ecs_ipv6"]) == ("10.0.0.2", "8.8.8.8", "fd00::1")
    assert [(each["port_id"], each["public_ips"]) for each in found["ecs_network_interfaces"]] == [
        ("p1", ["8.8.8.8"]),
        ("p2", ["9.9.9.9"]),
    ]
    assert found["ecs_subnet_id"] == "s1"


def test_primary_interface_may_be_told_apart_from_the_addresses() -> None:
    rows = [row("10.0.0.9", **{"OS-EXT-IPS:port_id": "a"}), row("10.0.0.2", **{"OS-EXT-IPS:port_id": "b"})]
    raw = {"id": "x", "addresses": {VPC: rows}, "network_interfaces": [{"port_id": "b", "primary": True}]}
    assert host_variables(raw, REGION, "p")["ecs_private_ip"] == "10.0.0.2"


@pytest.mark.parametrize("address", ["-oProxyCommand=x", "fe80::1%-oX", "10.0.0.1 ", "host", "", None, 5, ["10.0.0.1"]])
def test_what_is_no_address_is_none(address: Any) -> None:
    found = host_variables({"id": "x", "addresses": {VPC: [row(address)]}}, REGION, "p")
    assert "ecs_private_ip" not in found and found["ecs_network_interfaces"] == []


def test_first_address_without_any_primary_mark() -> None:
    found = host_variables({"id": "x", "addresses": {VPC: [row("10.0.0.9"), row("10.0.0.2")]}}, REGION, "p")
    assert found["ecs_private_ip"] == "10.0.0.9"


def test_tags_split_at_the_first_equals_sign_and_lose_those_of_huawei() -> None:
    assert parse_tags(["a=b=c", "bare", "empty=", "_sys_x=1", "_sys_y", "=odd", 5]) == {
        "a": "b=c",
        "bare": "",
        "empty": "",
    }


def test_tags_of_the_system_have_a_place_of_their_own() -> None:
    """As recorded: bare keys among the user's tags, and a list beside them."""
    short = {"tags": {"env": "prod"}, "system_tags": {"_sys_type_hcss_x": ""}}
    raw = {"sys_tags": [{"key": "_sys_enterprise_project_id", "value": "ep1"}, {"value": "odd"}, None]}
    found = variables(**short, raw=raw)
    assert found["ecs_tags"] == {"env": "prod"}
    assert found["ecs_system_tags"] == {
        "_sys_type_hcss_x": "",
        "_sys_root_resource_id": "0",
        "_sys_enterprise_project_id": "ep1",
    }
    assert [tag(found, key) for key in ("env", "_sys_type_hcss_x", "none", "_sys_none")] == ["prod", "", None, None]


def test_bare_metal() -> None:
    """Its row says some things elsewhere: how it is paid for, and its enterprise project."""
    found = variables(flavor="physical.kat2ne.48xlarge.8.ei.pod101", charging_mode="1", enterprise_project_id="ep1")
    assert (found["ecs_bare_metal"], found["ecs_arch"], found["ecs_npu_count"]) == (True, "aarch64", 8)
    assert (found["ecs_charging_mode"], found["ecs_enterprise_project_id"]) == ("prepaid", "ep1")
    assert variables(flavor="physical.s4.large")["ecs_arch"] == "x86_64"
    # Not every such server has the tag, and not every row the flavor.
    assert variables(raw={"tags": ["__type_baremetal"]})["ecs_bare_metal"] is True
    assert variables(raw={"flavor": {"id": "physical.s4.large"}, "tags": []})["ecs_bare_metal"] is True
    assert variables()["ecs_bare_metal"] is False


def test_flavor_details_know_what_the_list_does_not() -> None:
    flavors = {flavor["id"]: flavor for flavor in flavor_rows()}
    for name, arch, gpus, npus in [
        ("kc1.large.2", "aarch64", 0, 0),
        ("kat2.48xlarge.8", "aarch64", 0, 8),
        ("p2s.2xlarge.8", "x86_64", 1, 0),
        ("s7.large.2", "x86_64", 0, 0),
    ]:
        server = {"id": "x", "flavor": {"id": name}}
        found = host_variables(server, REGION, "p", flavor=flavors[name])
        assert (found["ecs_arch"], found["ecs_gpu_count"], found["ecs_npu_count"]) == (arch, gpus, npus)
    # The details are no better than the list where both know something.
    server = {"id": "x", "flavor": {"id": "p2s.2xlarge.8", "gpus": [{"name": "own", "count": "2"}]}}
    found = host_variables(server, REGION, "p", flavor=flavors["p2s.2xlarge.8"])
    assert (found["ecs_gpu_count"], found["ecs_gpu_name"], found["ecs_gpu_memory"]) == (2, "own", 0)


def test_different_accelerators_are_added_up() -> None:
    gpus = [{"name": "A", "count": 1, "memory_mb": 2}, {"name": "B", "count": "3", "memory_mb": "1"}, {"name": "A"}]
    found = host_variables({"id": "x", "flavor": {"gpus": gpus}}, REGION, "p")
    assert (found["ecs_gpu_count"], found["ecs_gpu_name"], found["ecs_gpu_memory"]) == (4, "A, B", 1)


def test_spot_prepaid_and_expiry() -> None:
    assert variables(charging_mode="2")["ecs_spot"] is True
    raw = server_row({"charging_mode": "1"})
    found = host_variables(raw, REGION, "p", expires="2026-12-31T15:59:59Z")
    assert (found["ecs_charging_mode"], found["ecs_expires"]) == ("prepaid", "2026-12-31T15:59:59Z")
    assert "ecs_expires" not in variables(charging_mode="1")


def test_an_instance_in_error_says_why() -> None:
    found = variables(status="ERROR", raw={"fault": {"message": "No valid host was found.", "code": 500}})
    assert (found["ecs_status"], found["ecs_fault"]) == ("ERROR", "No valid host was found.")


def test_half_a_surrogate_pair_can_be_written() -> None:
    found = variables(id="i", name="a\ud800b", tags={"k\ud800": "v\udfff"})
    assert found["ecs_name"] == "a?b" and found["ecs_tags"] == {"k?": "v?"}


def test_filter_fields_are_the_variables() -> None:
    names = {f"ecs_{field}" for field in filter_fields()}
    assert set(variables(public_ip="1.2.3.4", ipv6="fd00::5")) - names == {
        "ecs_tags",
        "ecs_system_tags",
        "ecs_network_interfaces",
    }
    assert "ecs_expires" in names

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.vars.reserved import is_reserved_name

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_hosts as hosts
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError
from tests.ecs_simulator.instances import USER_DATA, project_id, server_row

REGION = "cn-north-4"
VPC = "vpc-1"


def variables(**short: Any) -> dict[str, Any]:
    return hosts.host_variables(server_row(short), REGION, project_id(REGION))


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
        "ecs_status": "ACTIVE",
        "ecs_region": REGION,
        "ecs_availability_zone": "cn-north-4a",
        "ecs_project_id": project_id(REGION),
        "ecs_enterprise_project_id": "0",
        "ecs_vpc_id": VPC,
        "ecs_flavor": "p2s.16xlarge.8",
        "ecs_vcpus": 64,
        "ecs_ram": 524288,
        "ecs_gpu_count": 8,
        "ecs_gpu_name": "Nvidia Tesla V100S 32GB",
        "ecs_npu_count": 0,
        "ecs_npu_name": "",
        "ecs_accelerator": "gpu",
        "ecs_image_id": "5c8b6f5e-0000-4000-8000-000000000001",
        "ecs_image_name": "Debian 12.0.0 64bit",
        "ecs_os_type": "Linux",
        "ecs_charging_mode": "on_demand",
        "ecs_key_name": "ops",
        "ecs_security_groups": ["default"],
        "ecs_created": "2026-11-01T08:00:00Z",
        "ecs_tags": tags,
        "ecs_private_ips": ["10.0.0.5"],
        "ecs_public_ips": ["1.2.3.4"],
        "ecs_private_ip": "10.0.0.5",
        "ecs_public_ip": "1.2.3.4",
        "ecs_ipv6": "fd00::5",
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
    found = hosts.host_variables(raw, REGION, "p")
    assert found["ecs_id"] == "x" and found["ecs_vcpus"] == 0 and found["ecs_tags"] == {}
    assert "ecs_private_ip" not in found and None not in found.values()
    assert hosts.host_names([found], ["name"], "suffix") == ["x"]


def test_primary_address_first_in_whatever_order_and_version_type() -> None:
    raw = {
        "id": "x",
        "addresses": {
            VPC: [
                row("10.0.0.9", primary=False),
                row("fd00::1", version=6),
                row("10.0.0.2", primary=True, version=4),
                row("9.9.9.9", "floating", primary=False),
                row("8.8.8.8", "floating", primary=True),
            ]
        },
    }
    found = hosts.host_variables(raw, REGION, "p")
    assert found["ecs_private_ips"] == ["10.0.0.2", "10.0.0.9"]
    assert (found["ecs_private_ip"], found["ecs_public_ip"], found["ecs_ipv6"]) == ("10.0.0.2", "8.8.8.8", "fd00::1")


def test_first_address_without_any_primary_mark() -> None:
    found = hosts.host_variables({"id": "x", "addresses": {VPC: [row("10.0.0.9"), row("10.0.0.2")]}}, REGION, "p")
    assert found["ecs_private_ip"] == "10.0.0.9"


def test_tags_split_at_the_first_equals_sign_and_lose_those_of_huawei() -> None:
    assert hosts.parse_tags(["a=b=c", "bare", "empty=", "_sys_x=1", "_sys_y", "=odd", 5]) == {
        "a": "b=c",
        "bare": "",
        "empty": "",
    }


@pytest.mark.parametrize(
    ("statuses", "tags", "expected"),
    [
        ([], {}, True),
        (["ACTIVE"], {}, True),
        (["SHUTOFF"], {}, False),
        ([], {"env": ["prod"]}, True),
        ([], {"env": ["pro"]}, False),
        ([], {"env": ["test", "prod"], "team": []}, True),
        ([], {"other": []}, False),
    ],
)
def test_filters(statuses: list[str], tags: dict[str, list[str]], expected: bool) -> None:
    instance = variables(tags={"env": "prod", "team": "x"})
    assert hosts.Filters(statuses, tags).match(instance) is expected


def test_reboot_is_not_active() -> None:
    assert not hosts.Filters(["ACTIVE"], {}).match(variables(status="REBOOT"))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"ray-node-type": "head", "ray-user-node-type": "big"}, ("ray_head", "")),
        ({"ray-node-type": "worker"}, ("ray_workers", "")),
        ({"ray-node-type": "worker", "ray-user-node-type": "gpu-v100"}, ("ray_workers", "gpu-v100")),
        ({"ray-node-type": "redis"}, ("ray_redis", "")),
        ({"ray-node-type": "monitor"}, ("ray_monitor", "")),
        ({"ray-node-type": "wroker"}, ("", "")),
        ({"ray-user-node-type": "gpu"}, ("", "")),
    ],
)
def test_ray_groups(tags: dict[str, str], expected: tuple[str, str]) -> None:
    assert hosts.ray_groups(variables(tags=tags)) == expected


def test_two_clusters_are_refused_by_name() -> None:
    def node(cluster: str) -> dict[str, Any]:
        return variables(tags={"ray-cluster-name": cluster, "ray-node-type": "head"})

    hosts.check_one_cluster([node("a"), node("a"), variables(tags={"ray-cluster-name": "b"}), variables()])
    with pytest.raises(HuaweiError, match=r"2 Ray clusters \(a, b\): set cluster_name"):
        hosts.check_one_cluster([node("a"), node("b")])
    with pytest.raises(HuaweiError, match=r"\(no tag ray-cluster-name\), a"):
        hosts.check_one_cluster([node("a"), variables(tags={"ray-node-type": "worker"})])


def test_connect_address_follows_the_preference() -> None:
    both = variables(private_ip="10.0.0.5", public_ip="1.2.3.4")
    private = variables(private_ip="10.0.0.5")
    assert hosts.connect_address(both, ["private_ip", "public_ip"]) == "10.0.0.5"
    assert hosts.connect_address(both, ["public_ip", "private_ip"]) == "1.2.3.4"
    assert hosts.connect_address(private, ["public_ip", "private_ip"]) == "10.0.0.5"
    assert hosts.connect_address(private, ["public_ip"]) is None


def test_names_by_preference() -> None:
    instance = variables(name="n", id="i", hostname="h", private_ip="10.0.0.5", tags={"role": "r"})
    for preference, expected in [
        (["name"], "n"),
        (["id"], "i"),
        (["hostname"], "h"),
        (["private_ip"], "10.0.0.5"),
        (["public_ip", "name"], "n"),
        (["tag:role"], "r"),
        (["tag:none", "tag:role"], "r"),
        (["tag:none"], "i"),
        ([], "i"),
    ]:
        assert hosts.host_names([instance], preference, "suffix") == [expected]


def test_every_twin_gets_its_id_or_it_is_an_error() -> None:
    twins = [variables(name="w", id="i1"), variables(name="w", id="i2"), variables(name="v", id="i3")]
    assert hosts.host_names(twins, ["name"], "suffix") == ["w-i1", "w-i2", "v"]
    with pytest.raises(HuaweiError, match="2 instances are called w: rename them"):
        hosts.host_names(twins, ["name"], "fail")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web 1", "web_1"),
        ("a:b,c[1]", "a_b_c_1_"),
        ("-oProxyCommand=x", "_oProxyCommand_x"),
        ("节点-1", "节点-1"),
        ("{{ x }}", "___x___"),
        ("localhost", "localhost-i"),
        ("all", "all-i"),
        ("ray_head", "ray_head-i"),
        ("ray_pool_gpu", "ray_pool_gpu-i"),
        ("WIN-1.corp.local", "WIN-1.corp.local"),
        ("!w", "_w"),
    ],
)
def test_odd_names(name: str, expected: str) -> None:
    assert hosts.host_names([variables(name=name, id="i")], ["name"], "suffix") == [expected]

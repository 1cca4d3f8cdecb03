# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from typing import Any, Optional

import pytest

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_hosts as hosts
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_filters import Filters
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import host_variables
from tests.ecs_simulator.instances import project_id, server_row

REGION = "cn-north-4"


def variables(**short: Any) -> dict[str, Any]:
    return host_variables(server_row(short), REGION, project_id(REGION))


def names(instances: list[dict[str, Any]], *preference: str) -> list[str]:
    wanted = hosts.wanted_names(instances, preference, lambda template, _variables: f"rendered {template}")
    return hosts.unique_names(wanted, instances, ())


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
    assert Filters(statuses, tags).match(instance) is expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"flavor": ["p2s.*"]}, True),
        ({"flavor": ["s7.*", "p2s.2x*"]}, True),
        ({"flavor": ["S7.*"]}, False),
        ({"flavor": ["p2s.*"], "availability_zone": ["cn-north-4b"]}, False),
        ({"tag:env": ["pr?d"]}, True),
        ({"tag:none": ["*"]}, False),
        ({"private_ips": ["10.0.0.*"]}, True),
        ({"public_ip": ["*"]}, False),
        ({"spot": ["false"], "gpu_count": ["1"]}, True),
        ({}, True),
    ],
)
def test_include_and_exclude_filters(wanted: dict[str, list[str]], expected: bool) -> None:
    instance = variables(tags={"env": "prod"}, flavor="p2s.2xlarge.8", private_ip="10.0.0.7")
    assert Filters(include=[{"name": ["no"]}, wanted]).match(instance) is expected
    assert Filters(exclude=[{"name": ["no"]}, wanted]).match(instance) is not expected
    assert not Filters(include=[wanted], exclude=[wanted]).match(instance)


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [("_sys_type_hcss_x", [], True), ("_sys_root_resource_id", ["0"], True), ("_sys_root_resource_id", ["1"], False)],
)
def test_filters_on_tags_of_the_system(key: str, values: list[str], expected: bool) -> None:
    instance = variables(system_tags={"_sys_type_hcss_x": ""})
    patterns = [{f"tag:{key}": values or ["*"]}]
    assert Filters([], {key: values}).match(instance) is expected
    assert Filters(include=patterns).match(instance) is expected
    assert Filters(exclude=patterns).match(instance) is not expected
    assert not Filters([], {key: values}).match(variables(raw={"tags": []}))


def test_bare_metal_can_be_left_out() -> None:
    assert not Filters(bare_metal=False).match(variables(flavor="physical.s4.large"))
    assert Filters(bare_metal=False).match(variables()) and Filters().match(variables(flavor="physical.s4.large"))


def test_reboot_is_not_active() -> None:
    assert not Filters(["ACTIVE"], {}).match(variables(status="REBOOT"))


@pytest.mark.parametrize(
    ("tags", "alone", "beside_others"),
    [
        ({"ray-node-type": "head", "ray-user-node-type": "big"}, [("ray_head", "")], [("_head", "")]),
        ({"ray-node-type": "worker"}, [("ray_workers", "")], [("_workers", "")]),
        (
            {"ray-node-type": "worker", "ray-user-node-type": "gpu-v100"},
            [("ray_workers", ""), ("ray_pool_gpu-v100", "ray_workers")],
            [("_workers", ""), ("_pool_gpu-v100", "_workers")],
        ),
        ({"ray-node-type": "redis"}, [("ray_redis", "")], [("_redis", "")]),
        ({"ray-node-type": "monitor"}, [("ray_monitor", "")], [("_monitor", "")]),
        ({"ray-node-type": "wroker"}, [], []),
        ({"ray-user-node-type": "gpu"}, [], None),
    ],
)
def test_ray_groups(
    tags: dict[str, str], alone: list[tuple[str, str]], beside_others: Optional[list[tuple[str, str]]]
) -> None:
    """Where there are several clusters, all groups of one are children of the group of its name."""
    cluster = "ray_cluster_demo"
    instance = variables(tags={**tags, "ray-cluster-name": "demo"})
    assert hosts.ray_groups(instance, several=False) == alone
    expected = [] if beside_others is None else [(cluster, "")]
    expected += [(cluster + group, cluster + parent) for group, parent in beside_others or []]
    assert hosts.ray_groups(instance, several=True) == expected


def test_two_clusters_are_refused_by_name_unless_they_are_wanted() -> None:
    def node(cluster: str) -> dict[str, Any]:
        return variables(tags={"ray-cluster-name": cluster, "ray-node-type": "head"})

    def check(*instances: dict[str, Any], several: bool = False) -> list[str]:
        return hosts.check_clusters(instances, several)

    assert check(node("a"), node("a"), variables(tags={"ray-cluster-name": "b"}), variables()) == ["a"]
    with pytest.raises(HuaweiError, match=r"2 Ray clusters \(a, b\): set cluster_name, or .* several_clusters to true"):
        check(node("a"), node("b"))
    with pytest.raises(HuaweiError, match=r"\(no tag ray-cluster-name\), a"):
        check(node("a"), variables(tags={"ray-node-type": "worker"}))
    assert check(node("a"), node("b"), several=True) == ["a", "b"]


@pytest.mark.parametrize(
    ("first", "second", "group"),
    [("a-b", "a.b", "ray_cluster_a_b"), ("a", "a_head", "ray_cluster_a_head"), ("", "_head", "ray_cluster__head")],
)
def test_clusters_that_would_share_a_group_are_refused(first: str, second: str, group: str) -> None:
    tags = [{"ray-cluster-name": cluster, "ray-node-type": "head"} for cluster in (first, second)]
    instances = [variables(tags=each if each["ray-cluster-name"] else {"ray-node-type": "head"}) for each in tags]
    groups = [
        [(re.sub(r"\W", "_", group), re.sub(r"\W", "_", parent)) for group, parent in hosts.ray_groups(each, True)]
        for each in instances
    ]
    hosts.check_cluster_groups(instances[:1] * 2, groups[:1] * 2)
    with pytest.raises(HuaweiError, match=f"would share the group {group}: rename one of them"):
        hosts.check_cluster_groups(instances, groups)


def test_plain_groups() -> None:
    raw = {"network_interfaces": [{"port_id": "p", "subnet_id": "net-1"}]}
    instance = variables(
        tags={"env": "prod", "bare": ""},
        flavor="p2s.2xlarge.8",
        vpc_id="vpc-1",
        status="SHUTOFF",
        security_groups=["default", "ssh"],
        enterprise_project_id="ep1",
        port_id="p",
        raw=raw,
    )
    instance["ecs_os_version"] = "Debian 12"
    kinds = [*sorted(hosts.GROUPED_BY), "tag:env", "tag:bare", "tag:none"]
    assert hosts.plain_groups(instance, kinds) == [
        "accelerator_gpu",
        "az_cn-north-4a",
        "enterprise_project_ep1",
        "flavor_p2s.2xlarge.8",
        "image_debian 12.0.0 64bit",
        "os_linux",
        "os_version_debian 12",
        "region_cn-north-4",
        "security_group_default",
        "security_group_ssh",
        "status_shutoff",
        "subnet_net-1",
        "vpc_vpc-1",
        "tag_env_prod",
        "tag_bare",
    ]


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
        assert names([instance], *preference) == [expected]


def test_a_template_is_rendered_with_the_instance() -> None:
    assert names([variables(name="n", id="i")], "tag:none", "{{ ecs_name }}") == ["rendered____ecs_name___"]


def test_every_twin_gets_its_id() -> None:
    twins = [variables(name="w", id="i1"), variables(name="w", id="i2"), variables(name="v", id="i3")]
    assert names(twins, "name") == ["w-i1", "w-i2", "v"]
    assert hosts.shared_names(["w", "w", "v"]) == {"w": 2}
    # One that is called as a twin is with its id.
    assert names([*twins, variables(name="w-i1", id="i4")], "name") == ["w-i1-2", "w-i2", "v", "w-i1"]


def test_name_of_a_group_gets_the_id() -> None:
    instance = variables(name="az_a", id="i")
    assert hosts.unique_names(["az_a"], [instance], {"az_a"}) == ["az_a-i"]


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
        ("cafe\u0301", "caf\u00e9"),
        ("..", "_."),
    ],
)
def test_odd_names(name: str, expected: str) -> None:
    assert names([variables(name=name, id="i")], "name") == [expected]

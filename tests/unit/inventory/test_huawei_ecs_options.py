# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters, names, groups, several clusters and checks, as the plugin's options set them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("huaweicloudsdkecs")

from tests.ecs_simulator.instances import project_id
from tests.ecs_simulator.server import Simulator
from tests.unit.inventory.bed import A, B, Bed, hosts_of


def node(name: str, cluster: str, role: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "tags": {"ray-cluster-name": cluster, "ray-node-type": role}, **more}


def hosts(found: list[dict[str, Any]]) -> list[list[str]]:
    return [sorted(each["hosts"]) for each in found]


def queries(simulator: Simulator) -> list[str]:
    return [target.partition("?")[2] for target in simulator.requests if "/cloudservers/detail?" in target]


def test_server_filters_reach_the_server(bed: Bed, simulator: Simulator) -> None:
    found = bed.parse(
        {"server_filters": {"name": "npu"}},
        {"server_filters": {"flavor": "p2s.2xlarge.8"}},
        {"server_filters": {"ip": "10.0.0."}},
        {"server_filters": {"ip_eq": "{{ '10.0.0.1' }}"}},
        {"server_filters": {"not_tags": "ray-cluster-name"}},
        {"server_filters": {"name": ""}},
    )
    assert hosts(found) == [
        ["npu-1"],
        ["gpu-1"],
        ["gpu-1", "head", "npu-1", "plain"],
        ["head"],
        ["plain"],
        ["gpu-1", "head", "npu-1", "plain"],
    ]
    sent = "&".join(queries(simulator))
    for parameter in ("name=npu", "flavor=p2s.2xlarge.8", "ip=10.0.0.", "ip_eq=10.0.0.1", "not-tags=ray-cluster-name"):
        assert parameter in sent
    simulator.source.shorts[0]["id"] = "i-head"
    (one,) = bed.parse({"server_filters": {"server_id": ["i-head", "i-none"]}})
    assert list(one["hosts"]) == ["head"]


def test_include_and_exclude_filters(bed: Bed) -> None:
    gpu = {"flavor": ["p2s.*", "kat2.*"]}
    found = bed.parse(
        {"include_filters": [gpu]},
        {"include_filters": [{**gpu, "region": A}, {"tag:ray-node-type": "head"}]},
        {"exclude_filters": [{"tag:ray-cluster-name": "*"}]},
        {"include_filters": [gpu], "exclude_filters": [{"accelerator": "npu"}]},
        {"exclude_filters": [{"spot": False}]},
    )
    assert hosts(found) == [["gpu-1", "npu-1"], ["gpu-1", "head"], ["plain"], ["gpu-1"], []]


def test_enterprise_projects(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[0]["enterprise_project_id"] = "ep1"
    simulator.source.shorts[1]["enterprise_project_id"] = "ep2"
    bed.env["HUAWEICLOUD_SDK_ENTERPRISE_PROJECT_ID"] = "ep1,ep2"
    found = bed.parse({}, {"enterprise_project_ids": ["ep2"]}, {"enterprise_project_ids": "all_granted_eps"})
    assert hosts(found) == [["gpu-1", "head"], ["gpu-1"], ["gpu-1", "head", "npu-1", "plain"]]


def test_several_projects_of_a_region(bed: Bed, simulator: Simulator) -> None:
    projects = [project_id(A), project_id(B)]
    found = bed.parse({"regions": [A], "project_ids": {A: projects}}, {"regions": [A], "project_id": projects[1]})
    assert hosts(found) == [["gpu-1", "head", "npu-1", "plain"], ["npu-1"]]
    assert not any(target.startswith("/v3/") for target in simulator.requests)


def test_hostnames_with_templates(bed: Bed, simulator: Simulator) -> None:
    marker = bed.folder / "hacked"
    evil = "x'~lookup('ansible.builtin.pipe','touch " + str(marker) + "')~'{{ lookup('ansible.builtin.pipe', 'id') }}"
    simulator.source.shorts[:] = [
        {"name": "a", "tags": {"env": "prod"}},
        {"name": "b", "id": "id-b"},
        {"name": evil, "id": "id-c", "tags": {"env": evil}},
    ]
    wish = {"hostnames": ["{{ ecs_tags.env }}-{{ ecs_name }}.{{ domain }}", "id"]}
    found = bed.inventory("-e", "domain=example.com", **wish)["_meta"]["hostvars"]
    assert sorted(each["ecs_name"] for each in found.values()) == sorted(["a", "b", evil])
    assert {"prod-a.example.com", "id-b"} < set(found) and not marker.exists()
    (strict,) = bed.parse({"hostnames": ["{{ ecs_tags.env }}"], "strict": True})
    assert "The template in hostnames cannot be rendered for id-b: check the variables" in strict["error"]


def test_duplicate_names_by_policy(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[:] = [{"name": "web", "id": f"i{number}"} for number in range(3)]
    suffix, warn, fail = bed.parse(*({"on_duplicate_name": policy} for policy in ("suffix", "warn", "fail")))
    assert sorted(suffix["hosts"]) == sorted(warn["hosts"]) == ["web-i0", "web-i1", "web-i2"]
    assert suffix["warnings"] == [] and warn["warnings"] == ["3 instances are called web: their IDs are appended."]
    assert "3 instances are called web: rename them" in fail["error"] and fail["hosts"] == {}


def test_groups_without_a_template(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts.append({"name": "region_cn_north_4", "id": "i9", "tags": {"env": "a-b"}})
    (found,) = bed.parse({"group_by": ["region", "availability_zone", "accelerator", "tag:env", "tag:ray-node-type"]})
    groups = found["groups"]
    assert groups["region_cn_east_3"] == ["npu-1"] and groups["az_cn_east_3a"] == ["npu-1"]
    assert groups["accelerator_gpu"] == ["gpu-1"] and groups["tag_ray_node_type_worker"] == ["gpu-1", "npu-1"]
    # A host that is called as a group would be the group for Ansible.
    assert groups["tag_env_a_b"] == ["region_cn_north_4-i9"]
    assert "Unknown value 'zone' in group_by" in bed.failure(group_by=["zone"])


def test_several_clusters_in_one_file(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[:] = [
        node("h1", "one", "head"),
        node("w1", "one", "worker"),
        node("h2", "two", "head"),
        {"name": "w2", "tags": {**node("", "two", "worker")["tags"], "ray-user-node-type": "gpu"}},
        {"name": "plain"},
    ]
    found = bed.inventory(several_clusters=True)
    assert hosts_of(found, "ray_cluster_one") == ["h1", "w1"]
    assert found["ray_cluster_one_head"]["hosts"] == ["h1"] and hosts_of(found, "ray_cluster_two_workers") == ["w2"]
    assert found["ray_cluster_two_pool_gpu"]["hosts"] == ["w2"]
    # No play of the collection may take the two for one.
    assert not any(hosts_of(found, group) for group in ("ray_head", "ray_workers", "ray_redis", "ray_monitor"))
    one = bed.inventory("-e", "cluster=two", several_clusters=True, cluster_name="{{ cluster }}")
    assert (hosts_of(one, "ray_head"), set(hosts_of(one, "ray_workers"))) == (["h2"], {"w2"})
    simulator.source.shorts += [node("x", "a-b", "head"), node("y", "a.b", "head")]
    assert "The Ray clusters a-b and a.b would share the group ray_cluster_a_b: rename one of them." in (
        bed.failure(several_clusters=True)
    )


CHECKS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "two_heads": (
        [node("h1", "c", "head", id="1"), node("h2", "c", "head", id="2")],
        "cluster c has 2 heads: h1 (1), h2 (2)",
    ),
    "no_head": ([node("w1", "c", "worker")], "cluster c has workers and no head"),
    "not_active": ([node("w1", "c", "worker", id="1", status="SHUTOFF")], "w1 (1) of cluster c is SHUTOFF"),
    "security_groups": (
        [node("h", "c", "head", id="1", security_groups=["shut"]), node("w", "c", "worker", security_groups=["shut"])],
        "cluster c: the security groups of h (1) (shut) do not let all other nodes in on TCP 6379, 6381",
    ),
}


@pytest.mark.parametrize("check", CHECKS)
def test_checks_of_the_clusters(bed: Bed, simulator: Simulator, check: str) -> None:
    """Each on request, as a warning or as an error; from the cache as well, where nothing is asked."""
    simulator.source.shorts[:], sentence = CHECKS[check][0], CHECKS[check][1]
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(bed.folder / "cache")}
    (off,) = bed.parse({})
    assert off["warnings"] == [] and off["error"] == ""
    for _turn in range(2):
        (warn,) = bed.parse({"ray_checks": {check: "warn"}, **cache})
        assert warn["hosts"].keys() == off["hosts"].keys()
        assert any(each.startswith(sentence) for each in warn["warnings"])
        simulator_requests, simulator.requests[:] = list(simulator.requests), []
    assert simulator_requests == []
    (fail,) = bed.parse({"ray_checks": {check: "fail"}, **cache})
    assert f"The Ray clusters are not as they should be: {sentence}" in fail["error"] and fail["hosts"] == {}


def test_rules_and_ports_of_the_check(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[:] = [node("h", "c", "head"), node("w", "c", "worker"), node("w2", "c", "worker")]
    wish = {"ray_checks": {"security_groups": "warn"}}
    (found,) = bed.parse(wish)
    assert found["warnings"] == []
    # One request for the groups that all three have.
    assert sum("os-security-groups" in target for target in simulator.requests) == 1
    network = {"cidr": "192.168.0.0/16"}
    rule = {"ip_protocol": "tcp", "from_port": 6379, "to_port": 60999, "ip_range": network, "group": {}}
    simulator.security_groups["default"] = [rule]
    changes = ({"gcs": 6000}, {}, {"gcs": 0}, {"gcss": 1})
    moved, kept, odd, unknown = bed.parse(*({**wish, "ray_ports": change} for change in changes))
    assert "on TCP 6000: add an ingress rule." in moved["warnings"][0] and kept["warnings"] == []
    assert "ray_ports (gcs) is 0: use a number from 1 to 65535." in odd["error"]
    assert "Unknown value 'gcss' in ray_ports: did you mean gcs?" in unknown["error"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ray_checks": {"two_head": "warn"}}, "Unknown value 'two_head' in ray_checks: did you mean two_heads?"),
        ({"ray_checks": {"two_heads": "yes"}}, "Unknown value 'yes' in ray_checks (two_heads): use warn, fail."),
        ({"ray_checks": ["two_heads"]}, "ray_checks"),
        ({"server_filters": {"az": "x"}}, "Unknown value 'az' in server_filters"),
        ({"include_filters": [{"flavour": "x"}]}, "Unknown value 'flavour' in include_filters: did you mean flavor?"),
        ({"exclude_filters": [{"tags": "x"}]}, "Unknown value 'tags' in exclude_filters: did you mean tag:KEY"),
        ({"group_by": ["tags"]}, "Unknown value 'tags' in group_by: did you mean tag:KEY, such as tag:env?"),
        ({"hostnames": ["tag"]}, "Unknown value 'tag' in hostnames: did you mean tag:KEY, such as tag:env?"),
        ({"group": "gpu cloud"}, "group is 'gpu cloud': use letters, digits and _"),
        ({"group": "ray_head"}, "group is 'ray_head': use letters, digits and _, and no name that Ansible"),
        ({"hostvars_prefix": ""}, "hostvars_prefix is '': use small letters, digits and _, such as huawei_"),
        ({"hostvars_prefix": "ansible_"}, "hostvars_prefix is 'ansible_': use small letters, digits and _"),
        ({"hostvars_prefix": "a-b"}, "hostvars_prefix is 'a-b': use small letters, digits and _"),
        ({"exclude_filters": ["x"]}, "exclude_filters must be a list of mappings"),
        ({"deadline": 0}, "deadline is 0: use 1 to 86400."),
    ],
)
def test_wrong_options_are_one_sentence(bed: Bed, simulator: Simulator, options: dict[str, Any], sentence: str) -> None:
    (found,) = bed.parse(options)
    assert sentence in found["error"] and found["hosts"] == {} and simulator.requests == []


def test_expiry_and_flavor_details(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[:] = [
        {"name": "paid", "charging_mode": "1", "expires": "2026-12-31T15:59:59Z"},
        {"name": "npu", "flavor": "kat2.48xlarge.8", "raw": {"flavor": {"id": "kat2.48xlarge.8"}}},
    ]
    found = bed.inventory(expiry=True, flavor_details=True)["_meta"]["hostvars"]
    assert found["paid"]["ecs_expires"] == "2026-12-31T15:59:59Z" and "ecs_expires" not in found["npu"]
    assert (found["npu"]["ecs_npu_count"], found["npu"]["ecs_arch"]) == (8, "aarch64")
    assert bed.inventory()["_meta"]["hostvars"]["npu"]["ecs_npu_count"] == 0

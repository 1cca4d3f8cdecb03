# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of Ray clusters find, from tags and from the rules of security groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_checks import CHECKS, DEFAULT_PORTS, Checks, facts
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import Account, Job, RegionResult
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import host_variables
from tests.ecs_simulator.instances import project_id, server_row
from tests.ecs_simulator.server import DEFAULT_RULES

REGION = "cn-north-4"
REPOSITORY = Path(__file__).resolve().parents[3]


def node(name: str, role: Optional[str], cluster: str = "demo", **short: Any) -> dict[str, Any]:
    tags = {"ray-cluster-name": cluster, **({"ray-node-type": role} if role else {})}
    return host_variables(server_row({"name": name, "id": f"id-{name}", "tags": tags, **short}), REGION, "p")


def rule(protocol: Optional[str], first: Any, last: Any, cidr: str = "", group: str = "") -> dict[str, Any]:
    return {
        "ip_protocol": protocol,
        "from_port": first,
        "to_port": last,
        "ip_range": {"cidr": cidr} if cidr else {},
        "group": {"name": group} if group else {},
    }


def find(check: str, nodes: list[dict[str, Any]], absent: Any = (), **rules: list[dict[str, Any]]) -> list[str]:
    result = RegionResult(Job(Account("default", None, (REGION,)), REGION, None, REGION), project_id(REGION))
    result.rules = {name: [{"name": name, "rules": each}] for name, each in rules.items()}
    # As it comes from the cache.
    known = json.loads(json.dumps(facts(absent, [result])))
    found = Checks({}, DEFAULT_PORTS).findings(nodes, known)
    assert set(found) == set(CHECKS)
    return found[check]


def test_two_heads_of_one_cluster() -> None:
    nodes = [node("h1", "head"), node("h2", "head"), node("h3", "head", "other")]
    assert find("two_heads", nodes) == ["cluster demo has 2 heads: h1 (id-h1), h2 (id-h2)"]


def test_workers_without_a_head() -> None:
    nodes = [node("w1", "worker"), node("r", "redis", "quiet"), node("h", "head", "other"), node("p", None, "plain")]
    (found,) = find("no_head", nodes)
    assert found == "cluster demo has workers and no head: tag one instance with ray-node-type=head"


def test_nodes_that_are_not_active() -> None:
    absent = [node("w1", "worker", status="SHUTOFF"), node("x", None, status="ERROR")]
    assert find("not_active", [node("h", "head")], absent) == ["w1 (id-w1) of cluster demo is SHUTOFF"]


NODES = [
    node("h", "head", private_ip="10.0.0.1", security_groups=["sg"]),
    node("w1", "worker", private_ip="10.0.0.2", security_groups=["sg"]),
    node("w2", "worker", private_ip="10.0.9.3", security_groups=["sg"]),
]


@pytest.mark.parametrize(
    "rules",
    [
        DEFAULT_RULES,
        [rule(None, None, None, group="sg")],
        [rule("tcp", 1, 65535, cidr="0.0.0.0/0")],
        [rule("TCP", "1", "65535", cidr="10.0.0.0/16")],
        [rule("tcp", 1, 9999, group="sg"), rule("tcp", 10000, 60999, cidr="10.0.0.0/16")],
        [rule("any", -1, -1)],
    ],
)
def test_rules_that_are_enough(rules: list[dict[str, Any]]) -> None:
    own = [{**each, "group": {"name": "sg"}} if each in DEFAULT_RULES else each for each in rules]
    assert find("security_groups", NODES, sg=own) == []


@pytest.mark.parametrize(
    ("rules", "head", "worker"),
    [
        ([], "6379, 6381, 6382, 6383, 6384, 6385, 10002-19999", "6381, 6382, 6383, 6384, 6385, 10002-19999"),
        ([rule("udp", 1, 65535)], "6379, 6381, 6382, 6383, 6384, 6385, 10002-19999", "6381"),
        ([rule("tcp", 1, 65535, group="other")], "6379", "6381"),
        ([rule("tcp", 6000, 7000), rule("tcp", 10002, 15000), rule("tcp", 15002, 20000)], "10002-19999", "10002-19999"),
        # Only some of the nodes.
        ([rule("tcp", 1, 65535, cidr="10.0.0.0/24")], "6379", "6381"),
        ([rule("tcp", 1, 65535, cidr="nonsense")], "6379", "6381"),
        ([rule("tcp", 6380, 65535)], "6379", ""),
        # What torch, gloo, NCCL and ZMQ use.
        ([rule("tcp", 1, 32767)], "32768-60999", "32768-60999"),
        ([rule("tcp", 1, 40000), rule("tcp", 40002, 65535)], "32768-60999", "32768-60999"),
    ],
)
def test_ports_that_are_closed(rules: list[dict[str, Any]], head: str, worker: str) -> None:
    found = find("security_groups", NODES, sg=rules)
    start = "cluster demo: the security groups of {} (sg) do not let all other nodes in on TCP {}"
    assert found[0].startswith(start.format("h (id-h)", head)) and found[0].endswith(": add an ingress rule")
    assert len(found) == (2 if worker else 1)
    assert not worker or found[1].startswith(start.format("w1 (id-w1)", worker))


def test_each_combination_of_groups_is_looked_at() -> None:
    nodes = [*NODES, node("w3", "worker", private_ip="10.0.0.4", security_groups=["sg", "more"])]
    opened = [rule(None, None, None)]
    assert find("security_groups", nodes, **{"sg": opened, "more,sg": opened}) == []
    (found,) = find("security_groups", nodes, **{"sg": opened, "more,sg": []})
    assert "w3 (id-w3) (sg, more)" in found


def test_a_row_of_another_project_is_looked_at_too() -> None:
    result = RegionResult(Job(Account("default", None, (REGION,)), REGION, None, REGION), "the-one-asked")
    tags = {"ray-cluster-name": "demo", "ray-node-type": "head"}
    shorts = [{"name": name, "id": name, "tags": tags, "security_groups": ["sg"]} for name in ("a", "b")]
    result.servers = [server_row({**short, "raw": {"tenant_id": "another"}}) for short in shorts]
    result.rules = {"sg": [{"name": "sg", "rules": []}]}
    nodes = [host_variables(row, REGION, "the-one-asked") for row in result.servers]
    (found,) = Checks({}, DEFAULT_PORTS).findings(nodes, json.loads(json.dumps(facts([], [result]))))["security_groups"]
    assert "the security groups of a (a) (sg) do not let all other nodes in on TCP 6379" in found


def test_unknown_rules_are_no_silent_pass() -> None:
    (head, workers) = find("security_groups", NODES)
    assert head == "cluster demo: the security groups of h (id-h) (sg) have no known rules" and "w1 (id-w1)" in workers


def test_rules_that_could_not_be_read_are_a_finding() -> None:
    result = RegionResult(Job(Account("default", None, (REGION,)), REGION, None, REGION), rules_error="no right")
    known = facts([], [result])
    assert Checks({}, DEFAULT_PORTS).findings([], known)["security_groups"] == [f"region {REGION}: no right"]


def test_the_ports_are_those_of_the_role() -> None:
    path = REPOSITORY / "roles/ray_defaults/vars/main/config.yml"
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["_ray_default_ports"] == DEFAULT_PORTS

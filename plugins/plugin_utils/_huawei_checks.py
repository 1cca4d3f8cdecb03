# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the Ray clusters that the tags describe. No network, no Ansible."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_variables as rows_of
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import (
    NODE_GROUPS,
    TAG_CLUSTER,
    TAG_NODE_TYPE,
    clusters,
)
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import RegionResult, group_key
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import Variables

CHECKS = ("two_heads", "no_head", "not_active", "security_groups")
# What other nodes reach on every node, and on the head alone, by the names of the variable ray_ports.
NODE_PORTS = ("node_manager", "object_manager", "dashboard_agent_grpc", "runtime_env_agent", "metrics_export")
HEAD_PORTS = ("gcs",)
WORKER_PORTS = ("worker_min", "worker_max")
ANY = ("", "any", "-1")

Range = tuple[int, int]


def findings(
    nodes: Iterable[Variables], absent: Iterable[Variables], results: Iterable[RegionResult], ports: Mapping[str, int]
) -> dict[str, list[str]]:
    """What is wrong, by check, a sentence each.

    nodes: the hosts. absent: instances that are no hosts only because of their status. results: with the rules of
    the security groups, where they were asked for. ports: Ray's, by the names of the variable ray_ports.
    """
    found: dict[str, list[str]] = {check: [] for check in CHECKS}
    nodes = list(nodes)
    by_cluster = {cluster: [each for each in nodes if _is_of(each, cluster)] for cluster in clusters(nodes)}
    for cluster, own in by_cluster.items():
        heads = [each for each in own if _role(each) == "head"]
        name = _cluster(cluster)
        if len(heads) > 1:
            found["two_heads"].append(f"{name} has {len(heads)} heads: {_names(heads)}")
        if not heads and any(_role(each) == "worker" for each in own):
            found["no_head"].append(f"{name} has workers and no head: tag one instance with {TAG_NODE_TYPE}=head")
    for each in [*nodes, *absent]:
        if TAG_NODE_TYPE in each["ecs_tags"] and each["ecs_status"] != "ACTIVE":
            cluster = _cluster(each["ecs_tags"].get(TAG_CLUSTER, ""))
            found["not_active"].append(f"{_names([each])} of {cluster} is {each['ecs_status'] or 'in no known state'}")
    found["security_groups"] = _security_group_findings(by_cluster, list(results), ports)
    return found


def _security_group_findings(
    by_cluster: Mapping[str, Sequence[Variables]], results: Sequence[RegionResult], ports: Mapping[str, int]
) -> list[str]:
    found = [f"region {each.job.name}: {each.rules_error}" for each in results if each.rules_error]
    rules = {(each.project_id, key): groups for each in results for key, groups in each.rules.items()}
    for cluster, nodes in by_cluster.items():
        own = [each for each in nodes if _role(each) in ("head", "worker")]
        done: set[tuple[str, str, str]] = set()
        for target in own:
            key = group_key(target["ecs_security_group_ids"], target["ecs_security_groups"])
            place = (target["ecs_project_id"], key, _role(target))
            # Nodes of one role with the same groups let the same in.
            if place in done or place[:2] not in rules:
                continue
            done.add(place)
            closed = _closed(target, own, list(_rules(rules[place[:2]])), ports)
            if closed:
                groups = ", ".join(target["ecs_security_groups"]) or "none"
                found.append(
                    f"{_cluster(cluster)}: the security groups of {_names([target])} ({groups}) do not let all other "
                    f"nodes in on TCP {', '.join(closed)}: add an ingress rule"
                )
    return found


def _closed(
    target: Variables, nodes: Sequence[Variables], rules: Sequence[Mapping[str, Any]], ports: Mapping[str, int]
) -> list[str]:
    """The ports of the target that another node of the cluster cannot reach."""
    wanted = [(ports[name], ports[name]) for name in NODE_PORTS + (HEAD_PORTS if _role(target) == "head" else ())]
    wanted.append((ports[WORKER_PORTS[0]], ports[WORKER_PORTS[1]]))
    closed: dict[Range, None] = {}
    # Nodes of one group and network are many; each of their addresses counts where a rule names addresses.
    for node in nodes:
        if node is target or "ecs_private_ip" not in node:
            continue
        open_to_node = [_ports(rule) for rule in rules if _admits(rule, node)]
        closed.update((each, None) for each in wanted if not _covered(each, open_to_node))
    return [f"{low}" if low == high else f"{low}-{high}" for low, high in sorted(closed)]


def _covered(wanted: Range, ranges: Iterable[Range]) -> bool:
    """Whether the ranges together hold all ports of the wanted one."""
    low, high = wanted
    for first, last in sorted(ranges):
        if first <= low <= last:
            low = last + 1
    return low > high


def _rules(groups: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    """The TCP rules of some security groups. The API gives those for what comes in."""
    for group in map(rows_of.mapping, groups):
        for rule in map(rows_of.mapping, rows_of.as_list(group.get("rules"))):
            if rows_of.text(rule.get("ip_protocol")).lower() in ("tcp", "6", *ANY):
                yield rule


def _ports(rule: Mapping[str, Any]) -> Range:
    first, last = rows_of.number(rule.get("from_port")), rows_of.number(rule.get("to_port"))
    return (first, last) if first > 0 and last > 0 else (1, 65535)


def _admits(rule: Mapping[str, Any], node: Variables) -> bool:
    """Whether a rule is about what comes from a node: from its group, from its address, or from anywhere."""
    group = rows_of.text(rows_of.mapping(rule.get("group")).get("name"))
    if group:
        return group in node["ecs_security_groups"]
    cidr = rows_of.text(rows_of.mapping(rule.get("ip_range")).get("cidr"))
    if not cidr:
        return True
    try:
        return ipaddress.ip_address(node["ecs_private_ip"]) in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False


def _is_of(variables: Variables, cluster: str) -> bool:
    tags = variables["ecs_tags"]
    return TAG_NODE_TYPE in tags and tags.get(TAG_CLUSTER, "") == cluster


def _role(variables: Variables) -> str:
    role = variables["ecs_tags"].get(TAG_NODE_TYPE, "")
    return role if role in NODE_GROUPS else ""


def _cluster(name: str) -> str:
    return f"cluster {name}" if name else f"the cluster without a tag {TAG_CLUSTER}"


def _names(instances: Iterable[Variables]) -> str:
    return ", ".join(f"{each['ecs_name']} ({each['ecs_id']})" for each in instances)

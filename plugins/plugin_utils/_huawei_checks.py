# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the Ray clusters that the tags describe. No network, no Ansible."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_variables as rows_of
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import (
    NODE_GROUPS,
    TAG_CLUSTER,
    TAG_NODE_TYPE,
    clusters,
)
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import RegionResult, group_key
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import Variables

CHECKS = ("two_heads", "no_head", "not_active", "security_groups")
# As role ray pins them, by the names of its variable ray_ports: a test compares the two.
DEFAULT_PORTS = {
    "gcs": 6379,
    "client_server": 10001,
    "dashboard": 8265,
    "node_manager": 6381,
    "object_manager": 6382,
    "dashboard_agent_grpc": 6383,
    "runtime_env_agent": 6384,
    "metrics_export": 6385,
    "dashboard_agent_listen": 52365,
    "autoscaler_metrics": 44217,
    "dashboard_metrics": 44227,
    "worker_min": 10002,
    "worker_max": 19999,
}
# What other nodes reach on every node, and on the head alone.
NODE_PORTS = ("node_manager", "object_manager", "dashboard_agent_grpc", "runtime_env_agent", "metrics_export")
HEAD_PORTS = ("gcs",)
WORKER_PORTS = ("worker_min", "worker_max")
# What torch, gloo, NCCL and ZMQ take between the nodes of a model: Linux's own range for them.
EPHEMERAL_PORTS = (32768, 60999)
ANY = ("", "any", "-1")

Range = tuple[int, int]


def facts(absent: Iterable[Variables], results: Iterable[RegionResult]) -> dict[str, Any]:
    """What the checks must know beside the hosts, fit for the cache.

    absent: instances that are no hosts only because of their status. results: with the rules of the security groups,
    where they were asked for.
    """
    rules: dict[str, dict[str, list[Any]]] = {}
    errors = []
    for each in results:
        errors += [f"region {each.job.name}: {each.rules_error}"] if each.rules_error else []
        # A row may name another project than the one that was asked.
        projects = {each.project_id, *(rows_of.text(row.get("tenant_id")) or each.project_id for row in each.servers)}
        for key, groups in each.rules.items():
            found = list(_rules(groups))
            for project in projects:
                rules.setdefault(project, {})[key] = found
    nodes = [each for each in absent if TAG_NODE_TYPE in each["ecs_tags"]]
    return {"absent": nodes, "rules": rules, "rules_errors": errors}


@dataclass(frozen=True)
class Checks:
    """The checks that are wanted, by their names: "warn" or "fail". ports: Ray's, as DEFAULT_PORTS."""

    levels: Mapping[str, str]
    ports: Mapping[str, int]

    def warnings(self, hosts: Sequence[Variables], known: Mapping[str, Any]) -> list[str]:
        """What is wrong, a sentence each; HuaweiError for what is to fail. known: what facts gave."""
        if not self.levels:
            return []
        found = self.findings(hosts, known)
        fatal = [each for check, level in self.levels.items() if level == "fail" for each in found[check]]
        if fatal:
            raise HuaweiError(f"The Ray clusters are not as they should be: {'; '.join(fatal)}.")
        return [f"{each}." for check in self.levels for each in found[check]]

    def findings(self, hosts: Sequence[Variables], known: Mapping[str, Any]) -> dict[str, list[str]]:
        """What is wrong, by check, a phrase each."""
        found: dict[str, list[str]] = {check: [] for check in CHECKS}
        found["security_groups"] = list(known["rules_errors"])
        for cluster in clusters(hosts):
            own = [each for each in hosts if _is_of(each, cluster)]
            heads = [each for each in own if _role(each) == "head"]
            name = _cluster(cluster)
            if len(heads) > 1:
                found["two_heads"].append(f"{name} has {len(heads)} heads: {_names(heads)}")
            if not heads and any(_role(each) == "worker" for each in own):
                found["no_head"].append(f"{name} has workers and no head: tag one instance with {TAG_NODE_TYPE}=head")
            closed, unknown = self._closed_nodes(name, own, known["rules"])
            # Where rules could not be read that is said already.
            found["security_groups"] += closed + (unknown if not known["rules_errors"] else [])
        for each in [*hosts, *known["absent"]]:
            if TAG_NODE_TYPE in each["ecs_tags"] and each["ecs_status"] != "ACTIVE":
                name = _cluster(each["ecs_tags"].get(TAG_CLUSTER, ""))
                found["not_active"].append(f"{_names([each])} of {name} is {each['ecs_status'] or 'in no known state'}")
        return found

    def _closed_nodes(
        self, cluster: str, nodes: Sequence[Variables], rules: Mapping[str, Any]
    ) -> tuple[list[str], list[str]]:
        """The nodes of a cluster that others cannot reach, one of each role and combination of security groups.

        And those of which nobody knows, likewise.
        """
        closed_nodes, unknown = [], []
        own = [each for each in nodes if _role(each) in ("head", "worker")]
        done: set[tuple[str, str, str]] = set()
        for target in own:
            project = target["ecs_project_id"]
            key = group_key(target["ecs_security_group_ids"], target["ecs_security_groups"])
            # Nodes of one role with the same groups let the same in.
            if (project, key, _role(target)) in done:
                continue
            done.add((project, key, _role(target)))
            groups = ", ".join(target["ecs_security_groups"]) or "none"
            which = f"{cluster}: the security groups of {_names([target])} ({groups})"
            if key not in rules.get(project, {}):
                unknown.append(f"{which} have no known rules")
                continue
            closed = self._closed(target, own, rules[project][key])
            if closed:
                closed_nodes.append(
                    f"{which} do not let all other nodes in on TCP {', '.join(closed)}: add an ingress rule"
                )
        return closed_nodes, unknown

    def _closed(self, target: Variables, nodes: Sequence[Variables], rules: Sequence[Mapping[str, Any]]) -> list[str]:
        """The ports of the target that another node of the cluster cannot reach."""
        names = NODE_PORTS + (HEAD_PORTS if _role(target) == "head" else ())
        wanted = [(self.ports[name], self.ports[name]) for name in names]
        wanted += [(self.ports[WORKER_PORTS[0]], self.ports[WORKER_PORTS[1]]), EPHEMERAL_PORTS]
        closed: dict[Range, None] = {}
        # Nodes of one group and network are many; each of their addresses counts where a rule names addresses.
        for node in nodes:
            if node is target or "ecs_private_ip" not in node:
                continue
            open_to_node = [(rule["first"], rule["last"]) for rule in rules if _admits(rule, node)]
            closed.update((each, None) for each in wanted if not _covered(each, open_to_node))
        return [f"{low}" if low == high else f"{low}-{high}" for low, high in sorted(closed)]


def _covered(wanted: Range, ranges: Iterable[Range]) -> bool:
    """Whether the ranges together hold all ports of the wanted one."""
    low, high = wanted
    for first, last in sorted(ranges):
        if first <= low <= last:
            low = last + 1
    return low > high


def _rules(groups: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """The TCP rules of some security groups. The API gives those for what comes in."""
    for group in map(rows_of.mapping, groups):
        for rule in map(rows_of.mapping, rows_of.as_list(group.get("rules"))):
            if rows_of.text(rule.get("ip_protocol")).lower() not in ("tcp", "6", *ANY):
                continue
            first, last = rows_of.number(rule.get("from_port")), rows_of.number(rule.get("to_port"))
            given = first > 0 and last > 0
            yield {
                "group": rows_of.text(rows_of.mapping(rule.get("group")).get("name")),
                "cidr": rows_of.text(rows_of.mapping(rule.get("ip_range")).get("cidr")),
                "first": first if given else 1,
                "last": last if given else 65535,
            }


def _admits(rule: Mapping[str, Any], node: Variables) -> bool:
    """Whether a rule is about what comes from a node: from its group, from its address, or from anywhere."""
    if rule["group"]:
        return rule["group"] in node["ecs_security_groups"]
    if not rule["cidr"]:
        return True
    try:
        return ipaddress.ip_address(node["ecs_private_ip"]) in ipaddress.ip_network(rule["cidr"], strict=False)
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

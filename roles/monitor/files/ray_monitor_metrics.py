# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exporter's metrics of the cluster, made from the readings of ray_monitor_reader."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

UNDECLARED = "undeclared"
STATES = ("alive", "draining", "dead")
NODE_LABELS = ("node", "node_ip", "pool")
# Why the GCS lost a node that nobody had asked to end: it had no answer any more, or the node said that it ends.
LOSSES = {"given_up": "health_check", "unexpected": "ended"}
# More shapes than a page can show, and few enough for Prometheus.
MOST_SHAPES = 100
# A task that waits within a placement group asks for resources that only that group has.
GROUP_RESOURCE = re.compile(r"_group_(\d+_)?[0-9a-f]+$")

Node = dict[str, Any]
Samples = Iterable[tuple[Sequence[str], float]]


class Families(list[Metric]):
    """Metric families in the order of the exposition."""

    def gauge(self, name: str, text: str, labels: Sequence[str], samples: Samples) -> None:
        self._add(GaugeMetricFamily(name, text, labels=labels), samples)

    def counter(self, name: str, text: str, labels: Sequence[str], samples: Samples) -> None:
        self._add(CounterMetricFamily(name, text, labels=labels), samples)

    def value(self, name: str, text: str, value: float) -> None:
        self.gauge(name, text, (), [((), value)])

    def _add(self, family: Any, samples: Samples) -> None:
        for labels, value in samples:
            family.add_metric(labels, value)
        if family.samples:
            self.append(family)

    def collect(self) -> list[Metric]:
        return self

    def text(self) -> bytes:
        """The families in Prometheus's text format 0.0.4."""
        text: bytes = generate_latest(self)
        return text


def declared_metrics(nodes: dict[str, dict[str, Any]]) -> Families:
    """What /etc/ray/monitor.yaml declares under nodes."""
    pools = [node["pool"] for node in nodes.values()]
    families = Families()
    families.gauge(
        "ray_cluster_nodes_declared", "Nodes that the inventory declares.", ["pool"],
        [([pool], pools.count(pool)) for pool in sorted(set(pools))],
    )
    for key in ("gpus", "npus"):
        families.gauge(
            f"ray_node_{key}_declared", f"{key[:-1].upper()}s that the inventory declares for the node.",
            ["node", "pool"], [([name, node["pool"]], node[key]) for name, node in nodes.items() if key in node],
        )
    return families


class ClusterMetrics:
    """Turns readings into metrics, and remembers what the GCS forgets: restarts, losses, addresses of lost nodes.

    config: the exporter's (/etc/ray/monitor.yaml).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.declared: dict[str, dict[str, Any]] = config["nodes"]
        self.addresses: dict[str, str] = {}
        self.restarts: dict[str, int] = {}
        self.node_ids: dict[str, set[str]] = {}
        # By name and reason, of LOSSES: how many, and the ids of those that the GCS remembers.
        self.losses: Counter[tuple[str, str]] = Counter()
        self.lost_ids: set[str] = set()

    def families(self, reading: dict[str, Any]) -> Families:
        """The families that are valid while the cluster answers. reading: see Connection.read."""
        status = reading["status"]
        nodes = status["nodes"]
        self._remember(nodes)
        families = Families()
        self._cluster(families, reading)
        self._nodes(families, newest(nodes))
        self._claimed(families, [node for node in nodes if node["state"] != "DEAD"])
        self._resources(families, [node for node in nodes if node["state"] == "ALIVE"])
        demands(families, status["demands"], [node for node in nodes if node["state"] == "ALIVE"])
        return families

    def pool(self, name: str) -> str:
        return self.declared[name]["pool"] if name in self.declared else UNDECLARED

    def _remember(self, nodes: list[Node]) -> None:
        found: dict[str, set[str]] = {}
        for node in nodes:
            found.setdefault(node["node_name"], set()).add(node["node_id"])
        for name, ids in found.items():
            # Minus one for the first of all; the GCS remembers the latest 1,000 dead nodes.
            self.restarts[name] = self.restarts.get(name, -1) + len(ids - self.node_ids.get(name, set()))
        self.node_ids.update(found)
        lost = {
            node["node_id"]: (node["node_name"], LOSSES[node["death"]]) for node in nodes if node["death"] in LOSSES
        }
        self.losses.update(kind for node_id, kind in lost.items() if node_id not in self.lost_ids)
        self.lost_ids = set(lost)
        self.addresses.update((name, node["ip"]) for name, node in newest(nodes).items())
        for name in set(self.node_ids) - set(found) - set(self.declared):
            del self.node_ids[name], self.restarts[name], self.addresses[name]
            for reason in LOSSES.values():
                self.losses.pop((name, reason), None)

    def _cluster(self, families: Families, reading: dict[str, Any]) -> None:
        status = reading["status"]
        info = {
            "cluster": self.config["cluster_name"],
            "ray_version": status["ray_version"] or "",
            "python_version": status["python_version"] or "",
            "session_name": status["session_name"],
            "gcs_storage": self.config["gcs_storage"],
        }
        families.gauge("ray_cluster_info", "The cluster; always 1.", list(info), [(list(info.values()), 1)])
        starts = [node["start_time"] for node in status["nodes"] if node["is_head"]]
        if starts:
            text = "Start of the oldest head node that the GCS remembers."
            families.value("ray_cluster_start_time_seconds", text, seconds(min(starts)))
        if reading["token_auth"] is not None:
            text = "1 if the cluster asks for a token, 0 if it is open to anybody."
            families.value("ray_cluster_token_auth", text, reading["token_auth"])
        probe = reading["storage_seconds"]
        text = "1 if a key could be written to the storage of the GCS and read back."
        families.value("ray_gcs_storage_up", text, probe is not None)
        if probe is not None:
            families.value("ray_gcs_storage_probe_seconds", "Time to write that key and to read it back.", probe)
        if reading["tasks"] is not None:
            text = "Tasks and actor tasks that the GCS remembers (the latest 100,000), without drivers."
            samples = [([state], number) for state, number in reading["tasks"].items()]
            families.gauge("ray_cluster_tasks", text, ["state"], samples)

    def _nodes(self, families: Families, nodes: dict[str, Node]) -> None:
        live = {name: node for name, node in nodes.items() if node["state"] != "DEAD"}
        states = {name: live[name]["state"].lower() if name in live else "dead" for name in [*self.declared, *live]}
        rows = {name: (name, self.addresses.get(name, ""), self.pool(name)) for name in states}
        counts = {(pool, state): 0 for _name, _ip, pool in rows.values() for state in STATES}
        for name, state in states.items():
            counts[self.pool(name), state] += 1
        families.gauge("ray_cluster_nodes", "Nodes by state.", ["pool", "state"], counts.items())
        families.gauge(
            "ray_node_up", "1 if the node is alive or draining.", NODE_LABELS,
            [(row, states[name] != "dead") for name, row in rows.items()],
        )
        families.gauge(
            "ray_node_draining", "1 if the node is draining.", NODE_LABELS,
            [(row, states[name] == "draining") for name, row in rows.items()],
        )
        families.counter(
            "ray_node_restarts_total", "Ray nodes that the host has started after its first one.", NODE_LABELS,
            [(row, self.restarts.get(name, 0)) for name, row in rows.items()],
        )
        families.counter(
            "ray_node_losses_total", "Those of its nodes that ended without having been asked to.",
            [*NODE_LABELS, "reason"],
            [((*row, reason), self.losses[name, reason]) for name, row in rows.items() for reason in LOSSES.values()],
        )
        families.gauge(
            "ray_node_start_time_seconds", "Start of the live Ray node.", NODE_LABELS,
            [(rows[name], seconds(node["start_time"])) for name, node in live.items()],
        )
        for resource in ("GPU", "NPU"):
            found = {name: node["resources"]["total"].get(resource, 0) for name, node in live.items()}
            families.gauge(
                f"ray_node_{resource.lower()}s", f"{resource}s that the live Ray node has registered.", NODE_LABELS,
                [(rows[name], count) for name, count in found.items() if count or self._expects(name, resource)],
            )

    def _expects(self, name: str, resource: str) -> bool:
        """Whether 0 is worth a row: without NPUs it is the rule."""
        return resource == "GPU" or "npus" in self.declared.get(name, {})

    def _claimed(self, families: Families, nodes: list[Node]) -> None:
        """By address, which is how the dashboard's pages and Ray's own series name a host."""
        used: dict[str, dict[str, float]] = {}
        gpus: dict[str, float] = {}
        for node in nodes:
            add(used.setdefault(node["ip"], {}), claimed(node))
            gpus[node["ip"]] = gpus.get(node["ip"], 0) + node["resources"]["total"].get("GPU", 0)
        for name, resource, text in (
            ("ray_node_cpu_usage", "CPU", "CPUs that tasks and actors have claimed."),
            ("ray_node_memory_usage", "memory", "Bytes of the resource memory that tasks and actors have claimed."),
        ):
            families.gauge(name, text, ["node_ip"], [([ip], parts.get(resource, 0)) for ip, parts in used.items()])
        families.gauge(
            "ray_node_gpu_usage",
            "Share of the GPU that is claimed. Ray tells how much of the node's GPUs is, not of which: counted from 0.",
            ["node_ip", "gpu_id"],
            [
                ([ip, str(number)], min(1, max(0, round(used[ip].get("GPU", 0) - number, 4))))
                for ip, count in gpus.items()
                for number in range(int(count))
            ],
        )

    def _resources(self, families: Families, nodes: list[Node]) -> None:
        capacity: dict[str, dict[str, float]] = {}
        used: dict[str, dict[str, float]] = {}
        for node in nodes:
            pool = self.pool(node["node_name"])
            add(capacity.setdefault(pool, {}), node["resources"]["total"])
            add(used.setdefault(pool, {}), claimed(node))
        for name, text, pools in (
            ("ray_cluster_resource_capacity", "Resources of the alive nodes; memory in bytes.", capacity),
            ("ray_cluster_resource_used", "The part of them that is claimed.", used),
        ):
            samples = [([resource, pool], value) for pool, parts in pools.items() for resource, value in parts.items()]
            families.gauge(name, text, ["resource", "pool"], samples)


def newest(nodes: list[Node]) -> dict[str, Node]:
    """The node of each name that counts: a live one before a dead one, then the one that was started last."""
    return {
        node["node_name"]: node
        for node in sorted(nodes, key=lambda node: (node["state"] != "DEAD", node["start_time"]))
    }


def claimed(node: Node) -> dict[str, float]:
    """What tasks and actors have claimed of the node. A node that has just joined has not reported yet."""
    available = node["resources"]["available"]
    return {
        name: round(total - available.get(name, 0), 4) if available else 0
        for name, total in node["resources"]["total"].items()
    }


def add(total: dict[str, float], part: dict[str, float]) -> None:
    for name, value in part.items():
        total[name] = total.get(name, 0) + value


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def demands(families: Families, found: list[dict[str, Any]], nodes: list[Node]) -> None:
    """What waits for resources, and what of it no alive node could hold even when empty."""
    totals = [node["resources"]["total"] for node in nodes]
    most = {name: max(total.get(name, 0) for total in totals) for name in set().union(*totals)}
    infeasible = [demand for demand in found if not fits(demand["resources"], totals, most)]
    for name, text, part in (
        ("ray_cluster_pending_demands", "Requests for resources that wait, by shape.", found),
        ("ray_cluster_infeasible_demands", "Those of them that no alive node could hold even when empty.", infeasible),
    ):
        families.gauge(name, text, ["kind", "resources"], shapes(part).items())


def fits(wanted: dict[str, float], totals: list[dict[str, float]], most: dict[str, float]) -> bool:
    """Whether some node could hold it. What waits within a placement group was held to be feasible with the group."""
    wanted = {name: value for name, value in wanted.items() if not GROUP_RESOURCE.search(name)}
    # The first test spares a walk over all nodes for nearly everything that is infeasible.
    return all(value <= most.get(name, 0) for name, value in wanted.items()) and any(
        all(value <= total.get(name, 0) for name, value in wanted.items()) for total in totals
    )


def shapes(found: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """Counts by kind and shape; beyond the first MOST_SHAPES, under "other"."""
    counts: dict[tuple[str, str], int] = {}
    for demand in found:
        key = demand["kind"], shape(demand["resources"])
        counts[key] = counts.get(key, 0) + demand["count"]
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    result = dict(ordered[:MOST_SHAPES])
    for (kind, _shape), count in ordered[MOST_SHAPES:]:
        result[kind, "other"] = result.get((kind, "other"), 0) + count
    return result


def shape(resources: dict[str, float]) -> str:
    """{"GPU": 4, "CPU": 1} as CPU:1,GPU:4. Without the ids of placement groups, of which there are any number."""
    parts = {GROUP_RESOURCE.sub("_group", name): value for name, value in resources.items()}
    # Beside its resources, such a task asks for a sliver of the group itself.
    parts.pop("bundle_group", None)
    return ",".join(f"{name}:{int(value) if value == int(value) else value}" for name, value in sorted(parts.items()))

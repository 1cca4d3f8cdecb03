# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_status_table
short_description: A Ray cluster as a table for people
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Turns what M(rayops.cluster.ray_status) returned, best with O(rayops.cluster.ray_status#module:include_dead), into
    lines.
  - Nodes that the inventory declares and Ray does not know are C(MISSING). Of the dead each name shows once, and only
    where no node of that name lives.
positional: groups
options:
  _input: {description: What the module returned., type: dict, required: true}
  groups: {description: "The inventory's groups, for the pools and for what is missing.", type: dict, default: {}}
"""

EXAMPLES = r"""
- name: Show the cluster
  ansible.builtin.debug:
    msg: "{{ cluster | rayops.cluster.ray_status_table(groups) }}"
"""

RETURN = r"""
_value: {description: "The lines: nodes, why some are dead, and what waits for resources.", type: list, elements: str}
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless

COLUMNS = ("node", "pool", "state", "CPU", "GPU", "NPU", "memory", "object store", "age", "address")
# Resources by their columns, and what one of the column's units is.
RESOURCES = {"CPU": ("CPU", 1), "GPU": ("GPU", 1), "NPU": ("NPU", 1),
             "memory": ("memory", 1 << 30), "object store": ("object_store_memory", 1 << 30)}
RIGHT = {*RESOURCES, "age"}
# Cells of a terminal that a name, and what a demand asks for, may take.
WIDEST = 40
WIDEST_DEMAND = 100
_POOL = "ray_pool_"
_SHAPELESS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def ray_status_table(status: Mapping[str, Any], groups: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """The lines; see the documentation above."""
    if "nodes" not in status:
        # A check on bare hosts has read nothing, and says why.
        return [text(status.get("msg"))]
    groups = groups or {}
    pools = {host: name[len(_POOL):] for name in sorted(groups, reverse=True) if name.startswith(_POOL)
             for host in groups[name]}
    nodes = shown(node for node in status["nodes"] or [] if isinstance(node, Mapping))
    names = {text(node.get("node_name")) for node in nodes}
    declared = [host for name in ("ray_head", "ray_workers") for host in groups.get(name, [])]
    missing = [{"node_name": host, "state": "MISSING"} for host in declared if host not in names]
    rows = [row(node, pools, groups) for node in [*nodes, *missing]]
    columns = [name for name in COLUMNS if name not in ("GPU", "NPU") or any(cells[name] != "-" for cells in rows)]
    return [text(status.get("summary")), *lines(columns, rows), *dead(nodes), *waiting(status.get("demands"))]


def shown(nodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without the dead whose name lives again, or died again; a name's newest node comes first."""
    nodes = list(nodes)
    seen = {text(node.get("node_name")) for node in nodes if node.get("state") != "DEAD"}
    kept = []
    for node in nodes:
        name = text(node.get("node_name"))
        if node.get("state") != "DEAD" or name not in seen:
            kept.append(node)
        seen.add(name)
    return kept


def row(node: Mapping[str, Any], pools: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The cells of a node."""
    name = text(node.get("node_name"))
    is_head = node.get("is_head") is True or name in groups.get("ray_head", [])
    pool = "head" if is_head else pools.get(name, "worker" if name in groups.get("ray_workers", []) else "?")
    found = node.get("resources")
    resources = found if isinstance(found, Mapping) else {}
    lives = node.get("state") in ("ALIVE", "DRAINING")
    amounts = {column: amount(resources, *RESOURCES[column]) if lives else "-" for column in RESOURCES}
    cells = {"node": name, "pool": pool, "state": text(node.get("state")), **amounts, "age": age(node.get("uptime")),
             "address": text(node.get("ip"))}
    return {column: cut(cell) or "-" for column, cell in cells.items()}


def amount(resources: Mapping[str, Any], name: str, unit: int) -> str:
    """Used and total, as in 3/8; - for a node that has none."""
    amounts = [number(part.get(name)) if isinstance(part, Mapping) else 0.0
               for part in (resources.get("total"), resources.get("available"))]
    total, available = amounts
    if not total:
        return "-"
    # What was just taken away may still be counted as available.
    used = max(0.0, total - available) / unit
    return f"{used:.1f}/{total / unit:.1f} GiB" if unit > 1 else f"{round(used, 2):g}/{round(total, 2):g}"


def age(seconds: Any) -> str:
    """A time in its largest unit; - for none."""
    if seconds is None:
        return "-"
    left = number(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if left >= 2 * size:
            return f"{left / size:.0f} {unit}"
    return f"{left:.0f} s"


def dead(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why nodes are dead, a line each."""
    reasons = {text(node.get("node_name")): text(" ".join(str(node.get("state_message") or "").split()))
               for node in nodes if node.get("state") == "DEAD"}
    return [f"{cut(name)} is dead: {cut(reason, WIDEST_DEMAND)}" for name, reason in reasons.items() if reason]


def waiting(demands: Any) -> list[str]:
    """What waits for resources, a line each."""
    if not isinstance(demands, Sequence):
        return []
    found = []
    for demand in demands:
        if isinstance(demand, Mapping):
            wanted = demand.get("resources")
            wanted = wanted.items() if isinstance(wanted, Mapping) else []
            each = ", ".join(f"{text(name)}: {number(value):g}" for name, value in wanted) or "nothing"
            kind = text(demand.get("kind")).replace("_", " ")
            found.append(cut(f"{number(demand.get('count')):g} x {kind} that needs {each}", WIDEST_DEMAND))
    return ["Waiting for resources:", *(f"  {line}" for line in found)] if found else []


def lines(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The rows under their heading, each column as wide as its widest cell."""
    table = [{name: name for name in columns}, *rows]
    widths = {name: max(width(cells[name]) for cells in table) for name in columns}
    result = []
    for cells in table:
        parts = []
        for name in columns:
            space = " " * (widths[name] - width(cells[name]))
            parts.append(space + cells[name] if name in RIGHT else cells[name] + space)
        result.append("  ".join(parts).rstrip())
    return result


def text(value: Any) -> str:
    """What nodes and jobs choose, as a terminal can show it. What has no shape of its own, such as the character that
    turns a line's direction, becomes a question mark."""
    plain = harmless("" if value is None else str(value))
    return "".join("?" if unicodedata.category(each) in _SHAPELESS else each for each in plain)


def number(value: Any) -> float:
    """An amount; 0 for what is none."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return found if abs(found) < 1e18 else 0.0


def width(value: str) -> int:
    """Cells of a terminal."""
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
               for each in value)


def cut(value: str, most: int = WIDEST) -> str:
    """The beginning of what is wider than that many cells."""
    if width(value) <= most:
        return value
    kept = ""
    for each in value:
        if width(kept + each) > most - 1:
            break
        kept += each
    return kept + "…"


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_status_table": ray_status_table}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a placement group that waits could have its place on an empty cluster.

To fill nodes with bundles as well as can be is a hard problem: "unplaceable" is said only where it is proven, by the
room of one node, of all nodes together, or for the bundles of one size. What is not proven still shows as pending.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

Resources = dict[str, float]
# A node's room: what is left of its resources, and its labels.
Room = tuple[Resources, dict[str, str]]
# Groups have bundles of one size or two: more are only added up.
MOST_SIZES = 10
# Ray counts in 1/10,000.
LEAST = 0.0001


def add(total: Resources, part: Resources) -> None:
    for name, value in part.items():
        total[name] = total.get(name, 0) + value


def capacity(node: dict[str, Any]) -> Resources:
    """All that tasks and bundles may ask of the empty node: also to be there, by its address or as the head."""
    own = {f"node:{node['ip']}": 1, **({"node:__internal_head__": 1} if node["is_head"] else {})}
    return {**node["resources"]["total"], **own}


def placeable(group: dict[str, Any], nodes: list[dict[str, Any]]) -> bool:
    """False if the bundles that wait cannot have their place, however empty the nodes were.

    group: see read_waiting_groups. nodes: those that may take work.
    """
    taken: dict[str, Resources] = {}
    for node_id, resources in group["placed"]:
        add(taken.setdefault(node_id, {}), resources)
    alone = group["strategy"] == "STRICT_SPREAD"
    rooms = [
        (less(capacity(node), taken.get(node["node_id"], {})), node["labels"])
        for node in nodes if not (alone and node["node_id"] in taken)
    ]
    return any(room_for(bundles, rooms, group["strategy"]) for bundles in group["waiting"])


def room_for(bundles: list[dict[str, Any]], rooms: list[Room], strategy: str) -> bool:
    total: Resources = {}
    for bundle in bundles:
        add(total, bundle["resources"])
    if strategy == "STRICT_PACK":
        labels = [label for bundle in bundles for label in bundle["labels"]]
        return any(times({"resources": total, "labels": labels}, room) for room in rooms)
    if any(value > sum(room.get(name, 0) for room, _labels in rooms) + LEAST for name, value in total.items()):
        return False
    sizes = Counter(json.dumps(bundle, sort_keys=True) for bundle in bundles)
    counts = [(json.loads(size), count) for size, count in sizes.items()]
    most = 1 if strategy == "STRICT_SPREAD" else len(bundles)
    return all(
        sum(count for other, count in counts if asks_no_less(other, size))
        <= sum(min(most, times(size, room)) for room in rooms)
        for size, _count in counts[:MOST_SIZES]
    )


def times(bundle: dict[str, Any], room: Room) -> int:
    """How often the room holds the bundle; a bundle of nothing fits once."""
    resources, labels = room
    if any((labels.get(key) in values) != is_in for key, is_in, values in bundle["labels"]):
        return 0
    counts = [int((resources.get(name, 0) + LEAST / 2) / value) for name, value in bundle["resources"].items() if value]
    return min(counts, default=1)


def asks_no_less(bundle: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(label in bundle["labels"] for label in other["labels"]) and all(
        bundle["resources"].get(name, 0) >= value for name, value in other["resources"].items()
    )


def less(total: Resources, part: Resources) -> Resources:
    return {name: value - part.get(name, 0) for name, value in total.items()}

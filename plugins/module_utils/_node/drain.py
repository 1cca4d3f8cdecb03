# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the node of this host is emptied before its unit is stopped."""

from __future__ import annotations

import signal
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import RayCluster, RayClusterError
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import send

# A raylet that was drained ends within a second.
END_SECONDS = 10.0


class NotEmptyError(Exception):
    """The node holds what must not be lost. The message is for the user; held: see RayCluster.held."""

    def __init__(self, message: str, held: dict[str, Any]) -> None:
        super().__init__(message)
        self.held = held


def refuse_losses(cluster: RayCluster, live: LiveNode) -> None:
    """Raise NotEmptyError if something would be lost with the node."""
    held = cluster.held(live.raylet.options.get("--node_id", "") if live.raylet else "")
    found = losses(held)
    if found:
        raise NotEmptyError(
            f"The node at {live.address} holds {', '.join(found)}: end what owns them first, or give them up (force: "
            "true).", held,
        )


def losses(held: dict[str, Any]) -> list[str]:
    """What would be lost with a node, in words. held: see RayCluster.held."""
    found = []
    gone = [actor["name"] for actor in held["actors"] if not (actor["restarts"] or actor.get("serve"))]
    if gone:
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        found.append(f"{_count(len(gone), 'actor')} that Ray does not restart ({', '.join(gone[:5])}{more})")
    if held["drivers"]:
        found.append(_count(held["drivers"], "driver"))
    if held["objects"]:
        found.append(f"{_count(held['objects'], 'object')} ({held['object_bytes']} bytes) that no other node has")
    return found


def unfinished(held: dict[str, Any]) -> str:
    """What a node that was not empty in time still did, in words."""
    busy = [_count(held["tasks"], "running task")] if held.get("tasks") else []
    serve = sum(bool(actor.get("serve")) for actor in held.get("actors", []))
    busy += [_count(serve, "actor") + " of Serve"] if serve else []
    return ", ".join(busy + (losses(held) if held else [])) or "work"


def drain(cluster: RayCluster, live: LiveNode, seconds: float, lose: bool) -> dict[str, Any]:
    """Let the node take no new work and wait for its own; then let its raylet end, so that the unit stops at once.

    :arg seconds: the most that its work may take.
    :arg lose: do not wait for what would be lost.
    :returns: see RayCluster.drain; a raylet whose work has not ended still runs.
    :raises RayClusterError: the GCS cannot be asked.
    """
    raylet = live.raylet
    # Its process may name none: then the GCS knows none, and says so.
    node_id = raylet.options.get("--node_id", "") if raylet else ""
    # A drained node looks dead to the health timer, which would start it again.
    live.unit.stop_timers()
    answer = cluster.drain(node_id, seconds, "drained by ray_node", lose=lose)
    if answer["drained"] and raylet:
        end(live, raylet.pid)
    return answer


def drain_if_possible(cluster: RayCluster, live: LiveNode, seconds: float, lose: bool = False) -> None:
    """The same before a stop that comes anyway, also where the GCS cannot be asked or the work does not end."""
    if live.raylet and live.health(timeout=2) == "alive":
        pid = live.raylet.pid
        try:
            answer = drain(cluster, live, seconds, lose)
        except RayClusterError:
            # systemd's stop drains it as well as that is possible then.
            return
        if not answer["drained"]:
            end(live, pid)


def end(live: LiveNode, pid: int) -> None:
    """End a raylet that has been drained: `ray start` would give work that does not end the whole drain time again."""
    send(pid, signal.SIGTERM, lambda found: found.in_unit(live.unit.name), END_SECONDS)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a node holds, and how it is emptied. Runs under the Python of Ray's environment.

Ray has no public call for what a node holds: its raylet and the GCS are asked as Ray's own dashboard asks them (read on
2.60, protobuf/node_manager.proto and gcs_service.proto).
"""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import (
    POLL_SECONDS,
    RPC_SECONDS,
    HelperError,
    connect,
    moved_by_serve,
    read_nodes,
    silent,
    title,
)

PREEMPTION = 2  # autoscaler.proto DrainNodeReason: the one reason that a busy node does not reject
# A look at a worker between two of its tasks shows an idle one: as many in a row must agree.
IDLE_LOOKS = 5


def drain(request: dict[str, Any]) -> dict[str, Any]:
    """Drain one node, and wait until its work has ended or request["deadline"] seconds are over.

    Ray ends a drained raylet that is idle, and enforces no deadline. A node on which nothing is left but actors that
    Ray restarts elsewhere, and that do nothing now, has ended its work too: they leave it when it is stopped.

    request: address, timeout, node_id, deadline (seconds), message, lose (see is_idle).
    """
    started = time.time()
    deadline = started + request["deadline"]
    client = connect(request, started + request["timeout"])
    node = one_node(client, request["node_id"])
    if node["state"] != "DEAD":
        accepted, message = client.drain_node(
            request["node_id"], PREEMPTION, request["message"], int(deadline * 1000), timeout=RPC_SECONDS
        )
        if not accepted:
            raise HelperError("rejected", f"Ray refused to drain {title(node)}: {message}")
    found: dict[str, Any] = {}
    idle = 0
    while node["state"] != "DEAD" and idle < IDLE_LOOKS and time.time() < deadline:
        time.sleep(POLL_SECONDS)
        node = one_node(client, request["node_id"])
        if node["state"] != "DEAD":
            found = read_held(request["address"], node) or found
            idle = idle + 1 if found and is_idle(found, request["lose"]) else 0
    drained = node["state"] == "DEAD" or idle >= IDLE_LOOKS
    return {"drained": drained, "seconds": round(time.time() - started, 2), "node": node, "held": found}


def held(request: dict[str, Any]) -> dict[str, Any]:
    """What the node request["node_id"] holds; nothing if it is DEAD."""
    client = connect(request, time.time() + request["timeout"])
    node = one_node(client, request["node_id"])
    found = read_held(request["address"], node) if node["state"] != "DEAD" else nothing()
    if found is None:
        raise HelperError("unreachable", f"The raylet of {title(node)} does not say what the node holds.")
    return found


def one_node(client: Any, node_id: str) -> dict[str, Any]:
    for node in read_nodes(client):
        if node["node_id"] == node_id:
            return node
    raise HelperError("no_node", f"The GCS knows no node {node_id}.")


def nothing() -> dict[str, Any]:
    return {"tasks": 0, "drivers": 0, "actors": [], "objects": 0, "object_bytes": 0}


def read_held(address: str, node: dict[str, Any]) -> dict[str, Any] | None:
    """What a node holds: {tasks: that run now, drivers, actors, objects: that are only here, object_bytes}.

    None where the raylet gives no answer, as one that is just ending.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.common_pb2 import DRIVER
    from ray.core.generated.node_manager_pb2 import GetNodeStatsRequest
    from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

    raylet = NodeManagerServiceStub(init_grpc_channel(f"{node['ip']}:{node['port']}"))
    try:
        stats = raylet.GetNodeStats(GetNodeStatsRequest(include_memory_info=False), timeout=RPC_SECONDS)
    except grpc.RpcError:
        return None
    return {
        "tasks": sum(worker.num_running_tasks for worker in stats.core_workers_stats if worker.worker_type != DRIVER),
        "drivers": sum(worker.worker_type == DRIVER for worker in stats.core_workers_stats),
        "actors": read_actors(address, node["node_id"]),
        "objects": stats.store_stats.num_object_store_primary_copies,
        "object_bytes": stats.store_stats.object_store_bytes_primary_copy,
    }


def read_actors(address: str, node_id: str) -> list[dict[str, Any]]:
    """The living actors of a node: {name, restarts, serve}: whether Ray would make them anew elsewhere, or Serve."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_pb2 import ActorTableData
    from ray.core.generated.gcs_service_pb2 import GetAllActorInfoRequest
    from ray.core.generated.gcs_service_pb2_grpc import ActorInfoGcsServiceStub

    wanted = GetAllActorInfoRequest.Filters(state=ActorTableData.ALIVE)
    try:
        reply = ActorInfoGcsServiceStub(init_grpc_channel(address)).GetAllActorInfo(
            GetAllActorInfoRequest(filters=wanted), timeout=RPC_SECONDS
        )
    except grpc.RpcError as error:
        raise silent(address, error) from error
    moved = moved_by_serve(reply.actor_table_data)
    return [
        {
            "name": actor.name or f"{actor.class_name} {actor.actor_id.hex()[:8]}",
            # Those that a drained node takes with it are not counted against max_restarts (actor.proto: preempted).
            "restarts": actor.max_restarts != 0,
            "serve": actor.actor_id in moved,
        }
        for actor in reply.actor_table_data
        if actor.address.node_id.hex() == node_id
    ]


def is_idle(found: dict[str, Any], lose: bool) -> bool:
    """Whether nothing is left but what Ray takes elsewhere by itself; with lose, but what may be lost.

    Serve starts its replicas elsewhere before it ends those here, and so is waited for."""
    moves = bool(found["actors"]) and all(actor["restarts"] for actor in found["actors"])
    return not found["tasks"] and (lose or moves)

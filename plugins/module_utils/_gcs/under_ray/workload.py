# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users run on a cluster, and on which nodes. Runs under the Python of Ray's environment.

The GCS is asked as Ray's own dashboard asks it, and the dashboard for what Serve thinks of its replicas (read on 2.60:
protobuf/gcs_service.proto, serve/schema.py). What Ray keeps for itself is left out.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import (
    CONTROLLER,
    REPLICA,
    RPC_SECONDS,
    SERVE,
    HelperError,
    asked,
    connect,
    moved_by_serve,
    raise_if_final,
    read_controller,
    read_nodes,
    reason,
)
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.rest import APPLICATIONS, dashboard_of

# dashboard/modules/job/common.py
SUPERVISOR, SUPERVISORS = "_ray_internal_job_actor_", "SUPERVISOR_ACTOR_RAY_NAMESPACE"
INTERNAL = "_ray_internal_"
SERVE_SECONDS = 10
LOOK_SECONDS = 1.0
# A replica that answers; one that Serve is moving off a drained node still does.
SERVING = ("RUNNING", "PENDING_MIGRATION")


def workload(request: dict[str, Any]) -> dict[str, Any]:
    """What runs on the nodes that are not DEAD, which are named by their names. request: address, timeout.

    applications: [{name, status, deployments: [{name, replicas: [{serves: bool, nodes}]}]}], status empty where Serve
    does not say it; jobs, drivers of people's own too: [{name, driver: a node, nodes: with what Ray does not restart}];
    actors, detached and not restarted: [{name, node}]; groups: the nodes of each placement group that spans several.
    """
    client, address = connect(request), request["address"]
    nodes = asked(address, lambda: read_nodes(client))
    names = {node["node_id"]: node["node_name"] or node["ip"] for node in nodes if node["state"] != "DEAD"}
    actors, groups, jobs = asked(address, lambda: read_tables(address))
    spans = {
        group.placement_group_id: sorted({names[bundle.node_id.hex()] for bundle in group.bundles
                                          if bundle.node_id.hex() in names})
        for group in groups
    }
    replicas = [actor for actor in actors if actor.name.startswith(REPLICA) and actor.ray_namespace == SERVE]
    controlled = any(actor.name == CONTROLLER and actor.ray_namespace == SERVE for actor in actors)
    serve = read_serve(client) if replicas and controlled else None
    return {
        "applications": describe_applications(replicas, names, spans, serve),
        "groups": [span for span in spans.values() if len(span) > 1],
        **describe_jobs(actors, groups, jobs, names, spans, {actor.placement_group_id for actor in replicas} - {b""}),
    }


def read_tables(address: str) -> tuple[list[Any], list[Any], list[Any]]:
    """The living actors, the placement groups and the running jobs, as the GCS has them."""
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2 as messages
    from ray.core.generated import gcs_service_pb2_grpc as services
    from ray.core.generated.gcs_pb2 import ActorTableData

    channel = init_grpc_channel(address)
    living = messages.GetAllActorInfoRequest.Filters(state=ActorTableData.ALIVE)
    actors = services.ActorInfoGcsServiceStub(channel).GetAllActorInfo(
        messages.GetAllActorInfoRequest(filters=living), timeout=RPC_SECONDS)
    groups = services.PlacementGroupInfoGcsServiceStub(channel).GetAllPlacementGroup(
        messages.GetAllPlacementGroupRequest(), timeout=RPC_SECONDS)
    # Without those two fields the GCS asks neither its storage nor any driver.
    jobs = services.JobInfoGcsServiceStub(channel).GetAllJobInfo(
        messages.GetAllJobInfoRequest(skip_submission_job_info_field=True, skip_is_running_tasks_field=True),
        timeout=RPC_SECONDS)
    removed = groups.placement_group_table_data and type(groups.placement_group_table_data[0]).REMOVED
    return (
        list(actors.actor_table_data),
        [group for group in groups.placement_group_table_data if group.state != removed],
        [job for job in jobs.job_info_list if not job.is_dead],
    )


def describe_applications(
    replicas: list[Any], names: dict[str, str], spans: dict[bytes, list[str]], serve: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """The applications that have replicas. serve: see read_serve; without it every living replica serves."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    serving = None if serve is None else {
        replica["replica_id"] for application in serve.values() for deployment in application["deployments"].values()
        for replica in deployment["replicas"] if replica["state"] in SERVING
    }
    for actor in replicas:
        # SERVE_REPLICA::application#deployment#id; the application had no name before Serve had several.
        *head, deployment, number = actor.name[len(REPLICA):].split("#")
        where = {names.get(actor.address.node_id.hex(), ""), *spans.get(actor.placement_group_id, [])} - {""}
        entry = {"serves": serving is None or number in serving, "nodes": sorted(where)}
        found.setdefault("#".join(head), {}).setdefault(deployment, []).append(entry)
    return [
        {
            "name": name, "status": (serve or {}).get(name, {}).get("status", ""),
            "deployments": [{"name": each, "replicas": items} for each, items in sorted(deployments.items())],
        }
        for name, deployments in sorted(found.items())
    ]


def describe_jobs(
    actors: list[Any], groups: list[Any], jobs: list[Any], names: dict[str, str], spans: dict[bytes, list[str]],
    of_serve: set[bytes],
) -> dict[str, Any]:
    """The running jobs, and the actors of jobs that have ended. of_serve: Serve's placement groups."""
    running: dict[bytes, dict[str, Any]] = {}
    submitted: dict[str, dict[str, Any]] = {}
    parts = engines(actors, of_serve)
    for job in jobs:
        node = names.get(job.driver_address.node_id.hex(), "")
        if job.config.ray_namespace.startswith(INTERNAL) or not node or job.job_id in parts:
            continue
        name = job.config.metadata.get("job_submission_id") or driver_name(job)
        running[job.job_id] = {"name": name, "driver": node, "nodes": set()}
        submitted[name] = running[job.job_id]
    left, moved = [], moved_by_serve(actors)
    for actor in actors:
        node = names.get(actor.address.node_id.hex(), "")
        if actor.ray_namespace == SUPERVISORS and actor.name.startswith(SUPERVISOR):
            # Its entrypoint is this actor's child, and need not be a driver.
            name = actor.name[len(SUPERVISOR):]
            submitted.setdefault(name, {"name": name, "driver": node, "nodes": set()})
        elif node and actor.max_restarts == 0 and actor.actor_id not in moved:
            if actor.job_id in running:
                running[actor.job_id]["nodes"].add(node)
            else:
                left.append({"name": actor.name or f"{actor.class_name} {actor.actor_id.hex()[:8]}", "node": node})
    for group in groups:
        if group.creator_job_id in running and group.placement_group_id not in of_serve:
            running[group.creator_job_id]["nodes"].update(spans[group.placement_group_id])
    found = {id(job): {**job, "nodes": sorted(job["nodes"])} for job in (*running.values(), *submitted.values())}
    return {"jobs": sorted(found.values(), key=lambda job: job["name"]), "actors": left}


def engines(actors: list[Any], of_serve: set[bytes]) -> set[bytes]:
    """The jobs that are parts of Serve's replicas: vLLM's engine is a process of its own, which connects to Ray like
    any other and has its ranks in the replica's placement group. Who deployed it has actors of Serve's own, too."""
    inside = {actor.job_id for actor in actors if actor.placement_group_id in of_serve}
    return inside - {actor.job_id for actor in actors if actor.ray_namespace == SERVE}


def driver_name(job: Any) -> str:
    """A job that nobody submitted, by what it runs. Its arguments, which may be secret, are not shown."""
    words = itertools.takewhile(lambda word: "=" not in word and not word.startswith("-"), job.entrypoint.split()[:2])
    program = " ".join(word.rpartition("/")[2][:40] for word in words)
    return f"{job.job_id.hex()} ({program + ', ' if program else ''}pid {job.driver_pid})"


def read_serve(client: Any) -> dict[str, Any] | None:
    """The applications by name, as Serve's controller has them; None where the dashboard does not say it."""
    try:
        found = dashboard_of(client).wanted("GET", APPLICATIONS, seconds=SERVE_SECONDS)
    except HelperError:
        return None
    applications = found.get("applications") if isinstance(found, dict) else None
    return applications if isinstance(applications, dict) else None


def wait_serving(request: dict[str, Any]) -> dict[str, Any]:
    """Wait until Serve applications are whole again. request: address, timeout, applications: {name: {deployment: how
    many replicas it had}}.

    Whole is what is RUNNING and has as many replicas as it shall have, or as it had: one that scales may want more than
    there is room for. They are on nodes that live: for some seconds Serve still counts those of a node that has gone.
    Returns {lacking: [a sentence for each that is not whole]}.
    """
    deadline = time.time() + request["timeout"]
    lacking = ["nothing was read"]
    while True:
        try:
            client = connect(request)
            living = {node["node_id"] for node in read_nodes(client) if node["state"] == "ALIVE"}
            lacking = look(client, request, living)
        except Exception as error:
            if isinstance(error, HelperError) and error.answer["error"] not in ("unreachable", "tls"):
                raise
            raise_if_final(error)
            lacking = [reason(error)]
        if not lacking or time.time() >= deadline:
            return {"lacking": lacking}
        time.sleep(LOOK_SECONDS)


def look(client: Any, request: dict[str, Any], living: set[str]) -> list[str]:
    """What is not whole now. living: the ids of the nodes that are ALIVE."""
    controller = read_controller(request["address"])
    if not controller:
        return []  # Serve was ended, or the cluster began anew: nothing is left to come back.
    if controller.state != type(controller).ALIVE or controller.address.node_id.hex() not in living:
        # Without it the dashboard says that there are no applications.
        return ["Serve's controller is not back"]
    serve = read_serve(client)
    return ["Serve does not answer"] if serve is None else not_whole(serve, request["applications"], living)


def not_whole(serve: dict[str, Any], before: dict[str, dict[str, int]], living: set[str]) -> list[str]:
    """Which applications are not whole, and why. One that was deleted meanwhile is nobody's to wait for."""
    found = []
    for name in before:
        if name not in serve:
            continue
        application = serve[name]
        short = [
            f"{deployment} has {count} of {wanted} replicas"
            for deployment, details in application["deployments"].items()
            for wanted in [min(details["target_num_replicas"], before[name].get(deployment, sys.maxsize))]
            for count in [sum(replica["state"] == "RUNNING" and replica["node_id"] in living
                              for replica in details["replicas"])]
            if count < wanted
        ]
        said = [" ".join(str(details["message"]).split())[:300] for details in application["deployments"].values()
                if details["status"] != "HEALTHY" and details["message"]]
        if short or application["status"] != "RUNNING":
            found.append(f"{name} is {application['status']}: {'; '.join(short + said) or 'no reason is given'}")
    return found

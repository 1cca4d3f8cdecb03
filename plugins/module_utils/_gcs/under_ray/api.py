# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part that talks to Ray: reads a cluster.

The files of this package run under the Python of Ray's environment: _gcs.environment sends their source there, and
run() answers one request with one line of JSON. Ansible's interpreter imports them too: functions alone import ray.
GcsClient, the autoscaler's protocol and the like are private interfaces of Ray: all uses of them are in this package.
The exporter has this one file beside it, as _ray_api: it imports the standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from typing import Any, Callable, Iterable, TypeVar

# The versions of Ray that these files were tried with, the oldest and the newest: by tests/unit/module_utils.
TRIED = ("2.57.0", "2.60.0")
POLL_SECONDS = 0.2
RPC_SECONDS = 5
# How an HTTP/2 client begins (RFC 9113, 3.4): with this and its settings, here none.
GREETING, GREETING_SECONDS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", 2
# What is wrong with a certificate, by OpenSSL's codes (x509_vfy.h). All else: it is of no authority that is trusted.
DISTRUST = {
    9: "is not valid yet by this host's clock", 10: "has expired by this host's clock",
    62: "is not for that name", 64: "is not for that address",
}
WHOSE = "run rayops.cluster.recover, which names the host to mend"
ACCELERATORS = ("GPU", "NPU")
# common.proto TaskStatus: what a worker has begun. FINISHED and FAILED are the ends; all other states wait.
RUNNING_STATES = ("RUNNING", "RUNNING_IN_RAY_GET", "RUNNING_IN_RAY_WAIT", "GETTING_AND_PINNING_ARGS")
# common.proto NodeDeathInfo.Reason; a node that was asked to end, or drained, is expected to.
DEATHS = {1: "expected", 2: "unexpected", 3: "expected", 4: "expected"}
# How long after its start a GCS may look for nodes that it knows from its storage alone: gcs_health_check_manager gives
# up after 5 s and 5 checks, 3 s apart, of up to 10 s each.
LOOKED_FOR = 75_000  # milliseconds
# serve/_private/constants.py and common.py: how Serve names its own, in this namespace.
SERVE, REPLICA, PROXY = "serve", "SERVE_REPLICA::", "SERVE_PROXY_ACTOR"
CONTROLLER = "SERVE_CONTROLLER_ACTOR"
# ray/_common/tls_utils.py: the host's certificate, its key, and the authorities that it trusts.
TLS_FILES = {"RAY_TLS_SERVER_CERT": "node.pem", "RAY_TLS_SERVER_KEY": "node.key", "RAY_TLS_CA_CERT": "ca.pem"}
# Ray's own bookkeeping: one resource per node, and the shares of placement groups.
INTERNAL_RESOURCE = re.compile(r"^node:|_group_(\d+_)?[0-9a-f]+$|^bundle_group")

Answer = TypeVar("Answer")


class HelperError(Exception):
    """A failure with a sentence for the user. Its kinds: see RayClusterError."""

    def __init__(self, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.answer = {"error": kind, "message": message, **details}


# Connection


def connect(request: dict[str, Any], deadline: float | None = None) -> Any:
    """A GcsClient for request["address"]; a GCS that is not there yet is tried again until deadline."""
    from ray._raylet import GcsClient

    address = request["address"]
    while True:
        try:
            greet(address, own_tls())
            return GcsClient(address=address)
        except Exception as error:
            raise_if_final(error)
            if deadline is None or time.time() >= deadline:
                if isinstance(error, HelperError):
                    raise
                tried = "" if deadline is None else f" within {request['timeout']:g} s"
                message = f"The GCS at {address} is not reachable{tried}: {reason(error)}."
                raise HelperError("unreachable", message) from error
        time.sleep(POLL_SECONDS)


def own_tls() -> dict[str, str]:
    """With what this process speaks TLS, as tls_variables has it; nothing where it speaks none."""
    return {name: os.environ[name] for name in TLS_FILES} if os.environ.get("RAY_USE_TLS") == "1" else {}


def greet(address: str, tls: dict[str, str]) -> None:
    """Knock at the GCS, and see that it speaks TLS where this host does, and nowhere else, and that both trust each
    other: GcsClient needs 40 s to notice that nobody listens, and to whoever does not fit a gRPC server says no word.

    tls: see tls_variables. raises OSError: nobody listens. raises HelperError: they do not fit.
    """
    # One that ends at this moment looks like one that refuses, but then nobody listens any more.
    if _answers(address, tls) or _answers(address, tls):
        return
    if tls:
        raise HelperError("tls", (
            f"The GCS at {address} refuses the certificate {tls['RAY_TLS_SERVER_CERT']} of this host, which is "
            f"not valid now or of an authority that the GCS does not trust: {WHOSE}."
        ))
    raise HelperError("tls", (
        f"The GCS at {address} refuses whoever speaks no TLS: set ray_tls: true (for a module alone, its "
        "tls_directory), or run rayops.cluster.upgrade, which takes TLS off all nodes together."
    ))


def _answers(address: str, tls: dict[str, str]) -> bool:
    """Whether a GCS goes on after a greeting; one that hangs counts, of which nothing is known."""
    host, _colon, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.create_connection((host, int(port)), timeout=RPC_SECONDS) as plain:
        plain.settimeout(GREETING_SECONDS)
        context = context_of(tls) if tls else None
        try:
            with context.wrap_socket(plain, server_hostname=host) if context else plain as connection:
                connection.sendall(GREETING)
                return connection.recv(1) != b""
        except socket.timeout:
            return True
        except ssl.SSLCertVerificationError as error:
            raise distrusted(address, tls["RAY_TLS_CA_CERT"], error) from error
        except (ssl.SSLEOFError, ConnectionError):
            return False
        except ssl.SSLError as error:
            raise HelperError("tls", (
                f"The GCS at {address} speaks no TLS ({reason(error)}), and ray_tls is on: run rayops.cluster.upgrade, "
                "which puts all nodes on TLS together, or set ray_tls: false."
            )) from error


def context_of(tls: dict[str, str]) -> ssl.SSLContext:
    """How gRPC speaks TLS: no stricter, and with a chain that ends below its root as well."""
    certificate, key, authority = (tls[name] for name in TLS_FILES)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nodes may have Python 3.9.
    partial = getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0)
    context.verify_flags = context.verify_flags & ~ssl.VERIFY_X509_STRICT | partial
    context.set_alpn_protocols(["h2"])
    try:
        # With a passphrase it is of no use to Ray either; without this one, the terminal would be asked.
        context.load_cert_chain(certificate, key, password="")
        context.load_verify_locations(authority)
    except OSError as error:  # ssl.SSLError is one, too.
        directory = os.path.dirname(certificate)
        raise HelperError("tls", (
            f"This host's certificate in {directory} cannot be used ({reason(error)}): run site.yml, which signs it "
            f"anew, and let the user of this command be in the group of {directory}."
        )) from error
    return context


def distrusted(address: str, authority: str, error: ssl.SSLCertVerificationError) -> HelperError:
    """That this host does not trust what the GCS shows. authority: the file with those that it trusts."""
    words = DISTRUST.get(error.verify_code, f"is of none of the authorities in {authority} on this host")
    told = str(error.verify_message).rstrip(".")
    return HelperError("tls", f"The certificate of the GCS at {address} {words} ({told}): {WHOSE}.")


def raise_if_final(error: Exception) -> None:
    """Raise HelperError for what trying again cannot mend."""
    if type(error).__name__ == "AuthenticationError" or "Unauthenticated" in str(error):
        raise HelperError("unauthorized", str(error)) from error
    if "ersion mismatch" in str(error):
        text = " ".join(str(error).split())
        raise HelperError("version", text) from error
    if isinstance(error, (ImportError, AttributeError, TypeError)):
        text = (
            f"Ray {sys.modules['ray'].__version__} does not have an interface that is needed: {reason(error)}. "
            f"Tried were Ray {TRIED[0]} to {TRIED[-1]}."
        )
        raise HelperError("version", text) from error


def silent(address: str, error: Exception) -> HelperError:
    return HelperError("unreachable", f"The GCS at {address} did not answer: {reason(error)}.")


def asked(address: str, call: Callable[[], Answer]) -> Answer:
    """What a call answers that asks the GCS; its failure is a sentence."""
    try:
        return call()
    except HelperError:
        raise
    except Exception as error:
        raise_if_final(error)
        raise silent(address, error) from error


def reason(error: BaseException) -> str:
    """The first line of an error, without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0].rstrip(".")


# Around a process that uses these files


def helper_variables(token_path: str | None, tls_directory: str | None) -> dict[str, str]:
    """What it needs in its environment.

    token_path: the file with the cluster's token; None for no token. tls_directory: see tls_variables.
    """
    token = {"RAY_AUTH_TOKEN_PATH": token_path} if token_path else {}
    mode = {"RAY_AUTH_MODE": "token" if token else "disabled", **token}
    tls = tls_variables(tls_directory)
    return {**mode, **tls, "RAY_USAGE_STATS_ENABLED": "0", "RAY_COLOR_PREFIX": "0", "NO_COLOR": "1"}


def tls_variables(directory: str | None) -> dict[str, str]:
    """With what a process of Ray speaks mutual TLS. directory: of the host's certificate; None or empty for plain."""
    files = {variable: os.path.join(directory, name) for variable, name in TLS_FILES.items()} if directory else {}
    return {"RAY_USE_TLS": "1", **files} if files else {}


def last_words(errors: str) -> str:
    """Of what it wrote before it died, the line that tells most."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line.partition("Check failed: ")[2] for line in lines if "Check failed: " in line]
    return (telling or lines[-1:] or ["it wrote nothing"])[0][:300]


# Reading the cluster


def read_status(client: Any) -> dict[str, Any]:
    """Everything that ray_status returns, DEAD nodes included."""
    import ray

    nodes = read_nodes(client)
    demands = read_demands(client)
    metadata = json.loads(client.internal_kv_get(b"CLUSTER_METADATA", b"cluster", RPC_SECONDS) or b"{}")
    session = client.internal_kv_get(b"session_name", b"session", RPC_SECONDS) or b""
    total = add_up(node["resources"]["total"] for node in nodes if node["state"] == "ALIVE")
    available = add_up(node["resources"]["available"] for node in nodes if node["state"] == "ALIVE")
    used = {name: tidy(value - available.get(name, 0)) for name, value in total.items()}
    status = {
        "ray_version": metadata.get("ray_version"),
        "python_version": metadata.get("python_version"),
        "environment_version": ray.__version__,
        "session_name": session.decode(),
        "nodes": nodes,
        "resources": {"total": total, "available": available, "used": used},
        "demands": demands,
    }
    return {**status, "summary": summarize(status)}


def read_metrics_addresses(client: Any) -> list[str]:
    """Where the head's own processes show metrics, beside the nodes: the autoscaler and the dashboard."""
    keys = (b"AutoscalerMetricsAddress", b"DashboardMetricsAddress")
    found = [client.internal_kv_get(key, None, RPC_SECONDS) for key in keys]
    return [address.decode() for address in found if address]


def read_nodes(client: Any) -> list[dict[str, Any]]:
    """Every node that the GCS remembers: head first, then by name, the newest first."""
    nodes = list(client.get_all_node_info(timeout=RPC_SECONDS).values())
    draining = read_draining(client)
    usage = client.get_all_resource_usage(timeout=RPC_SECONDS).resource_usage_data.batch
    available = {entry.node_id.hex(): public(entry.resources_available) for entry in usage}
    heads = [node.start_time_ms for node in nodes if node.is_head_node]
    result = [describe_node(node, draining, available, heads) for node in nodes]
    mark_replaced(result)
    result.sort(key=lambda node: node["start_time"], reverse=True)
    result.sort(key=lambda node: (not node["is_head"], node["node_name"], node["ip"]))
    return result


def read_draining(client: Any) -> dict[str, int]:
    """The nodes that drain, by their ids, and until when, in milliseconds since the epoch."""
    if hasattr(client, "get_draining_nodes"):
        return dict(client.get_draining_nodes(timeout=RPC_SECONDS))
    # Before Ray 2.60.
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import GetDrainingNodesRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeResourceInfoGcsServiceStub

    with init_grpc_channel(client.address) as channel:
        service = NodeResourceInfoGcsServiceStub(channel)
        reply = service.GetDrainingNodes(GetDrainingNodesRequest(), timeout=RPC_SECONDS)
    return {node.node_id.hex(): node.draining_deadline_timestamp_ms for node in reply.draining_nodes}


def describe_node(
    node: Any, draining: dict[str, int], available: dict[str, dict[str, float]], heads: list[int],
) -> dict[str, Any]:
    node_id = node.node_id.hex()
    alive = node.state == 0  # gcs.proto GcsNodeState: ALIVE = 0, DEAD = 1
    deadline = draining.get(node_id) or 0
    state = "DEAD" if not alive else "DRAINING" if node_id in draining else "ALIVE"
    return {
        "node_id": node_id,
        "node_name": node.node_name,
        "ip": node.node_manager_address,
        "hostname": node.node_manager_hostname,
        "port": node.node_manager_port,
        "metrics_port": node.metrics_export_port,
        "is_head": node.is_head_node,
        "state": state,
        "state_message": node.death_info.reason_message if not alive else "",
        "death": death(node, heads) if not alive else "",
        "dead_for": round(max(0.0, time.time() - node.end_time_ms / 1000), 1) if not alive else None,
        "labels": dict(node.labels),
        "resources": {"total": public(node.resources_total), "available": available.get(node_id, {}) if alive else {}},
        "activity": list(node.state_snapshot.node_activity) if alive else [],
        "drain_deadline": iso(deadline) if alive and deadline else None,
        "start_time": iso(node.start_time_ms),
        "uptime": round(max(0.0, time.time() - node.start_time_ms / 1000), 1) if alive else None,
    }


def death(node: Any, heads: list[int]) -> str:
    """How a node ended: expected, unexpected, given_up (the GCS had no answer from it any more) or unspecified.

    heads: when each head began, in milliseconds since the epoch. What ended while the GCS was stopped is given up
    soon after its start, and nobody knows how it ended.
    """
    kind = DEATHS.get(node.death_info.reason, "unspecified")
    # gcs_health_check_manager: the reason is the same as of a raylet that crashed.
    if kind != "unexpected" or "health check" not in node.death_info.reason_message:
        return kind
    began, ended = node.start_time_ms, node.end_time_ms
    return "unspecified" if any(began < head <= ended < head + LOOKED_FOR for head in heads) else "given_up"


def mark_replaced(nodes: list[dict[str, Any]]) -> None:
    """A killed raylet stays ALIVE for 10 s and more. If a newer one has, or had, its address and port, it is gone."""
    newest: dict[tuple[str, int], dict[str, Any]] = {}
    for node in sorted(nodes, key=lambda item: item["start_time"]):
        older = newest.get((node["ip"], node["port"]))
        if older and older["state"] != "DEAD":
            older.update(state="DEAD", uptime=None, state_message=f"Replaced by node {node['node_id']}.")
            older["resources"]["available"] = {}
        newest[node["ip"], node["port"]] = node


def read_waiting(client: Any) -> Any:
    """What waits for resources, as the GCS tells it to the autoscaler (autoscaler.proto ClusterResourceState)."""
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    # Read as it is: the classes of the autoscaler go through all nodes as well, which takes four times as long.
    return GetClusterStatusReply.FromString(client.get_cluster_status(timeout_s=RPC_SECONDS)).cluster_resource_state


def read_demands(client: Any) -> list[dict[str, Any]]:
    """What waits for resources: one entry per kind and shape."""
    state = read_waiting(client)
    found = [("task_or_actor", item.request.resources_bundle, item.count) for item in state.pending_resource_requests]
    for group in state.pending_gang_resource_requests:
        bundles = Counter(tuple(sorted(request.resources_bundle.items())) for request in group.requests)
        found += [("placement_group", bundle, count) for bundle, count in bundles.items()]
    for constraint in state.cluster_resource_constraints:
        found += [("request", item.request.resources_bundle, item.count) for item in constraint.resource_requests]
    return [{"kind": kind, "resources": dict(bundle), "count": count} for kind, bundle, count in found]


def read_waiting_groups(client: Any, service: Any, most: int, seconds: float) -> list[dict[str, Any]]:
    """The placement groups that wait for a place for all or some of their bundles; at most so many of them.

    Each: id; strategy; created, when it was asked for, as a timestamp, or None for one that had a place and lost it;
    bundles: the resources of all of them; placed: [node id, resources] of those that have a node; waiting: the others,
    in alternatives of which one must fit, each a list of {resources, labels: [[key, whether one of them, values], ..]}.
    """
    from ray.core.generated.common_pb2 import PlacementStrategy
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData
    from ray.core.generated.gcs_service_pb2 import GetPlacementGroupRequest

    deadline = time.monotonic() + seconds
    found = []
    for gang in list(read_waiting(client).pending_gang_resource_requests)[:most]:
        # Asked for one by one: the list of all has those too that were removed, since the cluster began.
        request = GetPlacementGroupRequest(placement_group_id=bytes.fromhex(gang.details.partition(":")[0]))
        reply = service.GetPlacementGroup(request, timeout=max(0, deadline - time.monotonic()))
        group = reply.placement_group_table_data
        if group.state not in (PlacementGroupTableData.PENDING, PlacementGroupTableData.RESCHEDULING):
            continue
        lost = group.state == PlacementGroupTableData.RESCHEDULING
        alternatives = [selector.resource_requests for selector in gang.bundle_selectors] or [gang.requests]
        found.append({
            "id": group.placement_group_id.hex(),
            "strategy": PlacementStrategy.Name(group.strategy),
            "created": None if lost else group.placement_group_creation_timestamp_ms / 1000,
            "bundles": [dict(bundle.unit_resources) for bundle in group.bundles],
            "placed": [[one.node_id.hex(), dict(one.unit_resources)] for one in group.bundles if one.node_id],
            "waiting": [[describe_request(one) for one in requests] for requests in alternatives],
        })
    return found


def describe_request(request: Any) -> dict[str, Any]:
    """An autoscaler.proto ResourceRequest: its resources, and what it asks of a node's labels."""
    labels = [
        [constraint.label_key, constraint.operator == 1, list(constraint.label_values)]  # 1: LABEL_OPERATOR_IN
        for selector in request.label_selectors
        for constraint in selector.label_constraints
    ]
    return {"resources": dict(request.resources_bundle), "labels": labels}


def group_service(address: str) -> Any:
    """What read_waiting_groups asks: GcsClient has no call for placement groups. It sends the process's own token."""
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2_grpc import PlacementGroupInfoGcsServiceStub

    return PlacementGroupInfoGcsServiceStub(init_grpc_channel(address))


def moved_by_serve(actors: Iterable[Any]) -> set[bytes]:
    """Of living actors, the ids of those that Serve, not Ray, makes anew elsewhere: its replicas with what they have in
    their placement groups, and its proxies."""
    own = [actor for actor in actors if actor.ray_namespace == SERVE and actor.name.startswith((REPLICA, PROXY))]
    groups = {actor.placement_group_id for actor in own} - {b""}
    return {actor.actor_id for actor in own} | {
        actor.actor_id for actor in actors if actor.placement_group_id in groups}


def read_controller(address: str) -> Any:
    """Serve's controller as the GCS has it; None where there is none."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import GetNamedActorInfoRequest
    from ray.core.generated.gcs_service_pb2_grpc import ActorInfoGcsServiceStub

    wanted = GetNamedActorInfoRequest(name=CONTROLLER, ray_namespace=SERVE)
    try:
        found = ActorInfoGcsServiceStub(init_grpc_channel(address)).GetNamedActorInfo(wanted, timeout=RPC_SECONDS)
    except grpc.RpcError as error:
        raise silent(address, error) from error
    return found.actor_table_data if found.actor_table_data.actor_id else None


def task_service(address: str) -> Any:
    """What count_tasks asks: GcsClient has no call for tasks. It sends the process's own token."""
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2_grpc import TaskInfoGcsServiceStub

    return TaskInfoGcsServiceStub(init_grpc_channel(address))


def count_tasks(service: Any, seconds: float) -> dict[str, int]:
    """The tasks and actor tasks that the GCS remembers, without drivers: {pending, running, finished, failed}.

    With limit 0 the GCS sends none of them and says how many it left out. It copies all that it has for each of the
    four questions, though: with 100,000 tasks, its most, that takes 0.5 to 0.8 s and 340 MB.
    """
    import grpc
    from ray.core.generated.common_pb2 import TaskStatus
    from ray.core.generated.gcs_service_pb2 import GetTaskEventsRequest

    filters = GetTaskEventsRequest.Filters
    deadline = time.monotonic() + seconds

    def count(states: Iterable[str], predicate: int) -> int:
        wanted = [filters.StateFilter(state=state, predicate=predicate) for state in states]
        request = GetTaskEventsRequest(limit=0, filters=filters(exclude_driver=True, state_filters=wanted))
        try:
            return int(service.GetTaskEvents(request, timeout=max(0, deadline - time.monotonic())).num_truncated)
        except grpc.RpcError as error:
            raise HelperError("tasks", f"the GCS does not count them in {seconds:g} s: {error.details()}") from error

    # Filters are joined by "and": several states are asked for as all the others not (common.proto FilterPredicate).
    equal, not_equal = 0, 1
    counts = {
        "running": count(set(TaskStatus.keys()) - set(RUNNING_STATES), not_equal),
        "finished": count(["FINISHED"], equal),
        "failed": count(["FAILED"], equal),
    }
    # Tasks go on between the questions.
    return {"pending": max(0, count([], equal) - sum(counts.values())), **counts}


def probe_storage(client: Any, key: str, seconds: float) -> float:
    """Write one small key to the storage of the GCS and read it back: the time that both took."""
    namespace = b"rayops"
    began = time.monotonic()
    value = str(began).encode()
    client.internal_kv_put(key.encode(), value, True, namespace, seconds / 2)
    found = client.internal_kv_get(key.encode(), namespace, seconds / 2)
    if found != value:
        raise HelperError("storage", f"the key {key} was written as {value!r} and read as {found!r}")
    return time.monotonic() - began


def local_sockets(client: Any) -> list[str]:
    """The raylet sockets of the nodes that run on this host."""
    nodes = client.get_all_node_info(timeout=RPC_SECONDS).values()
    return [node.raylet_socket_name for node in nodes if node.state == 0 and os.path.exists(node.raylet_socket_name)]


def public(resources: Any) -> dict[str, float]:
    return {name: tidy(resources[name]) for name in sorted(resources) if not INTERNAL_RESOURCE.search(name)}


def add_up(parts: Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = tidy(total.get(name, 0) + value)
    return dict(sorted(total.items()))


def tidy(value: float) -> float:
    """Ray counts resources in 1/10,000; whole numbers read best as such."""
    value = round(value, 4)
    return int(value) if value == int(value) else value


def iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="milliseconds")


def title(node: dict[str, Any]) -> str:
    """A node for people: name and address."""
    name, ip = node["node_name"], node["ip"]
    return ip if name in ("", ip) else f"{name} ({ip})"


def summarize(status: dict[str, Any]) -> str:
    states = [node["state"] for node in status["nodes"]]
    text = f"{states.count('ALIVE')} ALIVE"
    if "DRAINING" in states:
        text += f", {states.count('DRAINING')} DRAINING"
    used, total = status["resources"]["used"], status["resources"]["total"]
    for name in ("CPU", *ACCELERATORS):
        if total.get(name):
            text += f", {name} {used[name]:g}/{total[name]:g} used"
    pending = sum(demand["count"] for demand in status["demands"])
    return f"{text}, {pending} pending" if pending else text


# Requests


def status(request: dict[str, Any]) -> dict[str, Any]:
    """Read the cluster: once, or until all that request["wait"] names is there.

    wait: {nodes: count, node_ids: [..], node_names: [..], node_ips: [..], resources: {name: minimum}}, each optional.
    """
    wait = request["wait"]
    deadline = time.time() + request["timeout"] if wait else None
    client = connect(request, deadline)
    while True:
        try:
            found = read_status(client)
        except Exception as error:
            raise_if_final(error)
            if deadline is None or time.time() >= deadline:
                raise silent(request["address"], error) from error
            client = connect(request, deadline)
            continue
        lacking = missing(found["nodes"], found["resources"]["total"], wait)
        if not lacking:
            return found
        if deadline is None or time.time() >= deadline:
            raise HelperError("missing", explain(found["nodes"], lacking, wait, request["timeout"]), status=found)
        time.sleep(POLL_SECONDS)


def missing(nodes: list[dict[str, Any]], total: dict[str, float], wait: dict[str, Any]) -> list[str]:
    """What is wanted and not there, in words; an empty list means that nothing is missing."""
    alive = [node for node in nodes if node["state"] == "ALIVE"]
    lacking = []
    for option, key in (("node_ids", "node_id"), ("node_names", "node_name"), ("node_ips", "ip")):
        present = {node[key] for node in alive}
        for wanted in wait.get(option) or []:
            if wanted not in present:
                others = [node for node in nodes if node[key] == wanted]
                lacking.append(fate(max(others, key=lambda node: node["start_time"])) if others else wanted)
    for name, minimum in (wait.get("resources") or {}).items():
        if total.get(name, 0) < minimum:
            lacking.append(f"{name} ({total.get(name, 0):g} of {minimum:g})")
    if not lacking and len(alive) < (wait.get("nodes") or 0):
        lacking.append(f"{wait['nodes'] - len(alive)} more")
    return lacking


def fate(node: dict[str, Any]) -> str:
    message = " ".join(node["state_message"].split()).rstrip(".")
    return f"{title(node)}, which is {node['state']}" + (f": {message}" if message else "")


def explain(nodes: list[dict[str, Any]], lacking: list[str], wait: dict[str, Any], timeout: float) -> str:
    alive = sum(node["state"] == "ALIVE" for node in nodes)
    wanted = wait.get("nodes") or max(len(wait.get(option) or []) for option in ("node_ids", "node_names", "node_ips"))
    count = f"{alive} of {wanted} nodes are" if wanted > 1 else "1 node is" if alive == 1 else f"{alive} nodes are"
    return f"{count} ALIVE after {timeout:g} s; missing: {'; '.join(dict.fromkeys(lacking))}."


# Entry


def run(call: Callable[[dict[str, Any]], dict[str, Any]], request: dict[str, Any]) -> None:
    """Write call(request) as one line of JSON; the process never outlives request["limit"] seconds."""
    signal.alarm(int(request["limit"]) + 1)
    # Ray writes to file descriptor 1 as well, also from C++: only the answer may get through.
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = call(request)
    except HelperError as error:
        answer = error.answer
    except ModuleNotFoundError as error:
        answer = {"error": "no_ray", "message": str(error)}
    except Exception as error:
        answer = {"error": "ray", "message": f"Ray failed: {type(error).__name__}: {reason(error)}."}
    answer_to.write(json.dumps(answer) + "\n")
    answer_to.flush()
    os._exit(0)  # Ray's threads have nothing left to do, and take their time to end

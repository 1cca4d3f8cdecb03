# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The smoke test: work on every CPU, GPU and NPU of a cluster. Runs under the Python of Ray's environment."""

from __future__ import annotations

import os
import pwd
import sys
import time
from itertools import accumulate, islice
from typing import Any, Iterable, Iterator

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import (
    ACCELERATORS,
    HelperError,
    connect,
    local_sockets,
    raise_if_final,
    read_nodes,
    reason,
    status,
    title,
)

BATCH = 64  # results fetched together: bounds what the driver's node has to hold


def smoke_test(request: dict[str, Any]) -> dict[str, Any]:
    """Run one task per CPU, GPU and NPU on the very node that has it, all at the same time, and check each result.

    Then move an object from each node that has worked to the next of them, in a ring.

    request: address, nodes (names that are to be ALIVE first), nodes_timeout, timeout, task_seconds, payload_bytes,
    max_tasks, in_use ("skip" or "wait"), transfer_bytes, transfer_seconds, dry_run.
    """
    wait = {"node_names": request["nodes"]} if request["nodes"] else {}
    cluster = status({**request, "wait": wait, "timeout": request["nodes_timeout"]})
    started = time.time()
    nodes = [node for node in cluster["nodes"] if node["state"] == "ALIVE"]
    if not any(node["resources"]["total"].get("CPU", 0) >= 1 for node in nodes):
        names = ", ".join(map(title, nodes)) or "none"
        message = f"The cluster has no CPU to run a task on; its ALIVE nodes: {names}. Add a worker."
        raise HelperError("no_cpu", message)
    tasks, report = plan(nodes, request)
    transfers: list[dict[str, Any]] = []
    if tasks and not request["dry_run"]:
        client = connect(request)
        require_local_node(local_sockets(client))
        transfers = run_tasks(client, tasks, report, request, started + request["timeout"])
    seconds = round(time.time() - started, 3)
    return {"summary": cluster["summary"], "resources": report, "transfers": transfers, "seconds": seconds}


def require_local_node(sockets: list[str]) -> None:
    """Refuse early: ray.init looks for a local node for a minute, and the sockets are open to their owner only."""
    if not sockets:
        message = "No node of this cluster runs on this host. Run the smoke test on the head or on a worker."
        raise HelperError("no_node", message)
    if not any(os.access(path, os.W_OK) for path in sockets):
        owner, driver = (pwd.getpwuid(uid).pw_name for uid in (os.stat(sockets[0]).st_uid, os.geteuid()))
        raise HelperError("user", f"Ray runs as {owner} here, and {driver} may not connect to it. Set user to {owner}.")


def plan(nodes: list[dict[str, Any]], request: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The tasks ({index, resource, node}), and the report that their results will complete."""
    tasks: list[dict[str, Any]] = []
    report: dict[str, Any] = {}
    for resource in ("CPU", *ACCELERATORS):
        total = {node["node_id"]: int(node["resources"]["total"].get(resource, 0)) for node in nodes}
        free = {node["node_id"]: int(node["resources"]["available"].get(resource, 0)) for node in nodes}
        wanted = free if request["in_use"] == "skip" else total
        # Round after round over the nodes, so that a cap leaves out tasks, not nodes.
        rounds = range(max(wanted.values()))
        turns = [node for turn in rounds for node in nodes if turn < wanted[node["node_id"]]]
        turns = turns[: request["max_tasks"] or None]
        if any(total.values()):
            in_use = sum(total.values()) - sum(free.values())
            report[resource] = {"total": sum(total.values()), "in_use": in_use, "tasks": len(turns), "nodes": {}}
            report[resource].update(seconds=0.0, sum_seconds=0.0, parallel=0)
        for node in turns:
            tasks.append({"index": len(tasks), "resource": resource, "node": node})
            share = report[resource]["nodes"]
            share[node["node_name"]] = share.get(node["node_name"], 0) + 1
    return tasks, report


def run_tasks(
    client: Any, tasks: list[Any], report: dict[str, Any], request: dict[str, Any], deadline: float
) -> list[dict[str, Any]]:
    """Run the tasks and write their times into the report; returns what was moved between nodes.

    Raises HelperError for the first that is not right.
    """
    import ray

    try:
        ray.init(address=request["address"], namespace="rayops", log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise_if_final(error)
        raise HelperError("ray", f"Ray did not accept a driver at {request['address']}: {reason(error)}.") from error
    try:
        started = time.time()
        left = {submit(task, request): task for task in tasks}
        spans: dict[str, dict[str, list[tuple[float, float]]]] = {resource: {} for resource in report}
        for ref, task in finished(left, deadline):
            if ref is None:
                message = unfinished(read_nodes(client), left.values(), len(tasks), request["timeout"])
                raise HelperError("pending", message)
            span = check_result(ref, task, request["payload_bytes"])
            spans[task["resource"]].setdefault(task["node"]["node_id"], []).append(span)
            report[task["resource"]]["seconds"] = round(time.time() - started, 3)
        for resource, entry in report.items():
            by_node = spans[resource].values()
            entry["sum_seconds"] = round(sum(end - start for node in by_node for start, end in node), 3)
            entry["parallel"] = sum(map(most_at_once, by_node))
        # A node that has worked has a process that is ready; each name once.
        nodes = list({task["node"]["node_id"]: task["node"] for task in tasks}.values())
        return move(nodes, request) if request["transfer_bytes"] else []
    finally:
        ray.shutdown()


def move(nodes: list[dict[str, Any]], request: dict[str, Any]) -> list[dict[str, Any]]:
    """Put an object on each node, and fetch it on the next: {source, target, bytes, seconds} of each pair.

    Of one node alone the driver fetches. All pairs have transfer_seconds together.
    """
    import ray

    size, limit = request["transfer_bytes"], request["transfer_seconds"]
    deadline = time.time() + limit
    own = {"node_id": ray.get_runtime_context().get_node_id(), "node_name": "this host", "ip": ""}
    targets = nodes[1:] + nodes[:1] if len(nodes) > 1 else [own]
    pairs = [(source, target) for source, target in zip(nodes, targets) if source["node_id"] != target["node_id"]]
    made = [remote(make, source).remote(size) for source, _target in pairs]
    if made:
        ray.wait(made, num_returns=len(made), timeout=limit, fetch_local=False)
    # In a list, so that it is fetched by the task, and not before it.
    got = [[ref] if target is own else remote(fetch, target).remote([ref], limit)
           for ref, (_source, target) in zip(made, pairs)]
    found = []
    for ref, (source, target) in zip(got, pairs):
        left = max(0.0, deadline - time.time())
        what = f"{size / 1e6:g} MB from {title(source)} to {title(target)}"
        try:
            length, seconds = fetch(ref, left) if target is own else ray.get(ref, timeout=left)
        except ray.exceptions.GetTimeoutError:
            message = f"Moving {what} took more than {limit:g} s: see how they are connected."
            raise HelperError("task", message) from None
        except Exception as error:
            raise HelperError("task", f"Moving {what} failed: {type(error).__name__}: {reason(error)}.") from error
        if length != size:
            raise HelperError("task", f"Of {what} {length} bytes came.")
        names = {"source": source["node_name"], "target": target["node_name"]}
        found.append({**names, "bytes": size, "seconds": round(seconds, 4)})
    return found


def remote(function: Any, node: dict[str, Any]) -> Any:
    """A function of this file as a task of a node, for which nothing needs to be free."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    place = NodeAffinitySchedulingStrategy(node["node_id"], soft=False)
    name = "rayops.smoke_test"
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=place, name=name)


def make(size: int) -> bytes:
    """Runs on the one node."""
    return bytes(size)


def fetch(refs: list[Any], seconds: float) -> tuple[int, float]:
    """Runs on the other: how many bytes came, and in how many seconds."""
    import ray

    began = time.monotonic()
    return len(ray.get(refs[0], timeout=seconds)), time.monotonic() - began


def most_at_once(spans: list[tuple[float, float]]) -> int:
    """How many of the spans overlap at one moment. A node's own clock measured them, so this needs no common time."""
    # At the same moment an end (-1) sorts before a start (+1).
    events = sorted([(start, 1) for start, _end in spans] + [(end, -1) for _start, end in spans])
    return max(accumulate(step for _moment, step in events))


def submit(task: dict[str, Any], request: dict[str, Any]) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    needs = {"CPU": {"num_cpus": 1}, "GPU": {"num_cpus": 0, "num_gpus": 1}}
    options = needs.get(task["resource"], {"num_cpus": 0, "resources": {task["resource"]: 1}})
    place = NodeAffinitySchedulingStrategy(task["node"]["node_id"], soft=False)
    # The workers cannot import this file: they get the function itself.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    function = ray.remote(work).options(max_retries=0, scheduling_strategy=place, name="rayops.smoke_test", **options)
    return function.remote(task["index"], task["resource"], request["task_seconds"], request["payload_bytes"])


def work(index: int, resource: str, seconds: float, size: int) -> tuple[dict[str, Any], bytes]:
    """The task: runs on a worker, with nothing of this file but what it names."""
    import ray

    started = time.monotonic()
    time.sleep(seconds)
    context = ray.get_runtime_context()
    devices = context.get_accelerator_ids().get(resource) or []
    span = (started, time.monotonic())
    seen = {"node_id": context.get_node_id(), "devices": len(devices), "span": span}
    return seen, payload(index, size)


def payload(index: int, size: int) -> bytes:
    pattern = b"rayops %d " % index
    return (pattern * (size // len(pattern) + 1))[:size]


def finished(left: dict[Any, Any], deadline: float) -> Iterator[tuple[Any, Any]]:
    """Yield (ref, task) as they finish, taking them from left; (None, None) when the deadline passes first."""
    import ray

    while left:
        batch = list(islice(left, BATCH))
        ready, _rest = ray.wait(batch, num_returns=1, timeout=max(0.0, deadline - time.time()))
        if not ready:
            yield None, None
        yield ready[0], left.pop(ready[0])


def check_result(ref: Any, task: dict[str, Any], size: int) -> tuple[float, float]:
    """When the task started and ended; HelperError if it failed or if what came back is not what it made."""
    import ray

    what = f"{task['resource']} task {task['index']} on {title(task['node'])}"
    try:
        seen, data = ray.get(ref)
    except Exception as error:
        text = f"{type(error).__name__}: {reason(error)}"
        raise HelperError("task", f"The {what} failed: {text}.") from error
    problem = wrong(task, seen, data, size)
    if problem:
        raise HelperError("task", f"The {what} returned a wrong result: {problem}.")
    start, end = seen["span"]
    return start, end


def wrong(task: dict[str, Any], seen: dict[str, Any], data: bytes, size: int) -> str:
    if seen["node_id"] != task["node"]["node_id"]:
        return f"it ran on node {seen['node_id']}"
    if task["resource"] in ACCELERATORS and seen["devices"] != 1:
        return f"it was given {seen['devices']} {task['resource']}s"
    if data != payload(task["index"], size):
        return f"its {len(data)} bytes are not the {size} that it made"
    return ""


def unfinished(nodes: list[dict[str, Any]], left: Iterable[Any], count: int, timeout: float) -> str:
    """Which tasks are not done, where they should run, and what is free there."""
    now = {node["node_id"]: node for node in nodes}
    open_tasks: dict[tuple[str, str], int] = {}
    for task in left:
        key = (task["node"]["node_id"], task["resource"])
        open_tasks[key] = open_tasks.get(key, 0) + 1
    parts = []
    for (node_id, resource), number in open_tasks.items():
        node = now[node_id]
        part = f"{number} {resource} on {title(node)}, "
        if node["state"] == "ALIVE":
            free, total = (node["resources"][kind].get(resource, 0) for kind in ("available", "total"))
            part += f"where {free:g} of {total:g} {resource} are free"
        else:
            part += f"which is {node['state']}"
        parts.append(part)
    return f"{sum(open_tasks.values())} of {count} tasks are not done after {timeout:g} s: {'; '.join(parts)}."

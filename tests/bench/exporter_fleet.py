# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes and tasks for a real GCS, sent as raylets and workers send them: ``python FILE ADDRESS NODES GPUS TASKS``.

Runs under Ray's own Python. Prints "ready", and ends with its input: the GCS drops what came from a lost connection.
"""

from __future__ import annotations

import json
import os
import queue
import struct
import sys
import time

TASKS_AT_ONCE = 1000
# Of each 100 tasks, the number by the state that they have reached (common.proto TaskStatus).
STATES = {11: 90, 12: 2, 8: 5, 2: 3}


def register(channel, count: int, gpus: int) -> list:
    """Register the nodes with the GCS. Each has an address of its own, at which nobody listens."""
    from ray.core.generated.gcs_pb2 import GcsNodeInfo
    from ray.core.generated.gcs_service_pb2 import RegisterNodeRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    nodes = []
    for number in range(count):
        node_id, ip = os.urandom(28), f"127.1.{number // 250}.{number % 250 + 1}"
        node = GcsNodeInfo(
            node_id=node_id, node_name=f"worker-{number}" if number else "head", is_head_node=not number,
            node_manager_address=ip, node_manager_hostname=f"host-{number}", node_manager_port=6380,
            start_time_ms=int(time.time() * 1000), temp_dir="/var/lib/ray", session_dir="/var/lib/ray/session_latest",
        )
        node.resources_total.update({"CPU": 64, "memory": 500e9, "object_store_memory": 100e9, f"node:{ip}": 1})
        if gpus:
            node.resources_total.update({"GPU": gpus, "accelerator_type:H100": 1})
        node.labels.update({"ray.io/node-id": node_id.hex(), "ray.io/node-group": "bench"})
        NodeInfoGcsServiceStub(channel).RegisterNode(RegisterNodeRequest(node_info=node), timeout=10)
        nodes.append(node)
    return nodes


def report(channel, nodes: list) -> None:
    """Report what is free on the nodes, through the stream that raylets use. It is open as long as this process is."""
    batch = b"".join(field(1, view(node)) for node in nodes)
    requests: queue.Queue = queue.Queue()
    requests.put(batch)
    call = channel.stream_stream("/ray.rpc.syncer.RaySyncer/StartSync")
    call(iter(requests.get, None), metadata=[("node_id", os.urandom(28).hex())])


def view(node) -> bytes:
    """ray_syncer.proto RaySyncMessage. Ray brings no Python module for it, so it is encoded here."""
    free = {name: value if name.startswith("node:") else value * 0.3 for name, value in node.resources_total.items()}
    resources = b"".join(
        field(number, field(1, name.encode()) + b"\x11" + struct.pack("<d", value))
        for number, values in ((1, free), (2, dict(node.resources_total)))
        for name, value in values.items()
    )
    version = b"\x08\x01"
    return version + field(3, resources) + field(4, node.node_id)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of protobuf's wire format."""
    head, size = bytearray([number << 3 | 2]), len(payload)
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + payload


def store_tasks(channel, count: int) -> None:
    """Give the GCS tasks to remember, as large as those of real workers: 0.9 kB each."""
    from ray.core.generated.gcs_pb2 import TaskEventData
    from ray.core.generated.gcs_service_pb2 import AddTaskEventDataRequest
    from ray.core.generated.gcs_service_pb2_grpc import TaskInfoGcsServiceStub

    states = [state for state, share in STATES.items() for _number in range(share)]
    for _batch in range(count // TASKS_AT_ONCE):
        data = TaskEventData(job_id=b"\1\0\0\0")
        for number in range(TASKS_AT_ONCE):
            add_task(data, states[number % len(states)])
        TaskInfoGcsServiceStub(channel).AddTaskEventData(AddTaskEventDataRequest(data=data), timeout=30)


def add_task(data, reached: int) -> None:
    event = data.events_by_task.add(task_id=os.urandom(24), job_id=b"\1\0\0\0")
    info, updates, now = event.task_info, event.state_updates, time.time_ns()
    info.name = info.func_or_class_name = "train"
    info.required_resources["CPU"] = 1
    info.runtime_env_info.serialized_runtime_env = "{}"
    updates.node_id, updates.worker_id, updates.worker_pid = os.urandom(28), os.urandom(28), 4711
    log = f"/var/lib/ray/session_latest/logs/worker-{os.urandom(28).hex()}-01000000-4711"
    updates.task_log_info.stdout_file, updates.task_log_info.stderr_file = f"{log}.out", f"{log}.err"
    for state in sorted({1, 2, 5, 8, reached}):
        if state <= reached:
            updates.state_ts_ns[state] = now
    event.profile_events.component_type, event.profile_events.component_id = "worker", updates.worker_id
    for name in ("task:deserialize_arguments", "task:execute", "task:store_outputs", "task::train"):
        event.profile_events.events.add(event_name=name, start_time=now, end_time=now, extra_data="{}" * 20)


def main() -> None:
    import ray
    from ray._private.grpc_utils import init_grpc_channel
    from ray._raylet import GcsClient

    address, count, gpus, tasks = sys.argv[1], *map(int, sys.argv[2:])
    versions = {"ray_version": ray.__version__, "python_version": "%d.%d.%d" % sys.version_info[:3]}
    client = GcsClient(address=address)
    client.internal_kv_put(b"CLUSTER_METADATA", json.dumps(versions).encode(), True, b"cluster", 10)
    client.internal_kv_put(b"session_name", b"session_bench", True, b"session", 10)
    channel = init_grpc_channel(address)
    report(channel, register(channel, count, gpus))
    store_tasks(channel, tasks)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user of the cluster sees. Runs on the head under Ray's own Python: ``python -c SOURCE VERB ADDRESS [NODE]``.

``create`` makes a detached actor that counts, pinned to NODE, ``call`` calls it, ``nodes`` lists the ALIVE nodes,
``restart`` waits until the head has restarted and a fresh driver has called the actor, ``rejoin`` waits until NODE is
ALIVE under a new id. The answer is the last line of the output, as JSON. The two that wait print READY first: only then
may a kill follow.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/etc/ray/auth_token")

READY = "ready"
NAMESPACE = "bench"
ACTOR = "counter"
POLL = 0.1
# A first look at the GCS or a driver that takes longer was begun too early: it is killed and begun anew.
ATTEMPT_SECONDS = 5
DEADLINE = 120


def alive(client: Any, timeout: float = 0.5) -> dict[str, list[str]]:
    """Ids of the nodes that the GCS calls ALIVE, by name: a killed one is ALIVE beside its successor for a while."""
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    found: dict[str, list[str]] = {}
    for node in client.get_all_node_info(timeout=timeout).values():
        if node.state == GcsNodeInfo.ALIVE:
            found.setdefault(node.node_name, []).append(node.node_id.hex())
    return found


def gcs(address: str) -> Any:
    from ray._raylet import GcsClient

    return GcsClient(address=address)


def answers(address: str) -> bool:
    """Whether anything listens: Ray's own client would wait five seconds and more to find out that nothing does."""
    host, _colon, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=POLL).close()
    except OSError:
        return False
    return True


def create(address: str, node: str) -> dict[str, Any]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def increment(self) -> tuple[int, int]:
            self.count += 1
            return self.count, os.getpid()

    driver(address)
    pinned = NodeAffinitySchedulingStrategy(alive(gcs(address), timeout=10)[node][0], soft=False)
    options = {"name": ACTOR, "lifetime": "detached", "num_cpus": 0, "max_restarts": 0, "scheduling_strategy": pinned}
    actor = ray.remote(Counter).options(**options).remote()
    count, pid = ray.get(actor.increment.remote(), timeout=60)
    return {"count": count, "pid": pid}


def driver(address: str) -> None:
    import ray

    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")


def call(address: str) -> dict[str, Any]:
    """A fresh driver, and one call of the actor by its name."""
    import ray

    began = time.monotonic()
    driver(address)
    count, pid = ray.get(ray.get_actor(ACTOR).increment.remote(), timeout=ATTEMPT_SECONDS)
    return {"count": count, "pid": pid, "driver_seconds": time.monotonic() - began}


def wait_for(address: str, name: str, old: list[str]) -> str:
    """Wait until the node is ALIVE under an id that is not old, and return that."""
    client = gcs(address)
    while True:
        new = set(alive(client).get(name, [])) - set(old)
        if new:
            return new.pop()
        time.sleep(POLL)


def in_child(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any] | None:
    """The function's result, from a fork, which has Ray imported but no connection. None if it fails or hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(function(*arguments)).encode())
        except BaseException as error:  # Whatever it is: the parent tries again, and at last shows it.
            os.write(writer, json.dumps({"error": f"{type(error).__name__}: {error}"[:500]}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    answered = select.select([reader], [], [], ATTEMPT_SECONDS + 1)[0]
    text = os.read(reader, 65536) if answered else b""
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def look(address: str) -> dict[str, Any]:
    """The ALIVE nodes."""
    return in_child(lambda: alive(gcs(address), timeout=ATTEMPT_SECONDS)) or {"error": "the GCS does not answer"}


def until_done(address: str, function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Begin the function anew until it works."""
    deadline = time.monotonic() + DEADLINE
    error = "nothing listens there"
    attempts = 0
    while time.monotonic() < deadline:
        if answers(address):
            attempts += 1
            result = in_child(function, *arguments) or {"error": f"no answer within {ATTEMPT_SECONDS + 1} s"}
            if "error" not in result:
                return {**result, "attempts": attempts}
            error = result["error"]
        time.sleep(POLL)
    return {"error": f"{address} after {DEADLINE} s: {error}"}


def restarted(address: str, head: str, old: list[str]) -> dict[str, Any]:
    wait_for(address, head, old)
    return call(address)


def joined(address: str, name: str, old: list[str]) -> dict[str, Any]:
    return {"id": wait_for(address, name, old)}


def main() -> None:
    verb, address = sys.argv[1:3]
    # Before the clock starts: importing Ray takes a second, and is no part of a recovery.
    importlib.import_module("ray")

    if verb == "create":
        answer = create(address, sys.argv[3])
    elif verb == "call":
        answer = until_done(address, call, address)
    elif verb == "nodes":
        answer = look(address)
    else:
        old = look(address)[sys.argv[3]]
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        function = {"restart": restarted, "rejoin": joined}[verb]
        answer = until_done(address, function, address, sys.argv[3], old)
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()
    # Without ray.shutdown, which waits: the detached actor outlives its driver anyway.
    os._exit(0)


if __name__ == "__main__":
    main()

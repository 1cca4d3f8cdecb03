# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work for a cluster that counts its own answers. Runs on a node as Ray's user: ``program.py VERB ADDRESS FILE``.

``supervise`` keeps a ``drive`` running, as a client's own supervisor would: a driver dies with its node. ``drive``
calls a detached counter and keeps a few tasks in flight, and writes each answer to FILE before it asks for the next.
``forget`` ends the counter. A line of FILE is ``[time, kind, value]`` in JSON, an answer's ``[time, kind, value,
seconds]`` with what it took; the kinds are those of report.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

PYTHON = "/opt/ray/current/bin/python"
NAMESPACE = "workload"
COUNTER = "counter"
IN_FLIGHT = 3
TASK_SECONDS = 0.2
# Of the counter; the tasks set their own pace.
PAUSE = 0.05
# A driver without any answer for so long hangs: after its start, and later. The GCS alone may be away for longer.
START_SECONDS, HANG_SECONDS = 25, 90
END_SECONDS = 40


def write(file: str, kind: str, value: object, *seconds: float) -> None:
    """Append a line, in one write: the reader sees all of it or nothing."""
    line = f"{json.dumps([round(time.time(), 3), kind, value, *(round(number, 3) for number in seconds)])}\n"
    with open(file, "a", encoding="utf-8") as stream:
        stream.write(line)


class Counter:
    """Counts, and answers only when the cluster's own store has the count: a new life begins where the last ended."""

    def __init__(self) -> None:
        from ray.experimental import internal_kv

        self.store = internal_kv
        self.count = int(internal_kv._internal_kv_get(COUNTER, namespace=NAMESPACE) or 0)

    def increment(self) -> int:
        self.store._internal_kv_put(COUNTER, str(self.count + 1), overwrite=True, namespace=NAMESPACE)
        self.count += 1
        return self.count


def square(number: int) -> int:
    time.sleep(TASK_SECONDS)
    return number * number


class Driver:
    """One connection to the cluster, and the answers that came over it."""

    def __init__(self, address: str, file: str, pin: str) -> None:
        import ray

        self.ray = ray
        self.file = file
        self.stopping = False
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
        self.task = ray.remote(square).options(num_cpus=0, max_retries=-1, scheduling_strategy="SPREAD")
        self.options = {
            "name": COUNTER, "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached",
            "max_restarts": -1, "max_task_retries": -1, "num_cpus": 0, **self._pinned(pin),
        }
        self.raylet = raylet(ray.get_runtime_context().get_node_id())
        # What is under way: a reference of Ray's and, for a task, its number. When it was asked, for both.
        self.tasks: dict = {}
        self.asked: dict = {}
        self.call = None
        self.call_at = 0.0
        self.number = 0

    def _pinned(self, name: str) -> dict:
        """Prefer a node: the counter leaves it when it must."""
        if not name:
            return {}
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ids = [node["NodeID"] for node in self.ray.nodes() if node["Alive"] and node["NodeName"] == name]
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(ids[0], soft=True)} if ids else {}

    def run(self) -> None:
        """Work until SIGTERM; then wait for what is under way."""
        counter = self.ray.remote(Counter).options(**self.options).remote()
        write(self.file, "driver", os.getpid())
        deadline = float("inf")
        while time.monotonic() < deadline and (self.tasks or self.call or not self.stopping):
            if self.stopping:
                deadline = min(deadline, time.monotonic() + END_SECONDS - 10)
            else:
                self.ask(counter)
            if not os.path.exists(self.raylet):
                # Ray does not tell: a driver whose node has died waits for ever.
                write(self.file, "node gone", os.getpid())
                os._exit(1)
            waiting = [*self.tasks, *([self.call] if self.call else [])]
            ready, _others = self.ray.wait(waiting, timeout=0.1) if waiting else ([], [])
            for reference in ready:
                self.accept(reference)
        names = {self.call: "the counter", **{reference: f"task {number}" for reference, number in self.tasks.items()}}
        now = time.monotonic()
        write(self.file, "end", [f"{names[reference]}, for {now - at:.0f} s" for reference, at in self.asked.items()])

    def ask(self, counter: object) -> None:
        while len(self.tasks) < IN_FLIGHT:
            self.number += 1
            reference = self.task.remote(self.number)
            self.tasks[reference], self.asked[reference] = self.number, time.monotonic()
        if not self.call and time.monotonic() > self.call_at:
            self.call = counter.increment.remote()
            self.asked[self.call] = time.monotonic()

    def accept(self, reference: object) -> None:
        """Write down what came back."""
        kind = "counter" if reference == self.call else "task"
        number = self.tasks.pop(reference, None)
        waited = time.monotonic() - self.asked.pop(reference)
        if kind == "counter":
            self.call, self.call_at = None, time.monotonic() + PAUSE
        try:
            value = self.ray.get(reference)
        except Exception as error:  # Whatever Ray gives instead of an answer: the report shows it.
            write(self.file, f"{kind} failed", f"{type(error).__name__}: {error}"[-400:])
            self.call_at = time.monotonic() + 0.5
            return
        if kind == "task" and value != number * number:
            write(self.file, "task wrong", [number, value])
        else:
            write(self.file, kind, value, waited)


def raylet(node_id: str) -> str:
    """The place in /proc of the raylet that a driver is connected to."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", encoding="utf-8", errors="replace") as stream:
                words = stream.read().split("\0")
        except OSError:
            continue
        if os.path.basename(words[0]) == "raylet" and f"--node_id={node_id}" in words:
            return f"/proc/{name}"
    sys.exit(f"the raylet of node {node_id} does not run here")


def drive(address: str, file: str, pin: str) -> None:
    driver = Driver(address, file, pin)
    signal.signal(signal.SIGTERM, lambda *_ignored: setattr(driver, "stopping", True))
    driver.run()
    # Without ray.shutdown, which waits.
    os._exit(0)


def answers(address: str) -> bool:
    """Whether anything listens there: Ray's own client needs long to find out that nothing does."""
    host, _colon, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


class Supervisor:
    """Keeps one driver running. It is no part of the cluster, and outlives it."""

    def __init__(self, address: str, file: str, pin: str) -> None:
        self.address, self.file, self.pin = address, file, pin
        self.stopping = False
        self.child: subprocess.Popen | None = None

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.stop)
        while not self.stopping:
            if answers(self.address):
                self.watch()
            time.sleep(0.1)

    def stop(self, *_ignored: object) -> None:
        self.stopping = True
        if self.child:
            self.child.terminate()

    def watch(self) -> None:
        """Start a driver and see it end, or end it when it hangs."""
        command = [PYTHON, os.path.abspath(__file__), "drive", self.address, self.file, self.pin]
        began, first = time.time(), self.size()
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while self.child.poll() is None:
            idle = time.time() - max(began, os.stat(self.file).st_mtime)
            limit = START_SECONDS if self.size() == first else HANG_SECONDS
            if idle > limit and not self.stopping:
                write(self.file, "hang", self.child.pid)
                self.child.kill()
            time.sleep(0.1)
        if not self.stopping:
            write(self.file, "died", self.child.returncode)
        self.child = None

    def size(self) -> int:
        return os.stat(self.file).st_size


def supervise(address: str, file: str, pin: str) -> None:
    write(file, "start", os.getpid())
    Supervisor(address, file, pin).run()


def forget(address: str, _file: str, _pin: str) -> None:
    import ray
    from ray.experimental import internal_kv

    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    if COUNTER in ray.util.list_named_actors():
        ray.kill(ray.get_actor(COUNTER))
    internal_kv._internal_kv_del(COUNTER, namespace=NAMESPACE)


if __name__ == "__main__":
    {"supervise": supervise, "drive": drive, "forget": forget}[sys.argv[1]](*sys.argv[2:5])

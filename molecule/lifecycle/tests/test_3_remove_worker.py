# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers are removed with their work done, and not where something would be lost."""

from __future__ import annotations

import json
import time

import pytest

from tests.bed.cluster import PYTHON
from tests.long import long

REMOVE = "rayops.cluster.remove_worker"
# Holds worker-4 with what its argument says, from the head, until it is stopped.
HOLD = """
import os, sys, time
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/etc/ray/auth_token")
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
(node,) = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeName"] == "worker-4"]
there = NodeAffinitySchedulingStrategy(node, soft=False)
actor = ray.remote(type("Held", (), {"ready": lambda self: 1}))
held = {
    "actor": lambda: actor.options(num_cpus=0, scheduling_strategy=there).remote(),
    "object": lambda: ray.remote(lambda: bytes(2000000)).options(num_cpus=0, scheduling_strategy=there).remote(),
    "task": lambda: ray.remote(lambda: time.sleep(600)).options(
        num_cpus=0, max_retries=-1, scheduling_strategy=there).remote(),
}[sys.argv[2]]()
if sys.argv[2] == "actor":
    ray.get(held.ready.remote())
if sys.argv[2] == "object":
    ray.wait([held], fetch_local=False)
time.sleep(2)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holding(cluster):
    """Let a driver hold worker-4 with an actor, an object or a task."""
    processes = []

    def hold(what: str) -> None:
        process = cluster.as_ray(cluster.head, "timeout", "300", PYTHON, "-c", HOLD, cluster.gcs, what)
        processes.append(process)
        assert process.readline().strip() == "held"

    yield hold
    cluster.sh(cluster.head, "pkill --full --signal KILL '[H]eld' || true")
    for process in processes:
        process.finish(30)
        process.close()


def hosts(*names: str) -> tuple[str, str]:
    return "--extra-vars", f"remove_worker_hosts={','.join(names)}"


@pytest.mark.parametrize("arguments, said", [
    ((), "No worker is named"),
    (hosts("worker-9"), "There is no worker worker-9"),
    (("--limit", "ray_workers"), "There is no worker ray_workers"),
    (("--extra-vars", '{"remove_worker_hosts": "worker-1, worker-2, worker-3, worker-4"}'), "no worker would be left"),
    ((*hosts("worker-4"), "--extra-vars", json.dumps(
        {"head_config": {"worker_nodes": {"worker_node_types": {"cpu_worker": {"min_workers": 4}}}}})),
     "pool cpu_worker would have 3 of 4 (min_workers)"),
], ids=["nobody", "unknown", "a group", "all", "minimum"])
def test_it_is_refused(cluster, arguments, said):
    before = cluster.pids()
    run = cluster.play(REMOVE, *arguments)
    assert run.status != 0 and said in run.output, run.output[-2000:]
    assert cluster.pids() == before


@pytest.mark.parametrize("what, said", [
    ("actor", "holds 1 actor that Ray does not restart"),
    ("object", "holds 1 object (2000"),
])
def test_what_would_be_lost_keeps_it(cluster, holding, what, said):
    before = cluster.pids()
    holding(what)
    run = cluster.play(REMOVE, *hosts("worker-3", "worker-4"))
    assert run.status != 0 and said in run.output, run.output[-2000:]
    assert cluster.pids() == before
    assert len(cluster.nodes()) == 5


@long
def test_work_that_does_not_end_puts_it_back(cluster, holding):
    holding("task")
    before = cluster.pids()
    run = cluster.play(REMOVE, *hosts("worker-4"), "--extra-vars", "remove_worker_drain_timeout=4")
    assert run.status != 0 and "still had 1 running task after 4 s, and was not stopped" in run.output, run.output
    cluster.wait_whole()
    after = cluster.pids()
    assert {name for name in before if before[name] != after[name]} == {"worker-4"}
    units = cluster.sh("worker-4", "systemctl is-enabled ray-worker; systemctl is-active ray-health.timer")
    assert units == "enabled\nactive"


def test_two_are_removed_and_no_answer_is_lost(cluster, nothing_lost, remade):
    wanted = hosts("worker-3", "worker-4")
    check = cluster.play(REMOVE, "--check", *wanted).must_succeed()
    assert check.changed > 0 and len(cluster.nodes()) == 5
    with nothing_lost("worker-2"):
        run = cluster.play(REMOVE, *wanted).must_succeed()
    assert "3 ALIVE" in run.output and "worker-3, worker-4: drained, stopped and disabled" in run.output
    for name in ("worker-3", "worker-4"):
        assert cluster.sh(name, "systemctl is-active ray-worker ray-health.timer; systemctl is-enabled ray-worker",
                          check=False) == "inactive\ninactive\ndisabled"
    assert cluster.play(REMOVE, *wanted).must_succeed().changed == 0
    # Their instances are gone.
    small = remade(workers=2)
    deadline = time.monotonic() + 60
    while len(small.nodes()) > 3 and time.monotonic() < deadline:
        time.sleep(1)
    # The exporter on the head forgets them with a whole run.
    whole = small.again()
    assert {host for host, count in whole.hosts.items() if count} == {"head"}, whole.hosts
    assert small.again().changed == 0

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody in the network reads of a job, a drain and a scrape: no token, no password, no object."""

from __future__ import annotations

import json
import shlex
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.bed.cluster import Cluster
from tests.capture import Capture, capturing

SCRAPED = 6385
# HTTP without a secret: metrics, and the dashboard, which the exporter asks whether it wants a token.
PLAIN = {SCRAPED, 6386, 44217, 44227, 9121, 8265}
OBJECT, VARIABLE, CONTROL = "an-object-of-the-workload", "a-variable-of-a-job", "what-goes-plain-is-found"
# Work on a worker with an object that goes there and one that comes back.
JOB = """
import os, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
ray.init(log_to_driver=False)
(node,) = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeName"] == "worker-1"]
there = NodeAffinitySchedulingStrategy(node, soft=False)
work = ray.remote(lambda data: (data * 2, os.environ["SECRET"])).options(num_cpus=0, scheduling_strategy=there)
data = "-".join(["an", "object", "of", "the", "workload"]).encode() * 100000
back, secret = ray.get(work.remote(ray.put(data)))
assert back == data * 2 and secret
print("came", "back")
"""


@pytest.fixture(scope="module")
def secrets(cluster: Cluster, login: str) -> dict[str, str]:
    """By names that a failure may show."""
    redis = cluster.sh(cluster.head, "sed -n 's/^RAY_REDIS_PASSWORD=//p' /etc/ray/redis.env")
    return {"token": cluster.sh(cluster.head, "cat /etc/ray/auth_token"), "password of Redis": redis,
            "password of the pages": login.partition(":")[2], "login": login, "object": OBJECT, "variable": VARIABLE}


@pytest.fixture(scope="module")
def captures(
    cluster: Cluster, hosts: dict[str, str], page: Callable, wait_for: Callable
) -> Iterator[dict[str, Capture]]:
    """What went over the network of each host while all that happened."""
    with ExitStack() as stack:
        found = {node.name: stack.enter_context(capturing(cluster.process(node.name))) for node in cluster.bed.nodes}
        # Said where nobody listens to it.
        hello = f"import socket; socket.create_connection(('{cluster.gcs[:-5]}', 22)).sendall(b'{CONTROL}')"
        cluster.sh("worker-1", f'python3 -c "{hello}"')
        run_job(page(cluster.head), wait_for)
        cluster.play("rayops.cluster.restart", "--limit", "worker-1").must_succeed()
        cluster.wait_whole()
        run_job(page(cluster.head), wait_for)
        began = time.time()
        wait_for("a scrape of the new node", lambda: scraped(page("monitor"), hosts["worker-1"]) > began, 90)
    yield found


def run_job(head: Any, wait_for: Callable) -> None:
    body = {"entrypoint": shlex.join(["python", "-c", JOB]), "runtime_env": {"env_vars": {"SECRET": VARIABLE}}}
    status, _headers, text = head.ask("/api/jobs/", body)
    assert status == 200, text
    job = json.loads(text)["submission_id"]

    def ended() -> dict:
        found = json.loads(head.ask(f"/api/jobs/{job}")[2])
        return found if found["status"] in ("SUCCEEDED", "FAILED", "STOPPED") else {}

    assert wait_for("the end of the job", ended, 90)["status"] == "SUCCEEDED", head.ask(f"/api/jobs/{job}/logs")[2]


def scraped(monitor: Any, host: str) -> float:
    """When Prometheus has read a node's metrics last, in seconds since the epoch."""
    query = urllib.parse.urlencode({"query": f'timestamp(up{{instance="{host}:{SCRAPED}"}} == 1)'})
    found = json.loads(monitor.ask(f"/prometheus/api/v1/query?{query}")[2])["data"]["result"]
    return max((float(series["value"][1]) for series in found), default=0.0)


def test_the_captures_are_whole_and_find_what_goes_plain(captures: dict[str, Capture]) -> None:
    assert {name: capture.lost for name, capture in captures.items()} == dict.fromkeys(captures, 0)
    assert captures["worker-1"].find({"control": CONTROL})
    requests = [stream for stream in captures["worker-1"].said(SCRAPED) if b"GET /metrics" in stream.data]
    assert requests, "the capture has no scrape"


def test_no_secret_goes_over_the_network(captures: dict[str, Capture], secrets: dict[str, str]) -> None:
    assert all(secrets.values())
    assert {name: capture.find(secrets) for name, capture in captures.items()} == {name: [] for name in captures}


def test_all_but_metrics_is_secret(captures: dict[str, Capture]) -> None:
    """By how each connection begins: what is compressed, or written otherwise, would not be found."""
    plain = {str(stream) for capture in captures.values() for stream in capture.streams
             if stream.opened and stream.data and not stream.is_tls and not stream.data.startswith(b"SSH-")
             and not PLAIN & {stream.source[1], stream.target[1]} and CONTROL.encode() not in stream.data
             and 53 not in (stream.source[1], stream.target[1])}
    assert plain == set()
    assert sum(stream.is_tls for stream in captures["worker-1"].streams) > 10

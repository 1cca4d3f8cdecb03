# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a stop of nodes interrupts, and the batches in which it interrupts least; then what a real Ray says of it."""

from __future__ import annotations

import json
import time

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.drain import nothing
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.workload import not_whole
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.workload import Workload, batch_size
from ansible_collections.rayops.cluster.plugins.module_utils._node.drain import losses

NODES = ["w1", "w2", "w3", "w4"]


def application(name, *replicas, serves=True, status="RUNNING"):
    """One deployment, each replica with its nodes."""
    entries = [{"serves": serves, "nodes": nodes.split()} for nodes in replicas]
    return {"name": name, "status": status, "deployments": [{"name": "LLM", "replicas": entries}]}


def job(name, driver, nodes=""):
    return {"name": name, "driver": driver, "nodes": nodes.split()}


def workload(*applications, jobs=(), actors=(), groups=()):
    actors = [{"name": name, "node": node} for name, node in actors]
    groups = [group.split() for group in groups]
    return Workload.read({"applications": applications, "jobs": jobs, "actors": actors, "groups": groups})


@pytest.mark.parametrize("found, batches, said", [
    (workload(), [["w1"], ["w2"]], []),
    (workload(application("r1", "w1")), [["w1"]], ["Serve application r1 (the only replica of LLM on w1)"]),
    (workload(application("r1", "w1 w2")), [["w2", "w1"]],
     ["Serve application r1 (the only replica of LLM on w1, w2)"]),
    # A replica is left while each of the others stops.
    (workload(application("r1", "w1", "w2")), [["w1"], ["w2"]], []),
    (workload(application("r1", "w1", "w2")), [["w1", "w2"]],
     ["Serve application r1 (all 2 replicas of LLM on w1, w2)"]),
    (workload(application("r1", "w1 w2", "w3 w4")), [["w1", "w2"], ["w3", "w4"]], []),
    # What does not answer yet is no replica to go on with, and nothing to interrupt.
    (workload(application("r1", "w1", serves=False)), [["w1"]], []),
    (workload(jobs=[job("train", "head", "w3")]), [["w1"], ["w2"]], []),
    (workload(jobs=[job("train", "head", "w3"), job("tune", "w3")]), [["w3"]], [
        "job train, with actors that Ray does not restart, or a placement group, on w3",
        "job tune, whose driver is on w3"]),
    (workload(actors=[("counter", "w2")]), [["w1"], ["w2"]], ["actor counter on w2, which Ray does not restart"]),
    (workload(jobs=[job("wide", "head", "w1 w2")]), [["w1"], ["w2"]],
     ["job wide, with actors that Ray does not restart, or a placement group, on w1, w2"]),
], ids=["nothing", "one replica", "over two nodes", "two, one by one", "two, at once", "two of two", "starting",
        "job elsewhere", "jobs", "actor", "said once"])
def test_what_is_interrupted(found, batches, said):
    assert [each.said for each in found.interrupted(batches)] == said


@pytest.mark.parametrize("found, size, batches", [
    (workload(), 1, [["w1"], ["w2"], ["w3"], ["w4"]]),
    (workload(), 3, [["w1", "w2", "w3"], ["w4"]]),
    # One model over two nodes: both at once, and after those that carry nothing.
    (workload(application("r1", "w1 w2")), 1, [["w3"], ["w4"], ["w1", "w2"]]),
    (workload(application("r1", "w1 w2", serves=False)), 1, [["w1", "w2"], ["w3"], ["w4"]]),
    (workload(groups=["w1 w3", "w3 w4"]), 1, [["w1", "w3", "w4"], ["w2"]]),
    (workload(application("r1", "w1 w2", "w3 w4")), 3, [["w1", "w2"], ["w3", "w4"]]),
    # Two replicas are not hit at once while there is another way.
    (workload(application("r1", "w1", "w2")), 2, [["w3", "w4"], ["w1"], ["w2"]]),
    (workload(application("r1", "w1"), application("v3", "w2")), 2, [["w3", "w4"], ["w1", "w2"]]),
    (workload(application("r1", "w1", "w2")), 4, [["w1", "w2", "w3", "w4"]]),
    # A node that is not to stop joins nobody.
    (workload(groups=["w1 w9"]), 1, [["w1"], ["w2"], ["w3"], ["w4"]]),
], ids=["nothing", "three", "spans", "spans, starting", "chain", "two models of two", "two replicas", "two models",
        "all", "another node"])
def test_the_batches(found, size, batches):
    assert found.batches(NODES, size) == batches


@pytest.mark.parametrize("found, gone, serving", [
    (workload(application("r1", "w1", "w2")), "", {"r1": 2}),
    (workload(application("r1", "w1", status="DEPLOY_FAILED")), "", {}),
    # Serve says nothing while its controller is away, as after a restart of the head.
    (workload(application("r1", "w1", "w2", status=""), application("v3", "w3")), "", {"r1": 2, "v3": 1}),
    # Of nodes that do not come back, what the others have is to serve.
    (workload(application("r1", "w1", "w2"), application("v3", "w2")), "w2", {"r1": 1}),
    (workload(application("r1", "w1 w2", "w3")), "w2", {"r1": 1}),
], ids=["as before", "failed before", "unknown", "gone", "gone in part"])
def test_what_is_waited_for(found, gone, serving):
    said = found.serving(frozenset(gone.split()))
    assert {each["name"]: each["deployments"][0]["replicas"] for each in said} == serving


def test_no_nodes_are_no_batches():
    assert workload(application("r1", "w1")).batches([], 1) == []


@pytest.mark.parametrize("wanted, nodes, size", [("1", 9, 1), ("25%", 9, 2), ("1%", 9, 1), ("100%", 9, 9), ("4", 0, 4)])
def test_a_batch_is_as_large_as_in_a_play(wanted, nodes, size):
    assert batch_size(wanted, nodes) == size


def serve(status="RUNNING", health="HEALTHY", wanted=1, message="", replicas=(("RUNNING", "a"),)):
    details = {"status": health, "message": message, "target_num_replicas": wanted, "replicas": [
        {"state": state, "node_id": node} for state, node in replicas]}
    return {"r1": {"status": status, "deployments": {"LLM": details}}}


@pytest.mark.parametrize("found, said", [
    (serve(), []),
    (serve(wanted=2), ["r1 is RUNNING: LLM has 1 of 2 replicas"]),
    # Serve counts those of a node that has just gone for some seconds.
    (serve(replicas=[("RUNNING", "gone")]), ["r1 is RUNNING: LLM has 0 of 1 replicas"]),
    (serve("DEPLOYING", "UPDATING", replicas=[("STARTING", "a")], message="It waits\nfor a GPU."),
     ["r1 is DEPLOYING: LLM has 0 of 1 replicas; It waits for a GPU."]),
    (serve("UNHEALTHY"), ["r1 is UNHEALTHY: no reason is given"]),
    # An application that scales wants more than there is room for.
    (serve(wanted=4, replicas=[("RUNNING", "a"), ("RUNNING", "a")]), []),
    (serve(wanted=4), ["r1 is RUNNING: LLM has 1 of 2 replicas"]),
    (serve(wanted=0, replicas=[]), []),
    ({}, []),
], ids=["whole", "too few", "on a dead node", "starting", "unhealthy", "as before", "fewer than before",
        "asleep", "deleted"])
def test_what_is_not_whole(found, said):
    assert not_whole(found, {"r1": {"LLM": 2}}, {"a"}) == said


# Named as Serve names its own; the dashboard, which has Serve's word for it, is not there.
SOURCE = """
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as inside
import time
Kind = ray.remote(num_cpus=0)(type("Kind", (), {"ready": lambda self: 1}))
bundles = placement_group([{"CPU": 0.1}, {"CPU": 0.1}])
placed = {"scheduling_strategy": inside(bundles, placement_group_capture_child_tasks=True)}
detached = {"namespace": "serve", "lifetime": "detached"}
made = [
    Kind.options(name="SERVE_REPLICA::r1#LLM#a", **detached, **placed).remote(),
    Kind.options(name="rank", **placed).remote(),
    Kind.options(name="SERVE_PROXY_ACTOR-ab", resources={"NPU": 0.1}, **detached).remote(),
    Kind.options(name="mine", resources={"NPU": 0.1}).remote(),
]
ray.get([each.ready.remote() for each in made])
print("up", flush=True)
time.sleep(60)
"""


def test_what_a_real_ray_says(local_ray, run_module):
    with local_ray.run_driver(SOURCE) as driver:
        try:
            assert driver.stdout.readline() == "up\n"
            found = local_ray.cluster().workload()
            assert [(each.application, each.name, each.replicas) for each in found.deployments] == [
                ("r1", "LLM", (frozenset({"worker-1"}),))]
            (job,) = found.jobs
            # Its program, but not what it was given.
            assert f"(python, pid {driver.pid})" in job.name and job.driver == "head", job
            assert job.nodes == {"worker-1"} and found.actors == ()
            worker = next(node for node in local_ray.cluster().status()["nodes"] if node["node_name"] == "worker-1")
            held = local_ray.cluster().held(worker["node_id"])["actors"]
            assert {actor["name"]: actor["serve"] for actor in held} == {
                "SERVE_REPLICA::r1#LLM#a": True, "rank": True, "SERVE_PROXY_ACTOR-ab": True, "mine": False}
            assert losses({**nothing(), "actors": held}) == ["1 actor that Ray does not restart (mine)"]

            options = {**local_ray.connection(), "nodes": ["worker-1"], "timeout": 20}
            refused = run_module("ray_workload", {**options, "interrupt": "ask"})
            assert refused["failed"] and refused["msg"].startswith(
                "This would interrupt Serve application r1 (the only replica of LLM on worker-1); job "), refused
            assert refused["msg"].endswith("-e ray_interrupt=all."), refused
            half = run_module("ray_workload", {**options, "interrupt": "models"})
            assert half["failed"] and "Serve" not in half["msg"] and half["msg"].endswith("ray_interrupt=all."), half
            checked = run_module("ray_workload", {**options, "interrupt": "ask"}, check_mode=True)
            assert not checked["changed"] and refused["msg"] in str(checked["warnings"]), checked
            # Nobody knows whether it runs: nothing of Serve's answers here.
            assert "(r1): they are taken for RUNNING" in str(checked["warnings"]), checked
            assert checked["running"] == [{"name": "r1", "deployments": [{"name": "LLM", "replicas": 1}]}], checked
            leaving = run_module("ray_workload", {**options, "interrupt": "all", "for_good": True})
            assert leaving["running"] == [], leaving
            allowed = run_module("ray_workload", {**options, "interrupt": "all"})
            assert allowed["batches"] == [["worker-1"]] and len(allowed["interrupted"]) == 2, allowed
        finally:
            driver.kill()


def test_nothing_runs(local_ray, run_module):
    """What is detached is removed, and a cluster that does not answer keeps nobody from mending it."""
    source = (
        "for name in ('SERVE_REPLICA::r1#LLM#a', 'SERVE_PROXY_ACTOR-ab'):\n"
        "    try:\n        ray.kill(ray.get_actor(name, namespace='serve'))\n    except ValueError:\n        pass\n"
    )
    with local_ray.run_driver(source) as driver:
        assert driver.wait(60) == 0
    options = {**local_ray.connection(), "nodes": ["worker-1"], "alone": ["head"], "interrupt": "ask", "timeout": 10}
    deadline = time.monotonic() + 30
    while "msg" in (found := run_module("ray_workload", options)) and time.monotonic() < deadline:
        time.sleep(1)
    assert (found["interrupted"], found["batches"], found["running"]) == ([], [["worker-1"]], []), found
    silent = run_module("ray_workload", {**options, "address": f"127.0.0.1:{local_ray.port + 99}"})
    assert silent["batches"] == [["worker-1"]] and "is not known" in str(silent["warnings"]), silent


def test_what_serve_had_is_gone(local_ray, run_module):
    """As after an upgrade of Ray: nothing comes back, and nothing is waited for."""
    options = {**local_ray.connection(), "wait_for": [{"name": "r1"}], "timeout": 20}
    assert not run_module("ray_workload", options).get("failed")


PROBE = """
import json, sys
from pathlib import Path
assert sys.argv[1:] == ["--config", sys.argv[2], "--name", "r1"], sys.argv
tries = Path(__file__).with_name("tries")
tries.write_text(tries.read_text() + "." if tries.exists() else ".")
print(json.dumps({"name": "r1", "answered": len(tries.read_text()) >= 3, "error": "is silent"}))
"""


@pytest.mark.parametrize("timeout, models, tries, said", [
    (20, ["r1"], 3, None), (0, ["r1"], 1, "r1 is RUNNING, but no token came back: is silent."), (20, ["v3"], 0, None),
], ids=["at last", "silent", "another"])
def test_a_declared_model_is_asked_for_a_token(local_ray, run_module, tmp_path, timeout, models, tries, said):
    probe, config = tmp_path / "probe.py", tmp_path / "models.yaml"
    probe.write_text(PROBE)
    config.write_text(json.dumps({"models": [{"name": name} for name in models]}))
    found = run_module("ray_workload", {
        **local_ray.connection(), "wait_for": [{"name": "r1"}], "timeout": timeout,
        "probe": str(probe), "models_file": str(config),
    })
    count = tmp_path / "tries"
    assert len(count.read_text() if count.exists() else "") == tries
    assert found.get("msg") == said and found.get("failed", False) is bool(said), found

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


def test_it_runs_as_ansible_runs_it(local_ray):
    """From Ansible's archive of modules, where the helper's source is inside a zip file."""
    ansible = Path(sys.executable).with_name("ansible")
    done = subprocess.run(
        [ansible, "localhost", "-o", "-m", "rayops.cluster.ray_status", "-a", json.dumps(local_ray.connection())],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.partition("SUCCESS => ")[2])
    assert result["changed"] is False
    assert [node["node_name"] for node in result["nodes"]] == ["head", "worker-1"]


HOSTILE = """
import time
kind = ray.remote(num_cpus=0, resources={"__ansible_vault": 1})(type("Held", (), {"ready": lambda self: 1}))
held = kind.options(name="_ansible_no_log\\x1b[31m").remote()
ray.get(held.ready.remote())
waits = ray.remote(num_cpus=0, resources={"__ansible_type": 1, "_ansible_x": 2, "a\\x1b[2Jb": 1})(lambda: 1).remote()
print("waits", flush=True)
time.sleep(600)
"""


def ansible(module, options):
    """What ansible-core makes of a module's result."""
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible"), "localhost", "-o", "-m", f"rayops.cluster.{module}", "-a",
         json.dumps(options)],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.partition("SUCCESS => ")[2])


def test_no_name_of_a_jobs_keeps_ansible_from_reading_a_result(local_ray):
    """A task that waits, a node, its resources and an actor, with the names of Ansible's own marks."""
    name = "__ansible_type"
    process = local_ray.start_worker(name, 70, "--num-cpus=1", '--resources={"__ansible_vault":1}')
    try:
        local_ray.wait_for(name)
        with local_ray.run_driver(HOSTILE) as driver:
            try:
                assert driver.stdout.readline() == "waits\n"
                deadline = time.monotonic() + 60
                while not local_ray.cluster().status()["demands"]:
                    assert time.monotonic() < deadline
                status = ansible("ray_status", local_ray.connection())
                assert {"(__ansible_type)": 1, "(_ansible_x)": 2, "a?[2Jb": 1} in [
                    demand["resources"] for demand in status["demands"]]
                assert status["resources"]["used"]["(__ansible_vault)"] == 1
                node_id = next(node["node_id"] for node in status["nodes"] if node["node_name"] == name)
                held = local_ray.cluster().held(node_id)
                assert [actor["name"] for actor in held["actors"]] == ["_ansible_no_log?[31m"]
                options = {**local_ray.connection(), "task_seconds": 0, "payload_bytes": 0}
                assert ansible("ray_smoke_test", options)["resources"]["CPU"]["nodes"]["(__ansible_type)"] == 1
            finally:
                driver.kill()
    finally:
        local_ray.stop_worker(name, process)


def test_what_is_there_is_not_waited_for(local_ray, run_module):
    wait_for = {"nodes": 2, "node_names": ["worker-1"], "resources": {"CPU": "2", "GPU": 0.5}}
    result = run_module("ray_status", {**local_ray.connection(), "wait_for": wait_for, "timeout": 0})
    assert result["changed"] is False and "failed" not in result
    assert result["summary"].startswith("2 ALIVE")


def test_a_timeout_fails_with_the_cluster_as_it_is(local_ray, run_module):
    options = {**local_ray.connection(), "wait_for": {"nodes": 4}, "timeout": 0.5}
    result = run_module("ray_status", options)
    assert result["failed"] and result["msg"] == "2 of 4 nodes are ALIVE after 0.5 s; missing: 2 more."
    assert len(result["nodes"]) == 2


def test_dead_nodes_are_shown_on_request(local_ray, run_module):
    process = local_ray.start_worker("worker-4", 70, "--num-cpus=0")
    cluster = local_ray.cluster()
    status = local_ray.wait_for("worker-4")
    node_id = next(node["node_id"] for node in status["nodes"] if node["node_name"] == "worker-4")
    cluster.drain(node_id, 20, "a test")
    local_ray.stop_worker("worker-4", process)
    shown = run_module("ray_status", {**local_ray.connection(), "include_dead": True})["nodes"]
    hidden = run_module("ray_status", local_ray.connection())["nodes"]
    assert [node["state"] for node in shown if node["node_id"] == node_id] == ["DEAD"]
    assert {node["state"] for node in hidden} == {"ALIVE"}


def test_check_mode_does_not_wait(local_ray, run_module, tmp_path):
    options = {**local_ray.connection(), "wait_for": {"nodes": 3}, "timeout": 300}
    result = run_module("ray_status", options, check_mode=True)
    assert result["skipped"] and not result["changed"] and "missing: 1 more" in result["msg"]
    result = run_module("ray_status", {"environment": str(tmp_path)}, check_mode=True)
    assert result["skipped"] and "There is no Python at" in result["msg"]
    assert "skipped" not in run_module("ray_status", local_ray.connection(), check_mode=True)


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_refused_token_fails(local_ray, run_module, tmp_path, check_mode):
    options = {**local_ray.connection(), "auth_token_path": str(tmp_path / "absent")}
    result = run_module("ray_status", options, check_mode=check_mode)
    assert result["failed"] and "wants a token" in result["msg"]


def test_an_amount_must_be_a_number(run_module):
    result = run_module("ray_status", {"wait_for": {"resources": {"GPU": "many"}}})
    assert result["failed"] and result["msg"] == "wait_for.resources.GPU must be a number, not 'many'."

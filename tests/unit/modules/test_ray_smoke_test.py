# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest


def test_work_runs_and_is_timed(local_ray, run_module):
    nodes = [node["node_name"] for node in run_module("ray_status", local_ray.connection())["nodes"]]
    result = run_module("ray_smoke_test", {**local_ray.connection(), "nodes": nodes, "task_seconds": 0.2})
    assert "failed" not in result and result["changed"] is False
    assert "ALIVE, CPU 0/2 used" in result["summary"]
    assert result["resources"]["CPU"]["tasks"] == 2
    assert result["resources"]["CPU"]["sum_seconds"] >= 0.4
    assert result["msg"].startswith("CPU: 2 tasks on 1 node, ")
    assert result["seconds"] >= result["resources"]["CPU"]["seconds"] >= 0.2


def test_check_mode_runs_no_work(local_ray, run_module, tmp_path):
    options = {**local_ray.connection(), "task_seconds": 300}
    result = run_module("ray_smoke_test", options, check_mode=True)
    assert result["msg"] == (
        "CPU: would run 2 tasks on 1 node; GPU: would run 1 task on 1 node; NPU: would run 1 task on 1 node."
    )
    assert result["changed"] is False and result["seconds"] < 30
    result = run_module("ray_smoke_test", {"environment": str(tmp_path)}, check_mode=True)
    assert result["skipped"] and "There is no Python at" in result["msg"]


def test_a_node_that_is_missing_fails_and_is_named(local_ray, run_module):
    options = {**local_ray.connection(), "nodes": ["worker-7"], "nodes_timeout": 1}
    result = run_module("ray_smoke_test", options)
    assert result["failed"] and result["msg"] == "2 nodes are ALIVE after 1 s; missing: worker-7."
    result = run_module("ray_smoke_test", {**options, "nodes_timeout": 300}, check_mode=True)
    assert result["skipped"] and result["msg"].endswith("missing: worker-7.")


def test_a_cap_is_kept(local_ray, run_module):
    options = {**local_ray.connection(), "task_seconds": 0, "payload_bytes": 0, "max_tasks": 1}
    resources = run_module("ray_smoke_test", options)["resources"]
    assert {name: entry["tasks"] for name, entry in resources.items()} == {"CPU": 1, "GPU": 1, "NPU": 1}


def test_a_cluster_that_is_not_there_fails(ray_environment, run_module):
    options = {"environment": ray_environment, "address": "127.0.0.1:1", "user": "root"}
    result = run_module("ray_smoke_test", options)
    assert result["failed"] and result["msg"] == "The GCS at 127.0.0.1:1 is not reachable: Connection refused."


@pytest.mark.parametrize("option", ["nodes_timeout", "task_seconds", "payload_bytes", "max_tasks"])
def test_negative_options_are_refused(run_module, option):
    result = run_module("ray_smoke_test", {option: -1})
    assert result["failed"] and result["msg"].startswith(f"{option} must not be negative")

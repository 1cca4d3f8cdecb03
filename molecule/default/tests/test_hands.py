# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and programs are told of the cluster: the end of site, and status. BED_NAME names the bed."""

from __future__ import annotations

import json
import os

import pytest

from tests.bed.bed import Bed
from tests.bed.cluster import Cluster


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-default")))


def said(run, task):
    """What the first debug of a task said, a list or a dictionary; None where it said nothing."""
    shown = run.output.partition(f"TASK [{task}]")[2].partition("=> ")[2].partition("\n}")[0]
    return json.loads(shown + "\n}")["msg"] if shown else None


def test_status_is_a_table_for_people(cluster):
    lines = said(cluster.play("rayops.cluster.status").must_succeed(), "Show it")
    count = len(cluster.names)
    assert lines[0].startswith(f"{count} ALIVE")
    assert lines[1].split()[:3] == ["node", "pool", "state"] and lines[1].split()[-2:] == ["age", "address"]
    rows = {line.split()[0]: line.split() for line in lines[2:2 + count]}
    assert set(rows) == set(cluster.names)
    assert {name: cells[1:3] for name, cells in rows.items()} == {
        name: ["head" if name == cluster.head else "cpu_worker", "ALIVE"] for name in cluster.names}
    assert rows[cluster.head][-1] == cluster.gcs.partition(":")[0]


def test_status_has_all_of_it_for_programs(cluster):
    data = said(cluster.play("rayops.cluster.status", "-e", "status_format=json").must_succeed(), "Show it")
    assert {node["node_name"] for node in data["nodes"] if node["state"] == "ALIVE"} == set(cluster.names)
    assert data["resources"]["total"]["CPU"] > 0 and data["demands"] == []


def test_site_ends_with_what_comes_next(cluster):
    task = "rayops.cluster.head : Say where the cluster is, and what comes next"
    run = cluster.site("--tags", "verify").must_succeed()
    dashboard, token, command = said(run, task)
    assert dashboard == f"Dashboard: http://{cluster.gcs.partition(':')[0]}:8265"
    assert token.startswith("Its token: in /etc/ray/auth_token on every node")
    assert command.startswith("Next: ansible-playbook rayops.cluster.status -i ") and "huawei_ecs.yml" in command
    assert run.output.count(f"TASK [{task}]") == 1
    # A cluster that is not verified is not praised.
    failed = cluster.site("--tags", "verify", "-e", "ray_config_dir=/nowhere")
    assert failed.status == 2 and said(failed, task) is None

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A changed setting reaches running nodes batch by batch, in the order that it needs; a bad one stops at the first."""

from __future__ import annotations

import json

import pytest

from tests.long import long

# The kernel's clock, which all containers share.
STARTED = "systemctl show --value --property=ActiveEnterTimestampMonotonic ray-head ray-worker | sort -n | tail -1"
FILES = "sha256sum /etc/ray/*-node.yaml /etc/systemd/system/ray-head.service /etc/systemd/system/ray-worker.service"


def variables(**values: object) -> tuple[str, str]:
    return "--extra-vars", json.dumps(values)


def order(cluster) -> list[str]:
    """The hosts by when their nodes started."""
    return sorted(cluster.names, key=lambda name: int(cluster.sh(name, STARTED)))


@pytest.fixture(scope="module")
def changed() -> tuple[str, str]:
    return variables(ray_environment_variables={"RAYOPS_TEST": "1"})


def test_it_rolls_through_the_workers_and_then_the_head(cluster, changed, nothing_lost):
    before = cluster.pids()
    with nothing_lost("worker-2"):
        run = cluster.again("--diff", *changed)
    assert "environment RAYOPS_TEST: 1" in run.output
    after = cluster.pids()
    assert [name for name in before if before[name] == after[name]] == []
    assert order(cluster) == [*cluster.workers, cluster.head]
    cluster.wait_whole()


def test_a_batch_that_does_not_come_back_stops_it(cluster, changed):
    pids, files = cluster.pids(), {name: cluster.sh(name, FILES, check=False) for name in cluster.names}
    run = cluster.site(*variables(ray_environment_variables={"RAY_START_HOOK": "no_such_module.hook"}))
    assert run.status != 0
    failed = [line for line in run.output.splitlines() if line.startswith("fatal: ")]
    assert len(failed) == 1 and failed[0].startswith("fatal: [worker-1]"), run.output[-3000:]
    assert "ray-worker.service cannot start" in failed[0] and "no_such_module" in failed[0], failed[0]
    for name in set(cluster.names) - {"worker-1"}:
        assert cluster.pids()[name] == pids[name]
        assert cluster.sh(name, FILES, check=False) == files[name]
    # The setting is taken back: only the worker that has it is mended.
    mended = cluster.again(*changed)
    assert {host for host, count in mended.hosts.items() if count} == {"worker-1"}, mended.hosts
    cluster.wait_whole()


@long
def test_what_the_workers_get_from_the_head_begins_there(cluster):
    """The first test's setting goes as well."""
    config = variables(head_config={"system_config": {"memory_monitor_refresh_ms": 500}}, worker_batch="100%")
    cluster.again(*config)
    assert order(cluster)[0] == cluster.head
    for name in cluster.workers:
        assert cluster.sh(name, "tr '\\0' '\\n' < /proc/$(pgrep -x raylet)/environ | grep memory_monitor") == (
            "RAY_memory_monitor_refresh_ms=500")
    cluster.wait_whole()
    assert cluster.again(*config).changed == 0


def test_the_head_restarts_with_its_state(cluster, nothing_lost):
    pids = cluster.pids()
    with nothing_lost("worker-2") as workload:
        cluster.play("rayops.cluster.restart", "--limit", cluster.head).must_succeed()
        report = workload.report()
    assert report.driver_restarts == 0, report.summary()
    after = cluster.pids()
    assert {name for name in pids if pids[name] != after[name]} == {cluster.head}


def test_what_was_declared_at_first_comes_back(cluster):
    cluster.again("--extra-vars", "worker_batch=100%")
    assert cluster.again().changed == 0


@long
def test_every_node_restarts_on_demand(cluster):
    pids = cluster.pids()
    cluster.play("rayops.cluster.restart", "--extra-vars", "worker_batch=100%").must_succeed()
    after = cluster.pids()
    assert [name for name in pids if pids[name] == after[name]] == []
    assert cluster.again().changed == 0

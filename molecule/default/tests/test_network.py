# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firewalls between the nodes: verify and recover say who cannot reach whom. Each test leaves a whole cluster."""

from __future__ import annotations

import os
import re
import time

import pytest

from tests.bed.bed import Bed
from tests.bed.cluster import Cluster
from tests.bed.firewall import DROP, REJECT, closed
from tests.long import long

VERIFY, RECOVER = "rayops.cluster.verify", "rayops.cluster.recover"
ALL = "6381-6383, 10002-19999, 32768-60999, 52365"
WORKLOAD = "32768-60999"
FIX = "open them in the security group, or in {0}'s firewall."
# A try of a connection, and what a busy machine adds.
DROPPED_SECONDS = 3 + 10


@pytest.fixture(scope="module")
def cluster():
    return Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-default")))


@pytest.fixture(scope="module")
def healthy(cluster):
    """A run of verify on the healthy cluster."""
    cluster.wait_whole()
    return cluster.play(VERIFY).must_succeed()


def blames(run) -> set[str]:
    """The sentences of a run, without the results' own lists, where a host is "it"."""
    text = run.output.replace("\\n", "\n")
    return set(re.findall(r"(?<![\w-])(?!it )[\w-]+ cannot reach [^\n]*?firewall\.(?=$|\")", text, re.MULTILINE))


def sentence(source: str, target: str, ports: str = ALL) -> str:
    return f"{source} cannot reach {target} on {ports}: {FIX.format(target)}"


def test_a_healthy_network(cluster, healthy):
    assert re.search(r"32 MB from node to node, \d+ MB/s at least", healthy.output), healthy.output
    assert not blames(healthy) and healthy.changed == 0
    # What listened has no rights, and ends by itself: a unit test waits for that.
    assert cluster.sh("worker-1", "ps -u nobody -o args= | wc -l") != "0"


def test_the_head_cannot_open_connections_to_a_worker(cluster, healthy):
    """The worker is ALIVE for half a minute, is given up, comes back, for ever."""
    with closed(cluster, "worker-2", "head"):
        cluster.sh("worker-2", "systemctl restart ray-worker")
        run = cluster.site("--tags", "verify")
        assert run.status != 0 and blames(run) == {sentence("head", "worker-2")}, run.output
        assert "TaskUnschedulableError" not in run.output
        assert run.seconds < healthy.seconds + DROPPED_SECONDS
        workers_cannot_reach_each_other(cluster)
        the_workloads_ports_alone(cluster)
        from_inside_a_limit(cluster)
        run = cluster.play(RECOVER)
        # Whatever it sees at its moment, it never says that all is well.
        assert run.status != 0 and "Nothing is wrong" not in run.output, run.output
        assert "head cannot reach worker-2" in run.output or "it cannot reach worker-2" in run.output, run.output
    cluster.wait_whole()


def workers_cannot_reach_each_other(cluster):
    with closed(cluster, "worker-2", "worker-1"), closed(cluster, "worker-1", "worker-2"):
        run = cluster.play(VERIFY, "--check")
    wanted = {sentence("worker-1", "worker-2"), sentence("worker-2", "worker-1"), sentence("head", "worker-2")}
    assert run.status != 0 and blames(run) == wanted, run.output


def the_workloads_ports_alone(cluster):
    with closed(cluster, "worker-1", "worker-2", DROP, "32768:60999"):
        run = cluster.play(VERIFY)
    # Ray's own port for its agent lies among them.
    assert sentence("worker-2", "worker-1", f"{WORKLOAD}, 52365") in blames(run), run.output


def from_inside_a_limit(cluster):
    """Who is not asked is not blamed: the head cannot say what it does not reach."""
    run = cluster.play(VERIFY, "--limit", "ray_workers").must_succeed()
    assert blames(run) == set(), run.output


@long
def test_recover_knows_that_it_flaps(cluster):
    """Once it has been given up three times."""
    with closed(cluster, "worker-2", "head"):
        cluster.sh("worker-2", "systemctl restart ray-worker")
        deadline = time.monotonic() + 240
        while "node_flapping" not in (output := cluster.play(RECOVER).output):
            assert time.monotonic() < deadline, output
            time.sleep(5)
    assert re.search(r"worker-2 +\| node_flapping +\| the GCS gave its node up \d+ times .*health check", output)
    assert re.search(r"worker-2.* need a person|head, worker-2 need a person", output), output
    until_settled(cluster)


def until_settled(cluster):
    """What flapped has lived for longer than it takes to be given up."""
    deadline = time.monotonic() + 180
    while True:
        cluster.wait_whole()
        # The first that finds it alive for long enough puts the count of its restarts back.
        run = cluster.play(RECOVER)
        if run.status == 0 and "Nothing is wrong." in run.output:
            return
        assert time.monotonic() < deadline, run.output
        time.sleep(10)


def test_a_firewall_that_answers_is_told_from_one_that_does_not(cluster):
    with closed(cluster, "worker-2", "worker-1", REJECT):
        run = cluster.play(VERIFY)
    assert run.status != 0
    (said,) = blames(run)
    # Where nobody listens any host refuses: the first of the workers' ports, and the agent's own.
    wanted = (r"worker-1 cannot reach worker-2 on 6381-638\d, 32768-60999(, 52365)? \(refused\): "
              r"open them in worker-2's firewall\.")
    assert re.fullmatch(wanted, said), said
    cluster.play(VERIFY).must_succeed()


def test_a_node_that_is_down_is_no_firewalls_fault(cluster):
    cluster.sh("worker-2", "systemctl stop ray-health.timer ray-worker")
    try:
        run = cluster.play(VERIFY, "-e", "ray_start_timeout=5")
        assert run.status != 0 and not blames(run), run.output
        assert "missing: worker-2" in run.output, run.output
    finally:
        cluster.sh("worker-2", "systemctl start ray-worker ray-health.timer")
    cluster.wait_whole()
    cluster.play(VERIFY).must_succeed()

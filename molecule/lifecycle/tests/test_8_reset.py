# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emergency reset: everything ends at once, and the cluster is there again, with its state or without."""

from __future__ import annotations

import pytest

from tests.bed.cluster import PYTHON
from tests.bed.execution import Execution

CONFIRMED = ("--extra-vars", "reset_confirm=demo")
WIPE = ("--extra-vars", "reset_state=wipe")
SESSION = "readlink /var/lib/ray/session_latest"
SESSIONS = "ls /var/lib/ray | grep ^session_2"
# Another cluster, that a hand started.
BY_HAND = (
    "/opt/ray/current/bin/ray start --head --port=7777 --include-dashboard=false --ray-client-server-port=20001"
    " --num-cpus=1 --object-store-memory=80000000 --dashboard-agent-listen-port=52367 --temp-dir=/tmp/another"
    " > /dev/null 2>&1"
)
OTHERS = "for pid in $(pgrep -x 'raylet|gcs_server'); do grep -qs /ray- /proc/$pid/cgroup || echo $pid; done"
# What a drain would wait for, and what only the cluster's state knows.
WORK = """
import ray, time
ray.init(address="{gcs}", namespace="reset", log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=0, max_restarts=-1)
class Kept:
    def ready(self):
        return True

@ray.remote(num_cpus=1, max_retries=0)
def busy():
    time.sleep(600)

Kept.options(name="kept", lifetime="detached", get_if_exists=True).remote().ready.remote()
ray.get(ray.get_actor("kept").ready.remote())
working = [busy.remote() for _ in range(2)]
time.sleep(2)
print("ready", flush=True)
time.sleep(600)
"""
FIND = """
import ray
ray.init(address="{gcs}", namespace="reset", log_to_driver=False, logging_level="ERROR")
try:
    print(ray.get(ray.get_actor("kept").ready.remote(), timeout=60))
except ValueError:
    print("unknown")
"""
# systemd's own clock, in microseconds, from the last stop's order to its end.
STOPPING = "systemctl show --value --property=ActiveExitTimestampMonotonic,InactiveEnterTimestampMonotonic "


def as_ray(cluster, program: str) -> Execution:
    return cluster.as_ray("head", PYTHON, "-c", program.format(gcs=cluster.gcs))


def kept_actor(cluster) -> str:
    with as_ray(cluster, FIND) as program:
        done = program.finish()
    assert done.status == 0, done.stderr
    return done.stdout.split()[-1]


def seconds_to_stop(cluster, name: str) -> float:
    unit = "ray-head" if name == "head" else "ray-worker"
    began, ended = map(int, cluster.sh(name, STOPPING + unit).split())
    return (ended - began) / 1e6


@pytest.mark.parametrize(("arguments", "sentence"), [
    ([], "if you mean it, add -e reset_confirm=demo."),
    ([*CONFIRMED, "--extra-vars", "reset_state=empty"], "reset_state is empty: use keep"),
    ([*CONFIRMED, *WIPE, "--limit", "worker-1"], "The head head keeps the cluster's state: to wipe it, take the head"),
], ids=["not confirmed", "unknown state", "wipe without the head"])
def test_it_is_refused_before_anything_is_touched(cluster, arguments, sentence):
    before = cluster.pids()
    run = cluster.play("rayops.cluster.reset", *arguments)
    assert run.status != 0 and sentence in run.output, run.output
    assert cluster.pids() == before


def test_check_mode_names_what_would_end(cluster):
    before = cluster.pids()
    run = cluster.play("rayops.cluster.reset", "--check", "--diff", *WIPE).must_succeed()
    assert all(changed >= 1 for host, changed in run.hosts.items() if host in cluster.names), run.output
    assert cluster.pids() == before


def test_the_state_is_kept(cluster):
    session, before = cluster.sh("head", SESSION), cluster.pids()
    cluster.sh("worker-1", BY_HAND)
    assert cluster.sh("worker-1", OTHERS)
    with as_ray(cluster, WORK) as work:
        try:
            assert work.readline() == "ready\n"
            cluster.play("rayops.cluster.reset", *CONFIRMED).must_succeed()
        finally:
            # The driver itself, not only the connection with it: it would ask the new GCS without end.
            cluster.sh("head", "pkill -KILL --full '[n]amespace=.reset'")
    cluster.wait_whole()
    after = cluster.pids()
    # A unit that does not run has the pid 0.
    assert [name for name in cluster.names if set(before[name].split()) & set(after[name].split()) - {"0"}] == []
    assert cluster.sh("worker-1", OTHERS) == ""
    # With a drain, the work would have been waited for: 30 s.
    assert max(seconds_to_stop(cluster, name) for name in cluster.names) < 25
    assert cluster.sh("head", SESSION) == session
    assert kept_actor(cluster) == "True"


def test_only_the_named_nodes(cluster):
    before = cluster.pids()
    cluster.play("rayops.cluster.reset", "--limit", "worker-1", *CONFIRMED).must_succeed()
    after = cluster.pids()
    assert {name for name in before if before[name] != after[name]} == {"worker-1"}
    cluster.wait_whole()


def test_the_state_is_wiped(cluster):
    old = cluster.sh("head", SESSION)
    cluster.play("rayops.cluster.reset", *CONFIRMED, *WIPE).must_succeed()
    cluster.wait_whole()
    new = cluster.sh("head", SESSION)
    assert new != old
    assert {cluster.sh(name, SESSIONS) for name in cluster.names} == {new.rpartition("/")[2]}
    assert kept_actor(cluster) == "unknown"
    again = cluster.again()
    assert again.changed == 0, again.output

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several faults at once: recover names each of them, mends them without losing state, and then finds nothing."""

from __future__ import annotations

import re
import time

import pytest

from tests.long import long

VERB = "rayops.cluster.recover"
ROW = re.compile(r'^\s+"(\S+)\s+\| (\w+)\s+\| (.*)",?$', re.MULTILINE)
# A session of long ago, with the socket of a raylet that is gone.
OLD_SESSION = "/var/lib/ray/session_2020-01-01_00-00-00_000000_1"
OLD_SOCKET = f"{OLD_SESSION}/sockets/raylet"
STALE = f"""
install -d -o ray -g ray {OLD_SESSION} {OLD_SESSION}/sockets
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("{OLD_SOCKET}")'
"""
# With a token of its own: that of the host is about to be spoilt.
FOREIGN = (
    "install -o ray -m 0600 /etc/ray/auth_token /run/twin-token && "
    "systemd-run --quiet --uid=ray --setenv=RAY_AUTH_MODE=token --setenv=RAY_AUTH_TOKEN_PATH=/run/twin-token "
    "/opt/ray/current/bin/ray start --block --address={gcs} --node-ip-address={ip} --node-name=twin --num-cpus=1 "
    "--temp-dir=/tmp/rt --object-store-memory=80000000 --dashboard-agent-listen-port=0 --disable-usage-stats"
)
HEALTH = "python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:52365/api/local_raylet_healthz\")'"


def table(run) -> set[tuple[str, str]]:
    """The (host, problem) pairs of the first table of a run."""
    first = run.output.partition("TASK [Say what is wrong, and what happens now]")[2].partition("TASK [")[0]
    return {(host, problem) for host, problem, _rest in ROW.findall(first)}


def mended(run) -> str:
    """What stands in the table of what is left."""
    return run.output.partition("TASK [Say what is left]")[2].partition("TASK [")[0]


def wait(cluster, host: str, command: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while cluster.sh(host, f"{command} && echo yes || true", check=False)[-3:] != "yes":
        assert time.monotonic() < deadline, f"{host}: {command}"
        time.sleep(0.5)


# What the GCS knows, and forgets with its state.
KEY = """
import os, sys
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/etc/ray/auth_token")
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
if sys.argv[2:]:
    client.internal_kv_put(b"recover", sys.argv[2].encode(), True, b"bed", timeout=10)
print(client.internal_kv_get(b"recover", b"bed", timeout=10).decode())
"""


def state(cluster, value: str = "") -> str:
    """What the GCS remembers; with a value, that is what it shall remember."""
    return cluster.sh("head", f"/opt/ray/current/bin/python -c '{KEY}' {cluster.gcs} {value}").splitlines()[-1]


@pytest.fixture
def healthy(cluster):
    """A cluster with which nothing is wrong and that knows something, which it must still know afterwards."""
    cluster.play(VERB).must_succeed()
    cluster.wait_whole()
    value = str(time.time())
    assert state(cluster, value) == value
    yield cluster
    assert state(cluster) == value


def harm(cluster) -> set[tuple[str, str]]:
    """Do much harm; returns what recover must name."""
    first, second = cluster.workers[:2]
    # The first: stopped for good, with the traces of an old session and the head's name at a wrong address.
    cluster.sh(first, f"systemctl disable --now --quiet ray-worker; {STALE}")
    # /etc/hosts of a container is a mount: it cannot be replaced, only written.
    cluster.sh(first, "sed 's/.* demo-head$/203.0.113.9 demo-head/' /etc/hosts > /run/hosts")
    cluster.sh(first, "cat /run/hosts > /etc/hosts")
    # The second: a raylet that ended by itself leaves its unit active. Beside it another one, and another token.
    cluster.sh(second, "systemctl stop ray-health.timer")
    address = cluster.sh(second, "hostname -i").split()[0]
    cluster.sh(second, FOREIGN.format(gcs=cluster.gcs, ip=address))
    wait(cluster, second, "test $(pgrep -cx raylet) = 2")
    cluster.sh(second, "kill $(pgrep -ox raylet); printf wrong > /etc/ray/auth_token")
    wait(cluster, second, f"! {HEALTH} 2> /dev/null")
    # The head works, and nobody keeps its state safe any more.
    cluster.sh("head", "systemctl stop ray-backup.timer")
    return {
        ("head", "timers_stopped"),
        (first, "unit_stopped"), (first, "unit_disabled"), (first, "head_name"), (first, "stale_files"),
        (second, "node_dead"), (second, "node_foreign"), (second, "timers_stopped"), (second, "token_mismatch"),
    }


def test_many_faults_at_once(healthy):
    cluster = healthy
    wrong = harm(cluster)
    before = cluster.pids()

    checked = cluster.play(VERB, "--check").must_succeed()
    assert wrong <= table(checked), checked.output
    # A sick node may end by itself meanwhile; nothing was started.
    assert all(set(now.split()) <= set(before[name].split()) for name, now in cluster.pids().items())
    assert cluster.sh(cluster.workers[0], "systemctl is-enabled ray-worker || true") == "disabled"
    assert cluster.sh(cluster.workers[1], "cat /etc/ray/auth_token") == "wrong"

    run = cluster.play(VERB).must_succeed()
    assert wrong <= table(run), run.output
    # The GCS needs a while to notice that a node has ended.
    assert {problem for _host, problem, _rest in ROW.findall(mended(run))} <= {"twin_nodes"}, run.output
    nodes = cluster.wait_whole()
    assert "twin" not in nodes
    assert cluster.sh("head", "systemctl is-active ray-backup.timer") == "active"
    # Its node was not sick, so it still is the same; and so is what the cluster knew.
    assert cluster.pids()["head"] == before["head"]
    assert cluster.sh(cluster.workers[0], "systemctl is-enabled ray-worker") == "enabled"
    assert cluster.sh(cluster.workers[0], "getent hosts demo-head").split()[0] == cluster.gcs.partition(":")[0]
    cluster.sh(cluster.workers[0], f"test ! -e {OLD_SOCKET}")
    token = "sha256sum < /etc/ray/auth_token"
    assert len({cluster.sh(name, token) for name in cluster.names}) == 1

    pids = cluster.pids()
    again = cluster.play(VERB).must_succeed()
    assert table(again) == set() and "Nothing is wrong." in again.output
    assert again.changed == 0 and cluster.pids() == pids


def test_what_needs_a_person_keeps_nothing_else_from_being_mended(healthy):
    """A worker whose /dev/shm is full of other things stays as it is; the head, which is dead, is mended."""
    cluster = healthy
    first, second = cluster.workers[:2]
    raylet = cluster.raylet(second)
    full = "fallocate -l $(($(stat -f -c '%a * %S' /dev/shm) - 4096)) /dev/shm/other"
    cluster.sh(first, full)
    cluster.sh("head", "systemctl stop ray-health.timer; pkill -TERM -x raylet")
    wait(cluster, "head", f"! {HEALTH} 2> /dev/null")
    try:
        run = cluster.play(VERB)
        assert run.status != 0
        assert {(first, "shm_full"), ("head", "node_dead")} <= table(run), run.output
        left = {(host, problem) for host, problem, _rest in ROW.findall(mended(run))}
        assert (first, "shm_full") in left and ("head", "node_dead") not in left, run.output
        assert f"{first} needs a person: do what the table above says, then run recover again." in run.output
        assert "remove what nobody uses, /dev/shm/other first" in run.output
        # A worker that works was not touched by the mending of the head.
        assert cluster.raylet(second) == raylet
    finally:
        cluster.sh(first, "rm -f /dev/shm/other")
    cluster.play(VERB).must_succeed()
    cluster.wait_whole()


DROP_IN = "/etc/systemd/system/ray-worker.service.d/50-false.conf"
FALSE = f"install -d $(dirname {DROP_IN}); printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > {DROP_IN}"


@long
def test_site_and_recover_name_a_command_that_was_replaced_before_they_start_it(healthy):
    cluster = healthy
    first = cluster.workers[0]
    cluster.sh(first, f"{FALSE}; systemctl daemon-reload; systemctl stop ray-health.timer ray-worker")
    said = f"is replaced by {DROP_IN}, which starts /bin/false"
    try:
        for verb in ("site.yml", VERB):
            run = cluster.play(verb)
            # A table's line is broken by nothing; a message's may be.
            assert run.status != 0 and said in run.output, run.output
            assert cluster.sh(first, "systemctl is-active ray-worker || true") in ("inactive", "failed")
        assert (first, "unit_overridden") in table(run)
    finally:
        cluster.sh(first, f"rm -r $(dirname {DROP_IN}); systemctl daemon-reload")
    cluster.play(VERB).must_succeed()
    cluster.wait_whole()

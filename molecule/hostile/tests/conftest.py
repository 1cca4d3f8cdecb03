# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario's cluster, and who means it harm. BED_NAME names its bed."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.bed.bed import Bed
from tests.bed.cluster import Cluster
from tests.hostile.attacks import PROOF
from tests.hostile.job import Jobs

NODE_ID = "tr '\\0' '\\n' < /proc/$(pgrep -x raylet)/cmdline | sed -n 's/^--node_id=//p'"
# Tells when it was stopped and let go on.
DAEMON = """
import fcntl, os, signal, time
signal.signal(signal.SIGCONT, lambda number, frame: open('/run/daemon.signalled', 'w').close())
stream = open('/run/daemon.lock', 'w')
fcntl.lockf(stream, fcntl.LOCK_EX)
while True:
    time.sleep(1)
"""


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-hostile")))


@pytest.fixture(scope="session")
def worker(cluster) -> str:
    return cluster.workers[0]


@pytest.fixture
def jobs(cluster) -> Jobs:
    """Jobs for a cluster that is whole. A node that has just died is ALIVE to the GCS for a while, and takes none."""
    deadline, nodes, own = time.monotonic() + 120, {}, {}
    while time.monotonic() < deadline:
        nodes = cluster.nodes()
        own = {name: [cluster.sh(name, NODE_ID, check=False)] for name in cluster.names}
        if nodes == own:
            return Jobs(cluster)
        time.sleep(1)
    raise AssertionError(f"the GCS has {nodes}, and the hosts run {own}")


@pytest.fixture(autouse=True)
def nobody_became_root(cluster):
    """Whatever a test tries: no code of a job's runs as root."""
    yield
    for name in cluster.names:
        assert cluster.sh(name, f"cat {PROOF} 2>/dev/null; rm -f {PROOF}", check=False) == "", name


@pytest.fixture
def play(cluster):
    """Run a verb as its user does, and give up on one that hangs; returns status and output."""

    def run(playbook: str, *arguments: str, seconds: float = 240, **environment: str) -> tuple[int, str]:
        process = cluster.start(playbook, *arguments)
        try:
            output, _errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output = process.communicate()[0]
            pytest.fail(f"{playbook} hangs:\n{output[-2000:]}")
        return process.returncode, output

    return run


@pytest.fixture
def diary(cluster):
    """A directory that only root reads, on every host; returns what stands in it."""
    text = "dear diary, nobody but root reads this"
    for name in cluster.names:
        cluster.sh(name, f"umask 077; mkdir -p /root/diary; echo '{text}' > /root/diary/today.log")
    return text


@pytest.fixture
def daemon(cluster):
    """A daemon of root's on the head that has a lock; returns whether it was signalled since."""
    unit = "daemon-with-a-lock"
    cluster.sh(cluster.head, f"rm -f /run/daemon.signalled; systemd-run --quiet --unit={unit} python3 -c \"{DAEMON}\"")

    def signalled() -> bool:
        return cluster.sh(cluster.head, "ls /run/daemon.signalled", check=False) != ""

    yield signalled
    cluster.sh(cluster.head, f"systemctl stop {unit}")

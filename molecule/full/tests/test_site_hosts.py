# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as sites have them (tests/bed/hardened.py): their umask, sudo, links to a data disk, and cloud-init."""

from __future__ import annotations

import os
import time

import pytest

from tests.bed.bed import Bed
from tests.bed.cluster import Cluster
from tests.faults.machines import power_off, power_on
from tests.long import long

ENTRY = "getent hosts demo-head"


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    """The cluster as declared, whatever the tests before have declared."""
    found = Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-full")))
    found.again()
    return found


def test_the_hosts_are_such(cluster):
    """Otherwise none of this proves anything."""
    for node in cluster.bed.nodes:
        assert cluster.sh(node.name, "su -l ubuntu -c umask") == "0077"
        assert cluster.sh(node.name, "su -l ubuntu -c 'cp /bin/true /tmp/t; /tmp/t' || echo refused") == "refused"
        assert cluster.sh(node.name, "readlink /opt /var/lib/ray").split() == ["/data/opt", "/data/ray"]
    wanted = "su -l ubuntu -c 'sudo -n true' 2>&1 || true"
    assert cluster.sh("head", wanted) == "" and "must have a tty" in cluster.sh("worker-1", wanted)


def test_what_a_link_leads_to_is_what_changes_hands(cluster):
    for name in cluster.names:
        assert cluster.sh(name, "stat -c '%U:%G' /var/lib/ray /opt").split() == ["root:root"] * 2
        assert cluster.sh(name, "stat -Lc '%U:%G %a' /var/lib/ray") == "root:ray 1770"
        assert cluster.sh(name, "readlink -f /opt/ray/current") == "/data/opt/ray/2.60.0"


def test_nothing_is_closed_to_who_must_read_it(cluster):
    closed = "find /opt/ray/ /usr/local/libexec -type f ! -perm -o=r -print -o -type d ! -perm -o=rx -print"
    for name in [*cluster.names, "monitor"]:
        # The lock of an installation is root's alone.
        assert [path for path in cluster.sh(name, closed).splitlines() if not path.endswith(".lock")] == []
    for name in cluster.names:
        assert cluster.sh(name, "runuser -u ray -- cat /etc/ray/*-node.yaml /etc/ray/auth_token > /dev/null") == ""


@long
def test_the_heads_state_is_opened_where_an_earlier_run_had_closed_it(cluster):
    """And the head starts with it: RocksDB's directory lies two levels below what is declared."""
    cluster.sh("head", "rm -rf /var/lib/ray/gcs; mkdir -m 0700 /var/lib/ray/gcs")
    try:
        run = cluster.site("--diff", "--extra-vars", "ray_gcs_storage=rocksdb").must_succeed()
        assert "/data/ray/gcs\n" in run.output and "-mode: 0700" in run.output
        owners = cluster.sh("head", "stat -c '%U %a' /var/lib/ray/gcs /var/lib/ray/gcs/2.60.0").splitlines()
        assert owners == ["root 755", "ray 700"]
    finally:
        cluster.site().must_succeed()
        cluster.sh("head", "rm -rf /var/lib/ray/gcs")
    cluster.wait_whole()


def test_a_worker_comes_back_alone_where_the_image_writes_etc_hosts_at_boot(cluster):
    worker = cluster.workers[0]
    before = cluster.wait_whole()[worker]
    power_off(worker)(cluster)
    power_on(worker)(cluster)
    assert "it is there again" in cluster.sh(worker, "journalctl --boot --unit ray-hosts --output cat")
    # The GCS needs a while to give up the node that lost its power.
    deadline = time.monotonic() + 120
    while cluster.wait_whole(120)[worker] == before:
        assert time.monotonic() < deadline, cluster.sh(worker, "journalctl --boot --unit ray-worker")
        time.sleep(1)
    assert cluster.again().changed == 0


def test_a_name_that_is_lost_later_comes_back(cluster):
    """cloud-init may be late, and others write the file, too: no node is restarted for it."""
    pids = cluster.pids()
    for node in cluster.bed.nodes:
        if node.kind == "redis":
            continue
        for _time in range(7):
            cluster.sh(node.name, "/usr/local/sbin/write-hosts")
        deadline = time.monotonic() + 20
        while cluster.sh(node.name, f"{ENTRY} || true").split()[:1] != [cluster.gcs.partition(":")[0]]:
            assert time.monotonic() < deadline, cluster.sh(node.name, "cat /etc/hosts; systemctl status ray-hosts")
            time.sleep(0.5)
    assert cluster.pids() == pids

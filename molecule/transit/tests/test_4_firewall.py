# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of others stay, what cannot be is refused by name, and who leaves the cluster is shut out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bed.bed import ROOT
from tests.bed.cluster import Cluster
from tests.long import long

FIREWALL = "rayops.cluster.firewall"
SCAN = (ROOT / "tests" / "nft.py").read_text(encoding="utf-8")
THEIRS = "nft add table inet theirs; nft add chain inet theirs in '{ type filter hook input priority 5; }'; "
# As on a host of somebody who has no packages for it: neither the program, nor a way to get it.
NO_NFT = """
mv /usr/sbin/nft /usr/sbin/nft.aside
dpkg --remove --force-depends nftables > /dev/null 2>&1 || true
apt-get clean
printf 'Acquire::http::Proxy "http://127.0.0.1:9";\\nAcquire::Retries "0";\\n' > /etc/apt/apt.conf.d/99nowhere
"""


def words(run) -> str:
    return " ".join(run.output.replace('\\"', '"').split())


@contextmanager
def changed(cluster: Cluster, host: str, does: str, undoes: str) -> Iterator[None]:
    cluster.sh(host, does)
    try:
        yield
    finally:
        cluster.sh(host, undoes)


def test_another_ones_table_stays(cluster: Cluster) -> None:
    with changed(cluster, "worker-1", f"{THEIRS} nft add rule inet theirs in tcp dport 1 counter", ":"):
        theirs = cluster.sh("worker-1", "nft list table inet theirs")
        cluster.sh("worker-1", "nft delete table inet rayops")
        run = cluster.play(FIREWALL).must_succeed()
        assert run.hosts["worker-1"] > 0
        assert cluster.sh("worker-1", "nft list table inet theirs") == theirs
        assert "rayops.cluster" in cluster.sh("worker-1", "nft list table inet rayops")
    assert cluster.play(FIREWALL).must_succeed().changed == 0
    assert cluster.sh("worker-1", "nft list table inet theirs") == theirs


def test_another_ones_table_of_our_name_is_refused(cluster: Cluster) -> None:
    does = "nft delete table inet rayops && nft add table inet rayops"
    with changed(cluster, "worker-1", does, "nft delete table inet rayops"):
        before = cluster.pids()
        run = cluster.site()
        assert run.status != 0 and run.changed == 0 and cluster.pids() == before, run.output[-3000:]
        assert "The table inet rayops of this host is somebody else's" in words(run), run.output[-3000:]
        assert cluster.sh("worker-1", "nft list table inet rayops").split() == ["table", "inet", "rayops", "{", "}"]
    assert cluster.play(FIREWALL).must_succeed().hosts["worker-1"] > 0


def test_a_host_that_cannot_have_nftables_says_so(cluster: Cluster) -> None:
    keep = "cp -a /usr/sbin/nft /root/nft"
    back = "cp -a /root/nft /usr/sbin/nft; rm -f /etc/apt/apt.conf.d/99nowhere"
    with changed(cluster, "worker-1", f"{keep}; {NO_NFT}", back):
        run = cluster.play(FIREWALL)
        assert run.status != 0, run.output[-3000:]
        assert "nftables failed on this host" in words(run), run.output[-3000:]
        assert "Mend that, or install its package with the program nft, or set ray_firewall to false" in words(run)
    cluster.sh("worker-1", "apt-get install -y --reinstall nftables > /dev/null 2>&1 < /dev/null")
    # What the package's removal has done to the table is mended, and then nothing is left to do.
    cluster.play(FIREWALL).must_succeed()
    assert cluster.play(FIREWALL).must_succeed().changed == 0


@long
def test_a_removed_worker_is_shut_out_and_let_in_again(cluster: Cluster) -> None:
    run = cluster.play("rayops.cluster.remove_worker", "--extra-vars", "remove_worker_hosts=worker-2").must_succeed()
    assert run.ends("Shut the removed workers out") == ["changed"], run.output
    head = cluster.gcs.partition(":")[0]
    assert set(cluster.sh("worker-2", f"python3 - {head}", stdin=SCAN).split()) == {"22", "443"}
    cluster.again()
    cluster.wait_whole()


def test_the_table_is_there_before_a_node_starts_at_boot(cluster: Cluster) -> None:
    """The unit's order, and that it loads the same table by itself."""
    before = cluster.sh("worker-1", "nft list table inet rayops")
    cluster.sh("worker-1", "nft delete table inet rayops; systemctl restart ray-firewall")
    assert cluster.sh("worker-1", "nft list table inet rayops") == before
    order = cluster.sh("worker-1", "systemctl show --value --property=Before ray-firewall")
    assert "network-pre.target" in order or "ray-worker.service" in order, order
    assert cluster.sh("worker-1", "systemctl is-enabled ray-firewall") == "enabled"

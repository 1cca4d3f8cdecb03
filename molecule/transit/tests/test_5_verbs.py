# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other verbs with all three on, and the way back to plain nodes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tests.bed.cluster import Cluster
from tests.long import long

OFF = ("--extra-vars", json.dumps({"ray_tls": False, "ray_firewall": False, "ray_proxy": False}))
PLAIN = ("--extra-vars", json.dumps({"ray_tls": False}))
# Certificates stay for the way back, until a teardown.
TRACES = ("ls -d /etc/ray-proxy /etc/systemd/system/ray-proxy.* /etc/systemd/system/ray-firewall.* 2> /dev/null; "
          "nft list table inet rayops 2> /dev/null; pgrep -a nginx; "
          "tr '\\0' '\\n' < /proc/$(pgrep -x raylet || echo self)/environ | grep RAY_USE_TLS; true")


def test_verify_and_status_and_recover_see_a_whole_cluster(cluster: Cluster) -> None:
    assert cluster.play("rayops.cluster.verify").must_succeed().changed == 0
    assert f"{len(cluster.names)} ALIVE" in cluster.play("rayops.cluster.status").must_succeed().output
    # The first one removes what restarts have left behind.
    cluster.play("rayops.cluster.recover").must_succeed()
    assert "Nothing is wrong." in cluster.play("rayops.cluster.recover").must_succeed().output


def test_a_support_bundle_has_no_key(cluster: Cluster, tmp_path: Path) -> None:
    cluster.play("rayops.cluster.support_bundle", "--extra-vars", f"support_bundle_dest={tmp_path}").must_succeed()
    (bundle,) = tmp_path.glob("*.tar.gz")
    secrets = [b"PRIVATE KEY", cluster.sh(cluster.head, "cat /etc/ray-proxy/password").encode()]
    with tarfile.open(bundle) as archive:
        for member in archive:
            data = (archive.extractfile(member) or io.BytesIO()).read() if member.isfile() else b""
            assert not [True for secret in secrets if secret in data], member.name


@long
def test_all_nodes_restart_on_demand(cluster: Cluster) -> None:
    before = cluster.pids()
    cluster.play("rayops.cluster.restart").must_succeed()
    after = cluster.pids()
    assert all(before[name] != after[name] for name in cluster.names)
    cluster.wait_whole()
    assert cluster.again().changed == 0


@long
def test_reset_brings_all_of_it_back(cluster: Cluster) -> None:
    cluster.play("rayops.cluster.reset", "--extra-vars", "reset_confirm=demo").must_succeed()
    cluster.wait_whole()
    assert cluster.again().changed == 0


def test_a_site_run_does_not_mix_plain_and_secret_nodes(cluster: Cluster) -> None:
    before = cluster.pids()
    for arguments in (PLAIN, (*PLAIN, "--limit", "worker-1")):
        run = cluster.site(*arguments)
        assert run.status != 0 and "rayops.cluster.upgrade" in run.output, run.output[-3000:]
    assert cluster.pids() == before


def test_all_of_it_goes(cluster: Cluster) -> None:
    before = cluster.pids()
    cluster.play("rayops.cluster.upgrade", *PLAIN).must_succeed()
    after = cluster.pids()
    assert all(before[name] != after[name] for name in cluster.names)
    cluster.site(*OFF).must_succeed()
    assert cluster.again(*OFF).changed == 0
    assert {node.name: cluster.sh(node.name, TRACES) for node in cluster.bed.nodes} == {
        node.name: "" for node in cluster.bed.nodes}
    cluster.wait_whole()

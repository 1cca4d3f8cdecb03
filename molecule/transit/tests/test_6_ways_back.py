# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From plain nodes to TLS, back, to another authority, and to another head. What stops all nodes takes minutes."""

from __future__ import annotations

from dataclasses import replace

from tests.bed.__main__ import up
from tests.bed.certificates import DIRECTORY
from tests.bed.cluster import Cluster
from tests.long import long

pytestmark = long

SPEAKS = "tr '\\0' '\\n' < /proc/$(pgrep -x raylet)/environ | grep -c ^RAY_USE_TLS=1 || true"
BROKEN = "/etc/systemd/system/ray-worker.service.d/broken.conf"
BREAK = f"""
mkdir -p {BROKEN.rpartition("/")[0]}
printf '[Service]\\nExecStartPre=/bin/sh -c "! grep RAY_USE_TLS=1 /etc/ray/environment || exit 7"\\n' > {BROKEN}
systemctl daemon-reload
"""
BACK = ("--extra-vars", "ray_rollback=true")
ANOTHER = ("--extra-vars", "ray_tls_new_authority=true")


def speak_tls(cluster: Cluster) -> set[str]:
    """Those of the nodes that run with it."""
    return {name for name in cluster.names if cluster.sh(name, SPEAKS) == "1"}


def authorities(cluster: Cluster) -> set[str]:
    """What the nodes, Redis, the monitor and the proxies trust."""
    places = [(name, DIRECTORY) for name in (*cluster.names, "monitor")]
    places += [("redis", "/etc/rayops/tls"), (cluster.head, "/etc/ray-proxy/tls"), ("monitor", "/etc/ray-proxy/tls")]
    return {cluster.sh(name, f"cat {directory}/ca.pem") for name, directory in places}


def test_nodes_that_do_not_start_with_tls_run_plain_again(cluster: Cluster) -> None:
    cluster.sh("worker-2", BREAK)
    try:
        run = cluster.play("rayops.cluster.upgrade", "--extra-vars", "ray_start_timeout=90")
    finally:
        cluster.sh("worker-2", f"rm {BROKEN}; systemctl daemon-reload")
    assert run.status != 0 and "with TLS did not start on worker-2" in run.output, run.output[-3000:]
    assert "So the cluster runs again what it ran before." in run.output
    cluster.wait_whole()
    assert speak_tls(cluster) == set()


def test_the_next_try_brings_all_of_it(cluster: Cluster) -> None:
    cluster.play("rayops.cluster.upgrade").must_succeed()
    assert cluster.again().changed == 0
    cluster.wait_whole()
    assert speak_tls(cluster) == set(cluster.names)


def test_a_way_back_to_plain_nodes_and_forth(cluster: Cluster) -> None:
    run = cluster.play("rayops.cluster.upgrade", *BACK).must_succeed()
    assert "without TLS: declare that" in run.output
    cluster.wait_whole()
    assert speak_tls(cluster) == set()
    cluster.play("rayops.cluster.upgrade").must_succeed()
    assert cluster.again().changed == 0
    assert speak_tls(cluster) == set(cluster.names)


def test_another_authority_and_the_way_back(cluster: Cluster) -> None:
    (first,) = authorities(cluster)
    cluster.play("rayops.cluster.upgrade", *ANOTHER).must_succeed()
    (second,) = authorities(cluster)
    assert second != first and cluster.again().changed == 0
    cluster.wait_whole()
    cluster.play("rayops.cluster.upgrade", *BACK).must_succeed()
    cluster.wait_whole()
    cluster.site().must_succeed()
    assert authorities(cluster) == {first} and cluster.again().changed == 0


def test_another_host_takes_the_heads_role(cluster: Cluster) -> None:
    actor = cluster.ensure_actor("worker-1")
    before, old = cluster.pids(), cluster.head
    (authority,) = authorities(cluster)
    bed = replace(cluster.bed, head="head-2", old_head=old)
    up(bed)
    new = Cluster(bed)
    # In the cloud a tag moves; a container's label cannot.
    new.inventory = bed.state / "static.yml"
    new.actor = actor
    new.play("rayops.cluster.replace_head", "--extra-vars", f"replace_head_old={old}").must_succeed()
    new.wait_whole()
    assert authorities(new) == {authority}
    assert {name: new.pids()[name] for name in new.workers} == {name: before[name] for name in new.workers}
    called = new.call_actor()
    assert called["pid"] == actor["pid"] and called["count"] > actor["count"]
    assert new.again().changed == 0

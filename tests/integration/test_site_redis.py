# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's state in a Redis of somebody else's: TLS with a CA of its own, and a user that may do what Ray does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.cluster import Cluster
from tests.bed.containers import address
from tests.redis import Redis, certificates

# A head and a worker; Redis is somebody else's.
BED = {"workers": 1}
OURS, THEIRS = "RAYdemo-2.60.0@", "RAYanother@KV"


@pytest.fixture(scope="module")
def redis(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """On the machine of the test, where all hosts of the bed reach it."""
    directory = tmp_path_factory.mktemp("own")
    gateway = address(cluster.bed, cluster.head).rpartition(".")[0] + ".1"
    with Redis(directory / "server", certificates(directory), prefix="demo-", address=gateway) as server:
        server.cli("hset", THEIRS, "a", "b")
        server.cli("set", "DUMMY", "theirs")
        yield server


def declared(redis: Redis, **others: object) -> list[str]:
    variables = {"ray_redis_url": redis.url, "ray_redis_password": redis.password, "ray_start_timeout": 300}
    return ["-e", json.dumps({**variables, "ray_redis_ca_file": str(redis.tls["ca"]), **others})]


def keys(redis: Redis) -> set[str]:
    return set(redis.cli("keys", "*").split())


def test_what_cannot_work_is_said_before_anything_is_touched(cluster: Cluster, redis: Redis, tmp_path: Path) -> None:
    other = certificates(tmp_path)["ca"]
    for wrong, said in (
        ({"ray_redis_password": "Zq7-wrong"}, "refuses user ray: WRONGPASS"),
        ({"ray_redis_ca_file": str(other)}, "has a certificate that is not to be trusted"),
        ({"ray_redis_url": f"rediss://ray@{redis.address}:9"}, "does not answer: Connection refused"),
        ({"ray_redis_url": "", "ray_redis_ca_file": "", "ray_gcs_storage": "redis"}, "so group ray_redis must have"),
    ):
        run = cluster.site(*declared(redis, **wrong))
        assert run.status != 0 and said in run.output and run.changed == 0, run.output[-2000:]
        assert "Zq7" not in run.output and redis.password not in run.output
    run = cluster.site(*declared(redis, **wrong), "--check")
    assert run.status != 0 and said in run.output, run.output[-2000:]
    assert cluster.sh("head", "ls /etc/ray /opt/ray 2>/dev/null || true") == ""


def test_the_cluster_keeps_its_state_there(cluster: Cluster, redis: Redis) -> None:
    run = cluster.site(*declared(redis), "--diff").must_succeed()
    assert redis.password not in run.output
    assert any(key.startswith(OURS) for key in keys(redis))
    assert cluster.sh("head", "stat -c %U:%a /etc/ray/redis.env") == "root:600"
    assert cluster.sh("head", "cat /etc/ray/redis-ca.pem") == redis.tls["ca"].read_text().strip()
    public = "cat /etc/systemd/system/ray-head.service /etc/ray/environment /etc/ray/head-node.yaml; journalctl"
    assert cluster.sh("head", f"({public}) | grep -c -F {redis.password} || true") == "0"
    again = cluster.again(*declared(redis))
    assert again.changed == 0, again.output


def test_the_state_outlives_the_gcs(cluster: Cluster, redis: Redis) -> None:
    before = cluster.ensure_actor("worker-1")
    cluster.sh("head", "pkill -9 -x gcs_server")
    assert cluster.call_actor()["count"] > before["count"]


def test_recover_leaves_it_to_those_who_run_it(cluster: Cluster, redis: Redis) -> None:
    redis.stop()
    try:
        run = cluster.play("rayops.cluster.recover", *declared(redis))
        assert run.status != 0 and f"Redis at {redis.address}:{redis.port} does not answer" in run.output
        assert "let those who run it" in run.output or "correct ray_redis_url" in run.output
    finally:
        redis.start()
    cluster.wait_whole(300)


def test_only_the_clusters_own_keys_go(cluster: Cluster, redis: Redis) -> None:
    redis.cli("hset", THEIRS, "a", "b")
    redis.cli("set", "DUMMY2", "theirs")
    cluster.play("rayops.cluster.teardown", *declared(redis), "-e", "teardown_confirm=demo").must_succeed()
    assert keys(redis) == {THEIRS, "DUMMY2"}
    assert cluster.sh("head", "ls -d /etc/ray /usr/local/bin/ray-env 2>/dev/null || true") == ""

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that end: renewed in time, and named where it was too late. Each test leaves a whole cluster."""

from __future__ import annotations

import re

from tests.bed.certificates import DIRECTORY, OWN, Signer, kept
from tests.bed.cluster import Cluster
from tests.capture import capturing
from tests.long import long

DAYS = f"openssl x509 -in {DIRECTORY}/node.pem -noout -checkend"
STARTED = "systemctl show --value --property=ActiveEnterTimestampMonotonic ray-head ray-worker | sort -n | tail -1"
# A Python that lives two days ahead, as on a host that does.
AHEAD = """
mkdir -p /opt/ahead
echo 'import time; _now = time.time; time.time = lambda: _now() + 172800' > /opt/ahead/sitecustomize.py
printf '#!/bin/sh\\nexport PYTHONPATH=/opt/ahead\\nexec /usr/bin/python3 "$@"\\n' > /opt/ahead/python3
chmod +x /opt/ahead/python3
"""


def lasts(cluster: Cluster, name: str, days: float) -> bool:
    return cluster.sh(name, f"{DAYS} {int(days * 86400)} > /dev/null && echo yes", check=False) == "yes"


def test_what_ends_in_ten_days_is_renewed_with_an_actors_state(cluster: Cluster, signer: Signer) -> None:
    actor = cluster.ensure_actor("worker-1")
    for name in ("worker-2", cluster.head):
        signer.put(cluster, name, 10)
    before = cluster.pids()
    with capturing(cluster.process("redis")) as capture:
        run = cluster.again()
    assert {name for name, count in run.hosts.items() if count} == {"worker-2", cluster.head}, run.output
    after = cluster.pids()
    assert {name for name in before if before[name] != after[name]} == {"worker-2", cluster.head}
    assert all(lasts(cluster, name, 80) for name in cluster.names)
    # The head last, and its new connection to Redis shows no password.
    assert int(cluster.sh("worker-2", STARTED)) < int(cluster.sh(cluster.head, STARTED))
    redis = cluster.sh(cluster.head, "sed -n 's/^RAY_REDIS_PASSWORD=//p' /etc/ray/redis.env")
    assert capture.lost == 0 and capture.find({"password": redis}) == []
    assert [str(stream) for stream in capture.said(6380) if not stream.is_tls] == []
    cluster.wait_whole()
    called = cluster.call_actor()
    assert called["pid"] == actor["pid"] and called["count"] > actor["count"]
    assert cluster.again().changed == 0


def test_without_the_authoritys_key_nothing_is_touched(cluster: Cluster, signer: Signer) -> None:
    cluster.sh(cluster.head, f"mv {OWN}/ca.key /root/ca.key")
    try:
        with kept(cluster, "worker-1"):
            signer.put(cluster, "worker-1", 10)
            before = cluster.pids()
            run = cluster.site()
            assert run.status != 0 and run.changed == 0 and cluster.pids() == before, run.output[-3000:]
            assert "has lost its ca.key, and worker-1 needs a certificate: put it back from a copy" in words(run)
    finally:
        cluster.sh(cluster.head, f"mv /root/ca.key {OWN}/ca.key")


def words(run) -> str:
    return " ".join(run.output.replace('\\"', '"').split())


def test_a_clock_that_is_wrong_is_named(cluster: Cluster, signer: Signer) -> None:
    cluster.sh("worker-1", AHEAD)
    with kept(cluster, "worker-1"):
        signer.put(cluster, "worker-1", 10)
        # Of this host alone: other settings of all hosts would reach all.
        inventory = cluster.bed.state / "host_vars" / "worker-1.yml"
        inventory.parent.mkdir(exist_ok=True)
        inventory.write_text("ansible_python_interpreter: /opt/ahead/python3\n", encoding="utf-8")
        try:
            run = cluster.site()
        finally:
            inventory.unlink()
    assert run.status != 0 and run.changed == 0, run.output[-3000:]
    assert "The clock of worker-1 is 172" in words(run) and "ahead of this machine's" in words(run), run.output[-3000:]
    assert cluster.again().changed == 0


def test_recover_names_what_is_not_valid(cluster: Cluster, signer: Signer) -> None:
    with kept(cluster, "worker-1"), kept(cluster, "worker-2"):
        signer.put(cluster, "worker-1", 90, 1)
        signer.put(cluster, "worker-2", -0.1, -0.9)
        run = cluster.play("rayops.cluster.recover", "--check")
    for host, problem in (("worker-1", "certificate_not_yet"), ("worker-2", "certificate_expired")):
        assert re.search(rf"{host} +\| {problem} +\|", run.output), run.output[-3000:]


@long
def test_a_node_whose_certificate_has_ended_comes_back(cluster: Cluster, signer: Signer) -> None:
    """It started when it was too late: nobody talks to it."""
    signer.put(cluster, "worker-2", -0.1, -0.9)
    cluster.sh("worker-2", "systemctl restart ray-worker")
    before = cluster.pids()
    cluster.again()
    after = cluster.pids()
    assert {name for name in before if before[name] != after[name]} == {"worker-2"}
    assert lasts(cluster, "worker-2", 80)
    cluster.wait_whole()

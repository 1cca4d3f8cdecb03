# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's state lies in Redis, behind a password that nobody else can read, and outlives a crash of the head."""

from __future__ import annotations

import pytest

from tests.bed.bed import Bed
from tests.bench.cluster import Cluster

testinfra_hosts = ["ansible://ray_redis"]

CONFIG = "/etc/redis/redis.conf"
CLI = f"REDISCLI_AUTH=$(awk '$1 == \"requirepass\" {{print $2}}' {CONFIG}) redis-cli -p 6380"
# One process for both halves, so that the crash lies in between: it writes, kills the GCS, and reads again.
CRASH = """
import os, signal, subprocess, sys, time
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/etc/ray/auth_token")
from ray._raylet import GcsClient
def process():
    return subprocess.run(["pgrep", "-o", "gcs_server"], capture_output=True, text=True).stdout.strip()
client = GcsClient(address=sys.argv[1])
client.internal_kv_put(b"bed-test", b"kept", True, b"bed", timeout=10)
before = process()
os.kill(int(before), signal.SIGKILL)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(0.5)
    try:
        value = GcsClient(address=sys.argv[1]).internal_kv_get(b"bed-test", b"bed", timeout=2)
    except Exception as error:
        value = repr(error).encode()
    if value == b"kept" and process() not in ("", before):
        sys.exit(0)
sys.exit(f"the GCS gave {value} after 60 s")
"""


@pytest.fixture
def head(host):
    return host.get_host("ansible://head", ansible_inventory=host.backend.ansible_runner.inventory_file)


def test_redis_runs(host):
    service = host.service("redis-server")
    assert service.is_enabled
    assert service.is_running


def test_redis_wants_its_password(host):
    assert host.run("redis-cli -p 6380 ping").stdout.startswith("NOAUTH")
    assert host.check_output(f"{CLI} ping") == "PONG"
    assert host.file(CONFIG).mode & 0o007 == 0


def test_state_is_in_redis(host):
    assert int(host.check_output(f"{CLI} dbsize")) > 0


def test_password_is_in_no_public_place(head):
    assert head.file("/etc/ray/redis.env").mode & 0o007 == 0
    secret = "/run/bed-redis-password"
    head.check_output(f"umask 077; sed 's/^[^=]*=//' /etc/ray/redis.env > {secret}; test -s {secret}")
    try:
        # Ray hands the password to its processes as an argument, and ray_hide_processes hides it from other users.
        # systemd shows it to them all the same, unless its bus is told not to.
        for place in (
            "runuser -u nobody -- ps axww -o args",
            "runuser -u nobody -- systemctl status --no-pager --full ray-head",
            "journalctl --no-pager --output=cat",
            "systemctl show 'ray-*'",
        ):
            found = head.run(f"{place} | grep --text --quiet --fixed-strings --file={secret}")
            assert found.rc == 1, f"the password of Redis is in the output of: {place}"
    finally:
        head.run(f"rm -f {secret}")


def test_state_outlives_a_crash_of_the_gcs(host, head):
    before = int(host.check_output(f"{CLI} dbsize"))
    crash = head.run("timeout 90 /opt/ray/current/bin/python -c %s demo-head:6379", CRASH)
    assert crash.rc == 0, crash.stderr
    assert int(host.check_output(f"{CLI} dbsize")) >= before


def test_a_redis_of_somebody_else_is_not_taken_over(host):
    """Without the record of what was there before us, the data here could be anybody's."""
    cluster = Cluster(Bed.load("molecule-redis"))
    before = cluster.pids()
    host.check_output("mv /var/lib/rayops/redis.conf /var/lib/rayops/aside")
    try:
        run = cluster.site("--tags", "redis")
    finally:
        host.check_output("mv /var/lib/rayops/aside /var/lib/rayops/redis.conf")
    assert run.status != 0 and run.changed == 0 and cluster.pids() == before
    assert "on redis has data of a Redis that is not this cluster's" in run.output
    assert cluster.site("--tags", "redis").must_succeed().changed == 0

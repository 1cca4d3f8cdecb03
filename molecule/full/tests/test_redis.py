# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's state lies in Redis, behind a password that nobody else can read, and outlives a crash of the head."""

from __future__ import annotations

import re

import pytest

from tests.bed.bed import Bed
from tests.bed.cluster import Cluster

testinfra_hosts = ["ansible://ray_redis"]

CONFIG = "/etc/rayops/redis.conf"
DROP_IN = "/etc/systemd/system/redis-server.service.d/ray.conf"
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
    assert keys(host)


def keys(host):
    return host.check_output(f"{CLI} --scan").split()


# What takes the server, or through it the host; and state that is not this cluster's.
REFUSED = [
    "config get dir", "config set dir /tmp", "module load /tmp/x.so", "debug sleep 0", "replicaof 192.0.2.1 6379",
    "slaveof no one", "eval 'return 1' 0", "script load 'return 1'", "function list", "shutdown nosave", "flushall",
    "flushdb", "acl list", "acl whoami", "monitor", "save", "bgsave", "bgrewriteaof", "keys '*'", "client list",
    "slowlog get", "migrate 192.0.2.1 6379 x 0 1", "restore x 0 x", "dump RAYdemo-2.60.0@KV", "cluster info",
    "swapdb 0 1", "publish a b", "set RAYdemo-2.60.0@KV x", "hset RAYother-2.60.0@KV a b", "hget x y", "del x",
]


@pytest.mark.parametrize("command", REFUSED)
def test_ray_s_user_may_do_nothing_else(host, command):
    """Every job on the head can find the password."""
    # Two are closed to all by Redis itself, which says so first.
    assert re.match("NOPERM|ERR (DEBUG|MODULE) command not allowed", host.run(f"{CLI} {command}").stdout), command


def test_ray_was_refused_nothing(host):
    """By the server's own count since its start; before that, another test's commands are not Ray's."""
    # A restart begins the count, and the cluster works with it.
    host.check_output("systemctl restart redis-server")
    cluster = Cluster(Bed.load("molecule-full"))
    cluster.play("rayops.cluster.verify").must_succeed()
    stats = host.check_output(f"{CLI} info commandstats").splitlines()
    # The monitor's exporter, where there is one, asks for the slow log in vain.
    used = [line for line in stats if re.match("cmdstat_(?!slowlog)", line)]
    assert len(used) > 5
    assert [line for line in used if "rejected_calls=0" not in line] == []


def test_the_exporter_s_password_opens_no_state(host):
    password = "$(awk '$1 == \"requirepass\" {printf \"exporter %s\", $2}' " + CONFIG + " | sha256sum | cut -c-64)"
    exporter = f"REDISCLI_AUTH={password} redis-cli -p 6380 --user exporter"
    assert "redis_version" in host.check_output(f"{exporter} info server")
    for command in ("--scan", "hgetall RAYdemo-2.60.0@KV", "slowlog get", "config get requirepass"):
        found = host.run(f"{exporter} {command}")
        assert "NOPERM" in found.stdout + found.stderr, command


def test_redis_cannot_change_its_configuration(host):
    """Nor put another in its place: the directory is root's, and the unit sees it read-only."""
    for path in (CONFIG, DROP_IN, "/etc/rayops"):
        assert host.file(path).user == "root" and host.file(path).mode & 0o022 == 0, path
    for attempt in (f"echo >> {CONFIG}", f"mv {CONFIG} {CONFIG}.old", f"echo > {DROP_IN}"):
        assert host.run(f"runuser -u redis -- sh -c '{attempt}'").rc != 0, attempt
    # What the distribution brought is as it was.
    assert "Managed by" not in host.file("/etc/redis/redis.conf").content_string


def test_the_unit_is_closed(host):
    score = host.check_output("systemd-analyze security --no-pager redis-server | tail -1")
    assert float(score.split(":")[1].split()[0]) <= 2.5, score


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
    before = len(keys(host))
    crash = head.run("timeout 90 /opt/ray/current/bin/python -c %s demo-head:6379", CRASH)
    assert crash.rc == 0, crash.stderr
    assert len(keys(host)) >= before


def test_a_redis_of_somebody_else_is_not_taken_over(host):
    """Without the drop-in that is ours, the data here could be anybody's."""
    cluster = Cluster(Bed.load("molecule-full"))
    # The test before has ended the GCS, and the head's raylet follows it.
    cluster.wait_whole()
    before = cluster.pids()
    host.check_output(f"mv {DROP_IN} {DROP_IN}.aside")
    try:
        run = cluster.site("--tags", "redis")
    finally:
        host.check_output(f"mv {DROP_IN}.aside {DROP_IN}")
    assert run.status != 0 and run.changed == 0 and cluster.pids() == before
    assert "on redis has data of a Redis that is not this cluster's" in run.output
    assert cluster.site("--tags", "redis").must_succeed().changed == 0

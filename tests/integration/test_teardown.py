# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of all kinds, deployed and torn down: each is what it was before, whatever the site had on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bed.__main__ import down, up
from tests.bed.bed import Bed
from tests.bed.cluster import Cluster, Run

SNAPSHOT = (Path(__file__).parent / "snapshot.py").read_text(encoding="utf-8")
HOSTS = ["head", "redis", "monitor", "worker-1"]
CONFIRMED = ("--extra-vars", "teardown_confirm=demo")
# As on a real host: a container's /proc/sys can be read only.
WRITABLE = "mount -o remount,rw,bind /proc/sys"
# What the site has on its hosts, and what of it the collection changes.
SITE = {
    "head": "cd /etc/sysctl.d; echo net.ipv4.ip_local_reserved_ports=9999 > 50-site.conf; sysctl -qp 50-site.conf",
    "redis": "apt-get update -qq && apt-get install -qq -y redis-server < /dev/null > /dev/null 2>&1",
    "monitor": "mkdir -p /usr/local/libexec && touch /usr/local/libexec/theirs",
    "worker-1": "mkdir -p /var/lib/ray/data && mount -t tmpfs data /var/lib/ray/data && touch /var/lib/ray/data/theirs"
    " && echo 10.9.9.9 theirs >> /etc/hosts",
}


@dataclass(frozen=True)
class Story:
    """The hosts before and after, and what the runs said."""

    with_data: Run
    before: dict[str, dict]
    check_on_bare_hosts: Run
    check: Run
    after_check: dict[str, str]
    deployed: dict[str, str]
    after: dict[str, dict]
    again: Run


def snapshots(cluster: Cluster) -> dict[str, dict]:
    def take(name: str) -> dict:
        return json.loads(cluster.sh(name, "python3 -", stdin=SNAPSHOT))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(HOSTS, pool.map(take, HOSTS), strict=True))


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    on = dict.fromkeys(("ray_hide_processes", "ray_tls", "ray_firewall", "ray_proxy"), True)
    bed = Bed("teardown", workers=1, redis="separate", monitor=True, variables=on)
    down(Bed.load(bed.name))
    try:
        up(bed)
        cluster = Cluster(bed)
        for name in HOSTS:
            cluster.sh(name, f"{WRITABLE} && {SITE[name]}")
        cluster.sh("redis", "redis-cli set theirs 1")
        with_data = cluster.site("--tags", "redis")
        cluster.sh("redis", "redis-cli getdel theirs")
        before = snapshots(cluster)
        bare = cluster.play("rayops.cluster.teardown", "--check", "--diff")
        cluster.site().must_succeed()
        deployed = cluster.pids()
        check = cluster.play("rayops.cluster.teardown", "--check", "--diff")
        after_check = cluster.pids()
        cluster.play("rayops.cluster.teardown", *CONFIRMED).must_succeed()
        for name in HOSTS:
            # The port that verify tests the network with is open for two minutes, and ends by itself.
            cluster.sh(name, "timeout 130 sh -c 'while pgrep -u nobody > /dev/null; do sleep 1; done'")
        after = snapshots(cluster)
        again = cluster.play("rayops.cluster.teardown", *CONFIRMED)
        yield Story(with_data, before, bare, check, after_check, deployed, after, again)
    finally:
        down(bed)


def differences(before: dict, after: dict) -> list[str]:
    """What differs between two snapshots, a line each."""
    found = []
    for part in before:
        if isinstance(before[part], dict):
            old, new = (set(host[part].items()) for host in (before, after))
        else:
            old, new = (set(map(str, host[part])) for host in (before, after))
        found += [f"{part}: gone {item}" for item in sorted(old - new)]
        found += [f"{part}: new {item}" for item in sorted(new - old)]
    return found


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_is_as_it_was(story, host):
    assert differences(story.before[host], story.after[host]) == []


def test_a_redis_with_data_of_the_site_is_refused(story):
    assert story.with_data.status != 0 and story.with_data.changed == 0
    assert "The memory of the server on port 6379 on redis has data of a Redis" in story.with_data.output


def test_bare_hosts_have_nothing_to_remove(story):
    assert story.check_on_bare_hosts.must_succeed().changed == 0, story.check_on_bare_hosts.output


@pytest.mark.parametrize("path", [
    "/etc/ray", "/opt/ray", "/var/lib/ray", "/etc/systemd/system/ray-monitor.service", "/etc/prometheus/ray",
    "/usr/local/libexec/ray-health.py", "/etc/hosts", "/etc/rayops/redis.conf",
])
def test_check_mode_names_what_would_go(story, path):
    assert f"--- before: {path}\n" in story.check.must_succeed().output


def test_check_mode_names_the_packages_and_touches_nothing(story):
    packages = story.check.output.split("Remove the packages that came with the cluster]")[1:]
    assert any("changed: [monitor]" in task.split("TASK [")[0] for task in packages), story.check.output
    assert story.after_check == story.deployed


def test_running_it_again_changes_nothing(story):
    assert story.again.must_succeed().changed == 0, story.again.output

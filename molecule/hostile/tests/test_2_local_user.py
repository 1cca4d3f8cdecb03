# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local user of a host, without any right: what it made first, and what it may not read."""

from __future__ import annotations

import pytest

from tests.bed.execution import Execution, Finished, execute

CLOSED = (
    "/etc/ray/auth_token", "/etc/ray/head-node.yaml", "/etc/ray/worker-node.yaml", "/etc/ray-monitor/auth_token",
    "/var/lib/rayops/directories", "/var/backups/ray/*", "/var/lib/ray/*", "/var/lib/ray/gcs/*/*",
)
# Reads again and again what it hopes to be the archive with the token.
THIEF = """
import time
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    try:
        data = open('/var/tmp/ray-backup.tar.gz', 'rb').read()
    except OSError:
        data = b''
    if data:
        open('/home/mallory/loot', 'wb').write(data)
        break
    time.sleep(0.005)
"""


def as_mallory(cluster, name: str, *words: str) -> Finished:
    return execute(cluster.container(name), *words, user="mallory", seconds=120)


def test_what_it_made_first_was_used_by_nobody(cluster):
    """It had made them before the first run."""
    for name in cluster.names:
        found = cluster.sh(name, "cd /var/tmp && stat -c '%n %U %s' ray-*", check=False)
        assert found == "ray-backup.tar.gz mallory 0\nray-wheelhouse.tar mallory 0", (name, found)


def test_it_reads_nothing_of_the_clusters(cluster):
    for name in cluster.names:
        # That they can be read at all is said by root, to whom they are open.
        there = cluster.sh(name, f"for path in {' '.join(CLOSED)}; do test ! -f $path || echo $path; done")
        assert len(there.split()) >= 2
        for path in there.split():
            assert as_mallory(cluster, name, "cat", path).status != 0, path
        token = cluster.sh(name, "cat /etc/ray/auth_token")
        found = as_mallory(cluster, name, "grep", "-rlsF", token, "/etc", "/run", "/tmp", "/usr/local", "/var")
        assert found.stdout == "", found.stdout


def test_the_backup_that_is_put_back_is_roots_alone(cluster, play, tmp_path):
    status, output = play("rayops.cluster.backup", "-e", f"backup_dest={tmp_path}")
    assert status == 0, output
    (archive,) = tmp_path.glob("*.tar.gz")
    with Execution(cluster.container(cluster.head), "python3", "-c", THIEF, user="mallory") as thief:
        try:
            status, output = play(
                "rayops.cluster.replace_head", "-e", f"replace_head_backup={archive}", "-e", "replace_head_force=true")
            assert status == 0, output
        finally:
            cluster.sh(cluster.head, "pkill -u mallory", check=False)
            thief.finish(30)
    assert cluster.sh(cluster.head, "ls /home/mallory") == ""
    cluster.wait_whole()


@pytest.mark.parametrize("unit", ["ray-head", "ray-health", "ray-prune", "ray-backup", "ray-monitor"])
def test_it_commands_no_unit(cluster, unit):
    before = cluster.pids()
    refused = as_mallory(cluster, cluster.head, "systemctl", "restart", unit)
    assert refused.status != 0 and refused.stderr, refused
    assert cluster.pids() == before

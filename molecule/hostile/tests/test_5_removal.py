# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verbs that remove, beside directories that are not the cluster's. The last one is a teardown."""

from __future__ import annotations

import os

import pytest

TEARDOWN = ("rayops.cluster.teardown", "-e", "teardown_confirm=demo")
OTHERS = ("ray-backup-other-20260101T000000Z.tar.gz", "ray-backup-demo-2-20260101T000000Z.tar.gz", "notes.txt")


@pytest.fixture
def alice(cluster):
    """A home, on every host, with what is in it."""
    for name in cluster.names:
        cluster.sh(name, "mkdir -p /home/alice/thesis && echo text > /home/alice/thesis/chapter-1")
    yield
    for name in cluster.names:
        assert cluster.sh(name, "cat /home/alice/thesis/chapter-1") == "text"


@pytest.mark.parametrize("variable", [
    "ray_temp_dir=/home/alice", "ray_config_dir=/usr/.", "ray_root=/etc/..", "ray_root=/var/lib",
    "head_gcs_path=/home/alice", "monitor_export_dir=/home/alice",
])
def test_a_directory_that_is_not_the_clusters_is_refused(cluster, play, alice, variable):
    before = cluster.pids()
    status, output = play(*TEARDOWN, "-e", variable)
    named = os.path.normpath(variable.partition("=")[2])
    assert status != 0 and f"{named} was not made by rayops.cluster" in output, output[-2000:]
    # Nothing was touched: the cluster runs as before.
    assert cluster.pids() == before


def test_a_wipe_asks_whose_the_state_is(cluster, play, alice):
    before = cluster.pids()
    status, output = play("rayops.cluster.reset", "-e", "reset_confirm=demo", "-e", "reset_state=wipe",
                          "-e", "head_gcs_path=/home/alice")
    assert status != 0 and "/home/alice" in output, output[-2000:]
    assert cluster.pids() == before


def test_a_teardown_leaves_what_others_have(cluster, play, alice):
    head = cluster.head
    cluster.sh(head, f"cd /var/backups/ray && touch {' '.join(OTHERS)} && ls ray-backup-demo-2*Z.tar.gz")
    status, output = play(*TEARDOWN)
    assert status == 0, output
    assert cluster.sh(head, "ls /var/backups/ray").split() == sorted(OTHERS)
    for name in cluster.names:
        left = cluster.sh(name, "ls -d /etc/ray /opt/ray /var/lib/ray /var/lib/rayops 2>/dev/null", check=False)
        assert left == "", name

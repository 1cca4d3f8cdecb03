# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C at any moment: the next run finishes what was begun, and the one after that has nothing to do."""

from __future__ import annotations

from tests.long import BUILD_SERVER

# A task, and the seconds after its beginning. Each comes later than the one before, on the same hosts.
FIRST_DAY = [
    ("Install Ray, version", 1.5),
    ("Install packages and note what they bring", 2.0),
    ("Write the node's files", 0.3),
    # The workers' files come next, and then all of them start.
    ("Read the cluster's token from the head", 1.0),
    ("Start the node as declared", 1.5),
    ("Start the node as declared", 4.0),
    ("Run work on every CPU", 0.7),
]
INTERRUPTED = FIRST_DAY[::3] if BUILD_SERVER else FIRST_DAY
# A setting that every running node must be restarted for.
SETTING = ("--extra-vars", "ray_drain_timeout=21")
# The head comes last: what is before its restart shows it. Soon, or a quick host has restarted it, and the second run
# has nothing to do.
LATER_DAY = [("Stop the backups", 0.3), ("Start the node as declared", 2.0)]
DRAIN_SECONDS = (
    "tr '\\0' '\\n' < /proc/$(pgrep -x raylet)/environ | sed -n s/^RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=//p"
)


def assert_finished(cluster, *arguments):
    """One run to the end; then the cluster is whole, and a further run changes nothing."""
    last = cluster.site(*arguments).must_succeed()
    cluster.wait_whole()
    before = cluster.pids()
    again = cluster.again(*arguments)
    assert again.changed == 0, again.output
    assert cluster.pids() == before
    return last


def test_first_deployment_interrupted(cluster, interrupt):
    for task, seconds in INTERRUPTED:
        interrupt(task, seconds, *SETTING)
    last = assert_finished(cluster, *SETTING)
    assert "3 ALIVE" in last.output


def test_rolling_restart_interrupted(cluster, interrupt):
    """Back to what is declared: those that come after find it so."""
    for task, seconds in LATER_DAY:
        interrupt(task, seconds)
    assert_finished(cluster)
    assert {name: cluster.sh(name, DRAIN_SECONDS) for name in cluster.names} == dict.fromkeys(cluster.names, "30")

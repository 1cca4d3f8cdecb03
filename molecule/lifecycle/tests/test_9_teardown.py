# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a cluster, and the same cluster again. That nothing is left is for tests/integration/test_teardown.py."""

from __future__ import annotations

import pytest

from tests.long import long

CONFIRMED = ("--extra-vars", "teardown_confirm=demo")
# What a host has of it that can be told by a name.
TRACES = (
    "ls -d /etc/ray /opt/ray /var/lib/ray /var/lib/rayops /etc/systemd/system/ray-* 2>/dev/null;"
    " getent passwd ray; pgrep ray"
)
# Without the memory, of which Ray takes what is free when it starts.
RESOURCES = (
    "tr '\\0' '\\n' < /proc/$(pgrep -x raylet)/cmdline"
    " | sed -n 's/,memory,[0-9]*//; s/^--static_resource_list=//p; s/^--node-name=//p'"
)


@pytest.fixture
def unreachable(cluster):
    """A worker whose sshd is down."""
    # Ansible keeps its connections open: they end, too.
    cluster.sh("worker-2", "systemctl stop ssh; pkill sshd || true")
    yield "worker-2"
    cluster.sh("worker-2", "systemctl start ssh")


def resources(cluster) -> dict[str, str]:
    return {name: cluster.sh(name, RESOURCES) for name in cluster.names}


@pytest.fixture(scope="module")
def before() -> dict:
    return {}


def test_it_is_refused_before_anything_is_touched(cluster, before):
    before.update(resources(cluster))
    run = cluster.play("rayops.cluster.teardown")
    assert run.status != 0 and "if you mean it, add -e teardown_confirm=demo." in run.output, run.output
    cluster.wait_whole()


def test_a_host_that_is_down_is_named_and_stops_no_other(cluster, unreachable):
    run = cluster.play("rayops.cluster.teardown", *CONFIRMED)
    assert run.status != 0 and f"{unreachable} could not be torn down" in run.output, run.output
    assert [cluster.sh(name, TRACES, check=False) for name in cluster.names if name != unreachable] == ["", ""]
    assert cluster.raylet(unreachable)


def test_it_alone_is_torn_down_later(cluster):
    cluster.play("rayops.cluster.teardown", "--limit", "worker-2", *CONFIRMED).must_succeed()
    assert [cluster.sh(name, TRACES, check=False) for name in cluster.names] == ["", "", ""]


@long
def test_the_same_cluster_is_made_again(cluster, before):
    cluster.site().must_succeed()
    cluster.wait_whole()
    assert resources(cluster) == before
    again = cluster.again()
    assert again.changed == 0, again.output

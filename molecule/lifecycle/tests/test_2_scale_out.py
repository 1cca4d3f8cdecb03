# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new instance with the right tags joins, and nothing else is touched."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def grown(remade):
    """A third and a fourth worker that are bare."""
    return remade(workers=4)


def test_the_named_one_joins_alone(cluster, grown):
    before = cluster.pids()
    run = grown.site("--limit", "worker-3").must_succeed()
    assert set(run.hosts) == {"worker-3"}
    assert set(grown.nodes()) == {"head", "worker-1", "worker-2", "worker-3"}
    after = grown.pids()
    assert {name for name in before if before[name] != after[name]} == {"worker-3"}


def test_the_workers_tag_finds_the_other(grown):
    before = grown.pids()
    grown.site("--tags", "workers").must_succeed()
    grown.wait_whole()
    after = grown.pids()
    assert {name for name in before if before[name] != after[name]} == {"worker-4"}
    # The exporter on the head learns of them from a whole run.
    whole = grown.again()
    assert {host for host, count in whole.hosts.items() if count} == {"head"}, whole.hosts
    assert grown.again().changed == 0

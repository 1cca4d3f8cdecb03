# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other packages, and another Ray: on all nodes together, soon, with a way back."""

from __future__ import annotations

import json
import re

from tests.bed.cluster import Cluster
from tests.long import long

UPGRADE = "rayops.cluster.upgrade"
PACKAGE = ("--extra-vars", json.dumps({"ray_extra_packages": ["cowsay==6.1"]}))
OTHER_RAY = ("--extra-vars", "ray_version=2.59.0")
DOWN = re.compile(r"down for ([\d.]+) s, of which Ray itself\s+needed ([\d.]+) s on the head and then ([\d.]+) s")


def environments(cluster: Cluster) -> set[str]:
    """Where the nodes' processes run from."""
    command = "tr '\\0' ' ' < /proc/$(pgrep -x raylet)/cmdline | grep -o '/opt/ray/[^/]*/' | head -1"
    return {cluster.sh(name, command) for name in cluster.names}


def test_a_site_run_does_not_upgrade(cluster):
    before = cluster.pids()
    for arguments in (PACKAGE, OTHER_RAY, (*OTHER_RAY, "--limit", "worker-1")):
        run = cluster.site(*arguments)
        assert run.status != 0 and "run rayops.cluster.upgrade" in run.output, run.output[-2000:]
    assert cluster.pids() == before


def test_what_cannot_be_imported_touches_nothing(cluster):
    before = cluster.pids()
    run = cluster.play(UPGRADE, "--extra-vars", json.dumps({"ray_extra_packages": ["no-such-package==1"]}))
    assert run.status != 0 and "no-such-package" in run.output
    assert cluster.pids() == before
    assert cluster.play(UPGRADE, "--limit", "worker-1", *PACKAGE).status != 0


def test_other_packages_keep_the_state(cluster, nothing_lost):
    check = cluster.play(UPGRADE, "--check", *PACKAGE).must_succeed()
    assert check.changed > 0 and environments(cluster) == {"/opt/ray/2.60.0/"}
    with nothing_lost(cluster.head):
        run = cluster.play(UPGRADE, *PACKAGE).must_succeed()
    down, head, workers = map(float, DOWN.search(run.output).groups())
    assert down < 3 * (head + workers), run.output[-2000:]
    (environment,) = environments(cluster)
    assert environment.startswith("/opt/ray/2.60.0-")
    cluster.sh("worker-1", "/opt/ray/current/bin/python -c 'import cowsay'")
    again = cluster.play(UPGRADE, *PACKAGE).must_succeed()
    assert again.changed == 0, again.output[-3000:]


def test_one_that_does_not_start_goes_back_by_itself(cluster):
    broken = {"ray_environment_variables": {"RAY_START_HOOK": "no_such_module.hook"}}
    run = cluster.play(UPGRADE, *OTHER_RAY, "--extra-vars", json.dumps(broken))
    assert run.status != 0 and "the cluster runs again what it ran before" in run.output, run.output[-3000:]
    assert "no_such_module" in run.output
    cluster.wait_whole()
    (environment,) = environments(cluster)
    assert environment.startswith("/opt/ray/2.60.0-")
    assert cluster.site(*PACKAGE).must_succeed().changed <= 3


@long
def test_another_ray_and_back(cluster):
    cluster.play(UPGRADE, *OTHER_RAY).must_succeed()
    assert environments(cluster) == {"/opt/ray/2.59.0/"}
    assert cluster.sh(cluster.head, "readlink /opt/ray/current") == "/opt/ray/2.59.0"
    assert cluster.again(*OTHER_RAY).changed == 0
    back = cluster.play(UPGRADE, "--extra-vars", "ray_rollback=true").must_succeed()
    assert "runs from /opt/ray/2.60.0-" in back.output
    (environment,) = environments(cluster)
    assert environment.startswith("/opt/ray/2.60.0-")


def test_the_way_back_to_the_first_environment(cluster):
    cluster.play(UPGRADE).must_succeed()
    assert environments(cluster) == {"/opt/ray/2.60.0/"}
    assert cluster.again().changed == 0

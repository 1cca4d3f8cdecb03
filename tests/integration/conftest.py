# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bed, and another only for a file of tests that wants others. BED_NAME names it.

The files run in the order of their names, and each leaves the cluster as it is declared.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.bed.__main__ import down, up
from tests.bed.bed import Bed
from tests.bed.cluster import Cluster

END_SECONDS = 60
# A head, two workers and a host for Redis, with what Serve's applications need.
SERVE = "ray[serve]==2.60.0"
BED = {"redis": "separate", "wheels": (SERVE,), "variables": {"ray_extra_packages": [SERVE]}}


@pytest.fixture(scope="session")
def bed_of() -> Iterator[Callable[[dict], Bed]]:
    """The bed that has these options: the one that stands, or a new one of bare hosts in its place."""
    name = os.environ.get("BED_NAME", "integration")
    standing: list[Bed] = []

    def wanted(options: dict) -> Bed:
        bed = Bed(name, **options)
        if standing != [bed]:
            standing.clear()
            down(Bed.load(name))
            up(bed)
            standing.append(bed)
        return bed

    yield wanted
    if not os.environ.get("BED_KEEP"):
        down(Bed.load(name))


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, bed_of: Callable[[dict], Bed]) -> Cluster:
    """The hosts of a file, which says in BED what it wants, if not what most do."""
    return Cluster(bed_of(getattr(request.module, "BED", BED)))


@pytest.fixture(scope="module")
def deployed(cluster: Cluster) -> Cluster:
    """The cluster that site.yml makes of them."""
    cluster.site().must_succeed()
    return cluster


@pytest.fixture
def interrupt(cluster: Cluster) -> Callable[..., str]:
    """Run site.yml and press Ctrl-C some seconds after a task began. Gives the output up to there."""

    def run(task: str, seconds: float, *arguments: str) -> str:
        lines = []
        with cluster.start("site.yml", *arguments) as process:
            for line in process.stdout:
                lines.append(line)
                if re.match(rf"TASK \[.*{task}", line):
                    break
            else:
                pytest.fail(f"no task matches '{task}':\n{''.join(lines)[-2000:]}")
            failed = [line[:800] for line in lines if line.startswith("fatal:")]
            if failed:
                os.killpg(process.pid, signal.SIGKILL)
                pytest.fail(f"what was interrupted before stands in the way of '{task}':\n{''.join(failed)}")
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGINT)
            rest, _errors = process.communicate(timeout=END_SECONDS)
            assert process.returncode != 0, f"it ended before Ctrl-C:\n{rest[-2000:]}"
        return "".join(lines) + rest

    return run

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bed for each file of tests: a head, two workers and a host for Redis. BED_NAME names it."""

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


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Bare hosts, removed at the end. A file that wants others than these says so in BED."""
    bed = Bed(os.environ.get("BED_NAME", "integration"), **getattr(request.module, "BED", {"redis": "separate"}))
    down(Bed.load(bed.name))
    try:
        up(bed)
        yield Cluster(bed)
    finally:
        if not os.environ.get("BED_KEEP"):
            down(bed)


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

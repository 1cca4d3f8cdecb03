# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario's cluster, on which the tests run the verbs as a user does. BED_NAME names its bed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import pytest

from tests.bed.bed import ROOT, Bed
from tests.bed.cluster import Cluster
from tests.workload.workload import Workload


def bed() -> Bed:
    return Bed.load(os.environ.get("BED_NAME", "molecule-lifecycle"))


@pytest.fixture
def cluster() -> Cluster:
    """Read anew for each test: one of them may have added a host."""
    return Cluster(bed())


@pytest.fixture(scope="session")
def remade() -> Callable[..., Cluster]:
    """Make the bed anew with other options, such as workers=3; the containers that stay run on."""

    def make(**options: object) -> Cluster:
        wish = {**asdict(bed()), **options}
        command = [sys.executable, "-m", "tests.bed", "up", wish.pop("name")]
        command += [f"--var={name}={value}" for name, value in wish.pop("variables").items()]
        command += [f"--wheel={wheel}" for wheel in wish.pop("wheels")]
        command += [f"--{switch}" for switch in ("monitor", "hardened", "serving") if wish.pop(switch)]
        command += [f"--{name.replace('_', '-')}={value}" for name, value in wish.items()]
        # Molecule runs the tests in the scenario's folder.
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
        return Cluster(bed())

    return make


@pytest.fixture
def nothing_lost(cluster: Cluster) -> Callable[..., object]:
    """A context in which a counter and retried tasks are asked all the time; at its end no answer may be lost."""

    @contextmanager
    def watch(host: str = "worker-2") -> Iterator[Workload]:
        with Workload(cluster, host) as workload:
            yield workload
            workload.wait_for_answers(since=time.time(), seconds=90)
            report = workload.stop()
            assert (report.lost, report.broken) == ([], []), report.summary()
            assert report.counter_answers > 20 and report.task_answers > 20, report.summary()
        # What is detached would hold the node that a later test empties.
        workload.forget()

    return watch

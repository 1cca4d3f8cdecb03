# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault is repaired, loses no answer, and is told by the next site.yml as it is. BED_NAME names the bed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.bed.bed import Bed
from tests.bed.cluster import Cluster
from tests.faults.catalogue import FAULTS
from tests.faults.fault import TOLERANCE, Fault, Trial
from tests.faults.probe import Probe
from tests.long import BUILD_SERVER
from tests.workload import Workload

# A build server does one of each kind that no other test does: all of them take a third of an hour (`make faults`).
KINDS = {"worker-raylet", "head-gcs"}
ON_REDIS = [fault for fault in FAULTS if fault.storage == "redis"]
CHOSEN = [fault for fault in ON_REDIS if not BUILD_SERVER or fault.name in KINDS]
# To which nothing is done.
QUIET = "worker-2"


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    """The cluster, with work on it from the first fault to the last."""
    cluster = Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-full")))
    # As declared, whatever the tests before have declared.
    cluster.again()
    with Workload(cluster, QUIET) as workload, Probe(cluster, QUIET) as probe:
        yield Trial(cluster, workload, probe)


@pytest.mark.parametrize("fault", CHOSEN, ids=lambda fault: fault.name)
def test_fault(trial: Trial, fault: Fault) -> None:
    outcome = trial.run(fault)
    assert not outcome.failed, "\n".join(outcome.failed)
    # Others use the machine, too: docs/faults.md has the time of a quiet one beside the promise.
    assert outcome.repaired <= TOLERANCE * fault.promise


def test_every_answer_is_kept(trial: Trial) -> None:
    report = trial.workload.stop()
    assert report.counter_answers and report.task_answers
    assert not report.lost and not report.broken, report.summary()
    assert report.driver_restarts == 0


def test_cluster_is_whole(trial: Trial) -> None:
    again = trial.cluster.again()
    assert again.changed == 0, again.output
    trial.cluster.wait_whole()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fault, what is done with it, and what came of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bed.bed import BedError
from tests.bed.cluster import Cluster, Run
from tests.faults.probe import Probe
from tests.workload import Workload

# Times the promise: others use the machine on which this is measured, too.
TOLERANCE = 3
# A dead node's twin stays ALIVE until the GCS has missed five of its heartbeats.
TWIN_SECONDS = 90
CHANGED = re.compile(r"^changed: \[([^\]]+)\]", re.MULTILINE)


def nothing(_cluster: Cluster) -> None:
    """For what a fault does not need."""


@dataclass(frozen=True)
class Fault:
    """What is done, and what is promised.

    title: what happens, in the table; does: what the cluster does about it, likewise.
    cause, after it ``hold`` seconds, and undo: what is done from outside. prepare and clean come before and at the end.
    promise: seconds from the cause, or from the undo where there is one, until every host has an ALIVE node.
    renewed: hosts whose node is another one afterwards. All the others keep theirs, or the fault spread.
    heals: whether the cluster does it alone. Else site.yml does, and the promise is how long that takes.
    says: what that run must say, as regular expressions.
    mend: what a person does where site.yml can only name it, and fails; the promise is how long that takes.
    storage: where the head of the cluster keeps its state, redis or rocksdb.
    """

    name: str
    title: str
    does: str
    promise: float
    cause: Callable[[Cluster], None]
    undo: Callable[[Cluster], None] = nothing
    hold: float = 0
    renewed: tuple[str, ...] = ()
    heals: bool = True
    says: tuple[str, ...] = ()
    prepare: Callable[[Cluster], None] = nothing
    clean: Callable[[Cluster], None] = nothing
    mend: Callable[[Cluster], Run] | None = None
    storage: str = "redis"


@dataclass
class Outcome:
    """What was measured. ``failed`` are the sentences that must not be: an empty list is the wish."""

    fault: Fault
    repaired: float | None = None
    whole: float | None = None
    waits: dict[str, float] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    refused: int = 0
    site: str = ""
    failed: list[str] = field(default_factory=list)


class Trial:
    """A cluster with work on it, to which one fault after the other is done."""

    def __init__(self, cluster: Cluster, workload: Workload, probe: Probe) -> None:
        self.cluster, self.workload, self.probe = cluster, workload, probe

    def run(self, fault: Fault) -> Outcome:
        """Do one fault to a whole cluster, and see it repaired. What goes wrong stands in the outcome."""
        outcome = Outcome(fault)
        try:
            self.probe.wait("whole", time.time(), TWIN_SECONDS)
            fault.prepare(self.cluster)
            self.probe.wait("whole", time.time(), TWIN_SECONDS)
            self.workload.wait_for_answers(time.time())
            self._inflict(fault, outcome)
        except BedError as error:
            outcome.failed.append(str(error))
        finally:
            fault.clean(self.cluster)
        return outcome

    def _inflict(self, fault: Fault, outcome: Outcome) -> None:
        before = {name: ids[0] for name, ids in self.probe.nodes.items()}
        old = {name: before[name] for name in fault.renewed}
        caused = time.time()
        fault.cause(self.cluster)
        if fault.hold:
            time.sleep(fault.hold)
            since = time.time()
            fault.undo(self.cluster)
        else:
            since = caused
        if not fault.heals:
            since = time.time()
            self._mend(fault, outcome)
        alive = self.probe.wait("everywhere", since, fault.promise * TOLERANCE + 30, old) - since
        outcome.repaired = outcome.repaired or alive
        repaired = time.time()
        if fault.heals:
            run = self.cluster.site("--diff").must_succeed()
            outcome.site = says(run)
            if run.changed:
                outcome.failed.append(f"the cluster was whole, and site.yml changed it: {outcome.site}")
        outcome.whole = self.probe.wait("whole", since, TWIN_SECONDS, old) - since
        self._judge(outcome, before, caused, repaired)

    def _mend(self, fault: Fault, outcome: Outcome) -> None:
        """Run site.yml: it must say what is wrong and mend it, or a person does. A further run has nothing to do."""
        run = mended = self.cluster.site("--diff")
        outcome.site = says(run)
        if fault.mend:
            outcome.site = f"fails after {run.seconds:.0f} s, and says what to do"
            if not run.status:
                outcome.failed.append(f"site.yml did not fail: {run.output[-3000:]}")
            mended = fault.mend(self.cluster)
        outcome.repaired = mended.must_succeed().seconds
        missing = [words for words in fault.says if not re.search(words, run.output)]
        if missing:
            outcome.failed.append(f"site.yml does not say '{missing[0]}': {run.output[-3000:]}")
        again = self.cluster.again("--diff")
        if again.changed:
            outcome.failed.append(f"a further run changed {again.hosts}: {says(again)}")

    def _judge(self, outcome: Outcome, before: dict[str, str], caused: float, repaired: float) -> None:
        report = self.workload.wait_for_answers(repaired)
        outcome.waits = {kind: report.longest_wait(kind, caused) for kind in ("counter", "task")}
        report = report.since(caused)
        outcome.lost, outcome.refused = report.lost, len(report.refused)
        outcome.failed += [f"lost: {what}" for what in report.lost] + [f"broken: {what}" for what in report.broken]
        for name, node in before.items():
            if name not in outcome.fault.renewed and self.probe.nodes.get(name) != [node]:
                outcome.failed.append(f"the fault spread: {name} has another node than before")


def says(run: Run) -> str:
    """What a run changed, in the words of its tasks."""
    tasks: dict[str, list[str]] = {}
    for part in re.split(r"^TASK \[", run.output, flags=re.MULTILINE)[1:]:
        hosts = [host for host in CHANGED.findall(part) if host != "localhost"]
        if hosts:
            tasks[part.partition("]")[0].split(" : ")[-1]] = hosts
    changed = "; ".join(f"{task} ({', '.join(hosts)})" for task, hosts in tasks.items())
    return f"{run.changed} changed" + (f": {changed}" if changed else "")

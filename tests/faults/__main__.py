# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: ``python3 -m tests.faults [--only NAME ...]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from docker.errors import DockerException

from tests.bed.__main__ import down, up
from tests.bed.bed import Bed, BedError
from tests.bed.cluster import PYTHON, Cluster
from tests.faults import catalogue, table
from tests.faults.fault import Outcome, Trial
from tests.faults.probe import Probe
from tests.workload import Workload

# To which nothing is done: the driver and the probe run there.
QUIET = "worker-2"


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"faults: {text}\n")
    sys.stdout.flush()


def outcomes(cluster: Cluster, names: list[str]) -> Iterator[Outcome]:
    """Do the faults, in the catalogue's order."""
    with Workload(cluster, QUIET) as workload, Probe(cluster, QUIET) as probe:
        trial = Trial(cluster, workload, probe)
        for fault in catalogue.FAULTS:
            if fault.name in names:
                began = time.monotonic()
                say(f"{fault.name}: {fault.title}")
                outcome = trial.run(fault)
                say(f"  {table.line(outcome)} ({time.monotonic() - began:.0f} s)")
                yield outcome
        report = workload.stop()
        say(report.summary())
        if report.broken or report.lost:
            raise BedError("; ".join(report.broken + report.lost))


def deployed(bed: Bed, keep: bool) -> Cluster:
    """The cluster on the bed; keep: where there is one, that."""
    if not keep:
        down(Bed.load(bed.name))
    up(bed)
    cluster = Cluster(bed)
    say("site.yml")
    cluster.site().must_succeed()
    return cluster


def arguments() -> argparse.Namespace:
    names = [fault.name for fault in catalogue.FAULTS]
    parser = argparse.ArgumentParser(prog="python3 -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=" ".join(names))
    parser.add_argument("--bed", default="faults", help="name of the bed, which is made anew and removed")
    parser.add_argument("--keep", action="store_true", help="use the bed that is there, with its cluster, and keep it")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    found: list[Outcome] = []
    version = ""
    broken = False
    for storage, redis in (("redis", "separate"), ("rocksdb", "none")):
        names = [fault.name for fault in catalogue.FAULTS if fault.storage == storage and fault.name in options.only]
        bed = Bed(options.bed, redis=redis)
        try:
            if names:
                cluster = deployed(bed, options.keep)
                version = cluster.sh("head", f"{PYTHON} -c 'import ray; print(ray.__version__)'")
                found.extend(outcomes(cluster, names))
        except (BedError, DockerException) as error:
            sys.stderr.write(f"faults: {error}\n")
            broken = True
        finally:
            if names and not options.keep:
                down(bed)
    table.write_json(found)
    if found:
        table.write_page([outcome for outcome in found if not outcome.failed], version)
    sys.stdout.write(f"\n{table.markdown(found)}")
    return int(broken or any(outcome.failed for outcome in found))


if __name__ == "__main__":
    sys.exit(main())

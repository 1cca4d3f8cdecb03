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

from tests import serving
from tests.bed.__main__ import down, up
from tests.bed.bed import Bed, BedError
from tests.bed.cluster import PYTHON, Cluster
from tests.faults import catalogue, served, table
from tests.faults.fault import Outcome, Trial
from tests.faults.probe import Probe
from tests.serving.environment import UnavailableError
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


def served_outcomes(cluster: Cluster, names: list[str]) -> Iterator[served.ServedOutcome]:
    """Do those of a served model: what the bed declares, then the other model in its place."""
    for model in (serving.TENSOR, serving.PIPELINE):
        faults = [fault for fault in served.FAULTS if fault.model == model["name"] and fault.name in names]
        if faults and model is serving.PIPELINE:
            say(f"rayops.cluster.serve, with the model {model['name']}")
            served.declare(cluster, model)
        for fault in faults:
            with served.client(cluster, fault.model) as asking:
                began = time.monotonic()
                say(f"{fault.name}: {fault.title}")
                outcome = served.ServedTrial(cluster, asking).run(fault)
                say(f"  {table.served_line(outcome)} ({time.monotonic() - began:.0f} s)")
                yield outcome


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
    names = [fault.name for fault in [*catalogue.FAULTS, *served.FAULTS]]
    parser = argparse.ArgumentParser(prog="python3 -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=" ".join(names))
    parser.add_argument("--bed", default="faults", help="name of the bed, which is made anew and removed")
    parser.add_argument("--keep", action="store_true", help="use the bed that is there, with its cluster, and keep it")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    found: list[Outcome] = []
    found_served: list[served.ServedOutcome] = []
    version = ""
    # Tables that are not whole.
    broken: set[str] = set()
    for kind, more in (("redis", {"redis": "separate"}), ("rocksdb", {}), ("model", {"serving": True})):
        all_of_it = served.FAULTS if kind == "model" else [each for each in catalogue.FAULTS if each.storage == kind]
        names = [fault.name for fault in all_of_it if fault.name in options.only]
        bed = Bed(options.bed, **more)
        try:
            if names:
                cluster = deployed(bed, options.keep)
                version = cluster.sh("head", f"{PYTHON} -c 'import ray; print(ray.__version__)'")
                if kind == "model":
                    found_served.extend(served_outcomes(cluster, names))
                else:
                    found.extend(outcomes(cluster, names))
        except UnavailableError as error:
            say(f"no model is served here, and its table stays as it is: {error}")
        except (BedError, DockerException) as error:
            sys.stderr.write(f"faults: {error}\n")
            broken.add(kind)
        finally:
            if names and not options.keep:
                down(bed)
    table.write_json(found, found_served)
    good = table.markdown([outcome for outcome in found if not outcome.failed]) if found else ""
    models = table.served_markdown([outcome for outcome in found_served if not outcome.failed]) if found_served else ""
    if found or found_served:
        table.write_page(good, models, version)
    sys.stdout.write(f"\n{table.markdown(found)}\n{table.served_markdown(found_served)}")
    return int(bool(broken) or any(outcome.failed for outcome in [*found, *found_served]))


if __name__ == "__main__":
    sys.exit(main())

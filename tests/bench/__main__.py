# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: ``python3 -m tests.bench [--only NAME ...] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from docker.errors import DockerException

from tests.bed.__main__ import down, up
from tests.bed.bed import CACHE, Bed, BedError, write
from tests.bed.cluster import Cluster
from tests.bench import deploy, exporter, inventory, ray_up, scale, survival, tls
from tests.bench.figure import Figure, table

# What is measured on a bed, in this order, for each storage. A figure's own function makes no assumption on the others.
MEASUREMENTS: dict[str, dict[str, Callable[[Cluster, str, int], list[Figure]]]] = {
    "rocksdb": {
        "site": deploy.site, "again": deploy.again, "worker-kill": survival.worker_kill,
        "gcs-kill": survival.gcs_kill, "head-kill": survival.head_kill,
    },
    "redis": {"gcs-kill": survival.gcs_kill, "head-kill": survival.head_kill},
}
NAMES = [*MEASUREMENTS["rocksdb"], "ray-up", "inventory", "exporter"]
# Many minutes: make scale. And what needs the environment of make serving.
APART = ["scale", "tls"]


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"bench: {text}\n")
    sys.stdout.flush()


@contextmanager
def fresh(bed: Bed) -> Iterator[Bed]:
    """Bare hosts, removed at the end."""
    down(Bed.load(bed.name))
    try:
        up(bed)
        yield bed
    finally:
        down(bed)


def on_bed(name: str, storage: str, wanted: list[str], repeat: int) -> Iterator[Figure]:
    """Deploy a cluster and measure it. The deployment is a figure itself, if it is asked for."""
    measurements = {figure: run for figure, run in MEASUREMENTS[storage].items() if figure in wanted}
    if not measurements:
        return
    with fresh(Bed(name, redis="separate" if storage == "redis" else "none")) as bed:
        cluster = Cluster(bed)
        say(f"site.yml from bare hosts, storage {storage}")
        deployed = deploy.site(cluster, storage, 1)
        if "site" in measurements or deployed[0].failed:
            yield from deployed
        if deployed[0].failed:
            return
        for figure, run in measurements.items():
            if figure != "site":
                say(f"{figure}, storage {storage}, {repeat} times")
                yield from run(cluster, storage, repeat)


def with_and_without_tls(name: str, repeat: int) -> list[Figure]:
    """Two clusters, one after the other, which differ in ray_tls alone."""
    found = []
    for speaks in (False, True):
        say(f"site.yml and a model, ray_tls {str(speaks).lower()}")
        with fresh(Bed(name, serving=True, variables={"ray_tls": speaks})) as bed:
            found.append(tls.tls(Cluster(bed), speaks, repeat))
    return tls.beside(*found)


def beside(theirs: list[Figure], ours: list[Figure]) -> list[Figure]:
    """Their figures, with how many times ours each of them is."""
    measured = {figure.name: figure.measured for figure in ours if figure.storage == "rocksdb"}
    for figure, own in zip(theirs, ("site", "again"), strict=True):
        if figure.measured and (seconds := measured.get(own)):
            figure.note += f"; {figure.measured / seconds:.1f} times the {seconds:.1f} s of site.yml"
    return theirs


def report(figures: list[Figure], file: Path, load: float) -> None:
    """Write the JSON file and show the table."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    machine = {"cpus": os.cpu_count(), "load_before": round(load, 1), "time": now}
    write(file, json.dumps({"machine": machine, "figures": [figure.to_dict() for figure in figures]}, indent=2) + "\n")
    say(f"{machine['cpus']} CPUs, load {load:.1f} before it began; the figures are in {file}\n\n{table(figures)}")
    if load > machine["cpus"]:
        say("others used this machine: the times are longer than on an idle one")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*NAMES, *APART], default=NAMES, metavar="NAME",
                        help=" ".join([*NAMES, *APART]))
    parser.add_argument("--storage", choices=sorted(MEASUREMENTS), help="only this storage of the GCS; default both")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of a figure, of which the median counts")
    parser.add_argument("--json", type=Path, default=CACHE / "bench.json", metavar="FILE")
    parser.add_argument("--bed", default="bench", help="name of the bed, which is made anew and removed")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    load = os.getloadavg()[0]
    figures: list[Figure] = []
    broken = False
    try:
        for storage in [options.storage] if options.storage else list(MEASUREMENTS):
            figures += on_bed(options.bed, storage, options.only, options.repeat)
        if "ray-up" in options.only:
            say("ray up, on the same hosts, which are bare again")
            with fresh(Bed(options.bed)) as bed:
                figures += beside(ray_up.ray_up(Cluster(bed), "", 1), figures)
        if "scale" in options.only:
            say(f"site.yml over {', '.join(map(str, scale.SIZES))} hosts")
            with fresh(scale.bed(options.bed)) as bed:
                figures += scale.scale(Cluster(bed), "", options.repeat)
        if "tls" in options.only:
            figures += with_and_without_tls(options.bed, options.repeat)
        if "inventory" in options.only:
            say("the inventory")
            figures += inventory.inventory(options.repeat)
        if "exporter" in options.only:
            say("the exporter")
            figures += exporter.exporter(options.repeat)
    except (BedError, DockerException) as error:
        # What was measured before that is shown all the same.
        sys.stderr.write(f"bench: {error}\n")
        broken = True
    report(figures, options.json, load)
    return int(broken or any(figure.verdict == "FAILED" for figure in figures))


if __name__ == "__main__":
    sys.exit(main())

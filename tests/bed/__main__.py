# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: ``python3 -m tests.bed up|down|list``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from docker.errors import DockerException

from tests import serving
from tests.serving import environment

from . import containers, engine, files, image, simulator, ssh, wheelhouse
from .bed import BEDS, Bed, BedError, one_at_a_time, say


def prepare(suite: str, more_wheels: Iterable[str]) -> tuple[str, Path]:
    """Make what beds share: the engine, the image, the way to boot it, the wheels. Returns the image and the wheels."""
    with one_at_a_time():
        engine.ensure()
        name = image.ensure(suite)
        containers.boot_mode(name)
        return name, wheelhouse.ensure(image.PYTHON[suite], more_wheels)


def up(bed: Bed) -> None:
    """Make the bed what its description says. Running it again changes nothing on a bed that is well."""
    began = time.monotonic()
    suite_image, wheels = prepare(bed.image, bed.wheels)
    mounts = [f"{environment.ensure()}:{serving.PLACE}:ro"] if bed.serving else []
    containers.refuse_foreign(bed)
    addresses = containers.ensure_nodes(bed, suite_image, mounts)
    ssh.ensure(bed, addresses)
    port = simulator.ensure(bed)
    files.write_all(bed, addresses, wheels, port, simulator.access(bed))
    say(f"{bed.name} is up after {time.monotonic() - began:.0f} s:")
    for name, address in addresses.items():
        say(f"  {name:<12} {address}")
    state = bed.state.relative_to(bed.state.parents[2])
    say(f"next: set -a; . {state}/environment; set +a; ansible-playbook site.yml -i {state}/huawei_ecs.yml")


def down(bed: Bed) -> None:
    """Remove everything that ``up`` made for this bed; the image and the wheels stay."""
    simulator.stop(bed)
    if engine.answers():
        containers.refuse_foreign(bed)
        containers.remove(bed)
    shutil.rmtree(bed.state, ignore_errors=True)
    say(f"{bed.name} is gone")


def known_beds() -> list[str]:
    with_state = [folder.name for folder in BEDS.iterdir()] if BEDS.is_dir() else []
    return sorted({*with_state, *(containers.names() if engine.answers() else [])})


def show() -> None:
    for name in known_beds():
        bed = Bed.load(name)
        nodes = ", ".join(f"{node} {state}" for node, state in sorted(containers.states(bed).items()))
        print(f"{name}: {nodes or 'no containers'}; simulator {'runs' if simulator.runs(bed) else 'is stopped'}")


def variable(text: str) -> tuple[str, object]:
    name, _equals, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.bed", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("up", help="make a bed, or make it whole again")
    make.add_argument("name")
    make.add_argument("--workers", type=int, default=2)
    make.add_argument("--head", default="head", help="the head's name: head-2 is another host, which has the role")
    make.add_argument("--old-head", default="", help="the old head's name, while it stays; use static.yml with it")
    make.add_argument("--redis", choices=["separate", "none"], default="none", help="a host for Redis")
    make.add_argument("--monitor", action="store_true", help="a host for Prometheus")
    make.add_argument("--shm-size", default="1g", help="size of /dev/shm in each container")
    make.add_argument("--cluster-name", default="demo")
    make.add_argument("--hardened", action="store_true",
                      help="umask 077, sudo instead of root, links to a data disk, /etc/hosts written at every boot")
    make.add_argument("--serving", action="store_true",
                      help="vLLM for CPU and a tiny DeepSeek in every host, a GPU that is none on each worker, and the "
                           "model declared over two of them")
    make.add_argument("--var", type=variable, action="append", default=[], dest="variables", metavar="NAME=VALUE",
                      help="a variable of all hosts, its value in JSON or as it stands")
    ready = verbs.add_parser("prepare", help="make what beds share, so that several can be made at once")
    for parsed in (make, ready):
        parsed.add_argument("--image", choices=sorted(image.PYTHON), default="bookworm", help="the Debian release")
        parsed.add_argument("--wheel", action="append", default=[], dest="wheels", metavar="REQUIREMENT",
                            help="a package in the wheelhouse beside the role's own, such as ray[default]==2.59.0")
    remove = verbs.add_parser("down", help="remove a bed")
    remove.add_argument("name", nargs="?")
    remove.add_argument("--all", action="store_true", help="all beds, and the Docker engine if a bed started it")
    verbs.add_parser("list", help="show the beds")
    address = verbs.add_parser("address", help="print the address of a host")
    address.add_argument("name")
    address.add_argument("node")
    return parser.parse_args()


def main() -> int:
    options = vars(arguments())
    verb = options.pop("verb")
    try:
        if verb == "up":
            up(Bed(**{**options, "variables": dict(options["variables"])}))
        elif verb == "prepare":
            prepare(options["image"], options["wheels"])
        elif verb == "list":
            show()
        elif verb == "address":
            print(containers.address(Bed.load(options["name"]), options["node"]))
        elif options["all"]:
            for name in known_beds():
                down(Bed.load(name))
            engine.stop_own()
        elif options["name"]:
            down(Bed.load(options["name"]))
        else:
            raise BedError("Say which bed: 'down NAME', or 'down --all'.")
    except (BedError, DockerException) as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in the same network that is none of the cluster's: a neighbour in the VPC, which is the nearest stranger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import image
from .bed import Bed
from .containers import OWN, remove_container
from .engine import client
from .execution import answer

LABEL = "rayops.bed.outside"


@contextmanager
def outside(bed: Bed) -> Iterator[Outside]:
    """Have the stranger for the time of a context. The cloud of the bed does not show it."""
    name = f"bed-{bed.name}-outside"
    remove_container(name)
    key, _equals, checkout = OWN.partition("=")
    client().containers.run(
        image.tag(bed.image), ["sleep", "infinity"], detach=True, init=True, name=name, network=bed.network,
        labels={LABEL: bed.name, key: checkout})
    try:
        yield Outside(name)
    finally:
        remove_container(name)


class Outside:
    """The stranger, which has Python and no more."""

    def __init__(self, container: str) -> None:
        self.container = container

    @property
    def address(self) -> str:
        networks = client().containers.get(self.container).attrs["NetworkSettings"]["Networks"].values()
        return "".join(str(network["IPAddress"]) for network in networks)

    def run(self, program: Path, *arguments: str) -> str:
        """What a program of the standard library alone prints there."""
        return answer(self.container, "python3", "-c", program.read_text(encoding="utf-8"), *arguments)

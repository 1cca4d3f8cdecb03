# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the probe: what the GCS said, and when."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from tests.bed.bed import BedError
from tests.bed.cluster import PYTHON, Cluster

PROGRAM = (Path(__file__).parent / "probe_program.py").read_text(encoding="utf-8")
Nodes = dict[str, list[str]]


class Probe:
    """Looks five times a second, from a host to which nothing is done."""

    def __init__(self, cluster: Cluster, host: str) -> None:
        self.cluster = cluster
        self.program = cluster.as_ray(host, PYTHON, "-c", PROGRAM, f"{cluster.bed.cluster_name}-head:6379")
        # (time, nodes) of each look that saw something else than the one before, and the time of the last look.
        self.seen: list[tuple[float, Nodes]] = []
        self.last = 0.0
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_error: object) -> None:
        # It ends with its input.
        self.program.end_input()
        self.thread.join(timeout=10)
        self.program.close()

    def _read(self) -> None:
        while line := self.program.readline():
            moment, nodes = json.loads(line)
            nodes = nodes or {}
            if not self.seen or self.seen[-1][1] != nodes:
                self.seen.append((moment, nodes))
            self.last = moment

    @property
    def nodes(self) -> Nodes:
        """The ALIVE nodes as last seen; none while the GCS does not answer."""
        return self.seen[-1][1] if self.seen else {}

    def everywhere(self, nodes: Nodes, old: dict[str, str]) -> bool:
        """Whether every host has an ALIVE node, and those of ``old`` another one than that."""
        return all(
            [node for node in nodes.get(name, []) if node != old.get(name)] for name in self.cluster.names
        )

    def whole(self, nodes: Nodes, old: dict[str, str]) -> bool:
        """Whether, more than that, none of them has two."""
        return self.everywhere(nodes, old) and all(len(ids) == 1 for ids in nodes.values())

    def wait(self, condition: str, since: float, seconds: float, old: dict[str, str] | None = None) -> float:
        """When ``everywhere`` or ``whole`` became true, for the first time after a moment."""
        deadline = time.monotonic() + seconds
        holds = getattr(self, condition)
        while time.monotonic() < deadline:
            if not self.thread.is_alive():
                raise BedError("the probe ended: see whether Ray's environment is whole on its host")
            seen = list(self.seen)
            # What was seen before the moment and not contradicted by a look after it holds at the moment.
            before = [state for state in seen if state[0] <= since][-1:]
            found = [moment for moment, nodes in before + [s for s in seen if s[0] > since] if holds(nodes, old or {})]
            if found and self.last > since:
                return max(found[0], since)
            time.sleep(0.1)
        raise BedError(f"not '{condition}' within {seconds:.0f} s: the GCS has {self.nodes or 'not answered'}")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator inside a test's own process, with its instances in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.ecs_simulator.instances import DEFAULT_REGION, server_row
from tests.ecs_simulator.server import Simulator

ACCESS_KEY = "AKUNITTEST0000000001"
SECRET_KEY = "sk-unit-test-0000000000000000000002"


class MemorySource:
    """Instances from short forms; a test may change ``shorts`` and ``consoles`` (by id) while the simulator runs."""

    def __init__(self, shorts: list[dict[str, Any]]) -> None:
        self.shorts = shorts
        self.consoles: dict[str, str] = {}

    def rows(self, region: str) -> list[dict[str, Any]]:
        return [server_row(short) for short in self.shorts if short.get("region", DEFAULT_REGION) == region]

    def console(self, server_id: str) -> str:
        return self.consoles.get(server_id, "")


@contextmanager
def running(
    shorts: list[dict[str, Any]], regions: tuple[str, ...] = (DEFAULT_REGION,), **options: Any
) -> Iterator[Simulator]:
    """A simulator on a free port of the loopback interface, stopped at the end."""
    simulator = Simulator(MemorySource(shorts), ACCESS_KEY, SECRET_KEY, list(regions), **options)
    thread = threading.Thread(target=simulator.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield simulator
    finally:
        simulator.shutdown()
        simulator.server_close()
        thread.join()

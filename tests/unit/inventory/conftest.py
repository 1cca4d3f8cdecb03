# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import running
from tests.unit.inventory.bed import SHORTS, A, B, Bed


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No account of the person who runs the tests, no proxy, and no file of the SDK outside the test."""
    for name in list(os.environ):
        if name.startswith(("HUAWEICLOUD_", "RAY_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(name="simulator")
def simulator_fixture() -> Iterator[Simulator]:
    # Tests change them.
    with running(copy.deepcopy(SHORTS), regions=(A, B)) as simulator:
        yield simulator


@pytest.fixture(name="bed")
def bed_fixture(tmp_path: Path, simulator: Simulator) -> Bed:
    return Bed(tmp_path, simulator)

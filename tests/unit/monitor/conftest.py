# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.monitor.exporter import Exporter, install


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the exporter, as the role makes it on a host."""
    return install(tmp_path_factory.mktemp("ray-monitor"))


@pytest.fixture
def start(ray_environment: str, programs: Path, tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Exporter]]:
    started = []

    def start_one(settings: dict[str, Any]) -> Exporter:
        started.append(Exporter(f"{ray_environment}/bin/python", programs, tmp_path, settings))
        return started[-1]

    yield start_one
    for exporter in started:
        exporter.close()


@pytest.fixture(name="in_ray")
def in_ray_fixture(ray_environment: str, programs: Path) -> Callable[..., Any]:
    """Runs Python in Ray's environment, beside the exporter's files; it is given text and its output is JSON."""

    def in_ray(source: str, text: str = "") -> Any:
        source = f"import json, sys\nsys.path[0] = {str(programs)!r}\n{source}"
        command = [f"{ray_environment}/bin/python", "-c", source]
        return json.loads(subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout)

    return in_ray

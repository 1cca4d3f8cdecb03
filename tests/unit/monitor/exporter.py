# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the exporter, and reads what it says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
NODES = {
    "head": {"pool": "head"}, "worker-1": {"pool": "gpu_worker", "gpus": 1, "npus": 1}, "worker-9": {"pool": "cpu"},
}


def install(directory: Path) -> Path:
    """Put the exporter's files into a directory, as the role does on a host; returns it."""
    for file in (REPOSITORY / "roles/monitor/files").glob("ray_monitor*.py"):
        shutil.copy(file, directory)
    shutil.copy(REPOSITORY / "plugins/module_utils/_gcs/under_ray/api.py", directory / "_ray_api.py")
    return directory


class Exporter:
    """A ray_monitor.py that runs."""

    def __init__(self, python: str, programs: Path, directory: Path, config: dict[str, Any]) -> None:
        file = directory / "monitor.yaml"
        file.write_text(json.dumps(config))
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            command = [python, "-I", str(programs / "ray_monitor.py"), str(file)]
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, "http_proxy": "http://192.0.2.1:1"})
        until(lambda: " listens on " in self.log.read_text() or self.process.poll() is not None)
        self.port = int(re.search(r"listens on \S+:(\d+)", self.log.read_text())[1])

    def text(self, path: str = "/metrics") -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5).read().decode()

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of a metric by their labels' values, in the order of the labels' names."""
        found = [LINE.fullmatch(line) for line in self.text().splitlines() if line.startswith(name)]
        return {
            tuple(value for _label, value in sorted(LABEL.findall(match[2] or ""))): float(match[3])
            for match in found
            if match[1] == name
        }

    def value(self, name: str) -> float | None:
        return self.samples(name).get(())

    def until_up(self, up: int, seconds: float = 120) -> None:
        until(lambda: self.value("ray_up") == up, seconds)

    def by_name(self, metric: str) -> dict[str, float]:
        """The values of a metric of nodes."""
        return {labels[0]: value for labels, value in self.samples(metric).items()}

    def reader(self) -> int:
        """The process id of its child, which a thread has started."""
        children: list[str] = []
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            # A thread may end meanwhile.
            with contextlib.suppress(FileNotFoundError):
                children += (thread / "children").read_text().split()
        (child,) = children
        return int(child)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def config(**changes: Any) -> dict[str, Any]:
    """A config whose GCS is not there."""
    plain = {
        "cluster_name": "demo", "address": "127.0.0.1:1", "dashboard_url": "http://127.0.0.1:1",
        "auth_token_path": None, "tls_directory": None, "renew_days": 15, "gcs_storage": "memory",
        "listen": {"address": "127.0.0.1", "port": 0},
        "interval": 0.5, "timeout": 10, "nodes": NODES, "certificates": [],
        "models": {"file": "/nonexistent/models.yaml", "program": "/nonexistent/ray-model.py"}, "first_token_limit": 10,
    }
    return {**plain, **changes}


def of(ray: Any, **changes: Any) -> dict[str, Any]:
    return config(address=ray.address, auth_token_path=str(ray.token), **changes)

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Submit a real job over the cluster's REST, as any user of it does, and read what it printed."""

from __future__ import annotations

import base64
import json
import shlex
import time
import urllib.request
import zlib
from pathlib import Path
from typing import Any

from tests.bed.cluster import Cluster

PROGRAM = (Path(__file__).parent / "attacks.py").read_text(encoding="utf-8")
SECONDS = 120


class Jobs:
    """The jobs of a cluster on a bed."""

    def __init__(self, cluster: Cluster) -> None:
        self.url = f"http://{cluster.gcs.rpartition(':')[0]}:8265/api/jobs/"
        self.token = cluster.sh(cluster.head, "cat /etc/ray/auth_token")

    def _ask(self, path: str = "", body: dict | None = None) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode() if body is not None else None,
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def submit(self, node: str, attack: str) -> str:
        """Start a job that attacks a node; returns its id."""
        packed = base64.b64encode(zlib.compress(PROGRAM.encode())).decode()
        code = "import base64,sys,zlib; exec(zlib.decompress(base64.b64decode(sys.argv.pop(1))))"
        body = {"entrypoint": shlex.join(["python", "-c", code, packed, node, attack])}
        return self._ask(body=body)["submission_id"]

    def answer(self, job: str) -> Any:
        """What it printed, as soon as it has."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            logs = self._ask(f"{job}/logs")["logs"]
            for line in logs.splitlines():
                if line.startswith("ANSWER "):
                    return json.loads(line.removeprefix("ANSWER "))
            status = self._ask(job)
            assert status["status"] not in ("FAILED", "STOPPED"), f"{status}\n{logs}"
            time.sleep(0.5)
        raise AssertionError(f"the job {job} has not answered in {SECONDS} s: {self._ask(job)}")

    def attack(self, node: str, attack: str) -> dict:
        """Run an attack to its end: {done: what it returns} or {failed: why not}."""
        return self.answer(self.submit(node, attack))

    def must(self, node: str, attack: str) -> Any:
        """Run an attack that a job can do whatever its host does about it."""
        answer = self.attack(node, attack)
        assert "done" in answer, answer
        return answer["done"]

    def stop(self, job: str) -> None:
        self._ask(f"{job}/stop", body={})

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of the workload: start it on a host of a bed, stop it, and read what was answered."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

from tests.bed.bed import BedError
from tests.bed.cluster import PYTHON, Cluster
from tests.workload.report import Line, Report

PROGRAM = (Path(__file__).parent / "program.py").read_text(encoding="utf-8")
UNIT = "workload"
# Outlives a reboot of its host, and lies beside what Ray can fill.
FOLDER = "/var/tmp/workload"
FILE = f"{FOLDER}/answers"
ENVIRONMENT = {
    # As on the nodes: a driver, too, waits for a head that restarts.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL": "minor",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class Workload:
    """A counter and a stream of tasks, asked from a host. ``prefer`` names a node for the counter; else Ray chooses."""

    def __init__(self, cluster: Cluster, host: str = "worker-2", prefer: str = "") -> None:
        self.cluster, self.host, self.prefer = cluster, host, prefer
        # The name, not the number: the head may move.
        self.address = f"{cluster.bed.cluster_name}-head:6379"

    def __enter__(self) -> Workload:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.cluster.sh(self.host, f"systemctl stop {UNIT}", check=False)

    def start(self, seconds: float = 60) -> None:
        """Start it anew, with an empty file, and wait until both kinds of work are answered."""
        self.cluster.sh(self.host, f"systemctl stop {UNIT}; systemctl reset-failed {UNIT}", check=False)
        self.cluster.sh(self.host, f"rm -rf {FOLDER}; install -d -o ray -g ray {FOLDER}")
        self.cluster.sh(self.host, f"cat > {FOLDER}/program.py", stdin=PROGRAM)
        settings = " ".join(f"--setenv={name}={value}" for name, value in self._environment().items())
        self.cluster.sh(self.host, (
            f"systemd-run --quiet --unit={UNIT} --uid=ray --gid=ray --working-directory={FOLDER} {settings} "
            f"--property=KillMode=mixed --property=TimeoutStopSec=60 {self._command('supervise')}"
        ))
        self.wait_for_answers(seconds=seconds)

    def stop(self) -> Report:
        """Stop asking, wait for what is under way, and read the answers."""
        self.cluster.sh(self.host, f"systemctl stop {UNIT}")
        return self.report()

    def forget(self) -> None:
        """End the counter too, which is detached, and its count."""
        settings = " ".join(f"{name}={value}" for name, value in self._environment().items())
        self.cluster.sh(self.host, f"runuser -u ray -- env {settings} {self._command('forget')}")

    def _environment(self) -> dict[str, str]:
        return {**self.cluster.ray_environment(self.host), **ENVIRONMENT}

    def answers(self) -> list[Line]:
        """Every line so far."""
        text = self.cluster.sh(self.host, f"cat {FILE} 2>/dev/null", check=False)
        return [Line(*json.loads(line)) for line in text.splitlines()]

    def report(self) -> Report:
        """The answers so far; work that is under way counts for nothing yet."""
        return Report(self.answers())

    def wait_for_answers(self, since: float = 0, seconds: float = 60) -> Report:
        """Wait until both kinds of work were answered after a moment (time.time())."""
        deadline = time.monotonic() + seconds
        while True:
            report = self.report()
            if all(report.moments(kind, since) for kind in ("counter", "task")):
                return report
            if time.monotonic() > deadline:
                log = self.cluster.sh(self.host, f"journalctl --no-pager --output=cat -n 15 --unit={UNIT}", check=False)
                raise BedError(f"the workload is not answered within {seconds:.0f} s: {report.summary()}\n{log}")
            time.sleep(0.5)

    def _command(self, verb: str) -> str:
        return shlex.join([PYTHON, f"{FOLDER}/program.py", verb, self.address, FILE, self.prefer])

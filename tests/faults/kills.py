# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL of each process of a node. The unit starts the node again, whichever of them it was."""

from __future__ import annotations

from collections.abc import Callable

from tests.bed.cluster import Cluster
from tests.faults.fault import Fault

WORKER = "worker-1"
WORKER_SECONDS, HEAD_SECONDS = 5, 6
# `ray start` looks once a second whether one of its processes has ended, and ends the others before it ends itself.
NOTICED_SECONDS = 2
# The brackets keep the pattern from matching the shell that runs it.
RAYLET = "kill -9 $(pgrep -x raylet)"
RAY_START = "systemctl kill --kill-whom=main -s SIGKILL"


def command(host: str, line: str) -> Callable[[Cluster], None]:
    """The cause or the undo that a shell command is."""
    return lambda cluster: cluster.sh(host, line) and None


def pkill(pattern: str) -> str:
    return f"pkill -9 -f '{pattern}'"


def worker(name: str, title: str, line: str) -> Fault:
    does = "systemd starts the node again, under a new id; tasks and actors that ran there start again on any node"
    return Fault(f"worker-{name}", f"worker: {title} killed", does, WORKER_SECONDS, command(WORKER, line),
                 renewed=(WORKER,))


def head(name: str, title: str, line: str) -> Fault:
    does = "systemd starts the head again, which reads its state back; the workers' nodes, tasks and actors go on"
    promise = HEAD_SECONDS + (0 if name == "ray-start" else NOTICED_SECONDS)
    return Fault(f"head-{name}", f"head: {title} killed", does, promise, command("head", line), renewed=("head",))


KILLS = [
    worker("raylet", "raylet", RAYLET),
    worker("dashboard-agent", "dashboard agent", pkill("^ray::[D]ashboardAgent")),
    worker("runtime-env-agent", "runtime env agent", pkill("^ray::[R]untimeEnvAgent")),
    worker("log-monitor", "log monitor", pkill("/[l]og_monitor.py")),
    worker("ray-start", "`ray start`", f"{RAY_START} ray-worker"),
    head("gcs", "gcs_server", "kill -9 $(pgrep -x gcs_server)"),
    head("raylet", "raylet", RAYLET),
    head("dashboard", "dashboard", pkill("/dashboard/[d]ashboard.py")),
    head("monitor", "autoscaler monitor", pkill("/_private/[m]onitor.py")),
    head("client-server", "client server", pkill("ray.util.client.[s]erver")),
    head("ray-start", "`ray start`", f"{RAY_START} ray-head"),
]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hand does: a wrong token, a second head, and a playbook that is killed."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

from tests.bed.bed import BedError
from tests.bed.cluster import Cluster
from tests.faults.fault import Fault
from tests.faults.kills import WORKER, command

SITE_SECONDS = 60
END_SECONDS = 60
SETTLE_SECONDS = 45
RAY_START = (
    "/opt/ray/current/bin/ray start --head --num-cpus=1 --object-store-memory=80000000 --disable-usage-stats "
    "--include-dashboard=false --dashboard-agent-listen-port=52367 --ray-client-server-port=20001"
)
OWN_HEAD = f"runuser -u ray -- env HOME=/tmp {RAY_START} --port=7777 --temp-dir=/tmp/second"
WRONG_TOKEN = "head -c 32 /dev/urandom | sha256sum | cut -c1-64 > /etc/ray/auth_token; systemctl restart ray-worker"
# What gives each role something to do: a file that is newer than the process that has read it, a link that is gone.
OLD_TOKEN, OLD_CONFIG = "touch /etc/ray/auth_token", "touch /etc/rayops/redis.conf"
NO_LINK = "rm -f /opt/ray/current"
OLD_EXPORTER = "touch /usr/local/libexec/ray-monitor/ray_monitor.py"


def killed(host: str, unit: str, harm: str, tags: str, task: str, seconds: float) -> Callable[[Cluster], None]:
    """Twice, a run that is ended some seconds after a task began: by Ctrl-C, then by SIGKILL."""

    def run(cluster: Cluster) -> None:
        for number in (signal.SIGINT, signal.SIGKILL):
            before = main_pid(cluster, host, unit)
            cluster.sh(host, harm)
            kill_at(cluster, number, tags, task, seconds)
            settle(cluster, host, unit, before)

    return run


def main_pid(cluster: Cluster, host: str, unit: str) -> str:
    return cluster.sh(host, f"systemctl show --property MainPID --value {unit}")


def settle(cluster: Cluster, host: str, unit: str, before: str) -> None:
    """Wait for what the killed run has left on the host, where it may go on: a restart that was under way."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while unit and time.monotonic() < deadline and main_pid(cluster, host, unit) in (before, "0"):
        time.sleep(0.5)
    # A file that is touched from now on must be newer than the process.
    time.sleep(3)


def kill_at(cluster: Cluster, number: signal.Signals, tags: str, task: str, seconds: float) -> None:
    with cluster.start("site.yml", "--tags", tags) as process:
        output = ""
        for line in process.stdout:
            output += line
            if re.match(rf"TASK \[.*{task}", line):
                break
        else:
            raise BedError(f"no task matches '{task}':\n{output[-2000:]}")
        time.sleep(seconds)
        os.killpg(process.pid, number)
        process.communicate(timeout=END_SECONDS)


def interrupted(role: str, cause: Callable[[Cluster], None], renewed: tuple[str, ...] = ()) -> Fault:
    title = f"`site.yml` killed in the role {role}, by Ctrl-C, then by SIGKILL"
    does = "what the run had begun goes on or stays as it is; the next run finishes it"
    return Fault(f"killed-{role}", title, does, SITE_SECONDS, cause, renewed=renewed, heals=False)


HANDS = [
    Fault("wrong-token", "worker: a wrong token in `/etc/ray/auth_token`, and its unit restarted",
          "the head refuses the node; `site.yml` names the file and writes it again", SITE_SECONDS,
          command(WORKER, WRONG_TOKEN), hold=15, renewed=(WORKER,), heals=False,
          says=("/etc/ray/auth_token", r"changed: \[worker-1\]")),
    Fault("second-head", "worker: a second head started by hand",
          "it is a cluster of its own, and takes the worker's memory; `site.yml` names it and ends it", SITE_SECONDS,
          command(WORKER, OWN_HEAD), hold=3, heals=False,
          says=("other Ray on this host, gcs_server", "other Ray on this host, raylet")),
    interrupted("ray", killed(WORKER, "", NO_LINK, "ray", "Install Ray, version", 0.3)),
    interrupted("redis", killed("redis", "redis-server", OLD_CONFIG, "redis", "Run Redis with its conf", 0.5),
                ("head",)),
    interrupted("head", killed("head", "ray-head", OLD_TOKEN, "head", "Start the node as declared", 1.5), ("head",)),
    interrupted("worker", killed(WORKER, "ray-worker", OLD_TOKEN, "workers", "Start the node as declared", 1.5),
                (WORKER,)),
    # Its exporter runs on the head, where no host is the monitor's.
    interrupted("monitor", killed("head", "ray-monitor", OLD_EXPORTER, "monitor", "Run the monitor.s services", 0.5)),
]

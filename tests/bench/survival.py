# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What survives: a worker's raylet, the GCS and the whole head unit are killed, and nobody helps."""

from __future__ import annotations

import time

from tests.bed.bed import BedError
from tests.bed.cluster import Cluster, read
from tests.bench.figure import Figure

WORKER = "worker-1"
KILL_GCS = "kill -9 $(pgrep -x gcs_server)"
KILL_HEAD = "systemctl kill -s SIGKILL ray-head"


def worker_kill(cluster: Cluster, storage: str, repeat: int) -> list[Figure]:
    """SIGKILL of a raylet, until the GCS has a new node of that host ALIVE."""
    figure = Figure("worker-kill", "a worker's raylet killed -> ALIVE", budget=5, storage=storage)
    try:
        wait_for_bytecode(cluster)
        for _turn in range(repeat):
            cluster.wait_whole()
            with cluster.client("rejoin", WORKER) as client:
                began = time.monotonic()
                cluster.sh(WORKER, "kill -9 $(pgrep -x raylet)")
                read(client)
                figure.values.append(time.monotonic() - began)
        cluster.wait_whole()
    except BedError as error:
        figure.failed = str(error)
    return [figure]


def gcs_kill(cluster: Cluster, storage: str, repeat: int) -> list[Figure]:
    """SIGKILL of the GCS alone."""
    return head_dies(cluster, Figure("gcs-kill", "the GCS killed", storage=storage), KILL_GCS, repeat)


def head_kill(cluster: Cluster, storage: str, repeat: int) -> list[Figure]:
    """SIGKILL of everything in the head's unit."""
    return head_dies(cluster, Figure("head-kill", "the head unit killed", storage=storage), KILL_HEAD, repeat)


def head_dies(cluster: Cluster, kind: Figure, kill: str, repeat: int) -> list[Figure]:
    """Kill the head or a part of it, until a fresh driver's call shows that a worker's actor went on counting."""
    served = Figure(kind.name, f"{kind.title} -> a detached actor answers", budget=6, storage=kind.storage)
    whole = Figure(f"{kind.name}-whole", f"{kind.title} -> every node ALIVE", storage=kind.storage)
    drivers = []
    try:
        wait_for_bytecode(cluster)
        cluster.wait_whole()
        actor = cluster.ensure_actor(WORKER)
        for _turn in range(repeat):
            nodes = cluster.wait_whole()
            workers = {name: cluster.raylet(name) for name in cluster.workers}
            with cluster.client("restart", "head") as client:
                began = time.monotonic()
                cluster.sh("head", kill)
                answer = read(client)
                served.values.append(time.monotonic() - began)
                drivers.append(answer["driver_seconds"])
            after = cluster.wait_whole()
            whole.values.append(time.monotonic() - began)
            actor = cluster.actor = continued(actor, answer)
            untouched(cluster, workers, nodes, after)
    except BedError as error:
        served.failed = whole.failed = str(error)
    if drivers:
        whole.note = "looked at every second or two"
        served.note = (
            f"the new driver's own start and call are {max(drivers):.2f} s of it at most; the last answer was "
            f"{actor['count']} from the same process, and the workers' raylets are the same"
        )
    return [served, whole]


def wait_for_bytecode(cluster: Cluster) -> None:
    """Until the hosts are as they are from their second minute on: without bytecode every start compiles Ray anew."""
    for name in cluster.names:
        cluster.sh(name, "while systemctl --quiet is-active ray-bytecode.timer ray-bytecode.service; do sleep 1; done")


def continued(before: dict, after: dict) -> dict:
    """The later answer. A call may have been counted whose answer was lost, so the count may go up by more than one."""
    if after["pid"] != before["pid"] or after["count"] <= before["count"]:
        raise BedError(f"the actor lost its counter: {before} before, {after} after")
    return after


def untouched(cluster: Cluster, raylets: dict[str, str], before: dict, after: dict) -> None:
    """The workers went on through the head's death: the same processes, the same nodes."""
    for name, pid in raylets.items():
        if cluster.raylet(name) != pid or before[name] != after[name]:
            raise BedError(f"the head's death restarted the raylet of {name}")

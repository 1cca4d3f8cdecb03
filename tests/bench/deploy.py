# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of site.yml costs: the first one, and one that has nothing to do."""

from __future__ import annotations

from tests.bed.bed import BedError
from tests.bed.cluster import Cluster
from tests.bench.figure import Figure


def site(cluster: Cluster, storage: str, _repeat: int) -> list[Figure]:
    """From hosts with Python and systemd only to a cluster that ran work on every CPU."""
    figure = Figure("site", "site.yml, bare hosts -> verified cluster", budget=25, storage=storage)
    try:
        run = cluster.site().must_succeed()
        figure.values.append(run.seconds)
        figure.note = f"{len(run.hosts)} hosts, installed from a wheelhouse; discovery and verification are included"
    except BedError as error:
        figure.failed = str(error)
    return [figure]


def again(cluster: Cluster, storage: str, repeat: int) -> list[Figure]:
    """site.yml on a cluster that is as declared."""
    seconds = Figure("again", "site.yml again, nothing to do", budget=7, storage=storage)
    changed = Figure("again-changed", "site.yml again, changed tasks", budget=0, unit="", storage=storage)
    restarted = Figure("again-restarted", "site.yml again, nodes restarted", budget=0, unit="", storage=storage)
    cpu = Figure("again-cpu", "site.yml again, controller CPU per host", storage=storage)
    figures = [seconds, changed, restarted, cpu]
    try:
        for _turn in range(repeat):
            before = cluster.pids()
            run = cluster.site().must_succeed()
            after = cluster.pids()
            seconds.values.append(run.seconds)
            changed.values.append(run.changed)
            restarted.values.append(sum(before[name] != after[name] for name in before))
            cpu.values.append(run.cpu / len(cluster.names))
        start = cluster.site("--list-hosts").cpu
        cpu.note = (
            f"user and system time of ansible-playbook and its ssh, divided by {len(cluster.names)} hosts; "
            f"{start:.1f} s of each run are its own start and the inventory, whatever the number of hosts; "
            "make scale tells what a further host costs"
        )
    except BedError as error:
        for figure in figures:
            figure.failed = str(error)
    return figures

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a further host costs the controller: site.yml over 10, 30 and 100 hosts that have nothing to do.

A hundred nodes of Ray need more memory than a small machine has. So the hosts are one head and one worker that are
deployed and run: each further host is the worker once more, under a name of its own. Each has its own SSH connection,
and its modules look at a node that is healthy and as declared: for the controller it is a host like any other. The
last step of site.yml, the verification, runs on the head alone, whatever the number of hosts: it is left out, as the
cluster knows the worker under one name only.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from tests.bed.bed import Bed, BedError, write
from tests.bed.cluster import Cluster, Run, output_of
from tests.bed.containers import address
from tests.bench.figure import Figure

SIZES = (10, 30, 100)
WORKER = "worker-1"
PR_SET_CHILD_SUBREAPER = 36


def bed(name: str) -> Bed:
    return Bed(name, workers=1)


def scale(cluster: Cluster, _storage: str, repeat: int) -> list[Figure]:
    """Seconds and processor time of each size, and of each further host from one size to the next."""
    figures: list[Figure] = []
    spent: dict[int, Figure] = {}
    try:
        cluster.site().must_succeed()
        let_all_in(cluster)
        for size in SIZES:
            seconds = Figure(f"scale-{size}", f"site.yml, {size} hosts, nothing to do")
            spent[size] = Figure(f"scale-{size}-cpu", f"site.yml, {size} hosts, controller CPU")
            figures += [seconds, spent[size]]
            cluster.inventory = write_inventory(cluster, size)
            # The exporter's list of hosts is another one for each size.
            cluster.play("site.yml", "--tags", "monitor").must_succeed()
            for _turn in range(repeat):
                run = measured(cluster, "--skip-tags", "verify")
                seconds.values.append(run.seconds)
                spent[size].values.append(run.cpu)
                if run.changed or len(run.hosts) != size:
                    raise BedError(f"of {size} hosts, {len(run.hosts)} answered, with changes: {run.output[-3000:]}")
        figures[0].note = (
            "all but the head are one worker, under as many names and over as many connections; the hosts' own work "
            "runs on the same processors, so the seconds are more than those of a fleet"
        )
        figures[1].note = "user and system time of ansible-playbook and its ssh; without the verification on the head"
    except BedError as error:
        figures[-1].failed = str(error)
    return [*figures, *further_hosts(spent)]


def further_hosts(spent: dict[int, Figure]) -> Iterator[Figure]:
    for fewer, more in pairwise(spent):
        few, many = spent[fewer].measured, spent[more].measured
        if few is not None and many is not None:
            title = f"each further host from {fewer} to {more}, controller CPU"
            yield Figure(f"scale-further-{more}", title, [(many - few) / (more - fewer)], budget=0.4, unit="s")


def let_all_in(cluster: Cluster) -> None:
    """A host is connected to once. The one that is all of them must not take this for an attack."""
    cluster.sh(WORKER, "echo MaxStartups 1000 > /etc/ssh/sshd_config.d/scale.conf && systemctl reload ssh")


def write_inventory(cluster: Cluster, size: int) -> Path:
    """The head, and the worker under all other names. The name of its Ray node is the one that it has."""
    own = address(cluster.bed, WORKER)
    # Of one address, ssh would make one connection for all.
    names = [f"host-{number:03}" for number in range(1, size)]
    workers = {name: {"ansible_control_path": f"%(directory)s/{name}"} for name in names}
    everywhere = {"ansible_host": own, "ray_node_ip_address": own, "worker_config": {"ray": {"node_name": WORKER}}}
    inventory = {"all": {
        "vars": {"ray_cluster_name": cluster.bed.cluster_name},
        "children": {
            "ray_head": {"hosts": {cluster.head: {"ansible_host": address(cluster.bed, cluster.head)}}},
            "ray_workers": {"hosts": workers, "vars": everywhere},
        },
    }}
    file = cluster.bed.state / "fleet.yml"
    write(file, json.dumps(inventory, indent=2) + "\n")
    return file


def measured(cluster: Cluster, *arguments: str) -> Run:
    """A run of site.yml over connections of its own, whose processor time counts."""
    before, began = processor_seconds(), time.monotonic()
    with own_connections():
        process = cluster.start("site.yml", *arguments)
        output = output_of(process)
        seconds = time.monotonic() - began
    return Run(process.returncode, output, seconds, processor_seconds() - before).must_succeed()


def processor_seconds() -> float:
    """User and system time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def own_connections() -> Iterator[None]:
    """ssh leaves a process behind that holds a connection for a minute: it becomes our child, and is ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    name = "ANSIBLE_SSH_CONTROL_PATH_DIR"
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            del os.environ[name]
            libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
            for pid in children("ssh"):
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)


def children(name: str) -> list[int]:
    """Our own children of that name."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            comm, _bracket, rest = file.read_text(encoding="utf-8").partition("(")[2].rpartition(")")
        except OSError:
            continue
        if comm == name and int(rest.split()[1]) == os.getpid():
            found.append(int(file.parent.name))
    return found

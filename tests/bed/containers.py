# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that boot systemd, and the network they share."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from .bed import CACHE, ROOT, WORKER_POOL, Bed, BedError, Node, say, write
from .engine import docker

# What systemd needs as PID 1 depends on the engine and on the cgroup version: the first that boots is taken.
HOST_CGROUPS = ["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"]
# SYS_PTRACE: root on a machine may read the environment of every process, root in a container only with this.
UNCONFINED = ["--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE", "--security-opt=seccomp=unconfined",
              "--security-opt=apparmor=unconfined"]
BOOT_MODES = {
    "capability, host cgroups": [*UNCONFINED, *HOST_CGROUPS],
    "privileged, own cgroups": ["--privileged", "--cgroupns=private"],
    "privileged, host cgroups": ["--privileged", *HOST_CGROUPS],
}
CHECKOUT = f"rayops.bed.checkout={ROOT}"
COMMON = ["--tmpfs=/run:exec", "--tmpfs=/run/lock", "--stop-signal=SIGRTMIN+3"]
BOOT_SECONDS = 60


def boot_options(image: str) -> list[str]:
    """The options of ``docker run`` with which systemd boots on this engine; found once and remembered."""
    memory = CACHE / "boot-mode.json"
    engine, cgroups = docker("info", "--format", "{{.ID}} {{.CgroupVersion}}").split()
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get(engine) in BOOT_MODES:
        return BOOT_MODES[known[engine]]
    say("finding out how systemd boots in containers of this engine")
    names = sorted(BOOT_MODES, key=lambda name: cgroups == "2" and "own cgroups" not in name)
    for name in names:
        if boots(image, BOOT_MODES[name]):
            say(f"systemd boots with: {name}")
            write(memory, json.dumps({**known, engine: name}) + "\n")
            return BOOT_MODES[name]
    raise BedError(f"systemd boots in no container of this engine; tried: {'; '.join(names)}.")


def boots(image: str, options: list[str]) -> bool:
    probe = f"bed-probe-{time.time_ns()}"
    try:
        docker("run", "--detach", "--name", probe, "--label=rayops.bed.probe=1", *COMMON, *options, image)
        wait_for_systemd(probe, seconds=25)
    except BedError:
        return False
    finally:
        docker("rm", "--force", "--volumes", probe, check=False)
    return True


def ensure_network(bed: Bed) -> str:
    """Make the bed's bridge and return the first three bytes of its addresses, such as ``172.19.0``."""
    if bed.network not in docker("network", "ls", "--format", "{{.Name}}").split():
        # A container can only keep its address if the subnet is given: let Docker find a free one, then give that.
        docker("network", "create", bed.network)
        subnet = subnet_of(bed)
        docker("network", "rm", bed.network)
        docker("network", "create", "--label", bed.label, "--subnet", subnet, bed.network)
    return subnet_of(bed).split("/")[0].rpartition(".")[0]


def subnet_of(bed: Bed) -> str:
    return docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", bed.network)


def ensure_nodes(bed: Bed, image: str) -> dict[str, str]:
    """Make the bed's containers what it says, and return each node's address, by its name."""
    options = boot_options(image)
    prefix = ensure_network(bed)
    present = states(bed)
    wanted = {bed.container(node): node for node in bed.nodes}
    # What a container was made with stays with it: other wishes need other containers.
    kept = wanted if bed.same_containers(Bed.load(bed.name)) else {}
    for name in sorted(set(present) - set(kept)):
        say(f"removing {name}, which is not as the bed is to be")
        docker("rm", "--force", "--volumes", name)
        del present[name]
    for name, node in wanted.items():
        if name not in present:
            say(f"starting {name}")
            docker("run", *run_options(bed, node, f"{prefix}.{node.number}"), *options, image)
        elif present[name] != "running":
            say(f"starting {name} again")
            docker("start", name)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(wait_for_systemd, wanted))
    return {node.name: f"{prefix}.{node.number}" for node in bed.nodes}


def run_options(bed: Bed, node: Node, address: str) -> list[str]:
    labels = {"ray-cluster-name": bed.cluster_name, "ray-node-type": node.kind, "ecs.name": node.name}
    if node.kind == "worker":
        labels["ray-user-node-type"] = WORKER_POOL
    return [
        "--detach", "--name", bed.container(node), "--hostname", node.name,
        "--label", bed.label, "--label", CHECKOUT,
        *(f"--label={key}={value}" for key, value in labels.items()),
        "--network", bed.network, "--ip", address, "--shm-size", bed.shm_size, *COMMON,
    ]


def address(bed: Bed, node_name: str) -> str:
    """The address of a host of a running bed."""
    found = [node for node in bed.nodes if node.name == node_name]
    if not found:
        raise BedError(f"The bed {bed.name} has no host '{node_name}', only {', '.join(n.name for n in bed.nodes)}.")
    pattern = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", pattern, bed.container(found[0]))


def states(bed: Bed) -> dict[str, str]:
    """The state (running, exited...) of each container that carries the bed's label."""
    lines = docker("ps", "--all", "--filter", f"label={bed.label}", "--format", "{{.Names}} {{.State}}").splitlines()
    return dict(line.split() for line in lines)


def wait_for_systemd(container: str, seconds: float = BOOT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = docker("exec", container, "systemctl", "is-system-running", check=False)
        if state in ("running", "degraded"):
            return
        time.sleep(0.2)
    log = docker("logs", "--tail", "15", container, check=False)
    raise BedError(f"systemd in {container} is not up after {seconds:.0f} s: 'docker logs {container}' says: {log}")


def wait_for_sshd(address: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, 22), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.2)
    raise BedError(f"no sshd at {address} after {seconds:.0f} s: see 'journalctl -u ssh' in its container.")


def remove(bed: Bed) -> None:
    """Remove the containers and networks that carry the bed's label, and nothing else."""
    containers = docker("ps", "--all", "--quiet", "--filter", f"label={bed.label}").split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)
    networks = docker("network", "ls", "--quiet", "--filter", f"label={bed.label}").split()
    if networks:
        docker("network", "rm", *networks)


def names() -> list[str]:
    """The names of all beds of this checkout that have a container."""
    labels = docker("ps", "--all", "--filter", f"label={CHECKOUT}", "--format", '{{.Label "rayops.bed"}}')
    return sorted(set(labels.split()))


def refuse_foreign(bed: Bed) -> None:
    """Two checkouts may not share a bed: each would replace the other's key."""
    own = docker("ps", "--all", "--quiet", "--filter", f"label={bed.label}", "--filter", f"label={CHECKOUT}")
    if len(own.split()) != len(states(bed)):
        raise BedError(f"Another checkout has a bed named {bed.name}: choose another name, or remove it there.")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that boot systemd, and the network they share."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from docker.errors import DockerException, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from . import hardened
from .bed import CACHE, ROOT, WORKER_POOL, Bed, BedError, Node, one_at_a_time, say, write
from .engine import client
from .execution import execute


@dataclass(frozen=True)
class BootMode:
    """What systemd needs as PID 1 depends on the engine and on the cgroup version: the first that boots is taken."""

    privileged: bool
    cgroups: Literal["host", "private"]

    @property
    def volumes(self) -> list[str]:
        return ["/sys/fs/cgroup:/sys/fs/cgroup:rw"] if self.cgroups == "host" else []

    # What root has on a machine, and in a container only with these. SYS_PTRACE: it may read the environment of every
    # process; NET_ADMIN: it has a firewall.
    @property
    def capabilities(self) -> list[str]:
        return [] if self.privileged else ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]

    @property
    def security(self) -> list[str]:
        return [] if self.privileged else ["seccomp=unconfined", "apparmor=unconfined"]


BOOT_MODES = {
    "capability, host cgroups": BootMode(privileged=False, cgroups="host"),
    "privileged, own cgroups": BootMode(privileged=True, cgroups="private"),
    "privileged, host cgroups": BootMode(privileged=True, cgroups="host"),
}
BED, CHECKOUT = "rayops.bed", "rayops.bed.checkout"
OWN = f"{CHECKOUT}={ROOT}"
BOOT_SECONDS = 60


def boot_mode(image: str) -> BootMode:
    """How systemd boots on this engine; found once and remembered."""
    memory = CACHE / "boot-mode.json"
    info = client().info()
    engine, cgroups = info["ID"], info["CgroupVersion"]
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


def boots(image: str, mode: BootMode) -> bool:
    probe = f"bed-probe-{time.time_ns()}"
    try:
        start(image, mode, probe, {"rayops.bed.probe": "1"})
        wait_for_systemd(probe, seconds=25)
    except (BedError, DockerException):
        return False
    finally:
        remove_container(probe)
    return True


def start(
    image: str, mode: BootMode, name: str, labels: Mapping[str, str], hostname: str | None = None,
    shm_size: str | None = None, network: str | None = None, address: str = "", hard: bool = False,
    mounts: Sequence[str] = (),
) -> None:
    """Make a container and boot it. ``mounts`` are in Docker's notation."""
    endpoint = {network: client().api.create_endpoint_config(ipv4_address=address)} if network else None
    client().containers.run(
        image, detach=True, name=name, hostname=hostname, labels=dict(labels), shm_size=shm_size,
        network=network, networking_config=endpoint,
        tmpfs={"/run": "exec", "/run/lock": "", **(hardened.TMPFS if hard else {})}, stop_signal="SIGRTMIN+3",
        privileged=mode.privileged, cgroupns=mode.cgroups,
        volumes=[*mode.volumes, *(hardened.VOLUMES if hard else []), *mounts],
        cap_add=mode.capabilities, security_opt=mode.security,
    )


def remove_container(name: str) -> None:
    try:
        client().containers.get(name).remove(force=True, v=True)
    except NotFound:
        pass


def ensure_network(bed: Bed) -> str:
    """Make the bed's bridge and return the first three bytes of its addresses, such as ``172.19.0``."""
    networks = client().networks
    try:
        network = networks.get(bed.network)
    except NotFound:
        # A container can only keep its address if the subnet is given: let Docker find a free one, then give that.
        found = networks.create(bed.network)
        subnet = subnet_of(found)
        found.remove()
        network = networks.create(
            bed.network, labels={BED: bed.name}, ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]))
    return subnet_of(network).split("/", maxsplit=1)[0].rpartition(".")[0]


def subnet_of(network: Network) -> str:
    network.reload()
    return str(network.attrs["IPAM"]["Config"][0]["Subnet"])


def ensure_nodes(bed: Bed, image: str, mounts: Sequence[str] = ()) -> dict[str, str]:
    """Make the bed's containers what it says, and return each node's address, by its name."""
    mode = boot_mode(image)
    with one_at_a_time():
        prefix = ensure_network(bed)
    present = states(bed)
    wanted = {bed.container(node): node for node in bed.nodes}
    # What a container was made with stays with it: other wishes need other containers.
    kept = wanted if bed.same_containers(Bed.load(bed.name)) else {}
    for name in sorted(set(present) - set(kept)):
        say(f"removing {name}, which is not as the bed is to be")
        remove_container(name)
        del present[name]
    for name, node in wanted.items():
        if name not in present:
            say(f"starting {name}")
            start(image, mode, name, labels(bed, node), hostname=node.name, shm_size=bed.shm_size,
                  network=bed.network, address=f"{prefix}.{node.number}", hard=bed.hardened, mounts=mounts)
        elif present[name] != "running":
            say(f"starting {name} again")
            client().containers.get(name).start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(wait_for_systemd, wanted))
        if bed.hardened:
            list(pool.map(lambda node: hardened.ensure(bed, node), bed.nodes))
    return {node.name: f"{prefix}.{node.number}" for node in bed.nodes}


def labels(bed: Bed, node: Node) -> dict[str, str]:
    """Whose container it is, and what the ECS simulator shows of it."""
    own = {BED: bed.name, CHECKOUT: str(ROOT)}
    tags = {"ray-cluster-name": bed.cluster_name, "ray-node-type": node.kind, "ecs.name": node.name}
    return {**own, **tags, **({"ray-user-node-type": WORKER_POOL} if node.kind == "worker" else {})}


def address(bed: Bed, node_name: str) -> str:
    """The address of a host of a running bed."""
    found = [node for node in bed.nodes if node.name == node_name]
    if not found:
        raise BedError(f"The bed {bed.name} has no host '{node_name}', only {', '.join(n.name for n in bed.nodes)}.")
    try:
        container = client().containers.get(bed.container(found[0]))
    except NotFound as error:
        raise BedError(f"The bed {bed.name} has no container of {node_name}: is it up?") from error
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    return "".join(str(network["IPAddress"]) for network in networks)


def states(bed: Bed) -> dict[str, str]:
    """The state (running, exited...) of each container that carries the bed's label."""
    return {str(container.name): container.status for container in labelled(bed.label)}


def labelled(*labels: str) -> list[Container]:
    """Containers, stopped ones as well, that carry the labels, given as ``key`` or ``key=value``."""
    return client().containers.list(all=True, filters={"label": list(labels)}, ignore_removed=True)


def wait_for_systemd(container: str, seconds: float = BOOT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_running(container):
            return
        time.sleep(0.2)
    log = client().containers.get(container).logs(tail=15).decode(errors="replace").strip()
    raise BedError(f"systemd in {container} is not up after {seconds:.0f} s: 'docker logs {container}' says: {log}")


def is_running(container: str) -> bool:
    try:
        state = execute(container, "systemctl", "is-system-running", seconds=30).stdout.strip()
    except BedError:
        return False
    return state in ("running", "degraded")


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
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(remove_container, states(bed)))
    for network in client().networks.list(filters={"label": bed.label}):
        network.remove()


def names() -> list[str]:
    """The names of all beds of this checkout that have a container."""
    return sorted({container.labels[BED] for container in labelled(OWN, BED)})


def refuse_foreign(bed: Bed) -> None:
    """Two checkouts may not share a bed: each would replace the other's key."""
    if len(labelled(bed.label, OWN)) != len(states(bed)):
        raise BedError(f"Another checkout has a bed named {bed.name}: choose another name, or remove it there.")

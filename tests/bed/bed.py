# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bed is: its name, its nodes and the places of its files."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
BEDS = CACHE / "bed"
WORKER_POOL = "cpu_worker"


class BedError(Exception):
    """What did not work on a bed, as a sentence for the user, with the fix where it is known."""


@dataclass(frozen=True)
class Node:
    """One host of a bed. ``name`` is the name of the ECS instance, ``kind`` its ``ray-node-type``."""

    name: str
    kind: str
    group: str
    number: int


@dataclass(frozen=True)
class Bed:
    """The wish: what ``up`` makes true. ``shm_size`` is in Docker's notation (``1g``), ``variables`` are Ansible's.

    ``wheels`` are packages in its wheelhouse beside what the role installs.
    """

    name: str
    workers: int = 2
    # Another name than "head", such as "head-2", is another host, on another address. The old one may stay beside it.
    head: str = "head"
    old_head: str = ""
    redis: str = "none"
    monitor: bool = False
    image: str = "bookworm"
    shm_size: str = "1g"
    cluster_name: str = "demo"
    variables: dict[str, object] = field(default_factory=dict)
    wheels: tuple[str, ...] = ()
    hardened: bool = False
    # Hosts have vLLM for CPU and a tiny model, and workers a GPU that is none.
    serving: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", self.name):
            raise BedError(f"'{self.name}' is no name for a bed: use a letter, then letters, digits or '-'.")
        if not 0 <= self.workers <= 50:
            raise BedError("--workers must be between 0 and 50.")

    @property
    def nodes(self) -> list[Node]:
        """The hosts. A number is fixed for a node, and so is its address, whatever else the bed has."""
        nodes = [Node(self.head, "head", "ray_head", head_number(self.head))]
        if self.old_head:
            nodes.append(Node(self.old_head, "head", "ungrouped", head_number(self.old_head)))
        if self.redis == "separate":
            nodes.append(Node("redis", "redis", "ray_redis", 11))
        if self.monitor:
            nodes.append(Node("monitor", "monitor", "ray_monitor", 12))
        nodes += [Node(f"worker-{i}", "worker", "ray_workers", 100 + i) for i in range(1, self.workers + 1)]
        return nodes

    def container(self, node: Node) -> str:
        # Docker's DNS answers for container names. With the prefix it cannot answer for a name that a role
        # ought to have written, such as <cluster name>-head.
        return f"bed-{self.name}-{node.name}"

    @property
    def network(self) -> str:
        return f"bed-{self.name}"

    @property
    def label(self) -> str:
        return f"rayops.bed={self.name}"

    @property
    def state(self) -> Path:
        return BEDS / self.name

    @property
    def ssh_key(self) -> Path:
        return self.state / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.state / "ssh" / "known_hosts"

    def same_containers(self, other: Bed) -> bool:
        """Whether a container of the one bed could be a container of the other."""
        names = ("image", "shm_size", "cluster_name", "hardened", "serving")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def save(self) -> None:
        write(self.state / "bed.json", json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, name: str) -> Bed:
        """The bed as it was last made; one with the defaults when nothing is known of it."""
        try:
            return cls(**json.loads((BEDS / name / "bed.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls(name)


def head_number(name: str) -> int:
    """The last byte of a head's address."""
    return 10 if name == "head" else 20 + int(name.rpartition("-")[2])


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all, with its mode from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock for what the beds of this checkout share."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "bed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """A line of progress."""
    print(f"bed: {text}", flush=True)

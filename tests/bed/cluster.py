# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster on a bed: deploy it as a user does, look at it, and do harm to it. The integration tests use it too."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bed.bed import ROOT, Bed
from tests.bed.containers import address

CLIENT = (Path(__file__).parent / "client.py").read_text(encoding="utf-8")
PYTHON = "/opt/ray/current/bin/python"
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s", re.MULTILINE)
# Of a run that hangs, the output is worth more than its end.
RUN_SECONDS = 600
# As long as the client waits, and its start and its end.
ANSWER_SECONDS = 180


class BenchError(Exception):
    """A sentence: what did not work."""


@dataclass(frozen=True)
class Run:
    """A finished ansible-playbook. ``cpu`` is its user and system time in seconds, with all its forks and ssh."""

    status: int
    output: str
    seconds: float
    cpu: float

    @property
    def hosts(self) -> dict[str, int]:
        """The number of changed tasks by host of the bed, from the recap; empty where the run ended before it."""
        recap = RECAP.findall(self.output)
        return {host: int(changed) for host, changed in recap if host != "localhost"}

    @property
    def changed(self) -> int:
        return sum(self.hosts.values())

    def must_succeed(self) -> Run:
        """A run without hosts has the exit status 0 as well."""
        if self.status or not self.hosts:
            raise BenchError(f"ansible-playbook ended with {self.status}:\n{self.output[-3000:]}")
        return self


class Cluster:
    """The cluster on a bed that is up."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.head = bed.head
        self.workers = [node.name for node in bed.nodes if node.kind == "worker"]
        self.names = [self.head, *self.workers]
        self.gcs = f"{address(bed, self.head)}:6379"
        self.inventory = bed.state / "huawei_ecs.yml"
        # The last answer of the detached actor, whose count only ever goes up.
        self.actor: dict = {}

    def container(self, name: str) -> str:
        return next(self.bed.container(node) for node in self.bed.nodes if node.name == name)

    def environment(self) -> dict[str, str]:
        """What the user of the bed has in the environment: the simulator's keys and addresses."""
        text = (self.bed.state / "environment").read_text(encoding="utf-8")
        own = dict(line.split("=", 1) for line in text.splitlines())
        # Without the last one, an inventory that cannot be read is a success without hosts. Molecule forces colours
        # upon all that it starts, and that goes before the wish for none.
        plain = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
        return {**os.environ, **own, **plain, "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}

    def command(self, playbook: str, *arguments: str) -> list[str]:
        program = Path(sys.executable).with_name("ansible-playbook")
        return [str(program), playbook, "-i", str(self.inventory), *arguments]

    def start(self, playbook: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a playbook in a process group of its own, as a shell does: Ctrl-C reaches all of the group."""
        return subprocess.Popen(
            self.command(playbook, *arguments), cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            # A shell starts what it puts into the background with SIGINT ignored, and that would be inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def site(self, *arguments: str) -> Run:
        """Run site.yml to its end."""
        return self.play("site.yml", *arguments)

    def play(self, playbook: str, *arguments: str) -> Run:
        """Run a playbook to its end, such as ``rayops.cluster.recover``."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = self.start(playbook, *arguments)
        output, _errors = process.communicate(timeout=RUN_SECONDS)
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Run(process.returncode, output, seconds, cpu)

    def sh(self, name: str, command: str, check: bool = True) -> str:
        """Run a shell command as root on a host."""
        done = subprocess.run(
            ["docker", "exec", self.container(name), "sh", "-c", command],
            capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False,
        )
        if check and done.returncode:
            raise BenchError(f"{name}: '{command}' ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def pids(self) -> dict[str, str]:
        """The processes of Ray and Redis by host: the same later means that nothing was restarted."""
        command = "systemctl show --property MainPID --value ray-head ray-worker redis-server; pgrep -x raylet || true"
        return {node.name: " ".join(self.sh(node.name, command).split()) for node in self.bed.nodes}

    def raylet(self, name: str) -> str:
        return self.sh(name, "pgrep -x raylet")

    def nodes(self) -> dict[str, list[str]]:
        """Ids of the ALIVE nodes by name, as the GCS has them."""
        return self._ask("nodes")

    def wait_whole(self, seconds: float = 90) -> dict[str, list[str]]:
        """Wait until every host has exactly one ALIVE node."""
        deadline = time.monotonic() + seconds
        nodes: dict[str, list[str]] = {}
        while time.monotonic() < deadline:
            nodes = self.nodes()
            if sorted(nodes) == sorted(self.names) and all(len(ids) == 1 for ids in nodes.values()):
                return nodes
            time.sleep(1)
        raise BenchError(f"the cluster is not whole after {seconds:.0f} s: {nodes}")

    def ensure_actor(self, worker: str) -> dict:
        """Make the detached actor and call it once, unless that was done before."""
        self.actor = self.actor or self._ask("create", worker)
        return self.actor

    def call_actor(self) -> dict:
        """Call the detached actor from a fresh driver, which tries again until it answers."""
        self.actor = self._ask("call")
        return self.actor

    @contextmanager
    def client(self, verb: str, name: str) -> Iterator[subprocess.Popen[str]]:
        """A client that is ready and waits for what will happen to a node: then do it, and read() the answer."""
        process = subprocess.Popen(self._client(verb, name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            if process.stdout.readline().strip() != "ready":
                raise BenchError(f"the client does not start: {process.communicate(timeout=30)[1].strip()[-800:]}")
            yield process
        finally:
            process.kill()
            process.communicate()

    def _client(self, verb: str, *arguments: str) -> list[str]:
        on_head = ["docker", "exec", "--user", "ray", self.container(self.head)]
        return [*on_head, PYTHON, "-c", CLIENT, verb, self.gcs, *arguments]

    def _ask(self, verb: str, *arguments: str) -> dict:
        done = subprocess.run(
            self._client(verb, *arguments), capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
        if done.returncode:
            raise BenchError(f"the client's '{verb}' failed: {done.stderr.strip()[-800:]}")
        return checked(done.stdout.splitlines()[-1])


def read(client: subprocess.Popen[str]) -> dict:
    """The client's answer; its deadline is the client's own."""
    line = client.stdout.readline()
    if not line:
        raise BenchError(f"the client ended: {client.communicate(timeout=30)[1].strip()[-800:]}")
    return checked(line)


def checked(line: str) -> dict:
    answer = json.loads(line)
    if "error" in answer:
        raise BenchError(answer["error"])
    return answer

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bed.bed import ROOT, Bed, BedError
from tests.bed.containers import address
from tests.bed.engine import client
from tests.bed.execution import Execution, execute

PROGRAM = (Path(__file__).parent / "cluster_program.py").read_text(encoding="utf-8")
PYTHON = "/opt/ray/current/bin/python"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/etc/ray/auth_token"}
TLS = {
    "RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": "/etc/ray/tls/node.pem", "RAY_TLS_SERVER_KEY": "/etc/ray/tls/node.key",
    "RAY_TLS_CA_CERT": "/etc/ray/tls/ca.pem",
}
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s", re.MULTILINE)
# For a run on a machine that others use as well.
RUN_SECONDS = 3600


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

    def ends(self, task: str) -> list[str]:
        """How a task ended on its first host, each time that it stood in a play: ok, changed, skipping."""
        return re.findall(rf"TASK \[{re.escape(task)}\] \*+\n(\w+):", self.output)

    def must_succeed(self) -> Run:
        """A run without hosts has the exit status 0 as well."""
        if self.status or not self.hosts:
            raise BedError(f"ansible-playbook ended with {self.status}:\n{self.output[-3000:]}")
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
        self.actor: dict[str, Any] = {}

    def container(self, name: str) -> str:
        return next(self.bed.container(node) for node in self.bed.nodes if node.name == name)

    def process(self, name: str) -> int:
        """The first process of a host, as this machine numbers it: in whose namespaces all that it runs is."""
        return int(client().containers.get(self.container(name)).attrs["State"]["Pid"])

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
        # What the tests themselves run is theirs to interrupt; who tests the question says so after this.
        allowed = ("--extra-vars", "ray_interrupt=all")
        return [str(program), playbook, "-i", str(self.inventory), *allowed, *arguments]

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

    def again(self, *arguments: str) -> Run:
        """Run site.yml without its verification, which is half of a run that has nothing to do."""
        return self.site("--skip-tags", "verify", *arguments).must_succeed()

    def play(self, playbook: str, *arguments: str) -> Run:
        """Run a playbook to its end, such as ``rayops.cluster.recover``."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = self.start(playbook, *arguments)
        output = output_of(process)
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Run(process.returncode, output, seconds, cpu)

    def sh(self, name: str, command: str, check: bool = True, stdin: str = "") -> str:
        """Run a shell command as root on a host."""
        done = execute(self.container(name), "sh", "-c", command, stdin=stdin)
        if check and done.status:
            raise BedError(f"{name}: '{command}' ended with {done.status}: {done.stderr.strip()}")
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
            # A GCS that starts anew does not answer yet.
            with suppress(BedError):
                nodes = self.nodes()
            if sorted(nodes) == sorted(self.names) and all(len(ids) == 1 for ids in nodes.values()):
                return nodes
            time.sleep(1)
        raise BedError(f"the cluster is not whole after {seconds:.0f} s: {nodes}")

    def ensure_actor(self, worker: str) -> dict[str, Any]:
        """Make the detached actor and call it once, unless that was done before."""
        self.actor = self.actor or self._ask("create", worker)
        return self.actor

    def call_actor(self) -> dict[str, Any]:
        """Call the detached actor from a fresh driver, which tries again until it answers."""
        self.actor = self._ask("call")
        return self.actor

    @contextmanager
    def client(self, verb: str, name: str) -> Iterator[Execution]:
        """A client that is ready and waits for what will happen to a node: then do it, and read() the answer."""
        with self._client(verb, name) as execution:
            if execution.readline().strip() != "ready":
                raise BedError(f"the client does not start: {execution.finish(30).stderr.strip()[-800:]}")
            yield execution

    def ray_environment(self, name: str) -> dict[str, str]:
        """What a client of the cluster needs on a host: the token, and the host's certificate where it speaks TLS."""
        # Without it, too, a certificate stays where it was.
        speaks = "grep RAY_USE_TLS /etc/ray/environment"
        asked = self.bed.variables.get("ray_tls") and self.sh(name, speaks, check=False)
        return {**TOKEN, **(TLS if asked else {})}

    def as_ray(self, name: str, *command: str) -> Execution:
        """Start what a user of the cluster starts on a host."""
        return Execution(self.container(name), *command, user="ray", environment=self.ray_environment(name))

    def _client(self, verb: str, *arguments: str) -> Execution:
        return self.as_ray(self.head, PYTHON, "-c", PROGRAM, verb, self.gcs, *arguments)

    def _ask(self, verb: str, *arguments: str) -> dict[str, Any]:
        with self._client(verb, *arguments) as execution:
            done = execution.finish()
        if done.status:
            raise BedError(f"the client's '{verb}' failed: {done.stderr.strip()[-800:]}")
        return checked(done.stdout.splitlines()[-1])


def output_of(process: subprocess.Popen[str]) -> str:
    """The whole output of a playbook. Of one that hangs, the output is worth more than its end."""
    try:
        return process.communicate(timeout=RUN_SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise BedError(f"it has not ended after {RUN_SECONDS} s: {process.communicate()[0][-3000:]}") from None


def read(client: Execution) -> dict[str, Any]:
    """The client's answer; its deadline is the client's own."""
    line = client.readline()
    if not line:
        raise BedError(f"the client ended: {client.finish(30).stderr.strip()[-800:]}")
    return checked(line)


def checked(line: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise BedError(answer["error"])
    return answer

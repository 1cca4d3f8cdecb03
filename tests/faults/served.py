# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a cluster that serves a model over both workers (a bed with --serving), and what became of it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests import serving
from tests.bed.bed import BedError
from tests.bed.cluster import Cluster, Run
from tests.bed.containers import address
from tests.faults.fault import TOLERANCE, nothing
from tests.faults.kills import RAYLET, WORKER, command, pkill
from tests.faults.machines import power_off, power_on
from tests.workload.client import Client

TENSOR, PIPELINE = str(serving.TENSOR["name"]), str(serving.PIPELINE["name"])
OTHER = "worker-2"
# A model is loaded anew, once its host has booted; the unit's watchdog looks each half minute, and then asks three
# times, for a minute each.
LOAD_SECONDS, BOOT_SECONDS, WATCHDOG_SECONDS, CHANGE_SECONDS, GCS_SECONDS = 60, 90, 300, 150, 40
# Until a model that has lost a part of itself is silent; until all is whole again before the next fault.
FALL_SECONDS, WHOLE_SECONDS = 60, 120
# A setting of the workers alone, for which they restart.
CHANGED: dict[str, object] = {"worker_config": {**serving.WORKER_CONFIG, "environment": {"RAYOPS_TEST": "1"}}}
# Serve's own word, by a driver of its own.
STATUS = """
import json, sys, ray
from ray import serve
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
found = serve.status().applications.get(sys.argv[1])
words = [found.status, *(each.status for each in found.deployments.values())] if found else []
print(json.dumps([str(getattr(word, "value", word)) for word in words]))
"""


def variables(**values: object) -> tuple[str, str]:
    """They, as arguments of a playbook."""
    return "--extra-vars", json.dumps(values)


def declare(cluster: Cluster, *models: Mapping[str, object]) -> Run:
    """Serve these models instead of what was served."""
    return cluster.play("rayops.cluster.serve", *variables(ray_serve_models=models)).must_succeed()


def change(cluster: Cluster) -> None:
    """As somebody does who changes a variable; the run ends when the model serves again."""
    cluster.again(*variables(**CHANGED))


def kill_replica(cluster: Cluster) -> None:
    """On the one worker that has it."""
    pattern = pkill(f"^ray::[S]erveReplica:{TENSOR}:LLMServer")
    if all(cluster.sh(name, f"{pattern} && echo killed || true") != "killed" for name in cluster.workers):
        raise BedError(f"no worker has a replica of {TENSOR}")


@dataclass(frozen=True)
class ServedFault:
    """What is done, and what is promised.

    title, does, cause, undo, hold: as of a Fault. does: what the model does about it.
    promise: the longest time without an answer, in seconds. loses: whether requests may be lost.
    model: its name. silent: whether it falls silent when the cause has returned; a cause that waits for it does not.
    """

    name: str
    title: str
    does: str
    promise: float
    cause: Callable[[Cluster], object]
    undo: Callable[[Cluster], object] = nothing
    hold: float = 0
    loses: bool = True
    model: str = TENSOR
    silent: bool = True


FAULTS = [
    ServedFault("model-gcs", "head: gcs_server killed",
                "it goes on, and so do the workers' proxies; Serve's controller finds its replicas again",
                GCS_SECONDS, command("head", "kill -9 $(pgrep -x gcs_server)"), loses=False, silent=False),
    ServedFault("model-replica", "the model's replica killed",
                "Serve starts another one", LOAD_SECONDS, kill_replica),
    ServedFault("model-raylet", "worker: raylet killed",
                "its ranks end; Serve starts it anew as soon as the node is back",
                LOAD_SECONDS, command(WORKER, RAYLET)),
    ServedFault("model-reboot", "worker: power off, and on again",
                "its ranks end; Serve starts it anew as soon as the node is back",
                BOOT_SECONDS, power_off(WORKER), power_on(WORKER), hold=5),
    ServedFault("model-variable", "a variable of the workers changed, and `site.yml` run",
                "both workers are drained and restart together, once; the run ends with a token",
                CHANGE_SECONDS, change, silent=False),
    ServedFault("model-stage", "`engine: vllm`, pipeline parallel: raylet of the other stage's worker killed",
                "it answers nothing, and may say that it is healthy; no token comes back, and the watchdog restarts "
                "its unit", WATCHDOG_SECONDS, command(OTHER, RAYLET), model=PIPELINE),
]


@dataclass
class ServedOutcome:
    """What was measured. silence: seconds without an answer; failed: as of an Outcome."""

    fault: ServedFault
    silence: float | None = None
    asked: int = 0
    lost: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def declared(cluster: Cluster, name: str) -> Mapping[str, str]:
    """A model as the head declares it to those that ask for tokens."""
    models = json.loads(cluster.sh(cluster.head, "cat /etc/ray/models.yaml"))["models"]
    return next(model for model in models if model["name"] == name)


def client(cluster: Cluster, name: str) -> Client:
    """Who asks the workers, and the head where none of them listens; or the unit's host alone."""
    model = declared(cluster, name)
    key = cluster.sh(cluster.head, f"cat {shlex.quote(model['api_key_file'])}")
    parts = urlsplit(model["url"])
    if model["engine"] == "vllm":
        return Client(model["model"], key, [model["url"]])
    urls = [parts._replace(netloc=f"{address(cluster.bed, host)}:{parts.port}").geturl() for host in cluster.workers]
    return Client(model["model"], key, urls, spare=model["url"])


def probe(cluster: Cluster, name: str, seconds: float = 5) -> dict[str, object]:
    """What the token probe of the head says of a model."""
    line = (f"runuser -u ray -- python3 -I /usr/local/libexec/ray-model.py --config /etc/ray/models.yaml --name {name} "
            f"--timeout {seconds:g}")
    answer: dict[str, object] = json.loads(cluster.sh(cluster.head, f"{line} || true"))
    return answer


def serve_whole(cluster: Cluster, name: str) -> bool:
    """Whether its replicas are as declared; a unit has no more to say than its tokens."""
    if name != TENSOR:
        return cluster.sh(WORKER, f"systemctl is-active vllm@{name}", check=False) == "active"
    words = cluster.sh(cluster.head, shlex.join(["ray-env", "timeout", "30", "python", "-c", STATUS, name]))
    said = json.loads(words.splitlines()[-1])
    return bool(said) and said[0] == "RUNNING" and set(said[1:]) == {"HEALTHY"}


def nodes_whole(cluster: Cluster) -> bool:
    """Whether every host has exactly one ALIVE node."""
    nodes = cluster.nodes()
    return sorted(nodes) == sorted(cluster.names) and all(len(ids) == 1 for ids in nodes.values())


def wait_until(what: str, seconds: float, condition: Callable[[], bool]) -> None:
    """A cluster that does not answer yet is no error."""
    deadline = time.monotonic() + seconds
    while True:
        said = ""
        try:
            if condition():
                return
        except (BedError, ValueError, IndexError) as error:
            said = f": {str(error)[-800:]}"
        if time.monotonic() > deadline:
            raise BedError(f"not within {seconds:.0f} s: {what}{said}")
        time.sleep(1)


class ServedTrial:
    """A model that a client asks all the time, to which one fault after the other is done."""

    def __init__(self, cluster: Cluster, asking: Client) -> None:
        self.cluster, self.asking = cluster, asking

    def run(self, fault: ServedFault) -> ServedOutcome:
        """Do one fault to a whole cluster, and see the model answer again. What goes wrong stands in the outcome."""
        outcome = ServedOutcome(fault)
        try:
            wait_until("every host has a node", WHOLE_SECONDS, lambda: nodes_whole(self.cluster))
            self.asking.wait_for_tokens(time.time(), WHOLE_SECONDS)
            self._inflict(fault, outcome)
        except BedError as error:
            outcome.failed.append(str(error))
        return outcome

    def _inflict(self, fault: ServedFault, outcome: ServedOutcome) -> None:
        caused = time.time()
        fault.cause(self.cluster)
        time.sleep(fault.hold)
        fault.undo(self.cluster)
        if fault.silent:
            self.asking.wait_for_silence(caused, FALL_SECONDS)
            told = probe(self.cluster, fault.model)
            if told["answered"]:
                outcome.failed.append(f"{fault.model} is silent, and the token probe has not noticed it")
        self._repaired(fault, fault.promise * TOLERANCE + WHOLE_SECONDS)
        self.asking.settle(WHOLE_SECONDS)
        report = self.asking.report(caused)
        outcome.silence, outcome.asked, outcome.lost = report.silence, report.asked, report.lost
        if report.lost and not fault.loses:
            outcome.failed.append(report.summary())

    def _repaired(self, fault: ServedFault, seconds: float) -> None:
        """Wait until all is as it was before."""
        wait_until("every host has a node", seconds, lambda: nodes_whole(self.cluster))
        self.asking.wait_for_tokens(time.time(), seconds)
        wait_until(f"{fault.model} serves as declared", seconds, lambda: serve_whole(self.cluster, fault.model))
        self.asking.wait_for_tokens(time.time(), WHOLE_SECONDS)

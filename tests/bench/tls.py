# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mutual TLS costs: the same figures of a cluster with ``ray_tls: false``, and of one with ``ray_tls: true``.

The tiny model is one deployment over both workers, so each of its tokens goes from the one to the other, and through
Serve's replica and proxy to the client.
"""

from __future__ import annotations

import http.client
import json
import shlex
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests import serving
from tests.bed.bed import BedError
from tests.bed.cluster import Cluster, checked
from tests.bench.figure import Figure
from tests.faults import served
from tests.workload.client import Client, connected

PROGRAM = Path(__file__).with_name("tls_program.py").read_text(encoding="utf-8")
TASKS, CALLS, TOKENS = 5000, 1000, 200
# Each turn of the program takes a few seconds.
PROGRAM_SECONDS = 170


def tls(cluster: Cluster, speaks: bool, repeat: int) -> list[Figure]:
    """Deploy the cluster, and measure its tasks, the calls of an actor and the tokens of a model.

    speaks: whether its bed has ``ray_tls``. A cluster that does otherwise is a failure, not a figure.
    """
    name, how = ("tls", "mutual TLS") if speaks else ("plain", "plain")
    tasks = Figure(f"tasks-{name}", f"{TASKS:,} tasks that do nothing, {how}")
    call = Figure(f"call-{name}", f"a call of an actor, {how}", unit="ms")
    token = Figure(f"token-{name}", f"a token of the tiny model, {how}", unit="ms")
    figures = [tasks, call, token]
    try:
        # A model that waits for requests costs a processor now and then.
        cluster.site(*served.variables(ray_serve_models=[])).must_succeed()
        answer = driven(cluster, repeat)
        if answer["tls"] is not speaks:
            raise BedError(f"ray_tls is {str(speaks).lower()}, and a driver's RAY_USE_TLS says otherwise")
        tasks.values += answer["tasks"]
        tasks.note = f"{TASKS / tasks.measured:,.0f} tasks a second"
        call.values += [1000 * value for value in answer["calls"]]
        served.declare(cluster, serving.TENSOR)
        asking = served.client(cluster, served.TENSOR)
        # The first one of a model takes longer.
        stream(asking)
        token.values += [1000 * stream(asking) / TOKENS for _turn in range(repeat)]
        token.note = f"of an answer of {TOKENS} tokens that is streamed, from the question to its end"
    except BedError as error:
        for figure in figures:
            figure.failed = figure.failed or str(error)
    return figures


def driven(cluster: Cluster, repeat: int) -> dict:
    """The program's answer, run on the head as people run theirs."""
    words = ["ray-env", "timeout", PROGRAM_SECONDS, "python", "-c", PROGRAM, repeat, TASKS, CALLS]
    said = cluster.sh(cluster.head, shlex.join(map(str, words)))
    return checked(said.splitlines()[-1])


def stream(asking: Client) -> float:
    """Seconds that a client waits for all tokens of an answer that it reads as they come.

    :raises BedError: they did not all come.
    """
    url = asking.urls[0]
    connection = connected(url)
    if not connection:
        raise BedError(f"nobody listens at {url}")
    body = {"model": asking.model, "prompt": "Hello", "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True,
            "stream": True, "stream_options": {"include_usage": True}}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {asking.key}"}
    began = time.perf_counter()
    try:
        connection.request("POST", f"{urlsplit(url).path}/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        events = [line[6:] for line in answer.read().decode().splitlines() if line.startswith("data: ")]
        seconds = time.perf_counter() - began
    except (OSError, http.client.HTTPException) as error:
        raise BedError(f"{url}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200 or made(events) != TOKENS:
        raise BedError(f"{url}: status {answer.status}, {made(events)} tokens instead of {TOKENS}")
    return seconds


def made(events: list[str]) -> int:
    """How many tokens the events of an answer say that there were."""
    told = [json.loads(event).get("usage") for event in events if event.startswith("{")]
    return max((usage["completion_tokens"] for usage in told if usage), default=0)


def beside(plain: list[Figure], with_tls: list[Figure]) -> list[Figure]:
    """All of them; the notes of the latter say how many times the former they are."""
    for before, after in zip(plain, with_tls, strict=True):
        if before.measured and after.measured:
            times = f"{after.measured / before.measured:.2f} times as long as plain"
            after.note = f"{after.note}; {times}" if after.note else times
    return [*plain, *with_tls]

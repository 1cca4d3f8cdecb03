# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What measures the cost of TLS: its driver on a real Ray, its client on servers that stop in the middle."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from contextlib import contextmanager

import pytest

from tests.bed.bed import BedError
from tests.bench import tls
from tests.bench.figure import Figure
from tests.long import long
from tests.workload.client import Client

KEY = "k" * 20


class Model(http.server.BaseHTTPRequestHandler):
    """Streams as many tokens as the path says, as vLLM does: what there were is told at the end."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        count = int(self.path.split("/")[1])
        assert self.headers["Authorization"] == f"Bearer {KEY}" and asked["stream"]
        self.send_response(200 if count else 503)
        self.end_headers()
        events = [{"choices": [{"text": "x"}], "usage": None}] * count
        events += [{"choices": [], "usage": {"completion_tokens": count}}] if count else []
        for event in [*map(json.dumps, events), "[DONE]"]:
            self.wfile.write(f"data: {event}\n\n".encode())

    def log_message(self, *_arguments):
        pass


@contextmanager
def model(tokens):
    """A client of a model that makes so many."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield Client("tiny", KEY, [f"http://127.0.0.1:{server.server_port}/{tokens}/v1"])
        server.shutdown()


@long
def test_the_driver_tells_tasks_calls_and_whether_it_spoke_tls(local_ray):
    command = [f"{local_ray.environment}/bin/python", "-c", tls.PROGRAM, "2", "20", "10"]
    done = subprocess.run(command, env={**local_ray.variables(), "RAY_ADDRESS": local_ray.address}, cwd="/",
                          capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["tls"] is False
    assert len(answer["tasks"]) == len(answer["calls"]) == 2
    assert all(0 < value < 60 for value in answer["tasks"] + answer["calls"])


def test_a_whole_answer_is_timed():
    with model(tls.TOKENS) as asking:
        assert 0 < tls.stream(asking) < 10


@pytest.mark.parametrize("tokens, said", [
    (3, f"status 200, 3 tokens instead of {tls.TOKENS}"), (0, f"status 503, 0 tokens instead of {tls.TOKENS}")])
def test_an_answer_that_is_not_whole_is_no_figure(tokens, said):
    with model(tokens) as asking, pytest.raises(BedError, match=said):
        tls.stream(asking)


def test_nobody_listens():
    with model(1) as asking:
        pass
    with pytest.raises(BedError, match="nobody listens at http://127.0.0.1"):
        tls.stream(asking)


class Deployed:
    """A cluster whose drivers say that they do not speak TLS."""

    head = "head"

    def site(self, *_arguments):
        return self

    def must_succeed(self):
        return self

    def sh(self, _name, line):
        assert line.startswith("ray-env timeout ")
        return 'a line of a log\n{"tls": false, "tasks": [1.0], "calls": [0.001]}'


def test_a_cluster_that_does_not_speak_as_declared_is_a_failure():
    figures = tls.tls(Deployed(), True, 1)
    assert [figure.name for figure in figures] == ["tasks-tls", "call-tls", "token-tls"]
    assert all(figure.verdict == "FAILED" and "RAY_USE_TLS" in figure.failed for figure in figures)


def test_each_figure_says_how_many_times_plain_it_is():
    plain = [Figure("tasks-plain", "", [2.0]), Figure("call-plain", "", failed="gone")]
    with_tls = [Figure("tasks-tls", "", [5.0], note="a note"), Figure("call-tls", "", [1.0])]
    found = tls.beside(plain, with_tls)
    assert [figure.note for figure in found] == ["", "", "a note; 2.50 times as long as plain", ""]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client that counts the requests of a served model, against servers that fail as models do."""

from __future__ import annotations

import http.server
import json
import threading
import time
from contextlib import contextmanager

import pytest

from tests.bed.bed import BedError
from tests.workload import client
from tests.workload.client import TOKENS, Client, Report, Request

KEY = "k" * 20
ANSWER = json.dumps({"usage": {"completion_tokens": TOKENS}}).encode()


class Model(http.server.BaseHTTPRequestHandler):
    """Answers as its server's ``mood`` says."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        mood = self.server.mood
        if mood == "hangs":
            self.server.woken.wait(20)
        if mood == "breaks":
            self.close_connection = True
            return
        known = self.headers["Authorization"] == f"Bearer {KEY}"
        self.send_response(401 if not known else 503 if mood == "fails" else 200)
        body = b'{"usage": {"completion_tokens": 1}}' if mood == "is short" else ANSWER
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


@contextmanager
def serving(port=0):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Model)
    server.mood, server.asked, server.woken = "answers", [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/tiny/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.woken.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "PAUSE", 0.01)
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.3)


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_answer_is_counted():
    with serving() as model, Client("tiny", KEY, [model.url]) as asking:
        asking.wait_for_tokens(time.time(), 10)
        until(lambda: len(asking.report().requests) > 20)
        found = asking.report()
    assert found.lost == [] and set(model.asked) == {"/tiny/v1/completions"}
    assert found.asked >= 20 and found.silence < 5


@pytest.mark.parametrize("mood, said", [
    ("fails", "status 503"), ("breaks", "RemoteDisconnected"), ("is short", f"1 tokens instead of {TOKENS}")])
def test_what_a_server_took_and_did_not_answer_is_lost(mood, said):
    with serving() as model, Client("tiny", KEY, [model.url]) as asking:
        asking.wait_for_tokens(time.time(), 10)
        began = time.time()
        model.mood = mood
        asking.wait_for_silence(began, 10)
        model.mood = "answers"
        asking.wait_for_tokens(time.time(), 10)
        asking.settle(10)
        found = asking.report(began)
    assert set(found.lost) == {said}
    # From the first of the silence to its end.
    assert 0.3 <= found.silence < 5
    assert said in found.summary() and f"{len(found.lost)} of {found.asked} requests lost" in found.summary()


def test_another_key_is_lost():
    with serving() as model, Client("tiny", "x" * 20, [model.url], threads=1) as asking:
        until(lambda: asking.report().lost)
        assert set(asking.report().lost) == {"status 401"}


def test_where_nobody_listens_the_others_are_asked_and_then_the_spare():
    with serving() as gone:
        closed = gone.url
    with serving() as spare, Client("tiny", KEY, [closed], spare=spare.url, threads=1) as asking:
        asking.wait_for_tokens(time.time(), 10)
        with serving() as other:
            asking.urls = [closed, other.url]
            asking.wait_for_tokens(time.time() + 0.1, 10)
            before = len(spare.asked)
            until(lambda: len(other.asked) > 5)
            assert len(spare.asked) <= before + 1
        assert asking.report().lost == []


def test_a_request_waits_for_who_will_listen():
    with serving() as gone:
        port = gone.server_port
    with Client("tiny", KEY, [f"http://127.0.0.1:{port}/tiny/v1"], threads=2) as asking:
        asking.wait_for_silence(time.time(), 10)
        assert asking.report().requests == []
        with serving(port):
            asking.wait_for_tokens(0, 10)
            assert asking.report().lost == []


def test_one_that_hangs_is_silent_and_then_lost(monkeypatch):
    with serving() as model, Client("tiny", KEY, [model.url], threads=2) as asking:
        asking.wait_for_tokens(time.time(), 10)
        model.mood = "hangs"
        asking.wait_for_silence(time.time(), 10)
        with pytest.raises(BedError, match="model tiny: not within 1 s: an answer"):
            asking.wait_for_tokens(time.time(), 1)
        asking.settle(0.2)
        monkeypatch.setattr(client, "UNANSWERED_SECONDS", 0.5)
        found = asking.report()
        assert len(found.lost) == 2 and all("not answered" in why for why in found.lost)


def test_a_report_knows_the_longest_silence():
    requests = [Request(0, 1), Request(1, 2), Request(2, 3, "status 503"), Request(2, 9), Request(9, 10)]
    assert Report(0, 11, requests).silence == 7
    assert Report(0, 30, requests).silence == 20
    assert Report(0, 5, []).silence == 5

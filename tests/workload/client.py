# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of a served model, which counts its requests. It runs on the controller, before the cluster."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

from tests.bed.bed import BedError

TOKENS = 8
CONNECT_SECONDS = 2
# A request waits for a model that is loaded anew; the end of one that hangs.
ANSWER_SECONDS = 300
# One that the report finds under way for longer hangs: it is made when the model answers others.
UNANSWERED_SECONDS = 60
PAUSE = 0.2
# A host that vanished answers no probe of TCP's either: after the first of these seconds, each second one, three times.
KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}
# Many times as long as an answer takes.
SILENCE_SECONDS = 3


class LostError(Exception):
    """A server took a request, and no tokens came back: why, in half a sentence."""


@dataclass(frozen=True)
class Request:
    """When it was asked and when it ended, by time.time(). lost: why no tokens came back; empty where they did."""

    asked: float
    ended: float
    lost: str = ""


@dataclass(frozen=True)
class Report:
    """What ended after a moment. unanswered: when those were asked that have not ended."""

    since: float
    until: float
    requests: Sequence[Request]
    unanswered: Sequence[float] = ()

    @property
    def lost(self) -> list[str]:
        never = [f"asked {self.until - asked:.0f} s ago and not answered" for asked in self.unanswered]
        return [request.lost for request in self.requests if request.lost] + never

    @property
    def asked(self) -> int:
        return len(self.requests) + len(self.unanswered)

    @property
    def silence(self) -> float:
        """The longest time without an answer, in seconds."""
        answers = sorted(request.ended for request in self.requests if not request.lost)
        return max(later - earlier for earlier, later in pairwise([self.since, *answers, self.until]))

    def summary(self) -> str:
        reasons = ", ".join(sorted(set(self.lost)))
        return (f"{len(self.lost)} of {self.asked} requests lost, {self.silence:.1f} s without an answer"
                + (f": {reasons}" if reasons else ""))


class Client:
    """Asks from several threads, a new connection each time. A request for which nobody listens waits until one does.

    urls: of the OpenAI API, asked in turn; spare: asked where none of them listens.
    """

    def __init__(self, model: str, key: str, urls: Sequence[str], spare: str = "", threads: int = 3) -> None:
        self.model, self.key, self.urls, self.spare = model, key, list(urls), spare
        self._done: list[Request] = []
        self._open: dict[int, float] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(threads)]

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=CONNECT_SECONDS)

    def _work(self, number: int) -> None:
        while not self._stop.is_set():
            asked = time.time()
            self._open[number] = asked
            try:
                self._ask(number)
                lost = ""
            except LostError as error:
                lost = str(error)
            # Both at once for a moment, never neither.
            self._done.append(Request(asked, time.time(), lost))
            del self._open[number]
            self._stop.wait(PAUSE)

    def _ask(self, number: int) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        first = number % len(self.urls)
        while time.monotonic() < deadline and not self._stop.is_set():
            for url in [*self.urls[first:], *self.urls[:first], *filter(None, [self.spare])]:
                connection = connected(url)
                if connection:
                    ask(connection, url, self.model, self.key)
                    return
            self._stop.wait(PAUSE)
        raise LostError(f"nobody listened for {ANSWER_SECONDS} s")

    def report(self, since: float = 0) -> Report:
        """What ended after a moment (time.time())."""
        until = time.time()
        under_way = list(self._open.copy().values())
        found = [request for request in list(self._done) if request.ended > since]
        since = since or min((request.asked for request in found), default=until)
        return Report(since, until, found, [asked for asked in under_way if until - asked > UNANSWERED_SECONDS])

    def wait_for_tokens(self, since: float, seconds: float) -> None:
        """Wait until a request is answered that was asked after a moment."""
        self._wait("an answer", seconds, lambda: any(
            not request.lost and request.asked >= since for request in list(self._done)))

    def wait_for_silence(self, since: float, seconds: float) -> None:
        """Wait until no answer has come for a while; the time before ``since`` does not count."""
        def silent() -> bool:
            answers = [request.ended for request in list(self._done) if not request.lost]
            return time.time() - max([since, *answers]) > SILENCE_SECONDS

        self._wait("silence", seconds, silent)

    def settle(self, seconds: float) -> None:
        """Wait until all has ended that was asked before now, or until ``seconds`` are over."""
        now = time.time()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(asked < now for asked in self._open.copy().values()):
            time.sleep(0.1)

    def _wait(self, what: str, seconds: float, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise BedError(f"model {self.model}: not within {seconds:.0f} s: {what}; {self.report().summary()}")
            time.sleep(0.1)


def connected(url: str) -> http.client.HTTPConnection | None:
    """A connection to who listens there; None where nobody does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=CONNECT_SECONDS)
    try:
        connection.connect()
    except OSError:
        return None
    connection.sock.settimeout(ANSWER_SECONDS)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection


def ask(connection: http.client.HTTPConnection, url: str, model: str, key: str) -> None:
    """Return when the tokens came back.

    :raises LostError: they did not.
    """
    body = {"model": model, "prompt": "Hello", "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    try:
        connection.request("POST", f"{urlsplit(url).path}/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise LostError(type(error).__name__) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise LostError(f"status {answer.status}")
    try:
        count = json.loads(text)["usage"]["completion_tokens"]
    except (ValueError, KeyError, TypeError):
        count = 0
    if count != TOKENS:
        raise LostError(f"{count} tokens instead of {TOKENS}")

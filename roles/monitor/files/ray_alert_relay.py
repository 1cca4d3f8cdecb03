# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hands Alertmanager's notifications to group robots of WeCom, DingTalk and Feishu, which do not accept its JSON.

Alertmanager posts to http://127.0.0.1:6387/<receiver>, and the robot gets a message in its own format. Where a robot
fails, the answer is 502, so that Alertmanager tries again. Alertmanager shows the token of the configuration
(Authorization: Bearer); of whoever has none, the head of the request is read and nothing else, and nothing is counted.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
import socket
import sys
import threading
import time
import urllib.parse
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

# With -I, Python does not look beside the program, which is where root put the rest of it.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from ray_alert_robots import ROBOTS, TIMEOUT, Receiver, RelayError

BODY_LIMIT = 4 << 20  # bytes of a notification
HEAD_LIMIT = 16 << 10  # bytes of a request before its body
STRANGERS = 100  # connections that have not shown the token yet
LEAST_TOKEN = 16  # characters


class ConfigError(Exception):
    """A sentence that says what to change in the file."""


class Relay(ThreadingHTTPServer):
    """token: what Alertmanager shows."""

    request_queue_size = 64

    def __init__(self, address: tuple[str, int], token: str, receivers: dict[str, Receiver]):
        self.token = token.encode()
        self.receivers = receivers
        self.strangers: deque[socket.socket] = deque()
        self.lock = threading.Lock()
        self.told_at = float("-inf")
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for it. Where too many have not shown the token yet, the one that waits longest goes."""
        with self.lock:
            while len(self.strangers) >= STRANGERS:
                with suppress(OSError):
                    self.strangers.popleft().shutdown(socket.SHUT_RDWR)
            self.strangers.append(request)
        super().process_request(request, client_address)

    def is_no_stranger(self, request: socket.socket) -> None:
        """It has shown the token, or is at its end."""
        with self.lock, suppress(ValueError):
            self.strangers.remove(request)

    def shutdown_request(self, request: Any) -> None:
        self.is_no_stranger(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was sent away, is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def tell_of_strangers(self) -> None:
        """Once a minute: whoever may connect could fill the log."""
        with self.lock:
            now = time.monotonic()
            if now - self.told_at < 60:
                return
            self.told_at = now
        log("somebody without the token was refused: Alertmanager shows it, from http_config of its webhooks")


class Head:
    """The head of a request, as far as a stranger may send one; after that it ends."""

    def __init__(self, stream: BinaryIO):
        self.stream = stream
        self.left = HEAD_LIMIT

    def readline(self, size: int = -1) -> bytes:
        line = self.stream.readline(min(size, self.left) if size >= 0 else self.left)
        self.left -= len(line)
        return line

    def close(self) -> None:
        self.stream.close()


class Handler(BaseHTTPRequestHandler):
    """POST /<receiver>, and GET /-/healthy."""

    server: Relay
    # A Head, and the body is read past it.
    rfile: Any
    server_version = "ray-alert-relay"
    timeout = TIMEOUT

    def setup(self) -> None:
        super().setup()
        self.body, self.rfile = self.rfile, Head(self.rfile)

    def do_GET(self) -> None:
        if self.path == "/-/healthy":
            self._answer(200, "healthy")
        else:
            self._answer(404, "there is nothing to read here")

    def do_POST(self) -> None:
        if not self._shows_the_token():
            self.server.tell_of_strangers()
            self._answer(401, "this relay takes notifications from its Alertmanager alone, which shows a token")
            return
        self.server.is_no_stranger(self.connection)
        name = self.path.strip("/")
        receiver = self.server.receivers.get(name)
        if receiver is None:
            self._answer(404, "no such receiver: look into the relay's configuration")
            return
        try:
            notification = self._notification()
            receiver.send(notification)
        except RelayError as error:
            log(f"{name}: {error}")
            self._answer(error.status, str(error))
        else:
            log(f"{name}: sent {len(notification['alerts'])} alerts")
            self._answer(200, "sent")

    def _shows_the_token(self) -> bool:
        scheme, _space, token = self.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token)
        return right and scheme.lower() == "bearer"

    def _notification(self) -> dict[str, Any]:
        """Alertmanager's webhook body, checked as far as it is used."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RelayError("a notification needs a Content-Length", 411)
        if int(length) > BODY_LIMIT:
            raise RelayError(f"a notification of {length} bytes is too large: {BODY_LIMIT} is the limit", 413)
        try:
            body: dict[str, Any] = json.loads(self.body.read(int(length)))
            alerts = body["alerts"]
            parts = [body.get("commonLabels", {})]
            parts += [part for alert in alerts for part in (alert.get("labels", {}), alert.get("annotations", {}))]
            strings = all(isinstance(value, str) for part in parts for value in part.values())
            if strings and alerts and isinstance(body.get("truncatedAlerts", 0), int):
                return body
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        raise RelayError("this is not the JSON that Alertmanager sends to a webhook", 400)

    def _answer(self, status: int, text: str) -> None:
        data = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        """What is sent and what fails is logged, not each request."""


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def read_config(path: str) -> tuple[tuple[str, int], str, dict[str, Receiver]]:
    """The address to listen on, the token, and the receivers by name. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as stream:
            config = json.load(stream)
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"it is no JSON: {error}.") from None
    try:
        address = str(config["listen"]["address"]), int(config["listen"]["port"])
        token, entries = config["token"], dict(config["receivers"])
    except (KeyError, TypeError, ValueError):
        raise ConfigError(
            'give it {"listen": {"address": ..., "port": ...}, "token": ..., "receivers": {...}}.'
        ) from None
    if not isinstance(token, str) or not re.fullmatch(f"[!-~]{{{LEAST_TOKEN},}}", token):
        raise ConfigError(
            f"its token must have at least {LEAST_TOKEN} characters, such as letters and digits: make a random one, "
            "and let Alertmanager show it (http_config, authorization, credentials)."
        )
    return address, token, {name: read_receiver(name, entry) for name, entry in entries.items()}


def read_receiver(name: str, entry: object) -> Receiver:
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise ConfigError(f"receiver {name!r} has no good name: use letters, digits, - and _.")
    if not isinstance(entry, dict) or not set(entry) <= {"type", "url", "secret"}:
        raise ConfigError(f"receiver {name} must have type and url, may have secret, and nothing else.")
    if entry.get("type") not in ROBOTS:
        raise ConfigError(f"receiver {name} has no type that is known: use one of {', '.join(ROBOTS)}.")
    url, secret = entry.get("url"), entry.get("secret", "")
    if not isinstance(url, str) or not re.fullmatch(r"https?://[^\s/?#]+[!-~]*", url) or not is_url(url):
        raise ConfigError(f"receiver {name} has no http or https URL of a robot: copy it from the robot's settings.")
    if not isinstance(secret, str):
        raise ConfigError(f"receiver {name} has a secret that is no string.")
    return Receiver(name, entry["type"], url, secret)


def is_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        return bool(parts.hostname) and parts.port != 0 and text.isascii()
    except ValueError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description="Hands Alertmanager's notifications to chat robots.")
    parser.add_argument("config", nargs="?", default="/etc/ray/alert-relay.json")
    path = parser.parse_args().config
    try:
        address, token, receivers = read_config(path)
    except ConfigError as error:
        log(f"{path}: {error}")
        return 2
    try:
        relay = Relay(address, token, receivers)
    except (OSError, OverflowError) as error:
        log(f"It cannot listen on {address[0]}:{address[1]}: {error}.")
        return 1
    log(f"listening on {address[0]}:{relay.server_port} for {', '.join(receivers) or 'nobody'}")
    relay.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

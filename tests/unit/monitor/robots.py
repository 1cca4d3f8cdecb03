# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for the chat robots' servers, and the relay as a process."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "monitor" / "files" / "ray_alert_relay.py"
KEY = "693a91f6-7aoc-4bc4-97a0-0ec2sifa5aaa"
SECRET = 'SEC"quoted"\\{{ secret }}+密'
HANGING = "hang"
TOKEN = "a" * 32 + "\"\\"


class Robot:
    """A robot's server. It checks what the vendor documents, answers as the vendor does, and keeps what it accepted."""

    PATHS = {
        "wecom": f"/cgi-bin/webhook/send?key={KEY}",
        "dingtalk": f"/robot/send?access_token={KEY}",
        "feishu": f"/open-apis/bot/v2/hook/{KEY}",
    }

    def __init__(self, kind: str, secret: str = "", context: ssl.SSLContext | None = None) -> None:
        self.kind, self.secret = kind, secret
        self.accepted: list[dict[str, Any]] = []
        self.calls: list[str] = []
        # An answer in place of the documented one: status, headers, body; or HANGING. Those of failures come first.
        self.answer: Any = None
        self.failures: list[Any] = []
        robot = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                robot.serve(self)

            def do_GET(self) -> None:
                robot.serve(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}{self.PATHS[kind]}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.calls.append(f"{handler.command} {handler.path}")
        if self.answer == HANGING:
            time.sleep(30)
            return
        instead = self.failures.pop(0) if self.failures else self.answer
        status, headers, answer = instead or (200, {}, self.judge(handler, body))
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    def judge(self, handler: BaseHTTPRequestHandler, body: bytes) -> dict[str, Any]:
        """The vendor's answer to this request; what is accepted is kept."""
        assert handler.headers["Content-Type"] in {"application/json", "application/json; charset=utf-8"}
        message = json.loads(body.decode("utf-8"))
        path = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(path.query, strict_parsing=bool(path.query)))
        code, text = getattr(self, f"judge_{self.kind}")(path.path, query, message, body)
        if code == 0:
            self.accepted.append(message)
        if self.kind == "feishu":
            return {"code": code, "msg": text, "data": {}, **({"StatusCode": 0} if code == 0 else {})}
        return {"errcode": code, "errmsg": text}

    def judge_wecom(self, path: str, query: dict[str, str], message: dict[str, Any], _body: bytes) -> tuple[int, str]:
        if path != "/cgi-bin/webhook/send" or query != {"key": KEY}:
            return 93000, "invalid webhook url"
        if set(message) != {"msgtype", "markdown"} or message["msgtype"] != "markdown":
            return 40008, "invalid message type"
        if len(message["markdown"]["content"].encode()) > 4096:
            return 40058, "markdown.content exceed max length 4096."
        return 0, "ok"

    def judge_dingtalk(self, path: str, query: dict[str, str], message: dict[str, Any], body: bytes) -> tuple[int, str]:
        if path != "/robot/send" or query.pop("access_token", "") != KEY:
            return 300005, "token is not exist"
        if self.secret:
            stamp = query.pop("timestamp", "0")
            wanted = hmac.new(self.secret.encode(), f"{stamp}\n{self.secret}".encode(), hashlib.sha256).digest()
            if abs(int(stamp) / 1000 - time.time()) > 3600 or base64.b64decode(query.pop("sign", "")) != wanted:
                return 310000, "sign not match"
        if query or set(message) != {"msgtype", "markdown"} or set(message["markdown"]) != {"title", "text"}:
            return 400101, "invalid parameters"
        if len(body) > 20000:
            return 460101, "message too long, exceed 20000 bytes"
        return 0, "ok"

    def judge_feishu(self, path: str, query: dict[str, str], message: dict[str, Any], body: bytes) -> tuple[int, str]:
        if path != f"/open-apis/bot/v2/hook/{KEY}" or query:
            return 19001, "param invalid: incoming webhook access token invalid"
        stamp, sign = message.get("timestamp", "0"), message.get("sign", "")
        if self.secret:
            wanted = hmac.new(f"{stamp}\n{self.secret}".encode(), b"", hashlib.sha256).digest()
            if abs(int(stamp) - time.time()) > 3600 or base64.b64decode(sign) != wanted:
                return 19021, "sign match fail or timestamp is not within one hour from current time"
        card = message["card"]
        tags = [card["header"]["title"]["tag"], *(element["tag"] for element in card["elements"])]
        if message["msg_type"] != "interactive" or tags != ["plain_text", "markdown"]:
            return 9499, "Bad Request"
        return (0, "success") if len(body) <= 20 * 1024 else (9499, "Bad Request")

    def text(self) -> str:
        """Title and text of the last message that was accepted."""
        message = self.accepted[-1]
        if self.kind == "wecom":
            return message["markdown"]["content"]
        if self.kind == "dingtalk":
            return f"{message['markdown']['title']}\n{message['markdown']['text']}"
        return f"{message['card']['header']['title']['content']}\n{message['card']['elements'][0]['content']}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class RelayProcess:
    """The relay with a configuration; its environment has nothing but what is given."""

    def __init__(self, config: Path, **environment: str) -> None:
        self.token = json.loads(config.read_text(encoding="utf-8"))["token"]
        self.log = config.with_suffix(".log")
        with open(self.log, "w", encoding="utf-8") as log:
            command = [sys.executable, "-I", str(PROGRAM), str(config)]
            self.process = subprocess.Popen(command, stderr=log, env=environment)
        self.port = int(wait_for(lambda: re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log.read_text()))[1])

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.token}", **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def notify(self, receiver: str, *alerts: dict[str, Any], **more: Any) -> tuple[int, str]:
        common = {"alertname": "RayNodeLost", "ray_io_cluster": "demo"}
        body = {"version": "4", "receiver": receiver, "commonLabels": common, "alerts": alerts, **more}
        return self.request("POST", f"/{receiver}", json.dumps(body).encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def wait_for(found: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return result


def receiver(robot: Robot) -> dict[str, str]:
    return {"type": robot.kind, "url": robot.url, **({"secret": robot.secret} if robot.secret else {})}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side of the simulator: IAM project look-up, ECS list, metadata service, and failures on command."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional, Protocol
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tests.ecs_simulator import signature
from tests.ecs_simulator.instances import project_id

LARGEST_LIMIT = 1000
DEFAULT_LIMIT = 25
# A status filter admits more than its name says (ListServersDetails, parameter "status").
WIDENED = {
    "ACTIVE": ("ACTIVE", "REBOOT", "HARD_REBOOT", "REBUILD", "MIGRATING", "RESIZE"),
    "SHUTOFF": ("SHUTOFF", "RESIZE", "REBUILD"),
    "ERROR": ("ERROR", "REBUILD"),
}
MESSAGES = {
    401: ("APIGW.0301", "Incorrect IAM authentication information: Unauthorized"),
    403: ("Ecs.0003", "Policy doesn't allow ecs:cloudServers:listServersDetails to be performed."),
    404: ("APIGW.0101", "The API does not exist or has not been published in the environment"),
    429: (
        "APIGW.0308",
        "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:1 second",
    ),
    500: ("Ecs.0000", "Request error. Try again later or contact customer service."),
}


class Source(Protocol):
    """Gives the rows of a region, in a stable order."""

    def rows(self, region: str) -> list[dict[str, Any]]: ...


@dataclass
class Failure:
    """What to do to the next requests. times < 0 means for ever; path and region narrow it down."""

    status: int = 0
    times: int = 1
    retry_after: Optional[int] = None
    delay: float = 0
    drop: bool = False
    body: Optional[str] = None
    content_type: str = "application/json"
    path: str = ""
    region: str = ""
    after: int = 0

    def take(self, target: str, region: str) -> bool:
        """Whether it strikes this request; counts down when it does."""
        if self.times == 0 or self.path not in target or (self.region and self.region != region):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1 if self.times > 0 else 0
        return True


class Simulator(ThreadingHTTPServer):
    """One endpoint for IAM and for ECS in every region. The project in the path tells the region."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        source: Source,
        access_key: str,
        secret_key: str,
        regions: list[str],
        security_token: Optional[str] = None,
        port: int = 0,
        host: str = "127.0.0.1",
        page_cap: int = LARGEST_LIMIT,
    ) -> None:
        super().__init__((host, port), Handler)
        self.source = source
        self.access_key = access_key
        self.secret_key = secret_key
        self.security_token = security_token
        self.projects = {project_id(region): region for region in regions}
        self.page_cap = page_cap
        self.lock = threading.Lock()
        self.failures: list[Failure] = []
        self.requests: list[str] = []

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of the machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """The variables that make the SDK (and so the inventory plugin) talk to this simulator."""
        variables = {
            "HUAWEICLOUD_SDK_AK": self.access_key,
            "HUAWEICLOUD_SDK_SK": self.secret_key,
            "HUAWEICLOUD_SDK_IAM_ENDPOINT": self.url,
            "HUAWEICLOUD_SDK_REGION": ",".join(self.projects.values()),
        }
        for region in self.projects.values():
            variables[f"HUAWEICLOUD_SDK_REGION_ECS_{region.replace('-', '_').upper()}"] = self.url
        if self.security_token:
            variables["HUAWEICLOUD_SDK_SECURITY_TOKEN"] = self.security_token
        return variables

    def add_failure(self, command: dict[str, Any]) -> None:
        unknown = set(command) - {each.name for each in fields(Failure)}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        with self.lock:
            self.failures.append(Failure(**command))

    def next_failure(self, target: str) -> Optional[Failure]:
        region = next((name for project, name in self.projects.items() if f"/{project}/" in target), "")
        if target.startswith("/v3/projects"):
            region = parse_qs(urlsplit(target).query).get("name", [""])[0]
        with self.lock:
            self.requests.append(target)
            return next((failure for failure in self.failures if failure.take(target, region)), None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event worth a traceback."""


class Handler(BaseHTTPRequestHandler):
    """Routes one request. Everything but /_simulate and the metadata service must be signed."""

    server: Simulator
    query: dict[str, str]
    protocol_version = "HTTP/1.1"
    # Small writes must not wait for the client's delayed ACK.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:  # noqa: N802 (the name is the standard library's)
        if self.path == "/_simulate":
            self._json(200, {"requests": self.server.requests})
            return
        failure = self.server.next_failure(self.path)
        if failure and self._fail(failure):
            return
        path = urlsplit(self.path).path
        self.query = dict(parse_qsl(urlsplit(self.path).query))
        if path == "/openstack/latest/securitykey":
            self._metadata()
            return
        problem = self._check_signature()
        if problem:
            self._error(401, *problem)
        elif path == "/v3/projects":
            self._projects()
        elif path.startswith("/v1/") and path.endswith("/cloudservers/detail"):
            self._servers(path.split("/")[2])
        else:
            self._error(404, *MESSAGES[404])

    def do_PUT(self) -> None:  # noqa: N802
        """The metadata service's session token, which the simulator does without."""
        self._error(404, "404", "Not Found")

    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/_simulate":
            self._error(404, *MESSAGES[404])
            return
        try:
            self.server.add_failure(json.loads(body))
        except (TypeError, ValueError) as exc:
            self._error(400, "simulator", str(exc))
            return
        self._json(200, {})

    def do_DELETE(self) -> None:  # noqa: N802
        with self.server.lock:
            self.server.failures.clear()
            self.server.requests.clear()
        self._json(200, {})

    def log_message(self, format: str, *args: Any) -> None:  # pylint: disable=redefined-builtin
        """Quiet: GET /_simulate shows the requests."""

    def _fail(self, failure: Failure) -> bool:
        """Do what was commanded. False when the request is to be answered after all (it was only slow)."""
        time.sleep(failure.delay)
        if failure.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif failure.body is not None:
            self._send(failure.status or 200, failure.body.encode(), failure.content_type, failure.retry_after)
        elif failure.status:
            code, message = MESSAGES.get(failure.status, (str(failure.status), "simulated"))
            self._error(failure.status, code, message, failure.retry_after)
        else:
            return False
        return True

    def _check_signature(self) -> Optional[tuple[str, str]]:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("x-security-token") != self.server.security_token:
            return MESSAGES[401]
        return signature.check("GET", self.path, headers, b"", self.server.access_key, self.server.secret_key)

    def _metadata(self) -> None:
        self._json(
            200,
            {
                "credential": {
                    "access": self.server.access_key,
                    "secret": self.server.secret_key,
                    "securitytoken": self.server.security_token,
                    "expires_at": "2099-01-01T00:00:00.000000Z",
                }
            },
        )

    def _projects(self) -> None:
        name = self.query.get("name")
        found = [project for project, region in self.server.projects.items() if name in (None, region)]
        projects = [{"id": project, "name": self.server.projects[project], "enabled": True} for project in found]
        self._json(200, {"projects": projects, "links": {}})

    def _servers(self, project: str) -> None:
        region = self.server.projects.get(project)
        if region is None or self.headers.get("X-Project-Id") != project:
            self._error(401, *MESSAGES[401])
            return
        rows = [row for row in self.server.source.rows(region) if self._matches(row)]
        start = 0
        marker = self.query.get("marker")
        if marker:
            start = next((index for index, row in enumerate(rows, 1) if row["id"] == marker), -1)
            if start < 0:
                self._error(400, "Ecs.0005", "The request parameter marker is invalid")
                return
        limit = min(int(self.query.get("limit") or DEFAULT_LIMIT), LARGEST_LIMIT, self.server.page_cap)
        self._json(200, {"count": len(rows), "servers": rows[start : start + limit]})

    def _matches(self, row: dict[str, Any]) -> bool:
        status, tag = self.query.get("status"), self.query.get("tags")
        project = self.query.get("enterprise_project_id")
        if status and row["status"] not in WIDENED.get(status, (status,)):
            return False
        if tag and not any(tag in each for each in row["tags"]):
            return False
        return project in (None, "all_granted_eps", row["enterprise_project_id"])

    def _error(self, status: int, code: str, message: str, retry_after: Optional[int] = None) -> None:
        body = {"error_code": code, "error_msg": message, "request_id": "5f0d9d5cbb7b4c0f"}
        if code.startswith("Ecs."):
            body = {"error": {"code": code, "message": message}}
        self._send(status, json.dumps(body).encode(), "application/json", retry_after)

    def _json(self, status: int, data: Any) -> None:
        self._send(status, json.dumps(data, ensure_ascii=False).encode(), "application/json")

    def _send(self, status: int, body: bytes, content_type: str, retry_after: Optional[int] = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(body)

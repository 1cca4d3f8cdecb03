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
from tests.ecs_simulator.instances import flavor_rows, project_id

DOMAIN = "simulator"
# Beside the regions' own, every account has projects that belong to services.
SERVICE_PROJECTS = ("MOS",)
AGENCIES = "/v3.0/OS-CREDENTIAL/securitytokens"

LARGEST_LIMIT = 1000
DEFAULT_LIMIT = 25
# A status filter admits more than its name says (ListServersDetails, parameter "status").
WIDENED = {
    "ACTIVE": ("ACTIVE", "REBOOT", "HARD_REBOOT", "REBUILD", "MIGRATING", "RESIZE"),
    "SHUTOFF": ("SHUTOFF", "RESIZE", "REBUILD"),
    "ERROR": ("ERROR", "REBUILD"),
}
# As the cloud makes it: the instances of the group reach each other.
DEFAULT_RULES = [
    {"ip_protocol": None, "from_port": None, "to_port": None, "ip_range": {}, "group": {"name": "default"}}
]
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
    """Gives the rows of a region, in a stable order, and what an instance has written on its serial console."""

    def rows(self, region: str) -> list[dict[str, Any]]: ...

    def console(self, server_id: str) -> str: ...


@dataclass
class Tenant:
    """One account: whose keys open it, and what it has. agency: the name by which others may ask for those keys."""

    source: Source
    access_key: str
    secret_key: str
    security_token: Optional[str]
    domain: str
    projects: dict[str, str]
    agency: str = ""

    @property
    def domain_id(self) -> str:
        return project_id(f"domain.{self.domain}")


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
        self.security_groups: dict[str, list[dict[str, Any]]] = {"default": DEFAULT_RULES}
        # With it, the metadata service answers only those who have asked for a token first.
        self.metadata_token: Optional[str] = None
        self.page_cap = page_cap
        # As older endpoints, and those of partner clouds: no total, no marker (pages by their number), no empty list.
        self.counts = self.knows_marker = True
        self.omits_empty = False
        # Regions that IAM lists and that this account has not opened.
        self.closed_regions: set[str] = set()
        # Other accounts, each with an agency for this one.
        self.tenants: list[Tenant] = []
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

    def add_tenant(self, source: Source, domain: str, agency: str, regions: list[str]) -> Tenant:
        """Another account, whose agency gives this one temporary keys."""
        keys = (f"AKTEMPORARY{len(self.tenants)}", "temporary-secret", "temporary-token")
        projects = {project_id(f"{domain}.{region}"): region for region in regions}
        self.tenants.append(Tenant(source, *keys, domain, projects, agency))
        return self.tenants[-1]

    def all_tenants(self) -> list[Tenant]:
        """The simulator's own account, with the keys that it has at the moment, and the others."""
        own = Tenant(self.source, self.access_key, self.secret_key, self.security_token, DOMAIN, self.projects)
        return [own, *self.tenants]

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
    tenant: Tenant
    query: dict[str, str]
    protocol_version = "HTTP/1.1"
    # Small writes must not wait for the client's delayed ACK.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
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
        problem = self._check_signature(b"")
        if problem:
            self._error(401, *problem)
        elif path in ("/v3/projects", "/v3/auth/projects"):
            self._projects()
        elif path == "/v3/auth/domains":
            domain = {"id": self.tenant.domain_id, "name": self.tenant.domain, "enabled": True, "description": ""}
            self._json(200, {"domains": [domain], "links": {}})
        else:
            self._project_call(path.split("/"))

    def do_PUT(self) -> None:
        """The metadata service's session token, which only some instances want."""
        if self.path == "/meta-data/latest/api/token" and self.server.metadata_token:
            self._send(200, self.server.metadata_token.encode(), "text/plain")
        else:
            self._error(404, "404", "Not Found")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == AGENCIES:
            failure = self.server.next_failure(self.path)
            if not failure or not self._fail(failure):
                self._assume_role(body)
            return
        if self.path != "/_simulate":
            self._error(404, *MESSAGES[404])
            return
        try:
            self.server.add_failure(json.loads(body))
        except (TypeError, ValueError) as exc:
            self._error(400, "simulator", str(exc))
            return
        self._json(200, {})

    def do_DELETE(self) -> None:
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

    def _check_signature(self, body: bytes) -> Optional[tuple[str, str]]:
        """None when the keys of an account signed the request, which becomes the tenant; else what the gateway says."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        tenants = self.server.all_tenants()
        self.tenant = next((each for each in tenants if f"Access={each.access_key}," in str(headers)), tenants[0])
        if headers.get("x-security-token") != self.tenant.security_token:
            return MESSAGES[401]
        keys = (self.tenant.access_key, self.tenant.secret_key)
        return signature.check(self.command, self.path, headers, body, *keys)

    def _assume_role(self, body: bytes) -> None:
        """Temporary keys of another account, for whoever names its agency (CreateTemporaryAccessKeyByAgency)."""
        problem = self._check_signature(body)
        if problem or self.headers.get("X-Domain-Id") != self.tenant.domain_id:
            self._error(401, *(problem or MESSAGES[401]))
            return
        try:
            identity = json.loads(body)["auth"]["identity"]
            role = identity["assume_role"]
            whole = identity["methods"] == ["assume_role"] and 900 <= role.get("duration_seconds", 900) <= 86400
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            self._json(400, {"error": {"code": 400, "message": "Invalid input for field", "title": "Bad Request"}})
            return
        domain = (role.get("domain_name"), role.get("domain_id"))
        for each in self.server.tenants:
            if each.agency == role["agency_name"] and domain in ((each.domain, None), (None, each.domain_id)):
                keys = {"access": each.access_key, "secret": each.secret_key, "securitytoken": each.security_token}
                self._json(201, {"credential": {**keys, "expires_at": "2099-01-01T00:00:00.000000Z"}})
                return
        message = f"Could not find agency: {role['agency_name']}."
        self._json(404, {"error": {"code": 404, "message": message, "title": "Not Found"}})

    def _metadata(self) -> None:
        if self.headers.get("X-Metadata-Token") != self.server.metadata_token:
            self._error(401, "401", "Unauthorized")
            return
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
        known = {**{project_id(each): each for each in SERVICE_PROJECTS}, **self.tenant.projects}
        projects = [
            {
                "id": project,
                "name": own,
                "enabled": True,
                "is_domain": False,
                "domain_id": self.tenant.domain_id,
                "parent_id": self.tenant.domain_id,
                "description": "",
                "links": {},
            }
            for project, own in known.items()
            if name in (None, own)
        ]
        self._json(200, {"projects": projects, "links": {"self": f"{self.server.url}/v3/projects", "next": None}})

    def _project_call(self, path: list[str]) -> None:
        """A call that names a project: /VERSION/PROJECT/..."""
        version, project, call = path[1], path[2] if len(path) > 2 else "", "/".join(path[3:])
        region = self.tenant.projects.get(project)
        if region is None or self.headers.get("X-Project-Id") != project:
            self._error(401, *MESSAGES[401])
        elif region in self.server.closed_regions:
            self._error(403, "APIGW.0802", "The IAM user is forbidden in the currently selected region")
        elif (version, call) == ("v1", "cloudservers/detail"):
            rows = self._rows(region)
            self._page([_without_market(row) for row in rows], "servers", LARGEST_LIMIT, len(rows))
        elif (version, call) == ("v1.1", "cloudservers/detail"):
            rows = self._rows(region)
            self._page([{key: row.get(key) for key in ("id", "market_info")} for row in rows], "servers", 100)
        elif (version, call) == ("v1", "cloudservers/flavors"):
            self._page(flavor_rows(), "flavors", LARGEST_LIMIT)
        elif version == "v2.1" and call.endswith("/os-security-groups"):
            self._security_groups(self.tenant.source.rows(region), path[4])
        elif version == "v1" and call.endswith("/console-output"):
            self._console(self.tenant.source.rows(region), path[4])
        else:
            self._error(404, *MESSAGES[404])

    def _page(self, rows: list[dict[str, Any]], key: str, largest: int, count: Optional[int] = None) -> None:
        limit = min(int(self.query.get("limit") or DEFAULT_LIMIT), largest, self.server.page_cap)
        # The number of a page, from 1; 0 is the first one, too.
        start = max(int(self.query.get("offset") or 1) - 1, 0) * limit
        marker = self.query.get("marker")
        if marker and self.server.knows_marker:
            start = next((index for index, row in enumerate(rows, 1) if row["id"] == marker), -1)
            if start < 0:
                self._error(400, "Ecs.0005", "The request parameter marker is invalid")
                return
        reply: dict[str, Any] = {"count": count} if count is not None and self.server.counts else {}
        if rows[start : start + limit] or not self.server.omits_empty:
            reply[key] = rows[start : start + limit]
        self._json(200, reply)

    def _rows(self, region: str) -> list[dict[str, Any]]:
        """What the filters leave. Of IDs that are none the API gives rows, too: nothing but the ID and a fault."""
        rows = [row for row in self.tenant.source.rows(region) if self._matches(row)]
        known = {row["id"] for row in rows}
        asked = self.query.get("server_id") or ""
        return rows + [_no_such_server(each) for each in asked.split(",") if each and each not in known]

    def _security_groups(self, rows: list[dict[str, Any]], server_id: str) -> None:
        own = next((row["security_groups"] for row in rows if row["id"] == server_id), [])
        rules = self.server.security_groups
        self._json(200, {"security_groups": [{**group, "rules": rules.get(group["name"], [])} for group in own]})

    def _console(self, rows: list[dict[str, Any]], server_id: str) -> None:
        """The last lines of what an instance has written (ShowServerConsoleOutput), 50 unless it is said."""
        length = int(self.query.get("length") or 50)
        if not any(row["id"] == server_id for row in rows):
            self._error(404, "Ecs.0114", f"Instance[{server_id}] could not be found.")
            return
        lines = self.tenant.source.console(server_id).split("\n")
        self._json(200, {"output": "\n".join(lines if length < 0 else lines[max(len(lines) - length, 0):])})

    def _matches(self, row: dict[str, Any]) -> bool:
        """The filters of the list. Several tags, statuses in lists and the like are not in its documentation."""
        query, fixed = self.query, _fixed_addresses(row)
        ids = query.get("server_id")
        if ids:
            return row["id"] in ids.split(",")
        status, project = query.get("status"), query.get("enterprise_project_id")
        return all(
            (
                not status or row["status"] in WIDENED.get(status, (status,)),
                "tags" not in query or any(query["tags"] in each for each in row["tags"]),
                "not-tags" not in query or not any(each.partition("=")[0] == query["not-tags"] for each in row["tags"]),
                query.get("name", "") in row["name"],
                query.get("flavor") in (None, row["flavor"].get("id")),
                any(query.get("ip", "") in each for each in fixed) or "ip" not in query,
                query.get("ip_eq") in (None, *fixed),
                query.get("reservation_id") in (None, row.get("OS-EXT-SRV-ATTR:reservation_id")),
                project in (None, "all_granted_eps", *_enterprise_projects(row)),
            )
        )

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


def _no_such_server(server_id: str) -> dict[str, Any]:
    message = f"Instance {server_id} could not be found."
    return {"id": server_id, "fault": {"message": message, "code": 404, "created": "2026-11-01T08:00:00Z"}}


def _enterprise_projects(row: dict[str, Any]) -> list[str]:
    """A row says it in a field, or only as a tag of the system."""
    tags = [tag["value"] for tag in row.get("sys_tags", []) if tag["key"] == "_sys_enterprise_project_id"]
    return [row["enterprise_project_id"]] if row.get("enterprise_project_id") else tags


def _without_market(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "market_info"} if "market_info" in row else row


def _fixed_addresses(row: dict[str, Any]) -> list[str]:
    listed = [address for addresses in row["addresses"].values() for address in addresses]
    return [address["addr"] for address in listed if address.get("OS-EXT-IPS:type") == "fixed"]

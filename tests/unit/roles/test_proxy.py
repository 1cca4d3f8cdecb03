# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proxy as role proxy configures it: the real nginx, real TLS and a real login before servers of this test."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import pytest

from tests import nginx
from tests.long import long
from tests.prometheus import programs

REPOSITORY = Path(__file__).resolve().parents[3]
TEMPLATES = REPOSITORY / "roles" / "monitor" / "templates"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's files are closed to who answers")

TOKEN, PASSWORD, OTHER, KEY = "7" * 40, "alices-own-password", "another-password-of-hers", "sk-" + "k" * 20
PLAY = ({
    "hosts": "all", "gather_facts": False, "roles": ["rayops.cluster.ray_defaults"],
    "tasks": [
        {"ansible.builtin.import_role": {"name": "rayops.cluster.head", "tasks_from": "declared"}},
        {"ansible.builtin.import_role": {"name": "rayops.cluster.monitor", "tasks_from": "declared"}},
        {"ansible.builtin.import_role": {"name": "rayops.cluster.proxy", "tasks_from": "configure"}},
        {"ansible.builtin.copy": {"dest": "{{ _proxy_dir }}/flags", "mode": "0600", "content": (
            "{{ [_monitor_prometheus_url, _monitor_alertmanager_url, monitor_bind_address, _proxy_certificates,"
            " _proxy_hosts] | to_json }}")}},
    ],
},)
# A vLLM on two workers, which are addresses of this machine.
MODELS = [{"name": "plain", "repository": "o/r", "engine": "vllm", "replicas": 2},
          {"name": "served", "repository": "o/r", "route_prefix": "/s"}]


# As site does where there shall be none: the files of the head first, and then what they told of.
OFF = [{
    "hosts": "all", "gather_facts": False, "roles": ["rayops.cluster.ray_defaults"],
    "tasks": [{"rayops.cluster.node_files": {"files": ["{{ _proxy_mark }}"]}, "register": "ray_files"}],
}, {
    "hosts": "{{ _proxy_hosts }}", "gather_facts": False, "roles": ["rayops.cluster.ray_defaults"],
    "tasks": [{"ansible.builtin.import_role": {"name": "rayops.cluster.proxy", "tasks_from": "absent"}}],
}]
# A stand-in that knows one unit, whose file has gone, and cannot read units anew while there is a file "broken".
SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")" || exit
case $1 in
  show) case "$*" in *ray-proxy*) cat unit ;; *) echo LoadState=not-found; echo ActiveState=inactive ;; esac ;;
  stop) sed -i s/=active/=inactive/ unit ;;
  disable) sed -i s/=enabled/=disabled/ unit ;;
  daemon-reload) test ! -e broken && sed -i s/NeedDaemonReload=yes/NeedDaemonReload=no/ unit ;;
esac
"""


class Server(BaseHTTPRequestHandler):
    """What stands behind the proxy: says what it was asked, in JSON, and keeps it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        length = len(self.rfile.read(size)) if size else 0
        self.server.asked.append({"path": self.path, "method": self.command, "length": length, "headers": self.headers})
        if self.path.endswith("/ws"):
            self.websocket()
        elif self.path.endswith("/stream"):
            self.stream()
        else:
            self.answer()

    do_POST = do_PUT = do_GET

    def answer(self) -> None:
        said = json.dumps({"port": self.server.server_port, "address": self.server.server_address[0]}).encode()
        self.send_response(200)
        # As the dashboard does at /api/authenticate; and what a hostile model would say.
        self.send_header("Set-Cookie", f"ray-authentication-token={TOKEN}; HttpOnly")
        self.send_header("Authorization", f"Bearer {TOKEN}")
        self.send_header("X-Accel-Redirect", "/api/secret")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def websocket(self) -> None:
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"echo " + self.connection.recv(64))
        self.close_connection = True

    def stream(self) -> None:
        """A token, and a second one when the first was seen."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        self.wfile.flush()
        self.server.seen.wait(10)
        self.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")

    def log_message(self, *_words: object) -> None:
        pass


@contextmanager
def server(address: str, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer((address, port), Server) as found:
        found.asked, found.seen, found.daemon_threads = [], threading.Event(), True
        threading.Thread(target=found.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            found.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Proxy:
    """A host with the role's files, and its nginx."""

    def __init__(self, directory: Path, behind: dict[str, ThreadingHTTPServer], groups: dict[str, list[str]]) -> None:
        self.directory, self.behind, self.groups = directory, behind, groups
        self.files, self.port, self.log = directory / "files", free_port(), directory / "access.log"
        (directory / "run").mkdir()
        self.variables = {
            "_proxy_dir": str(self.files), "_proxy_run_dir": str(directory / "run"), "_proxy_program": nginx.program(),
            "_proxy_access_log": str(self.log), "_proxy_unit_file": str(directory / "ray-proxy.service"),
            # Nothing is noted for a teardown.
            "_proxy_directory": {"path": str(self.files), "state": "directory"},
            "ray_proxy": True, "ray_proxy_port": self.port, "ray_proxy_users": {"alice": PASSWORD},
            "ray_auth_token": TOKEN, "ray_ports": {"dashboard": behind["dashboard"].server_port},
            "monitor_prometheus_port": behind["prometheus"].server_port,
            "monitor_alertmanager_port": behind["alertmanager"].server_port, "monitor_prometheus": True,
            "ray_serve_models": [{**MODELS[0], "port": behind["first"].server_port}, MODELS[1]],
            "ray_serve_port": behind["first"].server_port,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, play: Sequence[dict[str, object]] = PLAY, status: int = 0, **variables: object) -> str:
        """Run the role, and return what Ansible says of it."""
        self.variables.update(variables)
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        addresses = {"second": "127.0.0.2"}
        groups = {name: {"hosts": {each: {**host, "ansible_host": addresses.get(each, "127.0.0.1")} for each in hosts}}
                  for name, hosts in self.groups.items()}
        (self.directory / "hosts.yml").write_text(json.dumps({"all": {"children": groups}}))
        (self.directory / "play.yml").write_text(json.dumps(list(play)))
        (self.directory / "variables.json").write_text(json.dumps(self.variables))
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), self.directory / "play.yml", "-i",
             self.directory / "hosts.yml", "--limit", "here", "-e", f"@{self.directory / 'variables.json'}", "--diff"],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "PATH": f"{self.directory}/bin:{os.environ['PATH']}"},
            cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    @property
    def flags(self) -> list[object]:
        """What role monitor makes of it: Prometheus's options, Alertmanager's, the address, certificates, hosts."""
        return json.loads((self.files / "flags").read_text())

    def commands(self, name: str) -> list[list[str]]:
        """Those of the unit."""
        lines = (self.directory / "ray-proxy.service").read_text().splitlines()
        found = [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]
        return [[word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)] for line in found]

    def start(self) -> None:
        (test,), (run,) = self.commands("ExecStartPre"), self.commands("ExecStart")
        tested = subprocess.run(test, capture_output=True, text=True, check=False)
        assert (tested.returncode, tested.stderr) == (0, "")
        errors = open(self.directory / "error.log", "wb")
        self.process = subprocess.Popen(run, stderr=errors, stdout=errors)
        self.until(self.listens)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def reload(self) -> None:
        test, signalled = self.commands("ExecReload")
        subprocess.run(test, check=True)
        assert signalled == ["/bin/kill", "-HUP", "$MAINPID"]
        assert self.process
        self.process.send_signal(signal.SIGHUP)

    @staticmethod
    def until(condition, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def connect(self, **tls: ssl.TLSVersion) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cadata=self.certificate())
        for name, value in tls.items():
            setattr(context, name, value)
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=15)

    def certificate(self) -> str:
        return (self.files / "server.pem").read_text().partition("-----BEGIN PRIVATE")[0]

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, login: str = "", **headers: str):
        """Status, headers and body. headers: their names with _ for -."""
        connection = self.connect()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if login:
            sent["Authorization"] = basic(login)
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read()
        connection.close()
        return found

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


@pytest.fixture(scope="module")
def behind() -> Iterator[dict[str, ThreadingHTTPServer]]:
    with server("127.0.0.1") as dashboard, server("127.0.0.1") as prometheus, server("127.0.0.1") as alertmanager, \
            server("127.0.0.1") as first, server("127.0.0.2", first.server_port) as second:
        yield {"dashboard": dashboard, "prometheus": prometheus, "alertmanager": alertmanager, "first": first,
               "second": second}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Open to all, as /etc is: who answers is not root."""
    directory = Path(tempfile.mkdtemp(prefix="rayops-proxy-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def proxy(folder, behind) -> Iterator[Proxy]:
    """Of a host that is head and monitor."""
    found = Proxy(folder, behind, {"ray_head": ["here"], "ray_monitor": ["here"], "ray_workers": ["first", "second"]})
    found.said = found.configure()
    try:
        found.start()
        yield found
    finally:
        found.stop()


LOGIN = f"alice:{PASSWORD}"


def test_nobody_gets_in_without_a_login(proxy):
    paths = ["/", "/api/jobs/", "/logs", "/static/x.js", "/prometheus/graph", "/alertmanager/", "/models/plain/metrics",
             "/models/nobody/v1/", "/models/plain/v1/../metrics"]
    tokens = [{}, {"Authorization": f"Bearer {TOKEN}"}, {"Cookie": f"ray-authentication-token={TOKEN}"}]
    logins = [{"login": login} for login in ("alice:wrong", "alice:", "admin:admin", f"bob:{PASSWORD}")]
    before = {name: len(server.asked) for name, server in proxy.behind.items()}
    # Who guesses waits for a second each time: all at once.
    with ThreadPoolExecutor(64) as pool:
        answers = pool.map(lambda each: proxy.ask(each[0], **each[1]), product(paths, tokens + logins))
        for status, headers, _body in answers:
            assert status == 401 and headers["WWW-Authenticate"].startswith("Basic realm=")
    assert {name: len(server.asked) for name, server in proxy.behind.items()} == before


def test_the_dashboard_gets_the_token_and_the_browser_does_not(proxy):
    status, headers, body = proxy.ask("/api/authenticate?x=%2F", "POST", b"{}", LOGIN, Cookie="a=b",
                                      X_Ray_Authorization="x")
    asked = proxy.behind["dashboard"].asked[-1]
    assert status == 200 and json.loads(body)["port"] == proxy.behind["dashboard"].server_port
    assert asked["path"] == "/api/authenticate?x=%2F" and asked["length"] == 2
    assert asked["headers"].get_all("Authorization") == [f"Bearer {TOKEN}"]
    assert [asked["headers"][name] for name in ("Cookie", "X-Ray-Authorization")] == [None, None]
    # What the dashboard says to nginx does not count either.
    assert TOKEN not in str(headers) and headers["Set-Cookie"] is None
    assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "SAMEORIGIN")


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_the_monitors_pages_lie_below_their_names_and_get_no_password(proxy, name):
    assert proxy.ask(f"/{name}/api/v2/x?query=a%2Bb", login=LOGIN)[0] == 200
    asked = proxy.behind[name].asked[-1]
    assert asked["path"] == "/api/v2/x?query=a%2Bb" and asked["headers"]["Authorization"] is None
    status, headers, _body = proxy.ask(f"/{name}", login=LOGIN)
    assert status == 301 and headers["Location"] == f"/{name}/"


def test_a_key_passes_to_its_model_and_a_login_does_not(proxy):
    before = len(proxy.behind["dashboard"].asked)
    path = "/models/served/v1/chat/completions"
    status, headers, body = proxy.ask(path, "POST", b"{}", Authorization=f"Bearer {KEY}")
    asked = proxy.behind["first"].asked[-1]
    assert status == 200 and asked["path"] == "/s/v1/chat/completions"
    assert asked["headers"].get_all("Authorization") == [f"Bearer {KEY}"]
    # It is a job that answers: nothing that it says acts in the name of the pages beside it.
    assert headers["Set-Cookie"] is None and headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert json.loads(body)["port"] == proxy.behind["first"].server_port
    # A browser that has logged in sends its password to all paths.
    assert proxy.ask("/models/served/v1/models", login=LOGIN, Cookie="a=b")[0] == 200
    asked = proxy.behind["first"].asked[-1]
    assert PASSWORD not in str(asked["headers"]) and basic(LOGIN) not in str(asked["headers"])
    assert asked["headers"]["Authorization"] is None and asked["headers"]["Cookie"] is None
    assert len(proxy.behind["dashboard"].asked) == before


def test_replicas_share_the_requests(proxy):
    found = {json.loads(proxy.ask("/models/plain/v1/models")[2])["address"] for _each in range(16)}
    assert found == {"127.0.0.1", "127.0.0.2"}
    assert proxy.behind["second"].asked[-1]["path"] == "/v1/models"


def test_a_page_of_another_site_cannot_act_with_a_login(proxy):
    before = len(proxy.behind["dashboard"].asked)
    here = f"127.0.0.1:{proxy.port}"
    for origin in ("https://evil.example", f"http://{here}", f"https://{here}.evil.example", "null",
                   f"https://{here} x"):
        assert proxy.ask("/api/jobs/", "POST", b"{}", LOGIN, Origin=origin)[0] == 403
    assert len(proxy.behind["dashboard"].asked) == before
    assert proxy.ask("/api/jobs/", "POST", b"{}", LOGIN, Origin=f"https://{here}")[0] == 200


@pytest.mark.parametrize(("site", "what", "path", "status"), [
    ("cross-site", "image", "/worker/cpu_profile?pid=1", 403), ("cross-site", "iframe", "/", 403),
    ("same-site", "empty", "/api/jobs/", 403), ("cross-site", "document", "/memory_profile?pid=1", 403),
    ("cross-site", "document", "//memory_profile?pid=1", 403),
    # A link in an alert, a bookmark, and the pages themselves.
    ("cross-site", "document", "/", 200), ("cross-site", "document", "/alertmanager/?receiver=x", 200),
    ("none", "document", "/api/version", 200), ("same-origin", "empty", "/worker/cpu_profile?pid=1", 200),
])
def test_a_page_of_another_site_starts_nothing_by_what_has_no_origin(proxy, site, what, path, status):
    assert proxy.ask(path, login=LOGIN, Sec_Fetch_Site=site, Sec_Fetch_Dest=what)[0] == status


@pytest.mark.parametrize(("path", "name"), [("/models/served/v1/x", "first"), ("/api/x", "dashboard")])
def test_no_connection_becomes_anything_but_a_websocket(proxy, path, name):
    assert proxy.ask(path, login=LOGIN, Upgrade="h2c", Connection="Upgrade")[0] == 200
    headers = proxy.behind[name].asked[-1]["headers"]
    assert (headers["Upgrade"], headers["Connection"]) == (None, None)


def test_a_websocket_passes(proxy):
    connection = proxy.connect()
    connection.connect()
    with connection.sock as stream:
        stream.sendall((f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nUpgrade: websocket\r\n"
                        f"Connection: Upgrade\r\nAuthorization: {basic(LOGIN)}\r\n\r\n").encode())
        assert b" 101 " in stream.recv(1000)
        stream.sendall(b"hello")
        assert stream.recv(64) == b"echo hello"


def test_a_package_of_a_job_passes(proxy):
    body = b"x" * (100 << 20)
    assert proxy.ask("/api/packages/gcs/_ray_pkg_1.zip", "PUT", body, LOGIN)[0] == 200
    assert proxy.behind["dashboard"].asked[-1]["length"] == len(body)
    assert not [path for path in (proxy.directory / "run").rglob("*") if path.is_file() and path.name != "nginx.pid"]


@pytest.mark.parametrize(("path", "name"), [("/models/served/v1/stream", "first"), ("/api/jobs/stream", "dashboard")])
def test_what_comes_piece_by_piece_passes_so(proxy, path, name):
    connection = proxy.connect()
    connection.request("GET", path, headers={"Authorization": basic(LOGIN)})
    answer = connection.getresponse()
    assert answer.read(5) == b"first"
    proxy.behind[name].seen.set()
    assert answer.read() == b"second"
    connection.close()


def test_only_tls_that_is_still_good(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port)) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 400 " in plain.recv(100)
    for name in ("TLSv1_2", "TLSv1_3"):
        version = getattr(ssl.TLSVersion, name)
        connection = proxy.connect(minimum_version=version, maximum_version=version)
        connection.connect()
        assert connection.sock.version() == name.replace("_", ".")
        connection.close()
    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}", "-tls1_1", "-cipher",
                          "ALL:@SECLEVEL=0"], input=b"", capture_output=True, check=False, timeout=20)
    assert old.returncode and b"alert protocol version" in old.stderr


def test_secrets_are_closed_to_who_answers_and_stand_in_no_log_and_no_diff(proxy):
    modes = {path.name: (oct(path.stat().st_mode & 0o777), path.stat().st_uid, path.group())
             for path in proxy.files.iterdir()}
    assert modes["token.conf"] == modes["server.pem"] == ("0o600", 0, "root")
    assert modes["users"] == ("0o640", 0, "www-data") and "password" not in modes
    # Those who answer are not root.
    assert proxy.process
    children = subprocess.run(["ps", "-o", "user=", "--ppid", str(proxy.process.pid)], capture_output=True, text=True,
                              check=True)
    assert set(children.stdout.split()) == {"www-data"}
    proxy.ask(f"/api/jobs/?key={KEY}", login=LOGIN)
    proxy.ask("/models/served/v1/models", Authorization=f"Bearer {KEY}")
    # nginx would tell of what is refused with all of the request.
    assert proxy.ask(f"/api/?key={KEY}", login="alice:wrong", Referer=f"https://x/?{KEY}")[0] == 401
    # It is written when the answer has gone.
    proxy.until(lambda: '127.0.0.1 alice "GET /api/" 401' in proxy.log.read_text())
    log = proxy.log.read_text()
    assert '127.0.0.1 alice "GET /api/jobs/" 200' in log
    written = log + (proxy.directory / "error.log").read_text() + proxy.said
    hashes = (proxy.files / "users").read_text().partition(":")[2].strip()
    key = (proxy.files / "server.pem").read_text().partition("-----BEGIN PRIVATE KEY-----\n")[2][:40]
    assert key and [secret for secret in (TOKEN, PASSWORD, basic(LOGIN), KEY, hashes, key) if secret in written] == []
    readable = [path for path in [*proxy.files.iterdir(), proxy.directory / "ray-proxy.service"]
                if path.stat().st_mode & 0o044]
    assert [path for path in readable if re.search(f"{TOKEN}|{PASSWORD}", path.read_text())] == []


def test_prometheus_leads_to_itself_below_the_proxys_address(proxy, tmp_path):
    """The real one, with the flags that role monitor gives it."""
    flags = proxy.flags[0].split()
    assert flags[0] == f"--web.external-url=https://127.0.0.1:{proxy.port}/prometheus/"
    (tmp_path / "prometheus.yml").write_text("{}")
    shutil.copytree(REPOSITORY / "roles" / "monitor" / "files" / "consoles", tmp_path / "consoles")
    port = proxy.behind["prometheus"].server_port
    proxy.behind["prometheus"].shutdown()
    proxy.behind["prometheus"].server_close()
    process = subprocess.Popen(
        [programs()["prometheus"], "--config.file=prometheus.yml", "--storage.tsdb.path=data", *flags,
         f"--web.listen-address=127.0.0.1:{port}", "--web.console.templates=consoles",
         "--web.console.libraries=consoles"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        proxy.until(lambda: proxy.ask("/prometheus/-/ready", login=LOGIN)[0] == 200, 20)
        status, headers, _body = proxy.ask("/prometheus/", login=LOGIN)
        # Debian's leads to its classic pages.
        assert status == 302 and re.fullmatch("/prometheus/(classic/)?graph", headers["Location"])
        # The links of alerts lead there. Debian's goes on from it.
        status, headers, _body = proxy.ask("/prometheus/graph?g0.expr=up", login=LOGIN)
        assert status == 200 or headers["Location"].startswith("/prometheus/graph/")
        assert json.loads(proxy.ask("/prometheus/api/v1/query?query=1", login=LOGIN)[2])["status"] == "success"
        page = proxy.ask("/prometheus/consoles/ray.html", login=LOGIN)[2].decode()
        assert 'href="/prometheus/alerts"' in page
    finally:
        process.terminate()
        process.wait(10)


def test_again_nothing_changes_and_another_password_is_taken_over(proxy):
    assert re.search(r"here .* changed=0 ", proxy.configure())
    before = (proxy.files / "users").read_text()
    said = proxy.configure(ray_proxy_users={"alice": OTHER}, ray_auth_token="8" * 40)
    assert re.search(r"here .* changed=2 ", said) and (proxy.files / "users").read_text() != before
    assert [secret for secret in (OTHER, "8" * 40) if secret in said] == []
    proxy.reload()
    proxy.until(lambda: proxy.ask("/", login=LOGIN)[0] == 401)
    assert proxy.ask("/", login=f"alice:{OTHER}")[0] == 200
    assert proxy.behind["dashboard"].asked[-1]["headers"]["Authorization"] == "Bearer " + "8" * 40


def test_what_nginx_cannot_read_is_not_taken_over(proxy):
    (proxy.files / "nginx.conf").write_text("nonsense;")
    test, _signalled = proxy.commands("ExecReload")
    assert subprocess.run(test, capture_output=True, check=False).returncode != 0


@long
def test_without_users_a_password_is_made_once_on_the_head(folder, behind):
    """Of a host that is the head alone, and has no models."""
    directory = folder / "made"
    directory.mkdir()
    made = Proxy(directory, behind, {"ray_head": ["here"], "ray_monitor": ["other"], "ray_workers": ["first"]})
    said = made.configure(ray_proxy_users={}, ray_serve_models=[])
    password = (made.files / "password").read_text().strip()
    assert re.fullmatch(r"[A-Za-z0-9]{24}", password) and password not in said
    assert (made.files / "password").stat().st_mode & 0o777 == 0o600
    assert (made.files / "users").read_text().startswith("admin:$6$")
    assert re.search(r"here .* changed=0 ", made.configure())
    assert (made.files / "password").read_text().strip() == password
    config = (made.files / "nginx.conf").read_text()
    assert re.findall(r"location (\S+) \{", config) == ["/"] and "upstream ray_model_" not in config


def test_a_monitor_alone_has_no_token_and_shows_the_cluster_at_a_glance(folder, behind):
    directory = folder / "monitor"
    directory.mkdir()
    alone = Proxy(directory, behind, {"ray_head": ["other"], "ray_monitor": ["here"], "ray_workers": ["first"]})
    alone.configure()
    assert {path.name for path in alone.files.iterdir()} == {"flags", "nginx.conf", "server.pem", "users"}
    alone.start()
    try:
        status, headers, _body = alone.ask("/")
        assert status == 302 and headers["Location"] == "/prometheus/consoles/ray.html"
        assert [alone.ask(path, login=LOGIN)[0] for path in ("/api/jobs/", "/models/served/v1/models")] == [404, 404]
    finally:
        alone.stop()


@long
def test_the_monitor_goes_by_it_and_without_it_is_as_before(folder, behind):
    directory = folder / "off"
    directory.mkdir()
    host = Proxy(directory, behind, {"ray_head": ["other"], "ray_monitor": ["here"], "ray_workers": ["first"]})
    host.files.mkdir()
    play = [{**PLAY[0], "tasks": [*PLAY[0]["tasks"][:2], PLAY[0]["tasks"][-1]]}]
    name = {"ray_proxy_name": "ray.example.com", "ray_node_ip_address": "10.0.0.9", "ray_proxy_port": 443,
            "monitor_alertmanager_port": 9093}
    # As a text, which is what -e ray_proxy=false gives.
    host.configure(play, ray_proxy="false", **name)
    assert host.flags == ["", " --web.external-url=http://10.0.0.9:9093/", "10.0.0.9", [], []]
    host.configure(play, ray_proxy="true")
    assert host.flags == [
        " --web.external-url=https://ray.example.com/prometheus/ --web.route-prefix=/",
        " --web.external-url=https://ray.example.com/alertmanager/ --web.route-prefix=/", "127.0.0.1",
        ["10.0.0.9:443"], ["other", "here"],
    ]
    # Without Prometheus here the site's own asks the exporter.
    host.configure(play, monitor_prometheus="false")
    assert host.flags[2] == "10.0.0.9"
    # One that listens on all addresses is asked at the node's.
    host.configure(play, ray_proxy_bind_address="0.0.0.0")
    assert host.flags[3] == ["10.0.0.9:443"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_closed_and_systemd_understands_every_line(proxy):
    unit = str(proxy.directory / "ray-proxy.service")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "ray-proxy.service" in line] == []
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=30", unit],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not (REPOSITORY / "roles/ray/tasks/tls.yml").exists(), reason="needs the cluster's authority")
@long
def test_a_certificate_of_the_clusters_authority(folder, behind):
    directory = folder / "tls"
    directory.mkdir()
    host = Proxy(directory, behind, {"ray_head": ["here"], "ray_monitor": ["other"], "ray_workers": ["first"]})
    make = {"ansible.builtin.import_role": {"name": "rayops.cluster.ray", "tasks_from": "authority"}}
    play = [{**PLAY[0], "tasks": [make, *PLAY[0]["tasks"]]}]
    host.configure(ray_tls=False)
    assert "server.pem" in {path.name for path in host.files.iterdir()}
    host.configure(play, ray_tls=True, ray_tls_dir=str(directory / "authority"))
    assert {path.name for path in host.files.iterdir()} == {"flags", "nginx.conf", "tls", "token.conf", "users"}
    key = host.files / "tls" / "node.key"
    assert (key.stat().st_mode & 0o777, key.group()) == (0o640, "root")
    assert re.search(r"here .* changed=0 ", host.configure(play))
    host.start()
    try:
        # Who knows the authority needs no exception.
        context = ssl.create_default_context(cafile=str(directory / "authority" / "ca.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", host.port, context=context, timeout=15)
        connection.request("GET", "/", headers={"Authorization": basic(LOGIN)})
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        host.stop()


@long
def test_a_removal_that_was_interrupted_is_finished_by_the_next_run(folder, behind):
    directory, programs_of = folder / "gone", folder / "gone" / "bin"
    programs_of.mkdir(parents=True)
    host = Proxy(directory, behind, {"ray_head": ["here"], "ray_workers": ["first"]})
    host.configure()
    (host.files / "flags").unlink()
    (programs_of / "systemctl").write_text(SYSTEMCTL)
    (programs_of / "systemctl").chmod(0o755)
    (programs_of / "unit").write_text("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=0\n"
                                      "NeedDaemonReload=yes\n")
    (programs_of / "broken").touch()
    host.configure(OFF, status=2, ray_proxy=False)
    # It is stopped, and what it had is gone, but for what tells a later run.
    assert "ActiveState=inactive\nUnitFileState=disabled" in (programs_of / "unit").read_text()
    assert [path.name for path in host.files.iterdir()] == ["nginx.conf"]
    assert not (directory / "ray-proxy.service").exists()
    (programs_of / "broken").unlink()
    assert "Remove what made it ours" in host.configure(OFF)
    assert not host.files.exists() and "NeedDaemonReload=no" in (programs_of / "unit").read_text()
    # Nobody is asked for what is not there.
    again = host.configure(OFF)
    assert "no hosts matched" in again and re.search(r"here .* changed=0 ", again)

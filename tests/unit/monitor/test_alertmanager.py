# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rendered configuration in a real Alertmanager, from its API to webhook, mail server and robots."""

from __future__ import annotations

import base64
import email
import email.policy
import http.client
import json
import os
import re
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus import CACHE, programs
from tests.unit.monitor.robots import SECRET, RelayProcess, Robot, receiver, wait_for

# What the role computes from its variables.
COMPUTED = ["_monitor_alerts"]
TEMPLATES = Path(__file__).resolve().parents[3] / "roles" / "monitor" / "templates"
HOSTILE = "p'a\"s\\s: #%&*!|>@`\t{{ x }}{% y %}${HOME} 密码\U0001f511\x7f\u2028\r\n- true"


class Unsafe(str):
    """A value that Ansible must not take for a template."""


class Dumper(yaml.SafeDumper):
    pass


Dumper.add_representer(Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value), style='"'))


def unsafe(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unsafe(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [unsafe(inner) for inner in value]
    return Unsafe(value) if isinstance(value, str) else value


def render(cases: dict[Path, dict[str, Any]]) -> None:
    """Both files into each directory, as the role writes them, from the variables beside it."""
    computed = yaml.safe_load((TEMPLATES.parent / "vars" / "main" / "alerts.yml").read_text(encoding="utf-8"))
    defaults = {
        "monitor_relay_port": 6387, "monitor_receivers": [], "monitor_smtp": {},
        "monitor_alert_timing": {"group_wait": "0s", "group_interval": "1s"},
    }
    tasks = [
        {"ansible.builtin.copy": {
            "content": "{{ lookup('ansible.builtin.template', '%s') }}" % (TEMPLATES / f"{name}.j2"),
            "dest": str(directory / name),
            "mode": "0600",
        }, "vars": {**unsafe({**defaults, **variables}), **{name: computed[name] for name in COMPUTED}}}
        for directory, variables in cases.items() for name in ("alertmanager.yml", "alert-relay.json")
    ]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks,
            "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}}
    for directory in cases:
        directory.mkdir(exist_ok=True)
    path = next(iter(cases)) / "play.yml"
    path.write_text(yaml.dump([play], Dumper=Dumper, allow_unicode=True), encoding="utf-8")
    command = ["ansible-playbook", "--inventory", "localhost,", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check(directory: Path) -> None:
    command = [programs()["amtool"], "check-config", str(directory / "alertmanager.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Hook:
    """A webhook that keeps the path and the JSON of what is posted."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posts.append((self.path, json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class MailServer(socketserver.ThreadingTCPServer):
    """As much of SMTP as a client with AUTH PLAIN needs; it keeps the credentials and the messages."""

    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], email.message.EmailMessage]] = []
        super().__init__(("127.0.0.1", 0), MailHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class MailHandler(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.reply("220 mail.example.com")
        credentials, recipients = "", []
        for line in self.rfile:
            verb, _space, rest = line.decode().strip().partition(" ")
            if verb == "EHLO":
                self.reply("250-mail.example.com\r\n250 AUTH PLAIN")
            elif verb == "AUTH":
                credentials = base64.b64decode(rest.removeprefix("PLAIN ")).decode()
                self.reply("235 welcome")
            elif verb == "RCPT":
                recipients.append(re.search(r"<(.*)>", rest)[1])
                self.reply("250 OK")
            elif verb == "DATA":
                self.reply("354 go on")
                data = b"".join(iter(self.rfile.readline, b".\r\n"))
                message = email.message_from_bytes(data, policy=email.policy.default)
                self.server.mails.append((credentials, recipients, message))
                self.reply("250 taken")
            elif verb == "QUIT":
                self.reply("221 bye")
                return
            else:
                self.reply("250 OK")

    def reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Alertmanager:
    """The real one, with the configuration in a directory."""

    def __init__(self, directory: Path) -> None:
        program, self.port = programs()["alertmanager"], free_port()
        command = [
            program, f"--config.file={directory}/alertmanager.yml", f"--storage.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=",
        ]
        if Path(program).is_relative_to(CACHE):
            # Debian's looks for its own templates in /usr/share, where they are not when it is only unpacked.
            mount = 'mount --bind "$0" /usr/share && exec "$@"'
            command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, f"{CACHE}/usr/share", *command]
        self.log = directory / "alertmanager.log"
        with open(self.log, "w", encoding="utf-8") as log:
            proxies = {name: "" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, **proxies})
        wait_for(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.request("GET", "/-/ready")[0] == 200
        except OSError:
            return False

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def post(self, *labels: dict[str, str], resolved: bool = False) -> None:
        now = datetime.now(timezone.utc)
        ends = now if resolved else now + timedelta(hours=1)
        alerts = [
            {"labels": {"ray_io_cluster": "demo", **each}, "startsAt": (now - timedelta(minutes=5)).isoformat(),
             "endsAt": ends.isoformat(), "annotations": {"summary": f"{each['alertname']} 报警 <b>"}}
            for each in labels
        ]
        assert self.request("POST", "/api/v2/alerts", alerts)[0] == 200

    def inhibited(self) -> dict[str, bool]:
        """Whether each alert is silenced by another, by its labels."""
        order = ("ray_io_cluster", "alertname", "pool", "node", "model", "severity")
        return {
            " ".join(alert["labels"][name] for name in order if name in alert["labels"]):
                bool(alert["status"]["inhibitedBy"])
            for alert in json.loads(self.request("GET", "/api/v2/alerts")[1])
        }

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def alertmanager() -> Iterator[Callable[[Path], Alertmanager]]:
    started = []

    def start(directory: Path) -> Alertmanager:
        started.append(Alertmanager(directory))
        return started[-1]

    yield start
    for process in started:
        process.close()


class Outside:
    """Everyone who is told: two webhooks, a mail server, and the robots."""

    def __init__(self) -> None:
        self.hook, self.info, self.mail = Hook(), Hook(), MailServer()
        secrets = {"wecom": "", "dingtalk": SECRET, "feishu": SECRET}
        self.robots = {kind: Robot(kind, secret) for kind, secret in secrets.items()}

    def variables(self) -> dict[str, Any]:
        url = f"{self.hook.url}/a'b\"c%20密?token={HOSTILE[:8]}&x=1"
        return {
            "monitor_relay_port": free_port(),
            "monitor_receivers": [
                {"name": "hook", "type": "webhook", "url": url, "severities": ["critical"]},
                {"name": "info", "type": "webhook", "url": self.info.url, "severities": ["info"],
                 "send_resolved": False},
                {"name": "mail", "type": "email", "to": ["a@example.com", "b@example.com"]},
                *({"name": f"robot_{kind}", **receiver(robot)} for kind, robot in self.robots.items()),
            ],
            "monitor_smtp": {"smarthost": f"127.0.0.1:{self.mail.server_address[1]}", "from": "ray@example.com",
                             "username": "ray", "password": HOSTILE, "require_tls": False},
        }

    def told(self, count: int) -> bool:
        """Whether each of them, without info, has so many notifications."""
        robots = [robot.accepted for robot in self.robots.values()]
        return all(len(got) == count for got in (self.hook.posts, self.mail.mails, *robots))

    def close(self) -> None:
        robots = [robot.server for robot in self.robots.values()]
        for server in (self.hook.server, self.info.server, self.mail, *robots):
            server.shutdown()
            server.server_close()


@pytest.fixture
def outside() -> Iterator[Outside]:
    everyone = Outside()
    yield everyone
    everyone.close()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Callable[[], None]]:
    started = []

    def start() -> None:
        started.append(RelayProcess(tmp_path / "alert-relay.json"))

    yield start
    for process in started:
        process.close()


def test_an_alert_reaches_everyone_and_its_end_too(tmp_path, outside, relay, alertmanager):
    render({tmp_path: outside.variables()})
    check(tmp_path)
    relay()
    manager = alertmanager(tmp_path)
    # What the relay could not hand on comes again.
    outside.robots["feishu"].failures.append((200, {}, {"code": 11232, "msg": "frequency limited"}))
    for state, count in (("firing", 1), ("resolved", 2)):
        lost = {"alertname": "RayNodeLost", "node": "worker-1", "severity": "critical"}
        manager.post(lost, {"alertname": "RayGPUsIdle", "severity": "info"}, resolved=state == "resolved")
        wait_for(lambda count=count: outside.told(count), 20)
        for robot in outside.robots.values():
            assert f"1 {state}" in robot.text() and "RayNodeLost 报警" in robot.text()
        path, body = outside.hook.posts[-1]
        assert path == "/a%27b%22c%20%E5%AF%86?token=p'a\"s\\s:&x=1"
        assert (body["status"], body["receiver"]) == (state, "hook")
        credentials, recipients, message = outside.mail.mails[-1]
        assert credentials == f"\0ray\0{HOSTILE}" and recipients == ["a@example.com", "b@example.com"]
        assert state.upper() in message["Subject"]
        assert "RayNodeLost 报警" in message.get_body(("html",)).get_content()
    assert len(outside.robots["feishu"].calls) == 3
    assert [body["status"] for _path, body in outside.info.posts] == ["firing"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories by what they are for."""
    root = tmp_path_factory.mktemp("rendered")
    mail = [{"name": "mail", "type": "email", "to": "a@example.com"}]
    smtp = {"from": "ray@example.com"}
    render({
        root / "nobody": {},
        root / "tls": {"monitor_receivers": mail, "monitor_smtp": {**smtp, "smarthost": "smtp.example.com:465"},
                       "monitor_alert_timing": {"repeat_interval": "1h"}},
        root / "starttls": {"monitor_receivers": mail, "monitor_smtp": {**smtp, "smarthost": "smtp.example.com:587"}},
    })
    return root


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_one_cause_is_told_once(rendered, alertmanager):
    manager = alertmanager(rendered / "nobody")
    manager.post(
        {"alertname": "RayHeadDown", "severity": "critical"},
        {"alertname": "RayNodeLost", "node": "worker-1", "pool": "gpu", "severity": "critical"},
        {"alertname": "RayGCSStorageFailing", "severity": "critical"},
        {"alertname": "RayDiskNearlyFull", "node": "worker-1", "severity": "warning"},
        {"alertname": "RayDiskNearlyFull", "node": "worker-1", "severity": "critical"},
        {"alertname": "RayDiskNearlyFull", "node": "worker-2", "severity": "warning"},
        {"alertname": "RayCertificateExpiring", "severity": "warning"},
        {"alertname": "RayNodeLost", "pool": "gpu", "severity": "critical", "ray_io_cluster": "other"},
        {"alertname": "RayPoolBelowDeclared", "pool": "gpu", "severity": "warning", "ray_io_cluster": "other"},
        {"alertname": "RayPoolBelowDeclared", "pool": "cpu", "severity": "warning", "ray_io_cluster": "other"},
    )
    assert wait_for(manager.inhibited) == {
        "demo RayHeadDown critical": False,
        "demo RayNodeLost gpu worker-1 critical": True,
        "demo RayGCSStorageFailing critical": False,
        "demo RayDiskNearlyFull worker-1 warning": True,
        "demo RayDiskNearlyFull worker-1 critical": False,
        "demo RayDiskNearlyFull worker-2 warning": False,
        "demo RayCertificateExpiring warning": False,
        "other RayNodeLost gpu critical": False,
        "other RayPoolBelowDeclared gpu warning": True,
        "other RayPoolBelowDeclared cpu warning": False,
    }


def test_a_model_that_is_silent_is_told_once(rendered, alertmanager):
    manager = alertmanager(rendered / "nobody")
    manager.post(
        {"alertname": "RayHeadDown", "severity": "critical", "ray_io_cluster": "other"},
        {"alertname": "RayPlacementGroupUnplaceable", "severity": "warning", "ray_io_cluster": "other"},
        # It goes on without its head.
        {"alertname": "RayModelNotAnswering", "model": "r1", "severity": "critical", "ray_io_cluster": "other"},
        {"alertname": "RayModelNotAnswering", "model": "r1", "severity": "critical"},
        {"alertname": "RayModelReplicasBelowDeclared", "model": "r1", "severity": "warning"},
        {"alertname": "RayModelQueueGrowing", "model": "r1", "severity": "warning"},
        {"alertname": "RayModelQueueGrowing", "model": "v3", "severity": "warning"},
        # The reason why it is silent, perhaps.
        {"alertname": "RayPlacementGroupUnplaceable", "severity": "warning"},
    )
    assert wait_for(manager.inhibited) == {
        "other RayHeadDown critical": False,
        "other RayPlacementGroupUnplaceable warning": True,
        "other RayModelNotAnswering r1 critical": False,
        "demo RayModelNotAnswering r1 critical": False,
        "demo RayModelReplicasBelowDeclared r1 warning": True,
        "demo RayModelQueueGrowing r1 warning": True,
        "demo RayModelQueueGrowing v3 warning": False,
        "demo RayPlacementGroupUnplaceable warning": False,
    }


def test_each_alert_of_the_inhibition_has_a_rule(rendered):
    """A rule that is renamed must not fall out of the inhibition in silence."""
    rules = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES.parent.glob("files/rules/*.yml"))
    used = re.findall(r"Ray[A-Z]\w+", str(read(rendered / "nobody" / "alertmanager.yml")["inhibit_rules"]))
    assert "RayHeadDown" in used and set(used) <= set(re.findall(r"alert: (\w+)", rules))


def test_with_port_465_no_starttls_is_asked_for(rendered):
    """Alertmanager speaks TLS there from the first byte; if STARTTLS is required too, it refuses the server."""
    check(rendered / "tls")
    found = read(rendered / "tls" / "alertmanager.yml")
    assert found["global"] == {"smtp_smarthost": "smtp.example.com:465", "smtp_from": "ray@example.com",
                               "smtp_require_tls": False}
    times = ("group_wait", "group_interval", "repeat_interval")
    assert [found["route"][name] for name in times] == ["30s", "5m", "1h"]
    assert read(rendered / "starttls" / "alertmanager.yml")["global"]["smtp_require_tls"] is True


def test_no_receiver_is_no_error(rendered):
    check(rendered / "nobody")
    assert read(rendered / "nobody" / "alertmanager.yml")["receivers"] == [{"name": "(nobody)"}]
    relay = json.loads((rendered / "nobody" / "alert-relay.json").read_text(encoding="utf-8"))
    assert set(relay) == {"listen", "token", "receivers"}
    assert (relay["listen"], relay["receivers"]) == ({"address": "127.0.0.1", "port": 6387}, {})


def test_the_relay_s_token_is_of_the_robots_alone(tmp_path):
    """Only who knows the robots' addresses and secrets can work it out; and it is new when one of them is."""
    robot = {"name": "a", "type": "feishu", "url": "https://x.example/hook/1", "secret": "s"}
    others = [{"name": "hook", "type": "webhook", "url": "http://hook.example/"}]
    cases = {
        "plain": [robot], "again": [robot, *others], "secret": [{**robot, "secret": "t"}],
        "url": [{**robot, "url": "https://x.example/hook/2"}],
    }
    render({tmp_path / name: {"monitor_receivers": receivers} for name, receivers in cases.items()})
    tokens = {name: json.loads((tmp_path / name / "alert-relay.json").read_text())["token"] for name in cases}
    assert tokens["plain"] == tokens["again"] and len(set(tokens.values())) == 3
    for name in cases:
        check(tmp_path / name)
        receivers = read(tmp_path / name / "alertmanager.yml")["receivers"]
        shown = {each["name"]: each["webhook_configs"][0].get("http_config") for each in receivers[1:]}
        assert shown.pop("a") == {"authorization": {"type": "Bearer", "credentials": tokens[name]}}
        # Nobody else's webhook learns it.
        assert set(shown.values()) <= {None}

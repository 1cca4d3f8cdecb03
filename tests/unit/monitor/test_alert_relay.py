# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay as a process, against servers that accept and refuse what the robots are documented to."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.monitor.robots import HANGING, KEY, PROGRAM, SECRET, TOKEN, RelayProcess, Robot, receiver, wait_for

KINDS = ["wecom", "dingtalk", "feishu"]


def alert(status: str = "firing", severity: str = "critical", node: str = "worker-1", **more: str) -> dict[str, Any]:
    """As Alertmanager posts it; more: annotations."""
    return {
        "status": status,
        "labels": {"alertname": "RayNodeLost", "ray_io_cluster": "demo", "severity": severity, "node": node},
        "annotations": {
            "summary": f"Node {node} is lost",
            "description": "它已经 5 分钟没有心跳。",
            "runbook_url": "https://example.com/alerts.md#raynodelost",
            **more,
        },
        "startsAt": "2026-11-23T01:41:02.123456789Z",
        "endsAt": "2026-11-23T02:00:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "fingerprint": "e5c8",
    }


@pytest.fixture
def robot() -> Iterator[Callable[..., Robot]]:
    robots = []

    def make(*arguments: Any, **options: Any) -> Robot:
        robots.append(Robot(*arguments, **options))
        return robots[-1]

    yield make
    for made in robots:
        made.close()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Callable[..., RelayProcess]]:
    processes = []

    def start(receivers: dict[str, dict[str, str]], **environment: str) -> RelayProcess:
        config = {"listen": {"address": "127.0.0.1", "port": 0}, "token": TOKEN, "receivers": receivers}
        (tmp_path / "relay.json").write_text(json.dumps(config), encoding="utf-8")
        processes.append(RelayProcess(tmp_path / "relay.json", **environment))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_says_what_a_person_needs(robot, relay, kind):
    stub = robot(kind, SECRET if kind != "wecom" else "")
    process = relay({"ops": receiver(stub)}, TZ="Asia/Shanghai")

    answer = process.notify("ops", alert(status="resolved", node="worker-2"), alert(node="工作节点-1"))

    assert answer == (200, "sent\n")
    text = stub.text()
    assert "Ray demo: RayNodeLost, 1 firing, 1 resolved" in text
    firing, resolved = re.split(r"(?=[*#>\" ]*RESOLVED)", text, maxsplit=1)
    for words in ("FIRING critical", "Node 工作节点-1 is lost", "它已经 5 分钟没有心跳。", "node: 工作节点-1",
                  "since 2026-11-23 09:41:02 CST", "[Runbook](https://example.com/alerts.md#raynodelost)"):
        assert words in firing
    assert "from 2026-11-23 09:41:02 CST to 2026-11-23 10:00:00 CST" in resolved
    # DingTalk joins lines that no empty line parts.
    assert kind != "dingtalk" or not re.search(r"[^\n]\n[^\n]", stub.accepted[0]["markdown"]["text"])


@pytest.mark.parametrize("alerts, colour", [
    ([alert(severity="warning"), alert(severity="critical")], "red"),
    ([alert(severity="warning"), alert("resolved")], "orange"),
    ([alert(severity="info")], "blue"),
    ([alert("resolved")], "green"),
])
def test_the_header_of_feishu_has_the_colour_of_the_worst(robot, relay, alerts, colour):
    stub = robot("feishu")
    assert relay({"ops": receiver(stub)}).notify("ops", *alerts)[0] == 200
    assert stub.accepted[0]["card"]["header"]["template"] == colour


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_cut_between_alerts(robot, relay, kind):
    stub = robot(kind, SECRET if kind != "wecom" else "")
    process = relay({"ops": receiver(stub)})
    many = [alert(node=f"节点-{number}", description="说明" * 60) for number in range(150)]

    assert process.notify("ops", *many, truncatedAlerts=7) == (200, "sent\n")
    shown, rest = stub.text().count("FIRING"), int(re.search(r"and (\d+) more$", stub.text())[1])
    assert shown + rest == 157 and shown >= 5
    assert stub.text().count("[Runbook](https://example.com/alerts.md#raynodelost)") == shown

    # One that is too long by itself is shortened, and shown.
    huge = alert(summary="概" * 5000, description="\U0001f600\n" * 9000, node="值" * 9000)
    assert process.notify("ops", huge) == (200, "sent\n")
    assert stub.text().count("FIRING") == 1 and "[Runbook]" in stub.text()


@pytest.mark.parametrize("kind", KINDS)
def test_text_from_the_cluster_stays_text(robot, relay, kind):
    stub = robot(kind)
    hostile = '<at id=all></at> <@all> <font color="info"> [click](https://evil.example) \n# big "quotes" {{ x }} 1 < 2'
    evil = alert(summary=hostile, description=hostile, runbook_url="javascript:alert(1)", node=hostile)
    assert relay({"ops": receiver(stub)}).notify("ops", evil)[0] == 200
    text = stub.text()
    assert not re.search(r"<(at|@|/at)", text) and "](https://evil" not in text and "javascript" not in text
    assert "\n# big" not in text and '"quotes" {{ x }} 1 < 2' in text


FAILURES = [
    ((200, {}, {"errcode": 130101, "errmsg": f"send too fast, exceed 20 times per minute {KEY}\n"}), "send too fast"),
    ((200, {}, {"code": 19021, "msg": f"sign match fail {SECRET}"}), "19021"),
    ((200, {}, b"<html>"), "no JSON"),
    ((200, {}, [0]), "no JSON"),
    ((200, {}, {"ok": True}), "None"),
    ((400, {}, {"code": 9499, "msg": "Bad Request"}), "HTTP 400, code 9499: Bad Request"),
    ((429, {}, b""), "429"),
    ((500, {}, {"errcode": 0}), "HTTP 500"),
    ((302, {"Location": "/elsewhere"}, b""), "HTTP 302"),
    ((200, {"X-Long": "x" * 70000}, b""), "cannot be reached"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_robot_that_fails_is_told_without_its_secrets(robot, relay, kind):
    stub = robot(kind, SECRET if kind != "wecom" else "")
    process = relay({"ops": receiver(stub)})
    for number, (stub.answer, reason) in enumerate(FAILURES, 1):
        status, text = process.notify("ops", alert())
        assert (status, len(stub.calls)) == (502, number), reason
        assert reason in text and text.count("\n") == 1
        assert text in process.log.read_text()
        for told in (text, process.log.read_text()):
            assert KEY not in told and not (stub.secret and stub.secret in told)
    # The next attempt of Alertmanager succeeds.
    stub.answer = None
    assert process.notify("ops", alert()) == (200, "sent\n")


def test_a_wrong_secret_is_refused_by_the_robot(robot, relay):
    dingtalk, feishu = robot("dingtalk", "right"), robot("feishu", "right")
    process = relay({stub.kind: {**receiver(stub), "secret": "wrong"} for stub in (dingtalk, feishu)})
    assert "310000: sign not match" in process.notify("dingtalk", alert())[1]
    assert "19021" in process.notify("feishu", alert())[1]


def test_a_robot_that_nobody_serves_or_that_hangs(robot, relay):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}/{KEY}"
        stub = robot("wecom")
        stub.answer = HANGING
        process = relay({"gone": {"type": "feishu", "url": nowhere}, "slow": receiver(stub)})
        assert process.notify("gone", alert()) == (502, "Feishu cannot be reached: [Errno 111] Connection refused\n")
        began = time.monotonic()
        status, text = process.notify("slow", alert())
        assert (status, text) == (502, "WeCom cannot be reached: timed out\n")
        assert 9 < time.monotonic() - began


def test_no_robot_gets_more_than_it_takes_in_a_minute(robot, relay):
    first, second = robot("dingtalk"), robot("dingtalk")
    process = relay({"first": receiver(first), "second": receiver(second)})
    assert [process.notify("first", alert())[0] for _number in range(22)] == [200] * 20 + [503] * 2
    assert len(first.calls) == 20
    assert process.notify("second", alert())[0] == 200


REQUESTS = [
    ("GET", "/-/healthy", None, 200),
    ("GET", "/ops", None, 404),
    ("POST", "/other", b"{}", 404),
    ("POST", "/", b"{}", 404),
    ("POST", "/-/healthy", b"{}", 404),
    ("PUT", "/ops", b"{}", 501),
    ("POST", "/ops", b"", 400),
    ("POST", "/ops", b"no json", 400),
    ("POST", "/ops", b"\xff\xfe", 400),
    ("POST", "/ops", b"[]", 400),
    ("POST", "/ops", b'{"alerts": []}', 400),
    ("POST", "/ops", b'{"alerts": {"a": 1}}', 400),
    ("POST", "/ops", b'{"alerts": ["a"]}', 400),
    ("POST", "/ops", b'{"alerts": [{"labels": {"severity": []}}]}', 400),
    ("POST", "/ops", b'{"alerts": [{"labels": 3}]}', 400),
    ("POST", "/ops", b'{"alerts": [{}], "truncatedAlerts": "7"}', 400),
    ("POST", "/ops", b"[" * 100000, 400),
    ("POST", "/ops", b'{"alerts": [{}]}', 200),
    ("POST", "/ops", b'{"alerts": [{"labels": {"a": "\\ud800"}, "startsAt": "soon"}]}', 200),
]


def test_only_notifications_for_known_receivers_are_taken(robot, relay):
    stub = robot("wecom")
    process = relay({"ops": receiver(stub)})
    for method, path, body, status in REQUESTS:
        assert (method, path, body, process.request(method, path, body)[0]) == (method, path, body, status)
    assert len(stub.accepted) == 2


STRANGE = ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer 密"]


@pytest.mark.parametrize("shown", STRANGE)
def test_whoever_does_not_show_the_token_is_refused_and_not_counted(robot, relay, shown):
    stub = robot("dingtalk")
    process = relay({"ops": receiver(stub)})
    for path in ["/ops"] * 25 + ["/nobody"]:
        assert process.request("POST", path, b'{"alerts": [{}]}', Authorization=shown.encode())[0] == 401
    assert stub.calls == []
    # All that a robot takes in a minute is left, and the log is not theirs.
    assert [process.notify("ops", alert())[0] for _number in range(21)] == [200] * 20 + [503]
    assert process.log.read_text().count("without the token") == 1 and TOKEN not in process.log.read_text()


def strange(process: RelayProcess, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", process.port), timeout=5)
    connection.sendall(data)
    return connection


def test_strangers_do_not_keep_alertmanager_out(robot, relay):
    """Those who show nothing hold a place until others want it, and cost no more than that."""
    process = relay({"ops": receiver(robot("wecom"))})
    held = [strange(process, b"POST /ops HTTP/1.1\r\nHost:") for _number in range(300)]
    assert process.notify("ops", alert()) == (200, "sent\n")
    threads = len(list(Path(f"/proc/{process.process.pid}/task").iterdir()))
    assert threads <= 110
    assert held[0].recv(10) == b"" and "Traceback" not in process.log.read_text()
    for connection in held:
        connection.close()
    # One who has shown the token is no stranger: others do not send it away.
    shown = f"Authorization: Bearer {TOKEN}\r\nContent-Length: 16\r\n\r\n"
    slow = strange(process, f"POST /ops HTTP/1.1\r\n{shown}".encode())
    time.sleep(0.2)
    others = [strange(process, b"GET") for _number in range(150)]
    time.sleep(0.2)
    slow.sendall(b'{"alerts": [{}]}')
    assert slow.recv(20).split()[1] == b"200"
    for connection in [slow, *others]:
        connection.close()


def test_of_a_stranger_only_a_head_is_read(robot, relay):
    process = relay({"ops": receiver(robot("wecom"))})
    header = b"X: " + b"x" * 1000 + b"\r\n"
    with strange(process, b"POST /ops HTTP/1.1\r\n" + header * 15) as connection:
        # The sixteenth thousand is the last one: the answer comes without the end of the head.
        connection.sendall(header * 5)
        assert connection.recv(100).split()[1] == b"401"
    with strange(process, f"POST /ops HTTP/1.1\r\nContent-Length: {4 << 20}\r\n\r\n".encode()) as connection:
        assert connection.recv(100).split()[1] == b"401"


def test_a_body_without_length_or_too_large_is_not_read(robot, relay):
    process = relay({"ops": receiver(robot("wecom"))})
    for length, status in (("", 411), ("many", 411), ("-1", 411), ("99999999999", 413)):
        with socket.create_connection(("127.0.0.1", process.port), timeout=5) as connection:
            header = f"Content-Length: {length}\r\n" if length else ""
            shown = f"Authorization: Bearer {TOKEN}\r\n"
            connection.sendall(f"POST /ops HTTP/1.1\r\nHost: x\r\n{shown}{header}\r\n".encode())
            assert connection.recv(100).split()[1] == str(status).encode()


def test_a_certificate_is_verified(robot, relay, tmp_path):
    pair = ["-keyout", f"{tmp_path}/key.pem", "-out", f"{tmp_path}/cert.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=robot", "-addext", "subjectAltName=IP:127.0.0.1", *pair],
        check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    stub = robot("feishu", SECRET, context=context)
    status, text = relay({"ops": receiver(stub)}).notify("ops", alert())
    assert status == 502 and "CERTIFICATE_VERIFY_FAILED" in text and KEY not in text
    trusting = relay({"ops": receiver(stub)}, SSL_CERT_FILE=str(tmp_path / "cert.pem"))
    assert trusting.notify("ops", alert())[0] == 200


def test_a_proxy_of_the_environment_is_used(robot, relay):
    proxy = robot("wecom")
    address = f"http://127.0.0.1:{proxy.server.server_port}"
    url = f"http://robot.invalid/cgi-bin/webhook/send?key={KEY}"
    process = relay({"ops": {"type": "wecom", "url": url}}, http_proxy=address)
    assert process.notify("ops", alert())[0] == 200
    assert proxy.calls == [f"POST {url}"]


def test_it_ends_at_once_while_a_robot_hangs(robot, relay):
    stub = robot("wecom")
    stub.answer = HANGING
    process = relay({"ops": receiver(stub)})
    threading.Thread(target=lambda: pytest.raises(OSError, process.notify, "ops", alert()), daemon=True).start()
    wait_for(lambda: stub.calls)
    process.process.terminate()
    assert process.process.wait(1) is not None


def run(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)


@pytest.mark.parametrize("config, reason", [
    (None, "cannot be read: No such file or directory."),
    ("{", "is no JSON"),
    ("[]", "give it"),
    ({"receivers": {}}, "give it"),
    ({"listen": {"address": "127.0.0.1", "port": "x"}, "receivers": {}}, "give it"),
    ({"listen": {"address": "127.0.0.1", "port": 0}, "receivers": {}}, "give it"),
    ({"listen": {"address": "127.0.0.1", "port": 0}, "token": "", "receivers": {}}, "at least 16 characters"),
    ({"listen": {"address": "127.0.0.1", "port": 0}, "token": "密" * 20, "receivers": {}}, "at least 16 characters"),
    ({"listen": {"address": "127.0.0.1", "port": 0}, "token": 7, "receivers": {}}, "at least 16 characters"),
    ({"ops/1": {"type": "wecom", "url": f"https://x/{KEY}"}}, "receiver 'ops/1' has no good name"),
    ({"ops": {"type": "slack", "url": f"https://x/{KEY}"}}, "use one of wecom, dingtalk, feishu"),
    ({"ops": {"type": "wecom", "url": f"https://x/{KEY}", "to": "a"}}, "nothing else"),
    ({"ops": f"https://x/{KEY}"}, "must have type and url"),
    ({"ops": {"type": "wecom"}}, "no http or https URL"),
    ({"ops": {"type": "wecom", "url": f"file:///{KEY}"}}, "no http or https URL"),
    ({"ops": {"type": "wecom", "url": f"https://x:y/{KEY}"}}, "no http or https URL"),
    ({"ops": {"type": "wecom", "url": f"https://x/a b{KEY}"}}, "no http or https URL"),
    ({"ops": {"type": "wecom", "url": f"https://x/密{KEY}"}}, "no http or https URL"),
    ({"ops": {"type": "feishu", "url": f"https://x/{KEY}", "secret": 7}}, "no string"),
])
def test_a_bad_configuration_is_named_in_a_sentence(tmp_path, config, reason):
    path = tmp_path / "relay.json"
    if isinstance(config, dict):
        whole = {"listen": {"address": "127.0.0.1", "port": 0}, "token": TOKEN, "receivers": config}
        config = json.dumps(config if {"listen", "receivers"} & set(config) else whole)
    if config is not None:
        path.write_text(config, encoding="utf-8")
    done = run(path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}: ") and done.stderr.endswith(".\n") and done.stderr.count("\n") == 1
    assert reason in done.stderr and KEY not in done.stderr


def test_an_address_in_use_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = {"address": "127.0.0.1", "port": taken.getsockname()[1]}
        config = {"listen": address, "token": TOKEN, "receivers": {}}
        (tmp_path / "relay.json").write_text(json.dumps(config), encoding="utf-8")
        done = run(tmp_path / "relay.json")
    assert done.returncode == 1 and "Address already in use" in done.stderr and done.stderr.count("\n") == 1

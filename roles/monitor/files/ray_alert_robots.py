# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the group robots of WeCom, DingTalk and Feishu are told, and how. The formats, limits and errors of the robots:

WeCom     https://developer.work.weixin.qq.com/document/path/91770
DingTalk  https://open.dingtalk.com/document/orgapp/custom-robot-access
Feishu    https://open.feishu.cn/document/ukTMukTMukTM/ucTM5YjL3ETO24yNxkjN
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

TIMEOUT = 10  # seconds
SHOWN_LIMIT = 100  # alerts of a notification that are looked at
# A DingTalk robot that gets more is silent for ten minutes; WeCom has the same limit, Feishu a higher one.
PER_MINUTE = 20
SEVERITIES = {"critical": "red", "warning": "orange"}


class RelayError(Exception):
    """A sentence for the log and for Alertmanager; status is the HTTP answer."""

    def __init__(self, message: str, status: int = 502):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Robot:
    """What differs between robots. limit: bytes of a whole body; firing, resolved: how the state of an alert looks."""

    title: str
    limit: int
    newline: str
    firing: str
    resolved: str
    pack: Callable[[str, str, str], dict[str, Any]]


def pack_wecom(title: str, text: str, _colour: str) -> dict[str, Any]:
    return {"msgtype": "markdown", "markdown": {"content": f"### {title}\n{text}"}}


def pack_dingtalk(title: str, text: str, _colour: str) -> dict[str, Any]:
    # The title is what the list of chats shows, and no part of the message.
    return {"msgtype": "markdown", "markdown": {"title": title, "text": f"### {title}\n\n{text}"}}


def pack_feishu(title: str, text: str, colour: str) -> dict[str, Any]:
    header = {"title": {"tag": "plain_text", "content": title}, "template": colour}
    elements = [{"tag": "markdown", "content": text}]
    return {"msg_type": "interactive",
            "card": {"config": {"wide_screen_mode": True}, "header": header, "elements": elements}}


# WeCom's limit of 4096 is that of the content, the others' of 20,000 that of the body, to which a signature comes.
ROBOTS = {
    "wecom": Robot("WeCom", 4096, "\n", '<font color="warning">{}</font>', '<font color="info">{}</font>', pack_wecom),
    "dingtalk": Robot("DingTalk", 19_800, "\n\n", "#### {}", "#### {}", pack_dingtalk),
    "feishu": Robot("Feishu", 19_800, "\n", "**{}**", "**{}**", pack_feishu),
}


def plain(value: object, size: int) -> str:
    """One line of at most size bytes that no robot takes for a link, a mention or a tag."""
    text = " ".join(str(value).split())
    text = re.sub("<(?=[A-Za-z/@!])", "\uff1c", text).replace("](", "] (")
    data = text.encode("utf-8", "replace")
    return text if len(data) <= size else data[: size - 3].decode("utf-8", "ignore") + "..."


def local_time(stamp: object) -> str:
    """Alertmanager's time (RFC 3339 with nanoseconds) in the time zone of this host."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$", str(stamp))
    if not match:
        return plain(stamp, 40)
    when = datetime.fromisoformat(match.group(1) + match.group(2).replace("Z", "+00:00"))
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def is_firing(alert: dict[str, Any]) -> bool:
    return alert.get("status") == "firing"


def describe(alert: dict[str, Any], robot: Robot) -> str:
    """The lines of one alert, at most about 3 kB, so that one always fits."""
    labels, annotations = alert.get("labels", {}), alert.get("annotations", {})
    severity = plain(labels.get("severity", ""), 40)
    state = robot.firing.format(f"FIRING {severity}".strip()) if is_firing(alert) else robot.resolved.format("RESOLVED")
    lines = [f"{state} {plain(annotations.get('summary') or labels.get('alertname', ''), 300)}"]
    if annotations.get("description"):
        lines.append(plain(annotations["description"], 1500))
    shown = [f"{name}: {value}" for name, value in labels.items()
             if name not in ("alertname", "severity", "ray_io_cluster")]
    if shown:
        lines.append(plain(", ".join(shown), 600))
    since = local_time(alert.get("startsAt"))
    lines.append(f"since {since}" if is_firing(alert) else f"from {since} to {local_time(alert.get('endsAt'))}")
    runbook = str(annotations.get("runbook_url", ""))
    if re.fullmatch(r"https?://[^\s()<>]{1,300}", runbook):
        lines.append(f"[Runbook]({runbook})")
    return robot.newline.join(lines)


def headline(notification: dict[str, Any], alerts: list[dict[str, Any]]) -> str:
    """Such as "Ray demo: RayNodeLost, 2 firing, 1 resolved"."""
    labels = notification.get("commonLabels", {})
    firing = sum(map(is_firing, alerts))
    counts = [f"{count} {state}" for count, state in ((firing, "firing"), (len(alerts) - firing, "resolved")) if count]
    cluster, name = plain(labels.get("ray_io_cluster", ""), 100), plain(labels.get("alertname", "alerts"), 200)
    return f"{f'Ray {cluster}'.strip()}: {', '.join([name, *counts])}"


def compose(notification: dict[str, Any], robot: Robot) -> dict[str, Any]:
    """The robot's message: as many whole alerts as fit, those that fire first."""
    alerts = sorted(notification["alerts"], key=lambda alert: not is_firing(alert))
    firing = {alert.get("labels", {}).get("severity") for alert in alerts if is_firing(alert)}
    colour = next((SEVERITIES[name] for name in SEVERITIES if name in firing), "blue") if firing else "green"
    title = headline(notification, alerts)
    blocks = [describe(alert, robot) for alert in alerts[:SHOWN_LIMIT]]
    total = len(alerts) + notification.get("truncatedAlerts", 0)
    while True:
        rest = [f"and {total - len(blocks)} more"] if total > len(blocks) else []
        message = robot.pack(title, "\n\n".join(blocks + rest), colour)
        if not blocks or len(encode(message)) <= robot.limit:
            return message
        blocks.pop()


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")


def sign(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET that succeeds."""

    def redirect_request(self, *_arguments: object) -> None:
        return None


# Proxies and CA certificates are those of the environment: https_proxy, no_proxy, SSL_CERT_FILE.
OPENER = urllib.request.build_opener(NoRedirect)


@dataclass
class Receiver:
    """One robot of one chat group."""

    name: str
    type: str
    url: str
    secret: str = ""
    sent: deque[float] = field(default_factory=lambda: deque(maxlen=PER_MINUTE))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, notification: dict[str, Any]) -> None:
        """Raises RelayError, which never has the URL or the secret in it."""
        robot = ROBOTS[self.type]
        self._count(robot)
        message, url, now = compose(notification, robot), self.url, time.time()
        if self.secret and self.type == "dingtalk":
            stamp = str(round(now * 1000))
            query = urllib.parse.urlencode({"timestamp": stamp, "sign": sign(self.secret, f"{stamp}\n{self.secret}")})
            url += ("&" if "?" in url else "?") + query
        if self.secret and self.type == "feishu":
            stamp = str(int(now))
            message = {"timestamp": stamp, "sign": sign(f"{stamp}\n{self.secret}", ""), **message}
        try:
            self._post(robot, url, encode(message))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise RelayError(self._hide(f"{robot.title} cannot be reached: {reason}")) from None

    def _count(self, robot: Robot) -> None:
        now = time.monotonic()
        with self.lock:
            if len(self.sent) == PER_MINUTE and now - self.sent[0] < 60:
                raise RelayError(f"{robot.title} takes {PER_MINUTE} messages a minute, which are sent already", 503)
            self.sent.append(now)

    def _post(self, robot: Robot, url: str, body: bytes) -> None:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json; charset=utf-8"})
        try:
            with OPENER.open(request, timeout=TIMEOUT) as response:
                status, text = response.status, response.read(65536)
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read(65536)
        try:
            answer = dict(json.loads(text))
        except (ValueError, TypeError):
            answer = {}
        # A robot answers 200 whatever happens: its own code tells. Feishu's older answers have only StatusCode.
        code = next((answer[name] for name in ("errcode", "code", "StatusCode") if name in answer), None)
        if status == 200 and code == 0:
            return
        reason = f"code {code}: {answer.get('errmsg') or answer.get('msg')}" if answer else "no JSON of a robot"
        raise RelayError(self._hide(f"{robot.title} answered HTTP {status}, {reason}"))

    def _hide(self, text: str) -> str:
        """The text in one line, without anything that opens the robot."""
        parts = urllib.parse.urlsplit(self.url)
        values = [value for _name, value in urllib.parse.parse_qsl(parts.query)]
        for secret in (self.url, parts.query, *values, parts.path.rsplit("/", 1)[-1], self.secret):
            if len(secret) > 5:
                text = text.replace(secret, "(hidden)")
        return " ".join(text.split())[:500]

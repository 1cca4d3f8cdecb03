# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: monitor_alerts
short_description: What Alertmanager and the relay are told of receivers, and what is wrong with these
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: What is wrong is told without any URL or secret.
positional: smtp, timing, relay_port
options:
  _input: {description: As C(monitor_receivers) of role C(monitor)., type: list, elements: dict, required: true}
  smtp: {description: As C(monitor_smtp)., type: dict, required: true}
  timing: {description: As C(monitor_alert_timing)., type: dict, required: true}
  relay_port: {description: The port of the relay on 127.0.0.1., type: int, required: true}
"""

EXAMPLES = r"""
alerts: "{{ monitor_receivers | rayops.cluster.monitor_alerts(monitor_smtp, monitor_alert_timing, 6387) }}"
"""

RETURN = r"""
_value: {description: "C(problems), a list of sentences. With one, the rest is empty. C(global), C(routes) and
    C(receivers) of Alertmanager's configuration; C(relay), that of the relay.", type: dict}
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

_KEYS = {
    "webhook": ["url"], "email": ["to"], "wecom": ["url"], "dingtalk": ["url", "secret"], "feishu": ["url", "secret"],
}
_COMMON_KEYS = ["name", "type", "severities", "send_resolved"]
_SMTP_KEYS = ["smarthost", "from", "username", "password", "require_tls"]
_TIMING_KEYS = ["group_wait", "group_interval", "repeat_interval"]
_SEVERITIES = ["critical", "warning", "info"]
_ADDRESS = r"[^\s{}@]+@[^\s{}@]+"


@dataclass
class Receiver:
    """One of monitor_receivers, as it was written; keys that its type does not know are apart."""

    name: str
    type: str
    url: str
    secret: str
    to: list[str]
    severities: Any
    send_resolved: Any
    unknown: list[str]

    @classmethod
    def read(cls, given: dict[str, Any]) -> Receiver:
        kind, to = _text(given, "type"), given.get("to") or []
        return cls(
            name=_text(given, "name"), type=kind, url=_text(given, "url"), secret=_text(given, "secret"),
            to=[str(address) for address in (to if isinstance(to, list) else [to])],
            severities=given.get("severities", ["critical", "warning"]), send_resolved=given.get("send_resolved", True),
            unknown=[str(key) for key in given if key not in _COMMON_KEYS + _KEYS.get(kind, [])],
        )

    @property
    def is_robot(self) -> bool:
        return self.type not in ("email", "webhook")

    def problem(self, number: int, names: list[str], can_mail: bool) -> str:
        """What is wrong with it, the number-th of those that have these names; empty for nothing."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            return f"Receiver {number} of monitor_receivers has no good name: give it one of letters, digits, - and _."
        if names.count(self.name) > 1:
            return f"Two of monitor_receivers have the name {self.name}: give each its own."
        if self.type not in _KEYS:
            return f"Receiver {self.name} has the type {self.type or '(none)'}: use one of {', '.join(_KEYS)}."
        fault = self._fault(can_mail)
        return f"Receiver {self.name} {fault}" if fault else ""

    def _fault(self, can_mail: bool) -> str:
        if self.unknown:
            keys = ", ".join(_COMMON_KEYS + _KEYS[self.type])
            return f"has {', '.join(self.unknown)}, which the type {self.type} does not know: use {keys}."
        if self.type != "email" and not re.match(r"https?://[^\s{}/][^\s{}]*$", self.url):
            where = "robot" if self.is_robot else "service"
            return f"has no url that begins with https:// or http://: copy it from the settings of the {where}."
        if self.is_robot and not re.fullmatch(r"[!-~]+", self.url):
            return "has a url with characters that no robot's has: copy it from the settings of the robot."
        if self.type == "email" and not (self.to and all(re.fullmatch(_ADDRESS, address) for address in self.to)):
            return "has no email address: give it to, an address or a list of addresses."
        if self.type == "email" and not can_mail:
            return "gets email: set monitor_smtp with smarthost (host:port) and from."
        known = isinstance(self.severities, list) and all(each in _SEVERITIES for each in self.severities)
        if not (known and self.severities):
            levels = ", ".join(_SEVERITIES)
            return f"has severities that are no list of {levels}: name at least one of them, and no other."
        return "" if isinstance(self.send_resolved, bool) else "has a send_resolved that is neither true nor false."

    def alertmanager(self, relay: str, token: str) -> dict[str, Any]:
        """Its entry of Alertmanager's receivers. Robots are spoken to by the relay at the URL relay, for the token."""
        how: dict[str, Any] = {"send_resolved": self.send_resolved}
        if self.type == "email":
            return {"name": self.name, "email_configs": [{**how, "to": ", ".join(self.to)}]}
        how["url"] = f"{relay}{self.name}" if self.is_robot else self.url
        if self.is_robot:
            how["max_alerts"] = 100
            how["http_config"] = {"authorization": {"type": "Bearer", "credentials": token}}
        return {"name": self.name, "webhook_configs": [how]}

    def route(self) -> dict[str, Any]:
        """Its entry of Alertmanager's routes."""
        return {"receiver": self.name, "matchers": [f'severity=~"{"|".join(self.severities)}"'], "continue": True}

    def robot(self) -> dict[str, str]:
        """Its entry of the relay's receivers."""
        return {"type": self.type, "url": self.url, **({"secret": self.secret} if self.secret else {})}


def _text(given: dict[str, Any], key: str) -> str:
    return str(given.get(key) or "")


def _smtp_problem(smtp: dict[str, Any]) -> str:
    unknown = [str(key) for key in smtp if key not in _SMTP_KEYS]
    if unknown:
        return f"monitor_smtp has {', '.join(unknown)}: use {', '.join(_SMTP_KEYS)}."
    if smtp and not re.fullmatch(r"[^\s:]+:[0-9]+", _text(smtp, "smarthost")):
        return "monitor_smtp.smarthost must be host:port, such as smtp.example.com:465."
    if smtp and not re.fullmatch(_ADDRESS, _text(smtp, "from")):
        return "monitor_smtp.from must be an email address."
    if bool(_text(smtp, "username")) != bool(_text(smtp, "password")):
        return "monitor_smtp must have both username and password, or neither."
    return ""


def _timing_problem(timing: dict[str, Any]) -> str:
    unknown = [str(key) for key in timing if key not in _TIMING_KEYS]
    if unknown:
        return f"monitor_alert_timing has {', '.join(unknown)}: use {', '.join(_TIMING_KEYS)}."
    if not all(re.fullmatch(r"([0-9]+(ms|[smhdwy]))+", str(value)) for value in timing.values()):
        return "monitor_alert_timing has a value that is no duration: use such as 30s, 5m or 4h."
    return ""


def _mail(smtp: dict[str, Any]) -> dict[str, Any]:
    """The part of Alertmanager's global section that sends mail."""
    if not smtp:
        return {}
    # With port 465 the connection is TLS from its first byte, and Alertmanager must not ask for STARTTLS as well.
    starttls = boolean(smtp.get("require_tls", True), strict=False) and not smtp["smarthost"].endswith(":465")
    login = {"smtp_auth_username": _text(smtp, "username"), "smtp_auth_password": _text(smtp, "password")}
    return {
        "smtp_smarthost": smtp["smarthost"], "smtp_from": smtp["from"], "smtp_require_tls": starttls,
        **(login if smtp.get("username") else {}),
    }


def _token(robots: list[Receiver]) -> str:
    """What Alertmanager shows to the relay. Who can work it out knows the robots, and needs no relay for them."""
    known = [[robot.url for robot in robots], [robot.secret for robot in robots]]
    return hashlib.sha256(f"ray-alert-relay {json.dumps(known)}".encode()).hexdigest()


def monitor_alerts(receivers: Any, smtp: Any, timing: dict[str, Any], relay_port: int) -> dict[str, Any]:
    """Problems, and what is written to the host; see the documentation above."""
    nobody: dict[str, Any] = {"name": "(nobody)"}
    answer = {"problems": _shapes(receivers, smtp), "global": {}, "routes": [], "receivers": [nobody],
              "relay": {"receivers": {}}}
    if answer["problems"]:
        return answer
    found = [Receiver.read(given) for given in receivers]
    names, can_mail = [receiver.name for receiver in found], bool(smtp.get("smarthost") and smtp.get("from"))
    problems = [receiver.problem(number, names, can_mail) for number, receiver in enumerate(found, 1)]
    problems += [_smtp_problem(smtp), _timing_problem(timing)]
    # A type or a key may have a line break in it.
    answer["problems"] = [" ".join(problem.split()) for problem in problems if problem]
    if answer["problems"]:
        return answer
    robots = [receiver for receiver in found if receiver.is_robot]
    url, token = f"http://127.0.0.1:{int(relay_port)}/", _token(robots)
    return {
        "problems": [], "global": _mail(smtp), "routes": [receiver.route() for receiver in found],
        "receivers": [nobody, *(receiver.alertmanager(url, token) for receiver in found)],
        "relay": {"listen": {"address": "127.0.0.1", "port": int(relay_port)}, "token": token,
                  "receivers": {robot.name: robot.robot() for robot in robots}},
    }


def _shapes(receivers: Any, smtp: Any) -> list[str]:
    """Values that say nothing: they are no argument of their kind, which would stand in Ansible's own message."""
    if not isinstance(receivers, list) or not all(isinstance(given, dict) for given in receivers):
        return ["monitor_receivers is no list of receivers: give each a name and a type."]
    return [] if isinstance(smtp, dict) else ["monitor_smtp is no dictionary: give it smarthost and from."]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"monitor_alerts": monitor_alerts}

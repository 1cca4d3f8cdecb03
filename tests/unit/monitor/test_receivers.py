# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the preflight says of receivers that cannot work; one run of ansible-playbook for all of it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "monitor"
KEY = "693a91f6-7aoc"
HOOK = {"name": "a", "type": "webhook", "url": f"https://x/{KEY}"}
SMTP = {"smarthost": "h:25", "from": "a@b"}


def receivers(*entries: dict[str, Any], **variables: Any) -> dict[str, Any]:
    others = {"monitor_smtp": {}, "monitor_alert_timing": {}, "monitor_relay_port": 6387}
    return {"monitor_receivers": list(entries), **others, **variables}


CASES = [
    ("", receivers()),
    ("", receivers(
        {**HOOK, "url": "https://x/密?a=1"},
        {"name": "b", "type": "wecom", "url": "https://q/?key=k", "severities": ["info"]},
        {"name": "c", "type": "email", "to": ["a@b.c", "中@x.y"], "send_resolved": False}, monitor_smtp=SMTP,
        monitor_alert_timing={"group_wait": "1m30s"},
    )),
    ("Receiver 1 of monitor_receivers has no good name", receivers({"type": "webhook", "url": "https://x"})),
    ("has no good name", receivers({**HOOK, "name": "a b"})),
    ("Two of monitor_receivers have the name a", receivers(HOOK, HOOK)),
    ("has the type slack: use one of webhook", receivers({**HOOK, "type": "slack"})),
    ("has the type (none)", receivers({"name": "a"})),
    ("has secret, which the type webhook does not know: use name", receivers({**HOOK, "secret": KEY})),
    ("no url that begins with https:// or http://", receivers({**HOOK, "url": f"x.y/{KEY}"})),
    ("settings of the robot", receivers({"name": "a", "type": "feishu"})),
    ("settings of the robot", receivers({"name": "a", "type": "feishu", "url": f"https://a b{KEY}"})),
    ("characters that no robot's has", receivers({"name": "a", "type": "feishu", "url": f"https://x/密{KEY}"})),
    ("has no email address", receivers({"name": "a", "type": "email", "to": []})),
    ("has no email address", receivers({"name": "a", "type": "email", "to": ["a@b", "x"]})),
    ("gets email: set monitor_smtp", receivers({"name": "a", "type": "email", "to": "a@b"})),
    *(("severities that are no list of critical, warning, info", receivers({**HOOK, "severities": each}))
      for each in ("critical", [], ["hot"])),
    ("neither true nor false", receivers({**HOOK, "send_resolved": "ja"})),
    ("monitor_smtp has pass: use smarthost", receivers(monitor_smtp={**SMTP, "pass": KEY})),
    ("smarthost must be host:port", receivers(monitor_smtp={**SMTP, "smarthost": "h"})),
    ("from must be", receivers(monitor_smtp={"smarthost": "h:1"})),
    ("monitor_smtp is no dictionary", receivers(monitor_smtp=KEY)),
    ("monitor_receivers is no list", receivers(monitor_receivers=KEY)),
    ("both username and password", receivers(monitor_smtp={**SMTP, "username": "x"})),
    ("monitor_alert_timing has wait: use group_wait", receivers(monitor_alert_timing={"wait": "1s"})),
    ("no duration: use such as 30s", receivers(monitor_alert_timing={"group_wait": 30})),
]


def test_receivers_that_cannot_work_are_refused_with_the_fix(tmp_path):
    told = "TOLD {{ ansible_failed_result.msg | default('') }} END"
    preflight = yaml.safe_load((ROLE / "tasks" / "preflight.yml").read_text(encoding="utf-8"))
    (refuse,) = (task for task in preflight if task["name"] == "Refuse receivers that cannot work")
    computed = yaml.safe_load((ROLE / "vars" / "main" / "alerts.yml").read_text(encoding="utf-8"))
    tasks = [
        {
            "name": f"Case {number}",
            "vars": {**variables, "_monitor_alerts": computed["_monitor_alerts"]},
            "block": [refuse, {"ansible.builtin.debug": {"msg": "TOLD  END"}}],
            "rescue": [{"ansible.builtin.debug": {"msg": told}}],
        }
        for number, (_said, variables) in enumerate(CASES)
    ]
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "play.yml").write_text(json.dumps(play), encoding="utf-8")
    command = ["ansible-playbook", "--inventory", "localhost,", str(tmp_path / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.findall(r'"msg": "TOLD (.*) END"', done.stdout)
    assert len(found) == len(CASES), done.stdout + done.stderr
    for (said, variables), message in zip(CASES, found, strict=True):
        assert said in message and bool(said) == bool(message), variables
        assert message.count("\n") == 0 and (not said or message.endswith("."))
    assert KEY not in done.stdout

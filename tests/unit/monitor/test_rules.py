# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The alert rules, run by the real promtool on the series in rules/*.yml, and what must agree with them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus import metric_names, programs

REPOSITORY = Path(__file__).resolve().parents[3]
RULES = REPOSITORY / "roles/monitor/files/rules/ray.yml"
CASES = sorted((Path(__file__).parent / "rules").glob("*.yml"))
RUNBOOKS = REPOSITORY / "docs/alerts.md"
RUNBOOK_URL = "https://github.com/rayops/rayops.cluster/blob/main/docs/alerts.md"
METRICS = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")
PARTS = ["Means", "Users notice", "Look", "Mend", "Silence"]
OTHER_SERIES = {"up", "redis_up"}
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]


def identity(rule: dict[str, Any]) -> str:
    """Two rules of one name differ in the label reason."""
    return " ".join([rule["alert"], rule["labels"].get("reason", "")]).strip()


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [programs()["promtool"], *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def checks() -> list[dict[str, Any]]:
    """What the cases expect of the alerts: alertname, eval_time, exp_alerts."""
    tests = [case for path in CASES for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    return [check for case in tests for check in case["alert_rule_test"]]


def test_the_rules_are_accepted():
    promtool("check", "rules", RULES)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_rules_fire_and_keep_silent(path):
    promtool("test", "rules", path)


def test_a_wrong_expectation_is_noticed(tmp_path):
    text = CASES[0].read_text(encoding="utf-8").replace("../../../..", str(REPOSITORY))
    (tmp_path / "right.yml").write_text(text, encoding="utf-8")
    promtool("test", "rules", tmp_path / "right.yml")
    (tmp_path / "wrong.yml").write_text(text.replace("severity: critical", "severity: info", 1), encoding="utf-8")
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", tmp_path / "wrong.yml")


@pytest.mark.parametrize("rule", ALERTS, ids=identity)
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(rule, checks):
    own = [check["exp_alerts"] for check in checks if check["alertname"] == rule["alert"]]
    fired = [identity({"alert": rule["alert"], "labels": alert["exp_labels"]}) for alerts in own for alert in alerts]
    assert identity(rule) in fired
    assert [] in own


@pytest.mark.parametrize("rule", ALERTS, ids=identity)
def test_an_alert_says_what_it_must(rule):
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    # A measured value in a label would make another alert of it at each evaluation.
    assert "$value" not in str(rule["labels"])
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK_URL}#{rule['alert'].lower()}"
    for annotation in ("summary", "description"):
        assert "$labels.ray_io_cluster" in rule["annotations"][annotation]


def test_every_alert_keeps_the_name_of_its_cluster(checks):
    labels = [alert["exp_labels"] for check in checks for alert in check["exp_alerts"]]
    assert labels and all("ray_io_cluster" in found for found in labels)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    sections = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", RUNBOOKS.read_text(encoding="utf-8"), re.M | re.S)
    # The anchor of a heading of one word is the word in lower case.
    assert sorted(title for title, _text in sections) == sorted({rule["alert"] for rule in ALERTS})
    for title, text in sections:
        parts = re.findall(r"^- \*\*(.+?)\*\*: ", text, re.M)
        assert [part for part in parts if part != "Limits"] == PARTS, title


def test_a_name_with_several_rules_tells_them_apart():
    identities = [identity(rule) for rule in ALERTS]
    assert len(set(identities)) == len(identities)


def test_the_rules_read_series_that_exist():
    data = Path(__file__).parent / "data"
    ray = "".join((data / f"{name}_series.txt").read_text(encoding="utf-8") for name in ("ray", "serving"))
    known = {*re.findall(r"^\| `(ray_\w+)` \|", METRICS, re.M), *re.findall(r"^ray_\w+", ray, re.M), *OTHER_SERIES}
    known.update(rule["record"] for rule in RECORDS)
    assert set().union(*(metric_names(rule["expr"]) for rule in ALERTS + RECORDS)) - known == set()


def test_the_documented_series_of_the_rules_are_those_that_they_record():
    assert sorted(re.findall(r"^\| `(ray:[\w:]+)` \|", METRICS, re.M)) == sorted(rule["record"] for rule in RECORDS)

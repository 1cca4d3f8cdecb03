# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever fails is one sentence, without a traceback and without a secret."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("huaweicloudsdkecs")

from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import ACCESS_KEY
from tests.unit.inventory.bed import A, B, Bed, hosts_of


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ({"status": 401}, "IAM refused the credentials from HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK (401 APIGW.0301"),
        ({"status": 403, "path": "/v1/"}, "ECS does not allow this (403 Ecs.0003"),
        ({"body": "<html>login</html>", "content_type": "text/html", "path": "/v1/"}, "did not answer with JSON"),
        ({"status": 429}, "limits the rate"),
        ({"status": 500, "path": "/v1/"}, "failed on its side (500 Ecs.0000"),
        ({"drop": True}, "cannot be reached (the connection was dropped)"),
        ({"delay": 2, "path": "/v1/"}, "did not answer in time"),
    ],
)
def test_failures_of_the_cloud_are_one_sentence(
    bed: Bed, simulator: Simulator, failure: dict[str, Any], sentence: str
) -> None:
    simulator.add_failure({"times": -1, **failure})
    found = bed.failure("-vvv", retries=1, timeout=1)
    assert sentence in found and f"Region {A}, {B}: " in found


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"region": [A]}, "Unknown option 'region': did you mean regions?"),
    ({"accesskeyy": "AK"}, "Unknown option 'accesskeyy': did you mean access_key?"),
    ({"status": ["activ"]}, "Unknown value 'ACTIV' in status: did you mean ACTIVE?"),
    ({"connect_with": ["private"]}, "Unknown value 'private' in connect_with: did you mean private_ip?"),
    ({"hostnames": ["tag:a", "ip"]}, "Unknown value 'ip' in hostnames: did you mean ipv6?"),
    ({"project_id": "p"}, "project_id is set for several regions"),
    (
        {"endpoints": {"x": "https://x"}},
        "endpoints names the region 'x', which is not in regions (cn-north-4, cn-east-3).",
    ),
    ({"page_size": 0}, "page_size is 0: use 1 to 1000."),
    ({"timeout": 0}, "timeout is 0: use 1 to 3600."),
    ({"tags": "{{ 'env=prod' }}"}, "tags"),
    ({"secret_key": {"a": "sk-wrong"}}, "secret_key must be a string."),
    (
        {"credentials_file": "/nowhere", "access_key": "", "secret_key": ""},
        "The credentials file /nowhere cannot be read",
    ),
]


def test_wrong_settings_are_one_sentence(bed: Bed, simulator: Simulator) -> None:
    for (options, sentence), result in zip(SETTINGS, bed.parse(*(options for options, _sentence in SETTINGS))):
        assert sentence in result["error"], options
        assert "\n" not in result["error"] and "sk-wrong" not in result["error"]
        assert result["hosts"] == {}
    assert simulator.requests == []


def test_unknown_region_bad_template_and_closed_port_are_one_sentence(bed: Bed) -> None:
    assert "Unknown region 'cn-nort-4': did you mean cn-north-4?" in bed.failure(regions=["cn-nort-4"])
    assert "The template in secret_key cannot be rendered" in bed.failure("-vvv", secret_key="sk-wrong {{ nothing }}")
    assert "cannot be reached (connection refused)" in bed.failure(endpoints={A: "http://127.0.0.1:9"}, regions=[A])


def test_wrong_or_missing_credentials_are_one_sentence(bed: Bed) -> None:
    found = bed.failure("-vvv", secret_key="sk-wrong")
    assert "IAM refused the credentials from HUAWEICLOUD_SDK_AK and secret_key (401 APIGW.0301" in found
    del bed.env["HUAWEICLOUD_SDK_SK"]
    assert "access_key is set but secret_key is not" in bed.failure()
    del bed.env["HUAWEICLOUD_SDK_AK"]
    assert "No Huawei Cloud credentials: set HUAWEICLOUD_SDK_AK" in bed.failure()
    del bed.env["HUAWEICLOUD_SDK_REGION"]
    assert "No region: set regions" in bed.failure(access_key=ACCESS_KEY, secret_key="sk-wrong")


def test_failed_inventory_can_be_made_fatal(bed: Bed, simulator: Simulator) -> None:
    simulator.add_failure({"status": 401, "times": -1})
    bed.env["ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED"] = "true"
    assert bed.run("inventory", "--list").returncode != 0


# Every failure of the simulator, with what is said of the region.
FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "400": ({"status": 400, "path": "/v1/"}, "refused the request (400"),
    "401": ({"status": 401, "path": "/v1/"}, "ECS refused the credentials from HUAWEICLOUD_SDK_AK and"),
    "403": ({"status": 403, "path": "/v1/"}, "ECS does not allow this (403 Ecs.0003"),
    "404": ({"status": 404, "path": "/v1/"}, "does not know this API (404"),
    "429": ({"status": 429, "retry_after": 0, "path": "/v1/"}, "ECS limits the rate"),
    "500": ({"status": 500, "path": "/v1/"}, "failed on its side (500 Ecs.0000"),
    "503": ({"status": 503, "path": "/v1/"}, "failed on its side (503"),
    "iam 403": ({"status": 403, "path": "/v3/"}, "IAM does not allow this"),
    "dropped": ({"drop": True, "path": "/v1/"}, "cannot be reached (the connection was dropped)"),
    "slow": ({"delay": 1.5, "path": "/v1/"}, "did not answer in time: try again, or raise timeout"),
    "html": ({"body": "<html>", "content_type": "text/html", "path": "/v1/"}, "did not answer with JSON"),
    "no list": ({"body": "{}", "path": "/v1/"}, "did not answer with JSON"),
    "second page": ({"status": 403, "path": "marker="}, "ECS does not allow this"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_with_each_policy(bed: Bed, simulator: Simulator, name: str) -> None:
    """In one region and in both. What is listed of a region that fails later does not count."""
    failure, sentence = FAILURES[name]
    policies = ("fail", "warn", "ignore")
    settings = [{"on_region_error": policy, "retries": 0, "timeout": 1, "page_size": 2} for policy in policies]
    simulator.source.shorts += [{"name": f"b{number}", "region": B} for number in range(4)]
    simulator.add_failure({**failure, "region": B, "times": -1})
    fail, warn, ignore = bed.parse(*settings)
    assert f"Region {B}: " in fail["error"] and sentence in fail["error"] and fail["hosts"] == {}
    assert warn["error"] == ignore["error"] == ""
    assert sorted(warn["hosts"]) == sorted(ignore["hosts"]) == ["gpu-1", "head", "plain"]
    (warning,) = warn["warnings"]
    assert warning.startswith(f"The inventory lacks region {B}: ") and sentence in warning
    assert ignore["warnings"] == []
    simulator.failures.clear()
    simulator.add_failure({**failure, "times": -1})
    for each in bed.parse(*settings):
        assert sentence in each["error"] and each["hosts"] == {}


def test_one_region_may_fail(bed: Bed, simulator: Simulator) -> None:
    simulator.add_failure({"status": 403, "region": B, "times": -1})
    assert f"Region {B}: IAM does not allow this" in bed.failure()
    bed.configure(on_region_error="warn")
    done = bed.run("inventory", "--graph")
    assert "head" in done.stdout and f"The inventory lacks region {B}: IAM does not allow this" in done.stderr
    assert hosts_of(bed.inventory(on_region_error="ignore"), "huawei_ecs") == ["gpu-1", "head", "plain"]
    simulator.add_failure({"status": 403, "times": -1})
    assert "IAM does not allow this" in bed.failure(on_region_error="ignore")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against the simulator: real HTTP, real signatures."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("huaweicloudsdkecs")

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_ecs as huawei_ecs
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_ecs import Query, RegionResult
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import Filters
from tests.ecs_simulator.instances import project_id
from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import running

A, B = "cn-north-4", "cn-east-3"
LIST = "/v1/"
SHORTS = [{"name": f"n{number}", "region": region} for region in (A, B) for number in range(7)]


@pytest.fixture(name="simulator")
def simulator_fixture() -> Iterator[Simulator]:
    with running(list(SHORTS), regions=(A, B)) as simulator:
        # The SDK remembers project IDs by key for as long as the process lives.
        simulator.access_key = f"AK{uuid.uuid4().hex}"
        yield simulator


def keys(simulator: Simulator) -> Credentials:
    return Credentials(simulator.access_key, simulator.secret_key)


def ask(simulator: Simulator, credentials: Optional[Credentials] = None, **changes: Any) -> list[RegionResult]:
    query = Query(
        regions=(A,), endpoints={A: simulator.url, B: simulator.url}, iam_endpoint=simulator.url, timeout=5, retries=2
    )
    return huawei_ecs.list_servers(replace(query, **changes), credentials or keys(simulator))


def names(result: RegionResult) -> list[str]:
    assert not result.error
    return [server["name"] for server in result.servers]


def error(simulator: Simulator, **changes: Any) -> str:
    (result,) = ask(simulator, **changes)
    assert result.servers == ()
    return result.error


def listings(simulator: Simulator) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(target).query) for target in simulator.requests if target.startswith(LIST)]


def test_project_is_looked_up_and_regions_keep_their_order(simulator: Simulator) -> None:
    first, second = ask(simulator, regions=(B, A))
    assert (first.region, second.region) == (B, A)
    assert (first.project_id, second.project_id) == (project_id(B), project_id(A))
    assert names(first) == names(second) == [f"n{number}" for number in range(7)]


def test_given_project_spares_iam(simulator: Simulator) -> None:
    (result,) = ask(simulator, project_ids={A: project_id(A)})
    assert len(names(result)) == 7
    assert not any(target.startswith("/v3/") for target in simulator.requests)


def test_pages_follow_the_marker(simulator: Simulator) -> None:
    (result,) = ask(simulator, page_size=3)
    assert names(result) == [f"n{number}" for number in range(7)]
    pages = listings(simulator)
    assert [page["limit"] for page in pages] == [["3"]] * 3
    assert [page.get("marker") for page in pages] == [None, [result.servers[2]["id"]], [result.servers[5]["id"]]]


@pytest.mark.parametrize("count", [0, 3, 6])
def test_number_of_instances_is_a_multiple_of_the_page(simulator: Simulator, count: int) -> None:
    simulator.source.shorts = SHORTS[:count]
    (result,) = ask(simulator, page_size=3)
    assert len(names(result)) == count


def test_server_that_caps_the_page_loses_nothing(simulator: Simulator) -> None:
    simulator.page_cap = 2
    (result,) = ask(simulator, page_size=200)
    assert len(names(result)) == 7


def test_marker_deleted_meanwhile(simulator: Simulator) -> None:
    simulator.add_failure({"status": 400, "path": "marker="})
    (result,) = ask(simulator, page_size=3)
    assert names(result) == [f"n{number}" for number in range(7)]


def test_endpoint_that_ignores_the_marker_is_no_endless_loop(simulator: Simulator) -> None:
    page = '{"servers": [{"id": "1"}, {"id": "2"}], "count": 9}'
    simulator.add_failure({"body": page, "times": -1, "path": LIST})
    assert "ignores marker" in error(simulator, page_size=2)


def test_filters_are_sent(simulator: Simulator) -> None:
    ask(simulator, status="ACTIVE", tag="环境=a b", enterprise_project_id="0")
    (page,) = listings(simulator)
    assert (page["status"], page["tags"], page["enterprise_project_id"]) == (["ACTIVE"], ["环境=a b"], ["0"])


def test_security_token_is_sent(simulator: Simulator) -> None:
    simulator.security_token = "TOKEN"
    assert "refused the credentials" in error(simulator)
    (result,) = ask(simulator, credentials=replace(keys(simulator), security_token="TOKEN"))
    assert len(names(result)) == 7


@pytest.mark.parametrize(
    "failure",
    [{"status": 429}, {"status": 500}, {"status": 503}, {"drop": True}, {"status": 502, "body": "<html>", "times": 2}],
)
@pytest.mark.parametrize("path", ["/v3/projects", LIST])
def test_what_passes_is_tried_again(simulator: Simulator, failure: dict[str, Any], path: str) -> None:
    simulator.add_failure({**failure, "path": path})
    (result,) = ask(simulator)
    assert len(names(result)) == 7


def test_failure_in_the_middle_of_the_pages(simulator: Simulator) -> None:
    simulator.add_failure({"status": 500, "path": "marker="})
    (result,) = ask(simulator, page_size=2)
    assert len(names(result)) == 7


def test_retry_after_is_obeyed(simulator: Simulator) -> None:
    simulator.add_failure({"status": 429, "retry_after": 2, "path": LIST})
    start = time.monotonic()
    (result,) = ask(simulator)
    assert len(names(result)) == 7
    assert time.monotonic() - start >= 2


def test_slow_answer_is_no_failure_within_the_timeout(simulator: Simulator) -> None:
    simulator.add_failure({"delay": 0.5})
    (result,) = ask(simulator)
    assert len(names(result)) == 7


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ({"status": 401, "path": LIST}, "ECS refused the credentials (401 APIGW.0301: Incorrect IAM"),
        ({"status": 403, "path": LIST}, "ECS does not allow this (403 Ecs.0003: Policy doesn't allow"),
        ({"status": 403, "path": "/v3/"}, "grant the credentials iam:projects:listProjects, or set project_id"),
        ({"status": 404, "path": LIST}, "does not know this API (404 APIGW.0101"),
        ({"status": 429}, "IAM still limits the rate after several tries (429 APIGW.0308"),
        ({"status": 500, "path": LIST}, "failed on its side (500 Ecs.0000"),
        ({"status": 400, "path": LIST}, "refused the request (400"),
        ({"drop": True}, "cannot be reached (the connection was dropped)"),
        ({"delay": 1.5, "path": LIST}, "did not answer in time: try again, or raise timeout"),
        ({"body": "<html>login</html>", "content_type": "text/html"}, "IAM at http"),
        ({"body": "<html>login</html>", "content_type": "text/html", "path": LIST}, "did not answer with JSON"),
        ({"body": '{"servers": null}', "path": LIST}, "did not answer with JSON"),
        ({"body": "[]", "path": LIST}, "did not answer with JSON"),
        ({"body": '{"projects": []}', "path": "/v3/"}, "IAM knows no project of this name"),
        ({"body": '{"projects": [{"id": "a"}, {"id": "b"}]}', "path": "/v3/"}, "IAM knows several projects"),
        ({"status": 403, "body": "<html>\n<b>Cloud WAF</b>\x1b[31m</html>", "path": LIST}, "(403: Cloud WAF [31m)"),
    ],
)
def test_each_failure_is_one_sentence(simulator: Simulator, failure: dict[str, Any], sentence: str) -> None:
    simulator.add_failure({"times": -1, **failure})
    found = error(simulator, timeout=1, retries=1)
    assert sentence in found
    assert "\n" not in found and "Traceback" not in found and "Exception" not in found


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9 cannot be reached (connection refused)"),
        ("http://no-such-host.invalid", "cannot be reached (its name does not resolve)"),
        ("http://", "is not a URL"),
    ],
)
def test_unreachable_endpoint_fails_at_once(simulator: Simulator, endpoint: str, sentence: str) -> None:
    start = time.monotonic()
    assert sentence in error(simulator, iam_endpoint=endpoint, retries=9)
    assert sentence in error(simulator, endpoints={A: endpoint}, retries=9)
    assert time.monotonic() - start < 4


def test_no_https_there(simulator: Simulator) -> None:
    endpoint = simulator.url.replace("http:", "https:")
    assert "has no valid TLS certificate" in error(simulator, endpoints={A: endpoint}, retries=0)


def test_wrong_secret_and_unknown_key_show_neither(simulator: Simulator) -> None:
    for wrong in (
        replace(keys(simulator), secret_key="sk-wrong-0001"),
        replace(keys(simulator), access_key="AKUNKNOWN0001"),
    ):
        found = error(simulator, credentials=wrong)
        assert "IAM refused the credentials (401 APIGW.0301" in found
        assert not any(secret in found for secret in ("sk-wrong-0001", "AKUNKNOWN0001"))


def test_unknown_region_names_the_nearest(simulator: Simulator) -> None:
    query = Query(regions=("cn-nort-4",))
    with pytest.raises(HuaweiError, match="Unknown region 'cn-nort-4': did you mean cn-north-4"):
        huawei_ecs.list_servers(query, keys(simulator))


def test_one_region_fails_and_the_other_does_not(simulator: Simulator) -> None:
    simulator.add_failure({"status": 403, "region": B, "times": -1})
    good, bad = ask(simulator, regions=(A, B))
    assert len(names(good)) == 7
    assert bad.region == B and bad.error.startswith("IAM does not allow this")


def test_regions_run_side_by_side(simulator: Simulator) -> None:
    simulator.add_failure({"delay": 0.7, "path": LIST, "times": -1})
    start = time.monotonic()
    ask(simulator, regions=(A, B))
    assert time.monotonic() - start < 1.3


def test_nothing_on_stderr(simulator: Simulator, capfd: pytest.CaptureFixture[str]) -> None:
    error(simulator, endpoints={A: "http://127.0.0.1:9"})
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_digest_knows_all_that_decides_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Query(regions=(A,))
    filters = Filters(["ACTIVE"], {})
    digests = [base.digest("ak", filters), base.digest("ak2", filters), base.digest("ak", Filters([], {}))]
    digests.append(base.digest("ak", Filters(["ACTIVE"], {"ray-cluster-name": ["x"]})))
    for change in (
        {"regions": (A, B)},
        {"project_ids": {A: "p"}},
        {"endpoints": {A: "https://x"}},
        {"iam_endpoint": "https://x"},
        {"enterprise_project_id": "0"},
    ):
        digests.append(replace(base, **change).digest("ak", filters))
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_ECS_CN_NORTH_4", "https://other")
    digests.append(base.digest("ak", filters))
    assert len(set(digests)) == len(digests)
    assert replace(base, timeout=1, retries=1, page_size=1).digest("ak", filters) == digests[-1]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against the simulator: real HTTP, real signatures."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from importlib.metadata import version
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("huaweicloudsdkecs")

from ansible_collections.rayops.cluster.plugins.module_utils._host_keys.keys import BEGIN, END
from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_ecs as huawei_ecs
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_errors import retry_after
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import Account, Query, RegionResult
from tests.ecs_simulator.instances import project_id
from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import MemorySource, running

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
    return Credentials(simulator.access_key, simulator.secret_key, source="the test")


def ask(simulator: Simulator, query: Optional[dict[str, Any]] = None, **changes: Any) -> list[RegionResult]:
    """The results for one account of the simulator. changes: of the account; query: of the query."""
    account = Account(
        name="default",
        credentials=keys(simulator),
        regions=(A,),
        endpoints={A: simulator.url, B: simulator.url},
        iam_endpoint=simulator.url,
    )
    account = replace(account, **changes)
    return huawei_ecs.list_servers(Query(**{"accounts": (account,), "timeout": 5, "retries": 2, **(query or {})}))


def names(result: RegionResult) -> list[str]:
    assert not result.error
    return [server["name"] for server in result.servers]


def error(simulator: Simulator, query: Optional[dict[str, Any]] = None, **changes: Any) -> str:
    (result,) = ask(simulator, query, **changes)
    assert result.servers == []
    return result.error


def listings(simulator: Simulator) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(target).query) for target in simulator.requests if target.startswith(LIST)]


def test_the_sdk_is_the_one_that_is_meant() -> None:
    """`make unit` runs this file with the oldest one, too."""
    assert version("huaweicloudsdkecs") == os.environ.get("RAYOPS_TEST_SDK", version("huaweicloudsdkecs"))


def test_project_is_looked_up_and_regions_keep_their_order(simulator: Simulator) -> None:
    first, second = ask(simulator, regions=(B, A))
    assert (first.job.region, second.job.region) == (B, A)
    assert (first.project_id, second.project_id) == (project_id(B), project_id(A))
    assert names(first) == names(second) == [f"n{number}" for number in range(7)]


def test_given_project_spares_iam(simulator: Simulator) -> None:
    (result,) = ask(simulator, projects={A: (project_id(A),)})
    assert len(names(result)) == 7
    assert not any(target.startswith("/v3/") for target in simulator.requests)


def test_pages_follow_the_marker(simulator: Simulator) -> None:
    (result,) = ask(simulator, {"page_size": 3})
    assert names(result) == [f"n{number}" for number in range(7)]
    pages = listings(simulator)
    assert [page["limit"] for page in pages] == [["3"]] * 3
    assert [page.get("marker") for page in pages] == [None, [result.servers[2]["id"]], [result.servers[5]["id"]]]


@pytest.mark.parametrize("count", [0, 3, 6])
def test_number_of_instances_is_a_multiple_of_the_page(simulator: Simulator, count: int) -> None:
    simulator.source.shorts = SHORTS[:count]
    (result,) = ask(simulator, {"page_size": 3})
    assert len(names(result)) == count


def test_server_that_caps_the_page_loses_nothing(simulator: Simulator) -> None:
    simulator.page_cap = 2
    (result,) = ask(simulator, {"page_size": 200})
    assert len(names(result)) == 7


@pytest.mark.parametrize("count", [True, False])
@pytest.mark.parametrize("marker", [True, False])
@pytest.mark.parametrize("cap", [2, 3, 7, 1000])
def test_every_kind_of_endpoint_loses_nothing(simulator: Simulator, count: bool, marker: bool, cap: int) -> None:
    """With and without a total, with and without markers, and whatever it makes of the size of a page."""
    simulator.counts, simulator.knows_marker, simulator.page_cap, simulator.omits_empty = count, marker, cap, count
    for page_size in (3, 200):
        (result,) = ask(simulator, {"page_size": page_size})
        assert names(result) == [f"n{number}" for number in range(7)]


def test_an_empty_list_that_is_left_away_is_no_failure(simulator: Simulator) -> None:
    simulator.omits_empty = True
    simulator.source.shorts = SHORTS[:6]
    (result,) = ask(simulator, {"page_size": 3})
    assert len(names(result)) == 6
    simulator.source.shorts = []
    (result,) = ask(simulator)
    assert names(result) == []


def test_a_count_without_a_list_has_a_sentence_of_its_own(simulator: Simulator) -> None:
    simulator.add_failure({"body": '{"count": 3}', "path": LIST})
    assert error(simulator) == "the reply counts 3 servers and lists none: check the endpoint, try again"


def test_an_id_that_is_none_is_no_instance(simulator: Simulator) -> None:
    simulator.source.shorts = [{"name": "a", "id": "i-a"}]
    (result,) = ask(simulator, {"server_filters": {"server_id": "i-a,i-none"}})
    assert names(result) == ["a"]
    assert result.missing == {"i-none": "Instance i-none could not be found."}


def test_marker_deleted_meanwhile(simulator: Simulator) -> None:
    simulator.add_failure({"status": 400, "path": "marker="})
    (result,) = ask(simulator, {"page_size": 3})
    assert names(result) == [f"n{number}" for number in range(7)]


def test_endpoint_that_ignores_the_marker_is_no_endless_loop(simulator: Simulator) -> None:
    page = '{"servers": [{"id": "1"}, {"id": "2"}], "count": 9}'
    simulator.add_failure({"body": page, "times": -1, "path": LIST})
    assert "ignores marker" in error(simulator, {"page_size": 2})


def test_filters_are_sent(simulator: Simulator) -> None:
    filters = {"status": "ACTIVE", "tags": "环境=a b", "not-tags": "x", "name": "gpu"}
    ask(simulator, {"server_filters": filters}, enterprise_projects=("0", "ep"))
    first, second = listings(simulator)
    assert {name: first[name] for name in filters} == {name: [value] for name, value in filters.items()}
    assert (first["enterprise_project_id"], second["enterprise_project_id"]) == (["0"], ["ep"])


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
    (result,) = ask(simulator, {"page_size": 2})
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
        ({"status": 401, "path": LIST}, "ECS refused the credentials from the test (401 APIGW.0301: Incorrect IAM"),
        ({"status": 403, "path": LIST}, "ECS does not allow this (403 Ecs.0003: Policy doesn't allow"),
        ({"status": 403, "path": "/v3/"}, "from the test iam:projects:listProjects, or set project_id"),
        (
            {"status": 403, "body": '{"error_code": "APIGW.0802", "error_msg": "forbidden"}', "path": LIST},
            "ECS is closed in this region to the user of the credentials from the test (403 APIGW.0802: forbidden)",
        ),
        ({"status": 404, "path": LIST}, "does not know this API (404 APIGW.0101"),
        ({"status": 429}, "IAM limits the rate (429 APIGW.0308"),
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
    found = error(simulator, {"timeout": 1, "retries": 1})
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
    assert sentence in error(simulator, {"retries": 9}, iam_endpoint=endpoint)
    assert sentence in error(simulator, {"retries": 9}, endpoints={A: endpoint})
    # Nine attempts more would take minutes.
    assert time.monotonic() - start < 50


def test_no_https_there(simulator: Simulator) -> None:
    endpoint = simulator.url.replace("http:", "https:")
    assert "has no valid TLS certificate" in error(simulator, {"retries": 0}, endpoints={A: endpoint})


def test_wrong_secret_and_unknown_key_show_neither(simulator: Simulator) -> None:
    for wrong in (
        replace(keys(simulator), secret_key="sk-wrong-0001"),
        replace(keys(simulator), access_key="AKUNKNOWN0001"),
    ):
        found = error(simulator, credentials=wrong)
        assert "IAM refused the credentials from the test (401 APIGW.0301" in found
        assert not any(secret in found for secret in ("sk-wrong-0001", "AKUNKNOWN0001"))


def test_unknown_region_names_the_nearest(simulator: Simulator) -> None:
    with pytest.raises(HuaweiError, match="Unknown region 'cn-nort-4': did you mean cn-north-4"):
        ask(simulator, regions=("cn-nort-4",), endpoints={})


def test_one_region_fails_and_the_other_does_not(simulator: Simulator) -> None:
    simulator.add_failure({"status": 403, "region": B, "times": -1})
    good, bad = ask(simulator, regions=(A, B))
    assert len(names(good)) == 7
    assert bad.job.region == B and bad.error.startswith("IAM does not allow this")


def test_regions_run_side_by_side(simulator: Simulator) -> None:
    """Both are asked for their first page before one of them is for its second."""
    simulator.add_failure({"delay": 0.7, "path": LIST, "times": -1})
    ask(simulator, {"page_size": 4}, regions=(A, B))
    asked = [target for target in simulator.requests if target.startswith(LIST)]
    assert len(asked) == 4 and not [target for target in asked[:2] if "marker=" in target]


def test_nothing_on_stderr(simulator: Simulator, capfd: pytest.CaptureFixture[str]) -> None:
    error(simulator, endpoints={A: "http://127.0.0.1:9"})
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_place_in_the_list_is_lost_and_found(simulator: Simulator) -> None:
    """None of the instances that were seen last exists any more: the list is read anew, once."""
    simulator.add_failure({"status": 400, "path": "marker=", "times": 3})
    (result,) = ask(simulator, {"page_size": 3})
    assert names(result) == [f"n{number}" for number in range(7)]
    simulator.add_failure({"status": 400, "path": "marker=", "times": -1})
    assert "changes faster than it can be read: try again" in error(simulator, {"page_size": 3})


def test_rows_seen_twice_count_once_and_rows_without_an_id_are_counted(simulator: Simulator) -> None:
    page = {"servers": [{"id": "1", "name": "a"}, {"id": "1", "name": "b"}, {"name": "c"}, None], "count": 3}
    simulator.add_failure({"body": json.dumps(page), "path": LIST})
    (result,) = ask(simulator)
    assert (names(result), result.unusable) == (["b"], 2)


def test_retry_after_may_be_a_date(simulator: Simulator) -> None:
    error_with_date = type("E", (Exception,), {"status_code": 429, "retry_after": formatdate(time.time() + 30)})
    assert 28 < retry_after(error_with_date()) <= 30
    for odd in ("soon", "-3", "Fri, 31 Dec 9999 99:99:99", "٣"):
        assert retry_after(type("E", (Exception,), {"status_code": 503, "retry_after": odd})()) == 0


def test_4xx_is_never_tried_again(simulator: Simulator) -> None:
    for status in (400, 401, 403, 404, 409):
        simulator.requests.clear()
        simulator.add_failure({"status": status, "path": LIST})
        assert error(simulator, {"retries": 5})
        assert len(listings(simulator)) == 1


@pytest.mark.parametrize("failure", [{"delay": 3, "path": LIST}, {"status": 429, "retry_after": 50, "path": LIST}])
def test_deadline_ends_a_region_and_not_the_other(simulator: Simulator, failure: dict[str, Any]) -> None:
    simulator.add_failure({**failure, "region": B, "times": -1})
    start = time.monotonic()
    good, bad = ask(simulator, {"deadline": 1.5, "retries": 9}, regions=(A, B))
    # Obeyed, the server would be waited for 50 s.
    assert time.monotonic() - start < 40
    assert len(names(good)) == 7
    assert re.search("not complete after 1.5 s: raise deadline|limits the rate", bad.error)


def test_a_reply_that_drips_ends_at_the_deadline(simulator: Simulator) -> None:
    """Each byte comes in time, so no timeout of the connection helps."""
    with dripping() as url:
        start = time.monotonic()
        assert "not complete after 1 s" in error(simulator, {"deadline": 1, "timeout": 5}, endpoints={A: url})
        # The whole reply would take more than an hour.
        assert time.monotonic() - start < 50


@contextmanager
def dripping() -> Iterator[str]:
    """A server that sends a byte every 50 ms."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        connection, _address = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not ended.wait(0.05):
                connection.sendall(b" ")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join(5)
        listener.close()


def test_several_projects_of_a_region_and_several_accounts_are_told_apart(simulator: Simulator) -> None:
    first, second = ask(simulator, projects={A: (project_id(A), "f" * 32)})
    assert len(names(first)) == 7 and "refused the credentials" in second.error
    assert (first.job.name, second.job.name) == (f"{A} project {project_id(A)}", f"{A} project {'f' * 32}")
    here = {"regions": (A,), "endpoints": {A: simulator.url}, "iam_endpoint": simulator.url}
    accounts = (Account("one", keys(simulator), **here), Account("two", Credentials("x", "y", source="two"), **here))
    first, second = huawei_ecs.list_servers(Query(accounts, retries=0))
    assert (first.job.name, second.job.name) == (f"{A} of account one", f"{A} of account two")
    assert len(names(first)) == 7 and second.error.startswith("IAM refused the credentials from two")


def test_further_calls_are_made_on_request_only(simulator: Simulator) -> None:
    simulator.source.shorts = [
        {"name": "k", "id": "k", "flavor": "kc1.large.2", "charging_mode": "1", "expires": "2026-12-31T15:59:59Z"},
        {"name": "n", "id": "n", "tags": {"ray-node-type": "worker"}},
    ]
    ask(simulator)
    assert len(listings(simulator)) == 1
    (result,) = ask(simulator, {"expiry": True, "flavor_details": True, "security_groups": True})
    assert result.expires == {"k": "2026-12-31T15:59:59Z", "n": ""}
    assert result.flavors["kc1.large.2"]["os_extra_specs"]["ecs:instance_architecture"] == "arm64"
    assert list(result.rules) == ["default"] and result.rules["default"][0]["rules"]


@pytest.mark.parametrize(
    ("option", "path", "sentence"),
    [
        ("expiry", "/v1.1/", "grant the credentials from the test the right to list instances by API version 1.1"),
        ("flavor_details", "flavors", "ecs:cloudServerFlavors:get, or set flavor_details to false"),
    ],
)
def test_a_further_call_that_is_not_allowed_says_how_to_do_without(
    simulator: Simulator, option: str, path: str, sentence: str
) -> None:
    simulator.source.shorts = [{"name": "n", "charging_mode": "1"}]
    simulator.add_failure({"status": 403, "path": path})
    assert sentence in error(simulator, {option: True})


def test_rules_that_cannot_be_read_do_not_cost_the_instances(simulator: Simulator) -> None:
    simulator.source.shorts = [{"name": "n", "tags": {"ray-node-type": "worker"}}]
    simulator.add_failure({"status": 403, "path": "os-security-groups"})
    (result,) = ask(simulator, {"security_groups": True})
    assert names(result) == ["n"] and "the right to list the security groups" in result.rules_error


def test_one_console_does_not_cost_another_one(simulator: Simulator) -> None:
    head = (11).to_bytes(4, "big") + b"ssh-ed25519" + (32).to_bytes(4, "big")
    key, other = (f"ssh-ed25519 {base64.b64encode(head + each * 32).decode()}" for each in (b"a", b"b"))
    nodes = ["good", "none", "two", "refused", "long"]
    simulator.source.shorts = [{"name": n, "id": n, "tags": {"ray-node-type": "worker"}} for n in nodes]
    simulator.source.shorts.append({"name": "p"})
    show = f"{BEGIN}\n{key}\n{END}\n"
    simulator.source.consoles.update(
        good=show + "\n" * 100, two=show + show.replace(key, other), long="\x1b" * (12 << 20) + show)
    simulator.add_failure({"status": 403, "path": "/refused/"})
    assert ask(simulator)[0].host_keys == {}
    (result,) = ask(simulator, {"host_keys": True})
    assert names(result) == [*nodes, "p"] and result.host_keys == {"good": [key], "none": []}
    why = result.no_host_keys
    assert list(why) == ["none", "two", "refused", "long"]
    assert why["two"] == "the console shows two (ssh-ed25519), of which one may be forged"
    assert "ecs:cloudServers:getConsoleOutput, or set host_keys to false" in why["refused"]
    assert why["long"] == "the reply is longer than 64 MiB"
    # Only the nodes of a cluster are asked.
    assert sum("console-output" in path for path in simulator.requests) == len(nodes)


def test_all_regions_are_those_of_iams_projects(simulator: Simulator) -> None:
    """Also the projects below a region's own; not those of services, nor of regions that nobody knows."""
    simulator.projects.update({project_id(f"{A}_team"): f"{A}_team", project_id("mars-1"): "mars-1"})
    simulator.source.shorts = [*SHORTS[:1], {"name": "t", "region": f"{A}_team"}, {"name": "m", "region": "mars-1"}]
    found = ask(simulator, regions=("all",))
    assert sorted(name for each in found for name in names(each)) == ["n0", "t"]
    assert {each.job.region for each in found} == {A, B}
    assert [target for target in simulator.requests if target.startswith("/v3/")] == [
        "/v3/auth/domains",
        "/v3/auth/projects",
    ]


def test_of_all_regions_those_that_are_closed_do_not_count(simulator: Simulator) -> None:
    simulator.closed_regions = {B}
    good, closed = ask(simulator, regions=("all",))
    assert len(names(good)) == 7 and closed.closed and "APIGW.0802" in closed.error
    # Who names a region wants it.
    (named,) = ask(simulator, regions=(B,))
    assert not named.closed and "leave the region out of regions" in named.error


def test_all_regions_without_a_project(simulator: Simulator) -> None:
    simulator.add_failure({"body": '{"projects": [{"name": "MOS", "id": "x"}]}', "path": "/v3/auth/projects"})
    assert "IAM shows these credentials no project of a region" in error(simulator, regions=("all",))
    simulator.add_failure({"status": 403, "path": "/v3/auth/projects"})
    assert "IAM does not allow this (403" in error(simulator, regions=("all",))


AGENCY = {"agency": "ray", "agency_domain": {"domain_name": "theirs"}}


def test_the_agency_of_another_account(simulator: Simulator) -> None:
    """Its keys are asked for once, with the user's own, and all else with them."""
    tenant = simulator.add_tenant(MemorySource([{"name": "other"}]), "theirs", "ray", [A, B])
    # Keys of a test of their own, for the SDK remembers projects by key.
    tenant.access_key = f"AK{uuid.uuid4().hex}"
    first, second = ask(simulator, regions=(A, B), **AGENCY)
    assert names(first) == ["other"] and names(second) == []
    assert simulator.requests.count("/v3.0/OS-CREDENTIAL/securitytokens") == 1
    (by_id,) = ask(simulator, agency="ray", agency_domain={"domain_id": tenant.domain_id})
    assert names(by_id) == ["other"]
    everywhere = ask(simulator, regions=("all",), **AGENCY)
    assert [name for each in everywhere for name in names(each)] == ["other"]


def test_an_agency_that_gives_no_keys(simulator: Simulator) -> None:
    assert error(simulator, **AGENCY).startswith("IAM knows no such agency (404: Could not find agency: ray.): check")
    simulator.add_tenant(MemorySource([]), "theirs", "ray", [A])
    for failure, sentence in (
        ({"status": 403}, "grant the credentials from the test the right to assume it (the role Agent Operator)"),
        ({"status": 401}, "IAM (agency) refused the credentials from the test (401"),
        ({"body": '{"credential": {"access": "x"}}'}, "IAM gave no keys of the agency ray: check iam_endpoint"),
        ({"body": "<html>"}, "did not answer with JSON"),
    ):
        simulator.add_failure({**failure, "path": "securitytokens"})
        assert sentence in error(simulator, {"retries": 0}, **AGENCY)
    simulator.add_failure({"status": 500, "path": "securitytokens"})
    (result,) = ask(simulator, **AGENCY)
    assert not result.error


def test_an_agency_is_as_late_as_the_deadline_says(simulator: Simulator) -> None:
    simulator.add_failure({"delay": 3, "path": "securitytokens"})
    start = time.monotonic()
    assert "not complete after 1 s" in error(simulator, {"deadline": 1}, **AGENCY)
    assert time.monotonic() - start < 50

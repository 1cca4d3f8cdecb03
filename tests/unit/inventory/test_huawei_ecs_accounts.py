# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the credentials come from, and several accounts in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huaweicloudsdkecs")

from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import ACCESS_KEY, SECRET_KEY, running
from tests.unit.inventory.bed import A, B, Bed

OTHER_KEY, OTHER_SECRET = "AKOTHER0000000000001", "sk-other-0000000000000000000001"
ENVIRONMENT = ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK")


@pytest.fixture(name="other")
def other_fixture() -> Iterator[Simulator]:
    """Another account of the same region, with one instance of its own and one that it shares."""
    shorts = [{"name": "theirs", "region": A}, {"name": "plain", "region": A}]
    with running(shorts, regions=(A,)) as simulator:
        simulator.access_key, simulator.secret_key = OTHER_KEY, OTHER_SECRET
        yield simulator


def profiles(bed: Bed) -> Path:
    """A credentials file in the user's home with both accounts, and a wrong one."""
    path = Path(bed.env["HOME"]) / ".huaweicloud" / "credentials"
    # The SDK makes it, too, for a file of its own.
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"[basic]\nak = {ACCESS_KEY}\nsk = {SECRET_KEY}\n[research]\nak = {OTHER_KEY}\nsk = {OTHER_SECRET}\n"
        f"[wrong]\nak = {OTHER_KEY}\nsk = sk-wrong\n",
        encoding="utf-8",
    )
    return path


def places(simulator: Simulator) -> dict[str, Any]:
    return {"endpoints": {A: simulator.url}, "iam_endpoint": simulator.url, "regions": [A]}


def test_order_of_the_sources(bed: Bed, other: Simulator) -> None:
    """The configuration before the environment, and of each of them keys before a file."""
    profiles(bed)
    named, keys = {"profile": "research"}, {"access_key": OTHER_KEY, "secret_key": OTHER_SECRET}
    # The environment has the keys of the first account.
    found = bed.parse(places(other) | named, places(other) | keys, places(other), {"regions": [A]})
    assert [sorted(each["hosts"]) for each in found] == [
        ["plain", "theirs"],
        ["plain", "theirs"],
        [],
        ["gpu-1", "head", "plain"],
    ]
    assert "IAM refused the credentials from HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK" in found[2]["error"]
    for name in ENVIRONMENT:
        del bed.env[name]
    bed.env["HUAWEICLOUD_SDK_PROFILE"] = "research"
    found = bed.parse(places(other), {"regions": [A], "profile": "basic"}, keys | named)
    assert [sorted(each["hosts"]) for each in found] == [["plain", "theirs"], ["gpu-1", "head", "plain"], []]
    assert "access_key and profile are both set: leave one of them away." in found[2]["error"]


def test_terraforms_variables_serve_too(bed: Bed) -> None:
    theirs = ("HW_ACCESS_KEY", "HW_SECRET_KEY", "HW_REGION_NAME")
    for name, own in zip(theirs, (*ENVIRONMENT, "HUAWEICLOUD_SDK_REGION")):
        bed.env[name] = bed.env.pop(own)
    # A token of the other kind is for another key.
    bed.env["HUAWEICLOUD_SDK_SECURITY_TOKEN"] = "TOKEN-SECRET"
    (found,) = bed.parse({})
    assert found["error"] == "" and "head" in found["hosts"]


def test_variables_of_two_kinds_are_not_mixed(bed: Bed) -> None:
    """The SDK's own go before Terraform's, and half a pair of each is none."""
    bed.env.update(HW_ACCESS_KEY=OTHER_KEY, HW_SECRET_KEY="sk-wrong", HW_REGION_NAME="cn-south-1")
    (found,) = bed.parse({})
    assert found["error"] == "" and "npu-1" in found["hosts"]
    del bed.env["HUAWEICLOUD_SDK_SK"]
    assert "HUAWEICLOUD_SDK_AK and HW_SECRET_KEY are not a pair: set both by the names of one kind." in bed.failure()


def test_wrong_profile_is_named_with_its_file(bed: Bed) -> None:
    path = profiles(bed)
    found = bed.failure("-vvvv", profile="wrong")
    assert f"IAM refused the credentials from section [wrong] of {path} (401" in found
    assert f"The credentials file {path} has no section [dev]: set profile to one of its basic, research, wrong." in (
        bed.failure(profile="dev")
    )


def test_expired_token_says_so(bed: Bed, simulator: Simulator) -> None:
    simulator.security_token = "NEW"
    bed.env["HUAWEICLOUD_SDK_SECURITY_TOKEN"] = "TOKEN-SECRET"
    assert "their security token has perhaps expired: get new ones" in bed.failure("-vvvv")


def test_metadata_service_is_asked_only_on_request(bed: Bed, simulator: Simulator) -> None:
    for name in ENVIRONMENT:
        del bed.env[name]
    simulator.security_token, simulator.metadata_token = "TEMP", "SESSION"
    at = {"metadata_endpoint": simulator.url}
    assert "No Huawei Cloud credentials: set HUAWEICLOUD_SDK_AK" in bed.failure(**at)
    assert simulator.requests == []
    assert "head" in bed.inventory(use_instance_metadata=True, **at)["_meta"]["hostvars"]
    # A file that holds other profiles only does not keep it from that.
    path = profiles(bed)
    path.write_text(path.read_text("utf-8").partition("[research]")[2].replace("ak", "[research]\nak", 1), "utf-8")
    assert "head" in bed.inventory(use_instance_metadata=True, **at)["_meta"]["hostvars"]
    assert "has no section [basic]" in bed.failure(**at)
    assert "gave no credentials: run on an ECS instance that has an agency" in bed.failure(
        use_instance_metadata=True, metadata_endpoint="http://127.0.0.1:9"
    )


def test_cached_run_asks_not_even_the_metadata_service(bed: Bed, simulator: Simulator) -> None:
    for name in ENVIRONMENT:
        del bed.env[name]
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(bed.folder / "cache")}
    options = {"use_instance_metadata": True, "metadata_endpoint": simulator.url, **cache}
    simulator.security_token = "TEMP"
    first = bed.inventory(**options)
    simulator.requests.clear()
    assert bed.inventory(**options) == first and simulator.requests == []
    (file,) = (bed.folder / "cache").iterdir()
    assert not any(secret in file.read_text("utf-8") for secret in (ACCESS_KEY, SECRET_KEY, "TEMP"))


def test_accounts_in_one_file(bed: Bed, simulator: Simulator, other: Simulator) -> None:
    profiles(bed)
    accounts = [{"name": "own", "regions": [A, B]}, {"profile": "research", **places(other)}]
    found = bed.inventory(accounts=accounts, group_by=["account"])
    hostvars = found["_meta"]["hostvars"]
    # One instance is seen by both: it is one host, of the account that comes first.
    assert sorted(hostvars) == ["gpu-1", "head", "npu-1", "plain", "theirs"]
    assert {name: each["ecs_account"] for name, each in hostvars.items() if name in ("plain", "theirs")} == {
        "plain": "own",
        "theirs": "research",
    }
    assert found["account_research"]["hosts"] == ["theirs"]
    assert not any("/v3/projects" in target and B in target for target in other.requests)


def test_one_account_fails(bed: Bed, other: Simulator) -> None:
    profiles(bed)
    accounts = [{"name": "own", "regions": [A]}, {"profile": "wrong", **places(other)}]
    fail, warn = bed.parse({"accounts": accounts}, {"accounts": accounts, "on_region_error": "warn"})
    assert f"Region {A} of account wrong: IAM refused the credentials from section [wrong]" in fail["error"]
    assert sorted(warn["hosts"]) == ["gpu-1", "head", "plain"] and len(warn["warnings"]) == 1
    # The credentials of the environment are never tried for an account that has its own.
    (half,) = bed.parse({"accounts": [{"access_key": "x", "name": "x"}]})
    assert "access_key is set but secret_key is not" in half["error"]


@pytest.mark.parametrize(
    ("accounts", "sentence"),
    [
        ("prod", "accounts must be a list of mappings"),
        ([{"profil": "x"}], "Unknown value 'profil' in accounts: did you mean profile?"),
        ([{"regions": [A]}], "Each of the accounts needs a name of its own"),
        ([{"name": "a"}, {"name": "a"}], "Each of the accounts needs a name of its own"),
        ([{"name": "a", "endpoints": {"x": "y"}}], "endpoints names the region 'x', which is not in regions"),
    ],
)
def test_wrong_accounts_are_one_sentence(bed: Bed, simulator: Simulator, accounts: Any, sentence: str) -> None:
    assert sentence in bed.failure(accounts=accounts)
    assert simulator.requests == []


def test_no_secret_in_any_output(bed: Bed, simulator: Simulator) -> None:
    """Not even with all that Ansible has to say, for a success and for a failure."""
    bed.configure(secret_key=SECRET_KEY)
    good = bed.run("inventory", "--list", "-vvvvv")
    echo = json.dumps({"error_code": "X.1", "error_msg": f"{ACCESS_KEY} {SECRET_KEY}"})
    simulator.add_failure({"status": 500, "times": -1, "body": echo})
    bed.configure(secret_key=SECRET_KEY, retries=0)
    bad = bed.run("inventory", "--list", "-vvvvv")
    assert good.returncode == 0 and "failed on its side (500 X.1: *** ***" in bad.stderr
    assert not any(secret in each.stdout + each.stderr for each in (good, bad) for secret in (ACCESS_KEY, SECRET_KEY))

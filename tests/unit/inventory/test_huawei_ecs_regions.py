# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All regions, another account by way of an agency, and hosts by names of the user's own."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("huaweicloudsdkecs")

from tests.ecs_simulator.server import Simulator, Tenant
from tests.ecs_simulator.testing import ACCESS_KEY, SECRET_KEY, MemorySource
from tests.unit.inventory.bed import A, B, Bed, hosts_of

AGENCY = {"assume_role_agency_name": "ray", "assume_role_domain_name": "theirs"}


@pytest.fixture(name="tenant")
def tenant_fixture(simulator: Simulator) -> Tenant:
    shorts = [{"name": "their-a"}, {"name": "their-b", "region": B}]
    return simulator.add_tenant(MemorySource(shorts), "theirs", "ray", [A, B])


def test_all_regions(bed: Bed, simulator: Simulator) -> None:
    del bed.env["HUAWEICLOUD_SDK_REGION"]
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(bed.folder / "cache")}
    (first,) = bed.parse({"regions": "all", **cache})
    (again,) = bed.parse({"regions": ["all"], **cache})
    assert first["error"] == "" and sorted(first["hosts"]) == ["gpu-1", "head", "npu-1", "plain"]
    assert again["hosts"] == first["hosts"]
    assert sum("auth/projects" in target for target in simulator.requests) == 1
    simulator.closed_regions = {B}
    without, named = bed.parse({"regions": "all"}, {"regions": [A, B]})
    assert sorted(without["hosts"]) == ["gpu-1", "head", "plain"] and without["warnings"] == []
    assert without["verbose"][0].startswith(f"Without region {B}: ECS is closed in this region to the user of")
    assert f"Region {B}: ECS is closed in this region" in named["error"]
    simulator.closed_regions = {A, B}
    (nothing,) = bed.parse({"regions": "all", "on_region_error": "ignore"})
    assert "APIGW.0802" in nothing["error"] and nothing["hosts"] == {}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"regions": ["all", A]}, "regions has 'all' and others: leave the others away, or 'all'."),
        ({"regions": "all", "project_id": "p"}, "project_id is set for several regions"),
        ({"assume_role_agency_name": "ray"}, "An agency takes assume_role_agency_name and one of"),
        ({"assume_role_domain_id": "x"}, "An agency takes assume_role_agency_name and one of"),
        ({**AGENCY, "assume_role_domain_id": "x"}, "An agency takes assume_role_agency_name and one of"),
        ({"accounts": [{"name": "a", "assume_role_agency": "x"}]}, "did you mean assume_role_agency_name?"),
    ],
)
def test_wrong_regions_and_agencies_are_one_sentence(
    bed: Bed, simulator: Simulator, options: dict[str, Any], sentence: str
) -> None:
    assert sentence in bed.failure(**options)
    assert simulator.requests == []


def test_the_agency_of_another_account(bed: Bed, simulator: Simulator, tenant: Tenant) -> None:
    """All is listed with its keys, which are in no output and no cache; the user's own only ask for them."""
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(bed.folder / "cache")}
    (found,) = bed.parse({**AGENCY, **cache})
    assert (found["error"], sorted(found["hosts"])) == ("", ["their-a", "their-b"])
    text = "".join(file.read_text("utf-8") for file in (bed.folder / "cache").iterdir())
    secrets = (tenant.access_key, tenant.secret_key, str(tenant.security_token), ACCESS_KEY, SECRET_KEY)
    assert not any(secret in text for secret in secrets)
    simulator.requests.clear()
    # Another account never gets these hosts from the cache, and this one asks nobody.
    again, own = bed.parse({**AGENCY, **cache}, cache)
    assert again["hosts"] == found["hosts"] and "head" in own["hosts"]
    assert not any("securitytokens" in target for target in simulator.requests)
    simulator.add_failure({"status": 403, "path": "/v1/", "times": -1})
    bed.configure(**AGENCY, retries=0)
    done = bed.run("inventory", "--list", "-vvvvv")
    assert "grant the credentials from the agency ray of theirs ecs:cloudServers:list" in done.stderr
    assert not any(secret in done.stdout + done.stderr for secret in secrets)


def test_own_and_foreign_accounts_in_one_file(bed: Bed, tenant: Tenant) -> None:
    """The keys are the file's; its project is not the other account's."""
    accounts = [{"name": "own", "regions": [A]}, {"name": "theirs", "regions": "all", **AGENCY}]
    (found,) = bed.parse({"accounts": accounts, "group_by": ["account"]})
    assert found["error"] == "" and found["groups"]["account_theirs"] == ["their-a", "their-b"]
    assert found["groups"]["account_own"] == ["gpu-1", "head", "plain"]
    bed.env["HUAWEICLOUD_SDK_PROJECT_ID"] = "f" * 32
    (alone,) = bed.parse({"accounts": [{"name": "theirs", "regions": [B], **AGENCY}]})
    assert (alone["error"], list(alone["hosts"])) == ("", ["their-b"])


def test_agency_with_the_metadata_service(bed: Bed, simulator: Simulator, tenant: Tenant) -> None:
    """An agency never asks it by itself."""
    del bed.env["HUAWEICLOUD_SDK_AK"], bed.env["HUAWEICLOUD_SDK_SK"]
    at = {"metadata_endpoint": simulator.url, **AGENCY}
    assert "No Huawei Cloud credentials: set HUAWEICLOUD_SDK_AK" in bed.failure(**at)
    assert simulator.requests == []
    simulator.security_token = "TEMP"
    (found,) = bed.parse({**at, "use_instance_metadata": True})
    assert (found["error"], sorted(found["hosts"])) == ("", ["their-a", "their-b"])


def test_wrong_agency_names_the_options(bed: Bed) -> None:
    sentence = bed.failure(**AGENCY)
    assert "IAM knows no such agency (404: Could not find agency: ray.): check assume_role_agency_name" in sentence


def test_group_and_prefix(bed: Bed) -> None:
    found = bed.inventory(
        group="gpu_cloud",
        hostvars_prefix="huawei_",
        hostnames=["{{ huawei_name }}.{{ huawei_region }}"],
        compose={"wanted": "huawei_private_ip ~ ' ' ~ ansible_host"},
        keyed_groups=[{"key": "huawei_accelerator", "prefix": "accel"}],
        include_filters=[{"accelerator": ["gpu", "npu"]}],
        group_by=["os", "image", "security_group", "enterprise_project", "subnet"],
        strict=True,
    )
    assert hosts_of(found, "gpu_cloud") == [f"gpu-1.{A}", f"npu-1.{B}"] and "huawei_ecs" not in found
    head = found["_meta"]["hostvars"][f"gpu-1.{A}"]
    assert head["huawei_gpu_count"] == 1 and head["wanted"] == "10.0.0.2 10.0.0.2"
    assert not any(name.startswith("ecs_") for name in head)
    assert found["accel_gpu"]["hosts"] == [f"gpu-1.{A}"] and hosts_of(found, "ray_workers")
    groups = ("os_linux", "image_debian_12_0_0_64bit", "security_group_default", "enterprise_project_0")
    assert {group: len(hosts_of(found, group)) for group in groups} == dict.fromkeys(groups, 2)


def test_a_host_is_never_called_as_the_group_of_all(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[:] = [{"name": "gpu_cloud", "id": "i"}]
    (found,) = bed.parse({"group": "gpu_cloud"})
    assert list(found["hosts"]) == ["gpu_cloud-i"]

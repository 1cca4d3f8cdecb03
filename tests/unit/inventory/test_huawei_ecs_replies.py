# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real API answers beside ordinary instances: tags of the system, bare metal, ids that are none."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

pytest.importorskip("huaweicloudsdkecs")

from tests.ecs_simulator.server import Simulator
from tests.unit.inventory.bed import ROOT, A, B, Bed, plain

NODE = {"ray-cluster-name": "demo", "ray-node-type": "head"}


def hosts(found: list[dict[str, Any]]) -> list[list[str]]:
    return [sorted(each["hosts"]) for each in found]


def test_filters_on_tags_of_the_system_filter(bed: Bed, simulator: Simulator) -> None:
    """They were lost, so a filter on one excluded nothing, or everything."""
    simulator.source.shorts[:] = [{"name": "flexus", "system_tags": {"_sys_type_hcss_x": ""}}, {"name": "ordinary"}]
    found = bed.parse(
        {"exclude_filters": [{"tag:_sys_type_hcss_x": "*"}]},
        {"tags": {"_sys_type_hcss_x": None}},
        {"tags": {"_sys_root_resource_id": "0"}},
        {"group_by": ["tag:_sys_type_hcss_x"]},
    )
    assert hosts(found[:3]) == [["ordinary"], ["flexus"], ["flexus", "ordinary"]]
    assert found[3]["groups"]["tag__sys_type_hcss_x"] == ["flexus"]
    # The API does not look at all of them.
    assert not any("_sys_" in target for target in simulator.requests)
    hostvars = bed.inventory(regions=[A])["_meta"]["hostvars"]
    assert hostvars["flexus"]["ecs_system_tags"] == {"_sys_root_resource_id": "0", "_sys_type_hcss_x": ""}
    assert hostvars["flexus"]["ecs_tags"] == {}


@pytest.mark.parametrize("status", [[], ["ACTIVE"]])
def test_an_id_that_is_none_gives_a_warning_and_no_host(bed: Bed, simulator: Simulator, status: list[str]) -> None:
    """With the status, and without; also from the cache."""
    simulator.source.shorts[0]["id"] = "i-head"
    options = {"server_filters": {"server_id": ["i-head", "i-none"]}, "status": status, "regions": [A]}
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(bed.folder / "cache")}
    for found in bed.parse({**options, **cache}, {**options, **cache}):
        assert sorted(found["hosts"]) == ["head"]
        assert found["warnings"] == [f"Region {A} has no instance i-none: Instance i-none could not be found."]


def test_bare_metal_and_its_switch(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[:] = [
        {
            "name": "trainer",
            "flavor": "physical.kat2ne.48xlarge.8.ei.pod101",
            "charging_mode": "1",
            "enterprise_project_id": "ep1",
        },
        {"name": "virtual"},
    ]
    both, without, by_tag = bed.parse(
        {}, {"bare_metal": False}, {"include_filters": [{"bare_metal": True, "enterprise_project_id": "ep1"}]}
    )
    assert hosts([both, without, by_tag]) == [["trainer", "virtual"], ["virtual"], ["trainer"]]
    trainer = bed.inventory(regions=[A])["_meta"]["hostvars"]["trainer"]
    wanted = {
        "ecs_bare_metal": True,
        "ecs_arch": "aarch64",
        "ecs_charging_mode": "prepaid",
        "ecs_enterprise_project_id": "ep1",
        "ecs_npu_count": 8,
    }
    assert {name: trainer[name] for name in wanted} == wanted


def test_what_filters_silently_is_said_with_v(bed: Bed, simulator: Simulator) -> None:
    bed.env.update(HW_ENTERPRISE_PROJECT_ID="0", RAY_CLUSTER_NAME="demo")
    (found,) = bed.parse({"regions": [A]})
    assert found["verbose"] == [
        "Only instances of the Ray cluster demo are asked for, as the variable RAY_CLUSTER_NAME says.",
        "Only instances of the enterprise projects 0 are asked for, as the variable HW_ENTERPRISE_PROJECT_ID says.",
    ]
    (own,) = bed.parse({"regions": [A], "enterprise_project_ids": ["0"], "cluster_name": "demo"})
    assert own["verbose"] == [] and own["hosts"] == found["hosts"]


def test_rows_of_another_project_are_checked_too(bed: Bed, simulator: Simulator) -> None:
    """The rows name a project that nobody asked by: the check of their security groups passed."""
    raw = {"tenant_id": "another-project"}
    simulator.source.shorts[:] = [
        {"name": "h", "tags": NODE, "security_groups": ["shut"], "raw": raw},
        {"name": "w", "tags": {**NODE, "ray-node-type": "worker"}, "security_groups": ["shut"], "raw": raw},
    ]
    (found,) = bed.parse({"ray_checks": {"security_groups": "warn"}})
    assert len(found["warnings"]) == 2
    assert all("do not let all other nodes in on TCP" in each and "32768-60999" in each for each in found["warnings"])


def test_an_endpoint_without_count_and_marker_loses_no_host(bed: Bed, simulator: Simulator) -> None:
    """As older ones are, and those of partner clouds, with a page that is smaller than was asked for."""
    simulator.source.shorts[:] = [{"name": f"n{number}"} for number in range(7)]
    simulator.page_cap, simulator.counts, simulator.knows_marker = 3, False, False
    (found,) = bed.parse({"expiry": True, "flavor_details": True})
    assert (len(found["hosts"]), found["error"], found["warnings"]) == (7, "", [])


def test_the_documented_way_to_plain_json(bed: Bed) -> None:
    """ansible-inventory --list wraps what is no template; the documentation's command takes that off."""
    text = (ROOT / "docs" / "inventory.md").read_text(encoding="utf-8")
    listed, _pipe, filtered = text.partition("    ansible-inventory -i huawei_ecs.yml --list")[2].partition("|")
    assert listed.strip() == ""
    wrapped = bed.run("inventory", "--list").stdout
    assert "__ansible_unsafe" in wrapped
    (bed.folder / "wrapped.json").write_text(wrapped, encoding="utf-8")
    program = shlex.split(filtered.partition("\n\n")[0])
    assert program[:2] == ["python3", "-c"]
    done = bed.python("-c", f"import sys; sys.stdin = open({str(bed.folder / 'wrapped.json')!r}); {program[2]}")
    assert json.loads(done.stdout) == plain(json.loads(wrapped))
    assert json.loads(done.stdout)["_meta"]["hostvars"]["npu-1"]["ecs_region"] == B

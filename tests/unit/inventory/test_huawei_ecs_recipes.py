# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configurations that the documentation shows do what it says, as they stand there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huaweicloudsdkecs")

from ansible_collections.rayops.cluster.plugins.inventory.huawei_ecs import EXAMPLES
from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import ACCESS_KEY, SECRET_KEY, MemorySource, running
from tests.unit.inventory.bed import ROOT, A, B, Bed, hosts_of, plain

C = "cn-southwest-2"
PAGE = (ROOT / "docs" / "inventory.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^```yaml\n(?=# (\S+huawei_ecs\.yml): )(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
DOCUMENTS = EXAMPLES.split("\n---\n")


def instance(name: str, cluster: str, role: str, pool: str = "", **more: Any) -> dict[str, Any]:
    tags = {"ray-cluster-name": cluster, "ray-node-type": role, "ray-user-node-type": pool}
    return {"name": name, "tags": {**tags, "env": "staging", "team": ""}, **more}


def fleet(*clusters: str) -> list[dict[str, Any]]:
    """Three kinds of workers behind a head with an EIP in one region, and a smaller cluster in each of two others."""
    found = [
        instance("head", "deepseek", "head", private_ip="192.168.0.10", public_ip="203.0.113.10"),
        instance("gpu-1", "deepseek", "worker", "gpu", private_ip="192.168.0.11", flavor="p2s.16xlarge.8"),
        instance("npu-1", "deepseek", "worker", "npu", private_ip="192.168.0.12", flavor="kat2.48xlarge.8"),
        instance("cpu-1", "deepseek", "worker", private_ip="192.168.0.13", flavor="c7.2xlarge.4"),
        instance("lab-head", "lab", "head", private_ip="192.168.0.20"),
        instance("lab-1", "lab", "worker", "gpu", private_ip="192.168.0.21"),
        instance("east-head", "east", "head", region=B),
        instance("southwest-head", "southwest", "head", region=C),
    ]
    found[1].update(charging_mode="2")
    found[2].update(charging_mode="1", expires="2026-01-31T15:59:59Z")
    found[3].update(charging_mode="1", expires="2999-12-31T15:59:59Z")
    return [each for each in found if not clusters or each["tags"]["ray-cluster-name"] in clusters]


@pytest.fixture(name="simulator")
def simulator_fixture() -> Iterator[Simulator]:
    with running(fleet(), (A, B, C)) as each:
        yield each


@pytest.fixture(name="bed")
def bed_fixture(tmp_path: Path, simulator: Simulator) -> Bed:
    """With what the configurations ask for: profiles, the secret of a file, a variable."""
    bed, keys = Bed(tmp_path, simulator), f"ak = {ACCESS_KEY}\nsk = {SECRET_KEY}\n"
    bed.env["TEAM_AK"] = ACCESS_KEY
    profiles = f"[production]\n{keys}[research]\n{keys}"
    for name, content in ((".huaweicloud/credentials", profiles), (".secrets/huawei_sk", f"{SECRET_KEY}\n")):
        file = Path(bed.env["HOME"], name)
        file.parent.mkdir()
        file.write_text(content, encoding="utf-8")
    return bed


def listed(bed: Bed, text: str, *arguments: str) -> dict[str, Any]:
    bed.file.write_text(text, encoding="utf-8")
    done = bed.run("inventory", "--list", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return plain(json.loads(done.stdout))


def variable(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {host: variables.get(name) for host, variables in found["_meta"]["hostvars"].items()}


def test_all_recipes_are_found() -> None:
    assert len(RECIPES) == PAGE.count("```yaml") == 8 and len(DOCUMENTS) == 4


def test_bastion(bed: Bed) -> None:
    found = listed(bed, RECIPES["bastion.huawei_ecs.yml"])
    hosts, jump = variable(found, "ansible_host"), "-o ProxyJump=root@203.0.113.10"
    assert (hosts["head"], hosts["gpu-1"]) == ("203.0.113.10", "192.168.0.11")
    assert variable(found, "ansible_ssh_common_args") == {"head": "", "gpu-1": jump, "npu-1": jump, "cpu-1": jump}
    assert set(variable(found, "ansible_user").values()) == {"root"}


def test_public_addresses(bed: Bed) -> None:
    head = listed(bed, RECIPES["public.huawei_ecs.yml"])["_meta"]["hostvars"]["head"]
    assert (head["ansible_host"], head["ecs_private_ip"]) == ("203.0.113.10", "192.168.0.10")
    assert head["ansible_ssh_common_args"].endswith(f"=accept-new -o HostKeyAlias={head['ecs_id']}")


def test_several_clusters(bed: Bed) -> None:
    found = listed(bed, RECIPES["clusters.huawei_ecs.yml"])
    assert hosts_of(found, "ray_cluster_deepseek_head") == ["head"] and hosts_of(found, "ray_head") == []
    assert hosts_of(found, "ray_cluster_lab_pool_gpu") == ["lab-1"]
    assert hosts_of(found, "tag_ray_cluster_name_lab") == ["lab-1", "lab-head"]
    lab = listed(bed, RECIPES["clusters.huawei_ecs.yml"], "-e", "ray_cluster_name=lab")
    assert hosts_of(lab, "ray_head") == ["lab-head"] and hosts_of(lab, "ray_pool_gpu") == ["lab-1"]
    assert hosts_of(lab, "tag_ray_cluster_name_lab") == hosts_of(lab, "huawei_ecs") and "ray_cluster_lab" not in lab
    bed.env["RAY_CLUSTER_NAME"] = "lab"
    found = listed(bed, re.sub("\ncluster_name: .*", "", RECIPES["clusters.huawei_ecs.yml"]))
    assert hosts_of(found, "huawei_ecs") == hosts_of(lab, "huawei_ecs")


def test_pools(bed: Bed) -> None:
    found = listed(bed, RECIPES["pools.huawei_ecs.yml"])
    assert hosts_of(found, "accelerator_npu") == ["npu-1"] and "head" in hosts_of(found, "accelerator_none")
    for group in ("ray_pool_gpu", "accelerator_gpu", "flavor_p2s_16xlarge_8"):
        assert hosts_of(found, group) == ["gpu-1"]
    assert (variable(found, "ecs_gpu_count")["gpu-1"], variable(found, "ecs_npu_count")["npu-1"]) == (8, 8)


def test_accounts(bed: Bed) -> None:
    accounts = variable(listed(bed, RECIPES["accounts.huawei_ecs.yml"]), "ecs_account")
    assert (accounts.pop("east-head"), set(accounts.values()), len(accounts)) == ("lab", {"production"}, 6)


def test_another_account(bed: Bed, simulator: Simulator) -> None:
    tenant = simulator.add_tenant(MemorySource(fleet("lab")), "research-account", "ray-inventory", [A, B])
    found = listed(bed, RECIPES["agency.huawei_ecs.yml"])
    assert hosts_of(found, "huawei_ecs") == ["lab-1", "lab-head"] and hosts_of(found, "ray_head") == ["lab-head"]
    assert tenant.access_key not in json.dumps(found)


def test_spot_and_prepaid(bed: Bed) -> None:
    found = listed(bed, RECIPES["spot.huawei_ecs.yml"])
    assert (hosts_of(found, "spot"), hosts_of(found, "ends_soon")) == (["gpu-1"], ["npu-1"])


def test_cache(bed: Bed, simulator: Simulator) -> None:
    folder, recipe = Path(bed.env["HOME"], ".cache", "ansible", "huawei_ecs"), RECIPES["cached.huawei_ecs.yml"]
    folder.mkdir(parents=True, mode=0o700)
    first, requests = listed(bed, recipe), len(simulator.requests)
    assert listed(bed, recipe) == first and len(simulator.requests) == requests > 0
    assert folder.stat().st_mode & 0o777 == 0o700 and len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("number", range(len(DOCUMENTS)))
def test_examples_of_the_plugin(bed: Bed, simulator: Simulator, number: int) -> None:
    if number < 3:  # only the last one is about several clusters
        simulator.source.shorts[:] = fleet("deepseek")
    found = listed(bed, DOCUMENTS[number])
    hosts = variable(found, "ansible_host")
    assert (len(hosts), len(hosts_of(found, "ray_head"))) == ((4, 1) if number < 3 else (8, 0))
    assert number != 1 or hosts["head"] == "203.0.113.10"
    if number == 2:
        assert hosts_of(found, "tag_env_staging") == sorted(hosts) and "head.cn-north-4.example.com" in hosts
        assert hosts_of(found, "vcpus_8") == ["cpu-1.cn-north-4.example.com"]
    assert number != 3 or hosts_of(found, "account_research") == ["southwest-head"]

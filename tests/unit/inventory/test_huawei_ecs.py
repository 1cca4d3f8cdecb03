# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory plugin makes of the cloud's answers: hosts, variables, groups."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("huaweicloudsdkecs")

from ansible_collections.rayops.cluster.plugins.doc_fragments import huawei_cloud, huawei_hosts, huawei_instances
from ansible_collections.rayops.cluster.plugins.inventory import huawei_ecs
from tests.ecs_simulator.instances import USER_DATA
from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import ACCESS_KEY, SECRET_KEY
from tests.unit.inventory.bed import ROOT, A, B, Bed, hosts_of

FRAGMENTS = (huawei_cloud, huawei_instances, huawei_hosts)


def test_everything_from_the_environment(bed: Bed) -> None:
    found = bed.inventory()
    assert hosts_of(found, "huawei_ecs") == ["gpu-1", "head", "npu-1", "plain"]
    assert hosts_of(found, "ray_head") == ["head"]
    assert set(hosts_of(found, "ray_workers")) == {"gpu-1", "npu-1"}
    assert hosts_of(found, "ray_pool_gpu_v100") == ["gpu-1"]
    assert hosts_of(found, "ray_pool_npu") == ["npu-1"]
    assert sorted(found["ray_workers"]["children"]) == ["ray_pool_gpu_v100", "ray_pool_npu"]
    gpu = found["_meta"]["hostvars"]["gpu-1"]
    assert gpu["ansible_host"] == gpu["ecs_private_ip"] == "10.0.0.2"
    assert (gpu["ecs_gpu_count"], gpu["ecs_npu_count"], gpu["ecs_vcpus"], gpu["ecs_region"]) == (1, 0, 8, A)
    assert "ecs_public_ip" not in gpu
    assert found["_meta"]["hostvars"]["npu-1"]["ecs_region"] == B
    text = json.dumps(found)
    assert USER_DATA not in text and SECRET_KEY not in text and ACCESS_KEY not in text


def test_a_play_reads_groups_and_variables_without_a_warning(bed: Bed) -> None:
    play = bed.folder / "play.yml"
    play.write_text(
        "- hosts: ray_head:ray_redis:ray_monitor:ray_workers\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.debug:\n"
        "        msg: '{{ ansible_host }} {{ ecs_tags[\"ray-node-type\"] }} {{ ecs_gpu_count }}'\n"
        "- hosts: ray_redis\n  gather_facts: false\n  tasks: []\n",
        encoding="utf-8",
    )
    done = bed.run("playbook", str(play))
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.0.0.1 head 0" in done.stdout
    assert "10.0.0.2 worker 1" in done.stdout


def test_the_role_keeps_its_templates(bed: Bed) -> None:
    """Whatever the plugin reads, Ansible reads the role's files with trust in their templates."""
    play = bed.folder / "play.yml"
    tasks = [
        {"ansible.builtin.import_role": {"name": "rayops.cluster.ray_defaults"}},
        {"ansible.builtin.debug": {"var": "_ray_is_head"}},
    ]
    play.write_text(json.dumps([{"hosts": "ray_head", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    done = bed.run("playbook", str(play))
    assert (done.returncode, done.stderr) == (0, "") and '"_ray_is_head": true' in done.stdout


def test_options_templates_and_extra_variables(bed: Bed, simulator: Simulator) -> None:
    for name in list(bed.env):
        if name.startswith("HUAWEICLOUD_"):
            del bed.env[name]
    bed.env["TEAM_SK"] = SECRET_KEY
    found = bed.inventory(
        "-e",
        f"the_region={A} the_url={simulator.url}",
        access_key="{{ the_ak | default('" + ACCESS_KEY + "') }}",
        secret_key="{{ lookup('ansible.builtin.env', 'TEAM_SK') }}",
        regions=["{{ the_region }}"],
        endpoints={A: "{{ the_url }}"},
        iam_endpoint="{{ the_url }}",
        connect_with=["public_ip", "private_ip"],
        status=[],
        hostnames=["tag:ray-node-type", "id"],
    )
    hostvars = found["_meta"]["hostvars"]
    assert hostvars["head"]["ansible_host"] == "1.2.3.4"
    assert hostvars["worker"]["ansible_host"] == "10.0.0.2"
    assert sorted(host["ecs_name"] for host in hostvars.values()) == ["gpu-1", "head", "plain", "rebooting", "stopped"]


def test_credentials_file(bed: Bed) -> None:
    del bed.env["HUAWEICLOUD_SDK_AK"], bed.env["HUAWEICLOUD_SDK_SK"]
    folder = Path(bed.env["HOME"]) / ".huaweicloud"
    folder.mkdir()
    (folder / "credentials").write_text(f"[basic]\nak = {ACCESS_KEY}\nsk = {SECRET_KEY}\n", encoding="utf-8")
    assert "head" in bed.inventory()["_meta"]["hostvars"]
    (folder / "credentials").rename(bed.folder / "other")
    assert "head" in bed.inventory(credentials_file=str(bed.folder / "other"))["_meta"]["hostvars"]


def test_token_of_the_environment_stays_away_from_a_key_in_the_file(bed: Bed, simulator: Simulator) -> None:
    bed.env["HUAWEICLOUD_SDK_SECURITY_TOKEN"] = "TOKEN-SECRET"
    assert "refused the credentials" in bed.failure()
    bed.configure(access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    assert "head" in bed.run("inventory", "--graph").stdout
    simulator.security_token = "TOKEN-SECRET"
    assert "head" in bed.inventory()["_meta"]["hostvars"]


def test_filters_by_cluster_and_tags(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts += [
        {"name": "h2", "tags": {"ray-cluster-name": "demo2", "ray-node-type": "head", "env": "prod"}},
        {"name": "w2", "tags": {"ray-cluster-name": "demo2", "ray-node-type": "worker", "env": "test"}},
    ]
    assert "2 Ray clusters (demo, demo2): set cluster_name, or the variable RAY_CLUSTER_NAME" in bed.failure()
    found = bed.parse(
        {"cluster_name": "demo2"},
        {"cluster_name": "demo2", "tags": {"env": ["prod", "x"]}},
        {"tags": {"env": None}},
        {"tags": {"env": "te"}},
        {"status": [], "cluster_name": "{{ 'demo' }}"},
    )
    assert [sorted(each["hosts"]) for each in found] == [
        ["h2", "w2"],
        ["h2"],
        ["h2", "w2"],
        [],
        ["gpu-1", "head", "npu-1"],
    ]
    bed.env["RAY_CLUSTER_NAME"] = "demo"
    (found,) = bed.parse({})
    assert sorted(found["hosts"]) == ["gpu-1", "head", "npu-1"]


def test_constructed_groups_and_variables(bed: Bed) -> None:
    found = bed.inventory(
        strict=True,
        compose={"ansible_user": "'root' if ecs_os_type == 'Linux' else 'Administrator'", "ansible_host": "ecs_id"},
        groups={"north": "ecs_region == 'cn-north-4'"},
        keyed_groups=[{"key": "ecs_accelerator", "prefix": "accel"}, {"key": "ecs_vcpus | string", "prefix": "vcpus"}],
    )
    assert found["accel_gpu"]["hosts"] == ["gpu-1"] and found["vcpus_192"]["hosts"] == ["npu-1"]
    assert sorted(found["north"]["hosts"]) == ["gpu-1", "head", "plain"]
    head = found["_meta"]["hostvars"]["head"]
    assert head["ansible_user"] == "root" and head["ansible_host"] == head["ecs_id"]


def test_strict_failure_leaves_no_host_behind(bed: Bed) -> None:
    (found,) = bed.parse({"strict": True, "compose": {"x": "no_such_variable"}})
    assert "no_such_variable" in found["error"] and found["hosts"] == {}


def test_template_in_a_tag_is_never_run(bed: Bed, simulator: Simulator) -> None:
    evil = "{{ lookup('ansible.builtin.pipe', 'touch " + str(bed.folder / "hacked") + "') }}"
    simulator.source.shorts[:] = [{"name": "head", "private_ip": "10.0.0.1", "hostname": evil, "tags": {"evil": evil}}]
    found = bed.inventory(
        hostnames=["tag:evil"], keyed_groups=[{"key": "ecs_tags.evil"}], compose={"y": "ecs_hostname"}
    )
    (variables,) = found["_meta"]["hostvars"].values()
    assert variables["ecs_tags"]["evil"] == variables["y"] == evil
    play = bed.folder / "play.yml"
    play.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: '{{ y }} {{ ecs_tags }}'}}]\n",
        "utf-8",
    )
    assert bed.run("playbook", str(play)).returncode == 0
    assert not (bed.folder / "hacked").exists()


def test_odd_instances(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[:] = [
        {"name": "web", "id": "i1"},
        {"name": "web", "id": "i2"},
        {"name": "localhost", "id": "i3"},
        {"name": "WIN 1", "os_type": "Windows"},
        {"name": "构建中", "raw": {"addresses": {}, "flavor": {}}},
    ]
    found = bed.inventory()
    assert sorted(found["_meta"]["hostvars"]) == ["WIN_1", "localhost-i3", "web-i1", "web-i2", "构建中"]
    assert "ansible_host" not in found["_meta"]["hostvars"]["构建中"]
    (found,) = bed.parse({"on_duplicate_name": "fail"})
    assert "2 instances are called web" in found["error"] and found["hosts"] == {}


def test_typo_in_a_node_type_and_pools_of_one_group_are_warned_of(bed: Bed, simulator: Simulator) -> None:
    simulator.source.shorts[:] = [
        {"name": "w1", "tags": {"ray-node-type": "wroker"}},
        {"name": "w2", "tags": {"ray-node-type": "worker", "ray-user-node-type": "a-b"}},
        {"name": "w3", "tags": {"ray-node-type": "worker", "ray-user-node-type": "a.b"}},
    ]
    done = bed.run("inventory", "--graph")
    assert (
        "w1 is in no Ray group: its ray-node-type is 'wroker', not one of head, worker, redis, monitor." in done.stderr
    )
    assert "'ray_pool_a-b' and 'ray_pool_a.b' share the group ray_pool_a_b." in done.stderr


def test_root_configuration_and_documentation(bed: Bed) -> None:
    bed.file = ROOT / "huawei_ecs.yml"
    done = bed.run("inventory", "--graph")
    assert (done.returncode, done.stderr) == (0, "") and "@ray_redis:" in done.stdout
    shown = bed.python("-m", "ansible", "doc", "-t", "inventory", "rayops.cluster.huawei_ecs")
    assert (shown.returncode, shown.stderr) == (0, "") and "HUAWEICLOUD_SDK_SECURITY_TOKEN" in shown.stdout


def test_every_option_has_a_type_and_an_example(bed: Bed) -> None:
    done = bed.python("-m", "ansible", "doc", "--json", "-t", "inventory", "rayops.cluster.huawei_ecs")
    assert done.returncode == 0
    shown = json.loads(done.stdout)["rayops.cluster.huawei_ecs"]
    own = {name for fragment in FRAGMENTS for name in options_of(fragment.ModuleDocFragment)}
    own |= set(yaml.safe_load(huawei_ecs.DOCUMENTATION)["options"])
    without = []
    for name in sorted(own):
        option = shown["doc"]["options"][name]
        text = " ".join(option["description"] if isinstance(option["description"], list) else [option["description"]])
        told = " such as " in f" {text.lower()} " or "for example" in text or f"{name}: " in shown["examples"]
        plain = option["type"] == "bool" or option.get("choices") or option.get("default")
        if not option["type"] or not (told or plain):
            without.append(name)
    assert without == []


def options_of(fragment: Any) -> dict[str, Any]:
    return yaml.safe_load(fragment.DOCUMENTATION)["options"]


def test_values_of_the_documentation_are_shown_whole(bed: Bed) -> None:
    """A ) within V(...) ends it, unless it is escaped."""
    shown = bed.python("-m", "ansible", "doc", "-t", "inventory", "rayops.cluster.huawei_ecs")
    text = " ".join(shown.stdout.split())
    assert "`{{ lookup('ansible.builtin.env', 'TEAM_TOKEN') }}'" in text
    described = json.dumps([options_of(fragment.ModuleDocFragment) for fragment in FRAGMENTS])
    described += json.dumps(yaml.safe_load(huawei_ecs.DOCUMENTATION)["options"])
    values = re.findall(r"V\(((?:[^\\)]|\\\\.)+)\)", described)
    assert len(values) > 50
    for value in values:
        for opening, closing in ("()", "[]", "{}"):
            assert value.count(opening) == value.count(closing), value


def test_the_example_of_a_token_works(bed: Bed, simulator: Simulator) -> None:
    simulator.security_token = "TOKEN-SECRET"
    bed.env["TEAM_TOKEN"] = "TOKEN-SECRET"
    (description,) = options_of(huawei_cloud.ModuleDocFragment)["security_token"]["description"][:1]
    example = description.partition("V(")[2].partition("}}")[0].replace("\\)", ")") + "}}"
    found = bed.inventory(access_key=ACCESS_KEY, secret_key=SECRET_KEY, security_token=example)
    assert "head" in found["_meta"]["hostvars"]

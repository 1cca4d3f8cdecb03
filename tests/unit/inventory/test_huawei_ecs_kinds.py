# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of every kind: --list, --graph and a play agree, and the variables are those of the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

pytest.importorskip("huaweicloudsdkecs")

from ansible_collections.rayops.cluster.plugins.inventory import huawei_ecs
from ansible_collections.rayops.cluster.plugins.module_utils._host_keys.keys import BEGIN, END
from tests.ecs_simulator.server import Simulator
from tests.unit.inventory.bed import Bed, hosts_of

DOCUMENTED = yaml.safe_load(huawei_ecs.RETURN)
V4, V6 = "192.168.0.10", "2001:db8::10"
# All that the documentation shows, in one instance.
SAMPLE: dict[str, Any] = {
    "name": "gpu-1",
    "id": "4b1f0f0e-6b7c-4f0b-9f4a-1f6d7a0c2e11",
    "flavor": "p2s.2xlarge.8",
    "charging_mode": "1",
    "expires": "2026-12-31T15:59:59Z",
    "private_ip": V4,
    "public_ip": "203.0.113.10",
    "ipv6": V6,
    "vpc_id": "5f0e7b1c-8d2a-4c3b-9e1f-2a3b4c5d6e7f",
    "tags": {"ray-node-type": "worker"},
    "raw": {
        "description": "DeepSeek, second rack",
        "fault": {"message": "No valid host was found.", "code": 500},
        "user_id": "fedcba9876543210fedcba9876543210",
        "hostId": "9f1c3e",
        "tenant_id": "0123456789abcdef0123456789abcdef",
        "auto_terminate_time": "2026-12-01T08:00:00Z",
        "security_groups": [{"name": "default", "id": "b2c3d4e5-8d2a-4c3b-9e1f-2a3b4c5d6e7f"}],
        "os-extended-volumes:volumes_attached": [{"id": "c3d4e5f6-8d2a-4c3b-9e1f-2a3b4c5d6e7f", "bootIndex": "0"}],
        "os:scheduler_hints": {"group": ["d4e5f6a7-8d2a-4c3b-9e1f-2a3b4c5d6e7f"]},
        "sys_tags": [{"key": "_sys_enterprise_project_id", "value": "0"}],
        "network_interfaces": [
            {
                "port_id": "0f1e2d3c-0000-4000-8000-000000000002",
                "primary": True,
                "subnet_id": "aa11bb22-8d2a-4c3b-9e1f-2a3b4c5d6e7f",
            }
        ],
        "OS-EXT-STS:task_state": "powering-off",
        "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
        "OS-EXT-SRV-ATTR:reservation_id": "r-2q7w9e",
        "OS-SRV-USG:launched_at": "2026-11-01T08:00:30.000000",
    },
}
METADATA = {
    "image_name": "Debian 12.0.0 64bit",
    "os_type": "Linux",
    "os_version": "Debian 12.0.0 64bit",
    "agency_name": "ray-nodes",
    "charging_mode": "1",
}
# For each kind the instance, and what is particular about its variables; None for one that must not be there.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "with-eip": (
        {"private_ip": "10.0.0.1", "public_ip": "1.2.3.4"},
        {"ansible_host": "10.0.0.1", "ecs_public_ip": "1.2.3.4", "ecs_ipv6": None},
    ),
    "without-eip": ({"private_ip": "10.0.0.2"}, {"ansible_host": "10.0.0.2", "ecs_public_ip": None}),
    "nics": (
        {
            "nics": [
                {"private_ip": "10.0.1.3", "public_ip": "1.2.3.5", "primary": False},
                {"private_ip": "10.0.0.3", "ipv6": "fd00::3"},
            ]
        },
        {
            "ansible_host": "10.0.0.3",
            "ecs_private_ips": ["10.0.0.3", "10.0.1.3"],
            "ecs_public_ip": "1.2.3.5",
            "ecs_ipv6": "fd00::3",
        },
    ),
    "v6-only": ({"private_ip": "", "ipv6": "fd00::4"}, {"ansible_host": "fd00::4", "ecs_private_ip": None}),
    "gpu": (
        {"flavor": "p2s.16xlarge.8"},
        {"ecs_gpu_count": 8, "ecs_gpu_memory": 32768, "ecs_npu_count": 0, "ecs_accelerator": "gpu"},
    ),
    "ascend": (
        {"flavor": "kat2.48xlarge.8"},
        {"ecs_npu_count": 8, "ecs_npu_name": "Ascend 910", "ecs_gpu_count": 0, "ecs_arch": "aarch64"},
    ),
    "stopped": ({"status": "SHUTOFF"}, {"ecs_status": "SHUTOFF"}),
    "in-error": (
        {"status": "ERROR", "raw": {"addresses": {}, "fault": {"message": "No valid host was found."}}},
        {"ecs_status": "ERROR", "ecs_fault": "No valid host was found.", "ansible_host": None},
    ),
    "being-built": (
        {"status": "BUILD", "raw": {"addresses": {}, "flavor": {"id": "s7.large.2"}, "metadata": {}}},
        {"ecs_status": "BUILD", "ecs_vcpus": 0, "ecs_private_ips": [], "ansible_host": None},
    ),
    "spot": ({"charging_mode": "2"}, {"ecs_spot": True, "ecs_charging_mode": "spot", "ecs_expires": None}),
    "prepaid": (
        {"charging_mode": "1", "expires": "2026-12-31T15:59:59Z"},
        {"ecs_spot": False, "ecs_charging_mode": "prepaid", "ecs_expires": "2026-12-31T15:59:59Z"},
    ),
    "tags": (
        {"tags": {"a.b:c/d": "x=y", "键": "值", "empty": "", "{{ 1+1 }}": "{{ 2+2 }}"}},
        {"ecs_tags": {"a.b:c/d": "x=y", "键": "值", "empty": "", "{{ 1+1 }}": "{{ 2+2 }}"}},
    ),
    "节点": ({"hostname": "node"}, {"ecs_name": "节点", "ecs_hostname": "node"}),
    "twin-t1": ({"name": "twin", "id": "t1"}, {"ecs_id": "t1", "ecs_name": "twin"}),
    "twin-t2": ({"name": "twin", "id": "t2"}, {"ecs_id": "t2", "ecs_name": "twin"}),
}


@pytest.fixture(name="kinds")
def kinds_fixture(simulator: Simulator) -> Iterator[None]:
    simulator.source.shorts[:] = [{"name": name, **short} for name, (short, _expected) in KINDS.items()]
    yield


def test_every_documented_variable_has_its_documented_value(bed: Bed, simulator: Simulator) -> None:
    short = {**SAMPLE, "raw": {**SAMPLE["raw"], "metadata": METADATA}}
    simulator.source.shorts[:] = [short]
    (key,) = DOCUMENTED["ecs_host_keys"]["sample"]
    simulator.source.consoles[SAMPLE["id"]] = f"{BEGIN}\n{key} root@gpu-1\n{END}\n"
    found = bed.inventory(expiry=True, host_keys=True)["_meta"]["hostvars"]["gpu-1"]
    samples = {name: each["sample"] for name, each in DOCUMENTED.items() if "sample" in each}
    assert {name: found.get(name) for name in samples} == samples
    (interface,) = found["ecs_network_interfaces"]
    assert set(interface) == set(DOCUMENTED["ecs_network_interfaces"]["contains"])
    assert set(found) == {*DOCUMENTED, "ansible_host"}


def test_list_graph_and_a_play_agree_for_every_kind(bed: Bed, kinds: None) -> None:
    options = {"status": [], "expiry": True, "group_by": ["status"]}
    listed = bed.inventory(**options)
    hostvars = listed["_meta"]["hostvars"]
    assert set(hostvars) == set(KINDS)
    for name, (_short, expected) in KINDS.items():
        assert {key: hostvars[name].get(key) for key in expected} == expected, name
    check_types(hostvars)
    graph = bed.run("inventory", "--graph").stdout
    assert set(re.findall(r"\|--([^@\n]+)$", graph, re.MULTILINE)) == set(KINDS)
    in_play = played(bed)
    assert {name: own(each) for name, each in in_play.items()} == {name: own(each) for name, each in hostvars.items()}
    groups = {group: sorted(hosts_of(listed, group)) for group in ("huawei_ecs", "status_shutoff", "status_error")}
    assert set(groups["huawei_ecs"]) == set(KINDS)
    assert (groups["status_shutoff"], groups["status_error"]) == (["stopped"], ["in-error"])
    for group, members in groups.items():
        assert sorted(name for name, each in in_play.items() if group in each["group_names"]) == members


def check_types(hostvars: dict[str, dict[str, Any]]) -> None:
    """Each variable is documented, has its documented type, and is there as documented."""
    for name, variables in hostvars.items():
        given = own(variables)
        always = {key for key, each in DOCUMENTED.items() if each["returned"] == "always"}
        assert always <= set(given) <= {*DOCUMENTED, "ansible_host"}, name
        for key in set(given) & set(DOCUMENTED):
            assert type(given[key]).__name__ == DOCUMENTED[key]["type"], (name, key)
            if DOCUMENTED[key].get("elements") == "str":
                assert all(isinstance(each, str) for each in given[key])


def own(variables: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in variables.items() if key.startswith("ecs_") or key == "ansible_host"}


def played(bed: Bed) -> dict[str, dict[str, Any]]:
    """The variables and groups of every host, as a play has them."""
    play, out = bed.folder / "play.yml", bed.folder / "played.json"
    wanted = "map('extract', hostvars) | map('dict2items') | map('selectattr', 'key', 'match', pattern)"
    wanted += " | map('items2dict')"
    task = {"content": f"{{{{ dict(groups.all | zip(groups.all | {wanted})) | to_json }}}}", "dest": str(out)}
    variables = {
        "pattern": "(ecs_|ansible_host$|group_names$)",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }
    tasks = [{"ansible.builtin.copy": task, "run_once": True}]
    plays = [{"hosts": "all", "gather_facts": False, "connection": "local", "vars": variables, "tasks": tasks}]
    play.write_text(json.dumps(plays), encoding="utf-8")
    done = bed.run("playbook", str(play))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return json.loads(out.read_text(encoding="utf-8"))

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.filter.ray_start import DOCUMENTATION, RETURN, FilterModule

REPOSITORY = Path(__file__).resolve().parents[3]
AUTH = {"auth": {"token_path": "/etc/ray/auth_token"}}
CONFIG = {
    "network": {"head_address": "demo-head:6379"},
    "resources": {"CPU": 2, "NPU": 8},
    "environment": {"GREETING": 'say "hi" 100%', "B": "1"},
    **AUTH,
}


def ray_start(config, node_type):
    return FilterModule().filters()["ray_start"](config, node_type)


def test_what_the_unit_is_made_of():
    found = ray_start(CONFIG, "worker")
    assert found["argv"][:2] == ["/opt/ray/current/bin/ray", "start"]
    assert '--resources={"NPU":8}' in found["argv"]
    assert found["exec_start"].startswith("/opt/ray/current/bin/ray start --block ")
    assert '"--resources={\\"NPU\\":8}"' in found["exec_start"]
    assert found["environment"]["GREETING"] == 'say "hi" 100%'
    names = [line.strip('"').partition("=")[0] for line in found["environment_lines"]]
    assert names == sorted(found["environment"])
    assert '"GREETING=say \\"hi\\" 100%%"' in found["environment_lines"] and "B=1" in found["environment_lines"]
    assert found["warnings"] == []


def test_what_it_returns_is_documented():
    documented = yaml.safe_load(RETURN)["_value"]["contains"]
    assert set(documented) == set(ray_start(CONFIG, "worker"))
    assert yaml.safe_load(DOCUMENTATION)["name"] == "ray_start"


def test_a_password_is_a_variable_of_the_unit_alone():
    config = {"gcs": {"storage": "redis"}, "redis": {"host": "r", "password_file": "/etc/ray/redis.env"}, **AUTH}
    assert ray_start(config, "head")["exec_start"].endswith(" --redis-password=${RAY_REDIS_PASSWORD}")
    config = {"ray": {"options": {"tracing_startup_hook": "$HOME"}}, **AUTH}
    assert ray_start(config, "head")["exec_start"].endswith(" --tracing-startup-hook=$$HOME")


@pytest.mark.parametrize(
    ("config", "node_type", "sentence"),
    [
        ({}, "worker", "worker-node.yaml: network.head_address is missing"),
        ({"head_nod": {}}, "head", "head-node.yaml: Unknown key 'head_nod': did you mean 'head_node'?"),
        ("text", "head", "head-node.yaml: The file must be a map"),
        ({}, "head", "head-node.yaml: auth.token_path is empty, with which everybody who reaches port 6379 or 8265 "),
        ({}, "heads", "ray_start: the node type must be one of head, worker, not 'heads'."),
    ],
)
def test_what_cannot_work_is_one_sentence(config, node_type, sentence):
    with pytest.raises(AnsibleFilterError) as error:
        ray_start(config, node_type)
    assert str(error.value).startswith(sentence)


def test_templates_inside_a_playbooks_variables(tmp_path):
    """Ansible hands a filter dicts whose values are templated only when they are looked at."""
    variables = {
        "npus": 8,
        "config": {
            "network": {"head_address": "{{ 'demo' }}-head:6379", "no_proxy": ["{{ npus }}"]},
            "resources": {"NPU": "{{ npus }}", "memory": "{{ npus * 1000000000 }}"},
            "system_config": {"some_list": ["{{ npus }}"]},
            "environment": {"DEEP": {"list": ["{{ npus }}"]}},
            "labels": {"npus": "{{ npus }}"},
            **AUTH,
        },
        "merged": "{{ config | combine({'cluster_name': 'demo'}, recursive=True) }}",
    }
    (tmp_path / "variables.json").write_text(json.dumps(variables))
    for name in ("config", "merged"):
        message = "{{ %s | rayops.cluster.ray_start('worker') | to_json }}" % name
        done = subprocess.run(
            [
                Path(sys.executable).with_name("ansible"),
                "localhost",
                "-o",
                "-e",
                f"@{tmp_path}/variables.json",
                "-m",
                "ansible.builtin.debug",
                "-a",
                json.dumps({"msg": message}),
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "SUCCESS => " in done.stdout, done.stdout + done.stderr
        found = json.loads(done.stdout.partition("SUCCESS => ")[2])["msg"]
        found = json.loads(found) if isinstance(found, str) else found
        assert '--resources={"NPU":8}' in found["argv"] and "--memory=8000000000" in found["argv"]
        assert "--address=demo-head:6379" in found["argv"] and "--labels=npus=8" in found["argv"]
        assert found["environment"]["RAY_some_list"] == "[8]"
        assert found["environment"]["DEEP"] == '{"list":[8]}'
        assert found["environment"]["no_proxy"].endswith(",8")

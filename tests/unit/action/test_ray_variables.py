# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specs, which ray_variables checks by, and the playbooks, which it stands before."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.action.ray_variables import read_options
from ansible_collections.rayops.cluster.plugins.module_utils._variables.values import example_of, faults

REPOSITORY = Path(__file__).resolve().parents[3]
OPTIONS = read_options()
# Jinja's, Python's and Ansible's inside.
INSIDE = re.compile(r"AnsibleLazy|Traceback|combine|Unexpected Exception|jinja|'str'|\bobject\b")


@pytest.mark.parametrize("name", OPTIONS)
def test_an_example_fits_its_option(name):
    option = OPTIONS[name]
    for key in ("example", "default"):
        if key in option and "{{" not in str(option[key]):
            assert list(faults(name, option[key], option)) == []
    if option["type"] not in ("bool", "raw") and not option.get("choices") and not option.get("no_log"):
        assert example_of(option) is not None, f"{name} has no example"


def test_the_secrets_are_marked():
    assert {name for name, option in OPTIONS.items() if option.get("no_log")} >= {
        "ray_auth_token", "ray_redis_password", "ray_index_url", "head_config", "monitor_scrape_configs",
        "monitor_receivers", "monitor_smtp"}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_a_variable_of_a_playbook_is_documented(path):
    """Those that its head names, and those that it reads where they may be left out."""
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"\b((?:%s|ray)_[a-z_]+)\b" % path.stem, re.sub(r"\n# ", " ", text).partition("\n- ")[0])
    read = re.findall(r"[^._\w'](\w+) \| default\((?!'|\[|\{)", text) + re.findall(r"(\w+) \| default\(omit", text)
    ours = {name for name in [*named, *read] if name.startswith((f"{path.stem}_", "ray_", "worker_"))}
    registered = set(re.findall(r"(?:register: |^ +)(\w+):? *$", text, re.MULTILINE)) | set(
        re.findall(r"^\s+(\w+): [\">]", text, re.MULTILINE))
    groups = {"ray_head", "ray_workers", "ray_redis", "ray_monitor"}
    assert {name for name in ours - registered - groups if not name.startswith("ray_diagnosis")} <= set(OPTIONS)


def hosts_yml(tmp_path, worker_vars, every=None):
    inventory = {"all": {
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **(every or {})},
        "children": {
            "ray_head": {"hosts": {"head": {}}},
            "ray_workers": {"hosts": {"worker-1": {}, "worker-2": {}}, "vars": worker_vars},
        },
    }}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    return path


def play(playbook, inventory, *arguments):
    """The exit status and the output of ansible-playbook. It must not come as far as a task that touches a host."""
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), f"rayops.cluster.{playbook}", "-i", inventory, *arguments],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "COLUMNS": "1000"}, cwd=REPOSITORY,
        capture_output=True, text=True, check=False, timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


WRONG = {"worker_config": ["a"], "ray_environment_variables": "A=1", "worker_batch": "abc",
         "ray_auth_token": ["hunter2"], "ray_temp_dir": "{{ site_home }}/ray"}
SAID = [
    "worker_config is [a] in group ray_workers: use a dictionary, such as {resources: {CPU: 64, GPU: 4}}.",
    "ray_environment_variables is A=1 in group ray_workers: use a dictionary, such as {NCCL_DEBUG: INFO}.",
    "worker_batch is abc in group ray_workers: use a number or a percentage, such as 25%.",
    "ray_auth_token is a list, which is secret and not shown in group ray_workers: use text.",
    "ray_temp_dir is {{ site_home }}/ray in group ray_workers, where site_home is not defined: define it",
]


@pytest.mark.parametrize(("playbook", "arguments"), [
    ("site", []), ("site", ["--check", "--diff", "--tags", "workers"]), ("restart", []), ("upgrade", []),
    ("recover", []), ("backup", []), ("replace_head", []), ("reset", ["-e", "reset_confirm=ray"]),
    ("remove_worker", ["-e", "remove_worker_hosts=worker-1"]),
], ids=str)
def test_every_verb_refuses_wrong_types_before_it_touches_a_host(tmp_path, playbook, arguments):
    status, output = play(playbook, hosts_yml(tmp_path, WRONG), *arguments)
    assert status == 2
    assert [sentence for sentence in SAID if sentence not in output] == []
    assert not INSIDE.search(output) and "hunter2" not in output
    tasks = re.findall(r"^TASK \[(.*?)\]", output, re.MULTILINE)
    assert tasks[-1].endswith("Refuse variables of a wrong type, and name those that nothing reads")
    assert set(tasks[:-1]) <= {"Refuse an inventory without one head", "Refuse to remove nobody, or who is no worker",
                               "Group the workers to remove"}


def test_a_wrong_type_of_one_host_or_of_the_command_line_is_named(tmp_path):
    inventory = hosts_yml(tmp_path, {})
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "worker-2.yml").write_text("ray_ports: 6379\n")
    status, output = play("restart", inventory, "-e", json.dumps({"ray_drain_timeout": "soon"}))
    assert status == 2
    assert "ray_ports is 6379 on worker-2: use a dictionary, such as {dashboard: 8266}." in output
    assert "ray_drain_timeout is soon: use a whole number, such as 30." in output


# Somewhere behind the check, without touching a host.
MISSPELT = {"ray_objectstore_memory": 8000000000, "worker_count": 3}
LATER = {"ray_wheelhouse": "/nowhere"}
NAMED = ("ray_objectstore_memory in group ray_workers is no variable of rayops.cluster, which does not read it: did "
         "you mean ray_object_store_memory?")


@pytest.mark.parametrize("how", ["warn", "error", "ignore"])
def test_a_misspelt_name_is_named(tmp_path, how):
    every = LATER if how == "warn" else {**LATER, "ray_unknown_variables": how}
    status, output = play("site", hosts_yml(tmp_path, MISSPELT, every))
    assert status == 2 and "worker_count" not in output
    assert (f"[WARNING]: {NAMED}" in output) == (how == "warn")
    assert (NAMED in output) == (how != "ignore")
    # The run ends here, or goes on to what is wrong beside it.
    assert ("ray_wheelhouse /nowhere is no directory" in output) == (how != "error")
    assert output.count(f"[WARNING]: {NAMED}") <= 1


def test_what_tasks_register_is_no_variable_of_a_users(tmp_path):
    (tmp_path / "site.yml").write_text("""
- hosts: ray_workers
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {ray_objectstore_memory: 1}
    - ansible.builtin.command: "true"
      register: ray_versions
    - rayops.cluster.ray_variables:
      run_once: true
""")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), tmp_path / "site.yml", "-i", hosts_yml(tmp_path, {})],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0 and "is no variable" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_a_value_may_need_defaults_of_ours_and_variables_of_the_hosts(tmp_path):
    """What each host works out for itself: the defaults of the roles, its own variables, those of others."""
    inventory = hosts_yml(tmp_path, {
        "ray_temp_dir": "{{ ray_root }}/tmp", "ray_node_ip_address": "{{ hostvars['head'].site_net }}.7",
        "worker_config": {"resources": "{{ site_resources[inventory_hostname] }}"},
    }, {**LATER, "site_net": "10.0.0", "site_resources": {"worker-1": {"CPU": 1}, "worker-2": {"CPU": 2}}})
    status, output = play("restart", inventory)
    assert status == 2 and "ray_wheelhouse /nowhere is no directory" in output
    assert "not defined" not in output and "worked out" not in output

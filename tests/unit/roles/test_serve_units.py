# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units of a model, as the role writes them to its host, and what systemd says of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = {"name": "r1", "path": "/srv/r1", "engine": "vllm", "engine_args": {"hf_overrides": {"a": "50% $x"}}}
PLAY = """
- hosts: ray_head:ray_workers
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: rayops.cluster.serve, tasks_from: configure}
      check_mode: true
      diff: true
    - ansible.builtin.copy:
        dest: "{{ directory }}/{{ inventory_hostname }}.json"
        content: "{{ serve_files.diff | to_json }}"
        mode: "0600"
"""


RUN = """
- hosts: ray_workers
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: rayops.cluster.serve, tasks_from: run}
"""
# Each unit is "inactive" until it is started, and a host whose unit is called bad never starts it.
SYSTEMCTL = """#!/bin/sh
directory=$(dirname "$0")
for unit; do :; done
case $1 in
  show) printf 'LoadState=loaded\\nUnitFileState=enabled\\nNeedDaemonReload=no\\nMainPID=0\\nActiveState='
        if test -e "$directory/$unit"; then echo active; else echo inactive; fi ;;
  stop) test "$unit" != stuck.service && rm -f "$directory/$unit" ;;
  start) echo "$unit" >> "$directory/calls"; case $unit in *bad*) ;; *) touch "$directory/$unit" ;; esac ;;
esac
"""


def ansible(directory: Path, playbook: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (directory / "play.yml").write_text(playbook)
    return subprocess.run(
        ["ansible-playbook", "-i", str(directory / "hosts.yml"), str(directory / "play.yml"), *arguments], check=False,
        capture_output=True, text=True, timeout=120, cwd=directory,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{REPOSITORY}/.ansible/collections", **environment},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Host -> path -> text."""
    directory = tmp_path_factory.mktemp("units")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {
        "ray_head": {"hosts": {"head": {**local, "ansible_host": "10.0.0.1"}}},
        "ray_workers": {"hosts": {name: {**local, "ansible_host": f"10.0.0.1{name}"}
                                  for name in ("1", "2")}},
    }
    # What preflight found.
    variables = {"serve_check": {}, "ray_serve_models": [MODEL], "ray_serve_api_key": "k" * 40,
                 "directory": str(directory), "ray_config_dir": str(directory / "etc")}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": inventory, "vars": variables}}))
    done = ansible(directory, PLAY)
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        path.stem: {each["after_header"].partition(" (")[0]: each.get("after", "") for each in
                    json.loads(path.read_text()) if "after_header" in each}
        for path in directory.glob("*.json")
    }


def units(files: dict[str, str]) -> dict[str, str]:
    return {path.removeprefix("/etc/systemd/system/"): text for path, text in files.items()
            if path.startswith("/etc/systemd/system/") and text.startswith("# Managed")}


def run(directory: Path, hosts: dict[str, dict]) -> subprocess.CompletedProcess[str]:
    """What the role does with these compiled hosts."""
    (directory / "systemctl").write_text(SYSTEMCTL)
    (directory / "systemctl").chmod(0o755)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"ray_workers": {"hosts": dict.fromkeys(hosts, local)}, "ray_head": {"hosts": {"head": {}}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    nothing = {"units": [], "rolling": [], "forgotten": []}
    compiled = {"removed": [], "applications": [], "models": [],
                "hosts": {name: {**nothing, **host} for name, host in hosts.items()}}
    variables = json.dumps({"_serve_compiled": compiled, "ray_serve_timeout": 1})
    return ansible(directory, RUN, "-e", variables, PATH=f"{directory}:{os.environ['PATH']}")


@pytest.mark.parametrize(("unit", "known"), [("gone", False), ("stuck", True)])
def test_what_goes_is_forgotten_when_it_has_gone(tmp_path, unit, known):
    for name in (f"{unit}.service", "models.yaml"):
        (tmp_path / name).write_text(unit)
    run(tmp_path, {"1": {"units": [{"name": f"{unit}.service", "state": "stopped"}],
                         "forgotten": [{"path": f"{tmp_path}/models.yaml", "content": ""}]}})
    assert (tmp_path / f"{unit}.service").exists() == known
    assert (tmp_path / "models.yaml").read_text() == (unit if known else "")


@pytest.mark.parametrize(("units", "started"), [
    ({"1": "good-1", "2": "good-2"}, ["good-1", "good-2"]), ({"1": "bad-1", "2": "good-2"}, ["bad-1"])])
def test_replicas_are_restarted_while_the_one_before_serves(tmp_path, units, started):
    done = run(tmp_path, {name: {"rolling": [{"name": f"{unit}.service"}]} for name, unit in units.items()})
    assert (tmp_path / "calls").read_text().split() == [f"{unit}.service" for unit in started], done.stdout
    assert (done.returncode == 0) == (len(started) == 2), done.stdout


def test_who_has_units(written):
    assert set(units(written["1"])) == {
        "vllm@.service", "vllm@r1.service.d/model.conf", "vllm-health@.service", "vllm-health@.timer",
        "vllm-restart@.service"}
    assert units(written["2"]) == units(written["head"]) == {}


def test_what_asks_the_model_has_rays_rights_alone(written):
    """It reads what the model answers; root does one thing, by the unit's name."""
    found = units(written["1"])
    health, restart = found["vllm-health@.service"], found["vllm-restart@.service"]
    assert "\nUser=ray\n" in health and "OnFailure=vllm-restart@%i.service" in health and "-I " in health
    assert "User=" not in restart
    # Each unit is watched: where it has no API, that of its first rank is asked.
    assert "vllm-health@%i.timer" in found["vllm@.service"]
    starts = [line for line in restart.splitlines() if line.startswith("ExecStart=")]
    assert starts == ["ExecStart=/usr/bin/systemctl try-restart --no-block vllm@%i.service"]


def test_only_a_playbook_that_installs_packages_leaves_an_engine_without_them_alone():
    """site installs them; what the playbook serve finds missing is missing when it serves."""
    texts = {name: (REPOSITORY / "playbooks" / f"{name}.yml").read_text() for name in ("check", "serve")}
    assert ["ray_system_packages" in text for text in texts.values()] == [True, False]
    look = yaml.safe_load((REPOSITORY / "roles/serve/tasks/look.yml").read_text())
    (options,) = [task["rayops.cluster.ray_model_check"] for task in look
                  if "rayops.cluster.ray_model_check" in task]
    assert options["system_packages"] == "{{ _serve_system_packages | default([]) }}"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_understands_every_line(written, tmp_path):
    for name, text in units(written["1"]).items():
        path = tmp_path / name.replace("@.", "@r1.", 1)
        path.parent.mkdir(exist_ok=True)
        # Neither the programs nor the files of a host are here.
        path.write_text(text.replace("/opt/ray/2.60.0/bin/vllm", "/bin/true").replace("User=ray", "User=root")
                        .replace("Group=ray", "Group=root"))
    for unit in ("vllm@r1.service", "vllm-health@r1.service", "vllm-health@r1.timer", "vllm-restart@r1.service"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit)], check=False,
            capture_output=True, text=True, timeout=60, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        )
        ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "vllm" in line]
        assert ours == [], unit


def test_other_modules_for_the_key_are_another_unit(written):
    """What runs has read them at its start. An application has the same in its runtime_env."""
    modules = [(REPOSITORY / "roles/serve/files" / name).read_text(encoding="utf-8").rstrip("\n")
               for name in ("rayops_api_key.py", "rayops_ingress.py")]
    told = hashlib.sha256(",".join(modules).encode()).hexdigest()
    assert f"Environment=RAYOPS_MODULES_SHA256={told}\n" in units(written["1"])["vllm@r1.service.d/model.conf"]

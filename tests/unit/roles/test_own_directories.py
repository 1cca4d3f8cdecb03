# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles declare: other constraints are another environment, and what a verb removes has a mark."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.long import long

REPOSITORY = Path(__file__).resolve().parents[3]
INVENTORY = """
ray_head: {hosts: {head: {}}}
ray_workers: {hosts: {worker-1: {}}}
all: {vars: {ansible_connection: local, ray_cluster_name: demo, ray_version: 2.60.0}}
"""
LISTS = ["_ray_files", "_head_files", "_head_backup_files", "_worker_files", "_serve_all_files", "_monitor_all_files",
         "_proxy_all_files"]


def told(tmp_path: Path, *tasks: dict, **variables) -> subprocess.CompletedProcess:
    """The output of a play on localhost that knows the variables of all roles."""
    known = [
        {"ansible.builtin.import_role": {"name": f"rayops.cluster.{role}", "tasks_from": "configure"}, "when": False}
        for role in ("head", "worker", "serve", "monitor", "proxy")
    ]
    (tmp_path / "inventory.yml").write_text(INVENTORY)
    play = [{"hosts": "head", "gather_facts": False, "vars": variables, "tasks": [*known, *tasks]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    return subprocess.run(
        ["ansible-playbook", "-i", str(tmp_path / "inventory.yml"), str(tmp_path / "play.yml")],
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{REPOSITORY}/.ansible/collections", "PWD": str(tmp_path)},
    )


def value(tmp_path: Path, expression: str, **variables):
    task = {"ansible.builtin.debug": {"msg": "TOLD {{ (" + expression + ") | to_json | b64encode }} END"}}
    done = told(tmp_path, task, **variables)
    found = re.search(r"TOLD (\S+) END", done.stdout)
    assert found, done.stdout + done.stderr
    return json.loads(base64.b64decode(found[1]))


def test_every_directory_that_goes_whole_is_marked(tmp_path):
    variables = {
        "ray_config_dir": "/x/config", "ray_temp_dir": "/x/temp", "ray_root": "/x/root",
        "head_backup_dir": "/x/backups", "monitor_export_dir": "/x/export",
        "head_config": {"gcs": {"path": "/x/state"}}, "worker_config": {},
        "ray_environment_path": "/x/root/mine",
    }
    entries = [entry for entry in value(tmp_path, " + ".join(LISTS), **variables) if entry.get("when", True)]
    marked = {entry["path"]: entry for entry in entries if entry.get("own")}
    assert set(marked) == {
        "/x/config", "/x/temp", "/x/root", "/x/backups", "/x/export", "/x/state", "/usr/local/libexec/ray-monitor",
        "/usr/local/libexec/ray-backup", "/usr/local/lib/rayops-serving", "/x/config/models",
        "/etc/prometheus/ray", "/var/lib/prometheus/ray", "/var/lib/prometheus/ray-alerts", "/etc/ray-proxy",
    }
    assert marked["/x/root"]["keep"] == "/x/root/mine"
    names = re.compile(marked["/x/backups"]["only"])
    assert names.fullmatch("ray-backup-demo-20261125T190000Z.tar.gz")
    assert not names.fullmatch("ray-backup-demo2-20261125T190000Z.tar.gz")
    # Where a variable names it, it is marked or below what is, unless it goes only when it is empty.
    loose = [entry["path"] for entry in entries if entry["path"].startswith("/x") and not entry.get("own")]
    assert all(str(Path(path).parent) in marked or str(Path(path).parents[1]) in marked for path in loose), loose


def test_a_teardown_removes_what_the_roles_write():
    """By the lists themselves, whose marks say what is the collection's own."""
    found = set()
    for path in [*REPOSITORY.glob("roles/*/tasks/absent.yml"), REPOSITORY / "playbooks" / "teardown.yml"]:
        for task in re.split(r"\n *- name: ", path.read_text()):
            names = set(re.findall(r"\b_\w+_files\b", task)) if "rayops.cluster.node_files:" in task else set()
            assert not names or re.search(r"\n *state: absent\n", task), task
            found |= names
    assert found == set(LISTS)


@long
def test_other_constraints_are_another_environment(tmp_path):
    lock = tmp_path / "lock.txt"

    def environment(constraints: str, *extra: str) -> str:
        lock.write_text(constraints)
        variables = {"ray_constraints": lock.name} if constraints else {}
        return value(tmp_path, "_ray_environment", ray_extra_packages=list(extra), **variables)

    assert environment("") == "/opt/ray/2.60.0"
    # As it was before there were constraints.
    assert environment("", "vllm") == "/opt/ray/2.60.0-961f918f"
    found = [environment("ray==2.60.0\n"), environment("ray==2.60.0\n# changed\n")]
    found.append(environment("ray==2.60.0\n", "vllm"))
    assert len({*found, "/opt/ray/2.60.0", "/opt/ray/2.60.0-961f918f"}) == 5
    assert all(name.startswith("/opt/ray/2.60.0-") for name in found)


@long
def test_other_wheels_are_another_environment_of_packages_that_nothing_holds(tmp_path):
    """Not of Ray alone, which has a version, nor under constraints."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (tmp_path / "lock.txt").write_text("vllm==1.0\n")
    cases = {"ray": {}, "vllm": {"ray_extra_packages": ["vllm"]},
             "held": {"ray_extra_packages": ["vllm"], "ray_constraints": "lock.txt"}}

    def environments(wheel: str) -> list[str]:
        (wheels / wheel).write_text("")
        return [value(tmp_path, "_ray_environment", ray_wheelhouse=str(wheels), **case) for case in cases.values()]

    first, second = environments("vllm-1.0-py3-none-any.whl"), environments("vllm-1.1-py3-none-any.whl")
    assert [one == two for one, two in zip(first, second)] == [True, False, True]
    # Without a wheelhouse nothing is looked at.
    assert first[0] == "/opt/ray/2.60.0" and len({*first, *second}) == 4


@pytest.mark.parametrize(("runs", "declared", "wheels", "refused"), [
    ("2.60.0", [], False, False),  # A pool has packages of its own, and the head runs what is declared for it.
    ("2.60.0", ["torch"], False, True), ("2.59.0", [], False, True),
    # The digest of a pool's own wheels is no part of the head's environment.
    ("2.60.0-ebc6f74b", ["torch"], True, False),
])
def test_a_pool_may_have_packages_of_its_own(tmp_path, runs, declared, wheels, refused):
    """A worker alone, as with --limit: what its head runs is what is declared for the head, or nothing starts."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "current").symlink_to(tmp_path / "ray" / runs)
    check = {"ansible.builtin.import_role": {"name": "rayops.cluster.worker", "tasks_from": "same_environment"}}
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "head.yml").write_text(json.dumps(
        {"ray_extra_packages": declared, "ansible_python_interpreter": sys.executable}))
    own = {"ray_wheelhouse": str(tmp_path)} if wheels else {}
    done = told(tmp_path, check, ray_root=f"{tmp_path}/ray", ray_extra_packages=["vllm", "a"], **own,
                ray_node_plan={"action": "start", "other_environment": ""})
    assert bool(done.returncode) is refused, done.stdout
    assert ("run rayops.cluster.upgrade, or declare what runs" in done.stdout) is refused


def test_constraints_that_are_missing_are_refused(tmp_path):
    preflight = {"ansible.builtin.import_role": {"name": "rayops.cluster.ray", "tasks_from": "preflight"}}
    done = told(tmp_path, preflight, ray_constraints="/no/lock.txt")
    assert done.returncode and "ray_constraints /no/lock.txt is no file on this machine: name one" in done.stdout


def test_roots_python_reads_nothing_of_a_users():
    """Without -I it imports from the home of the user whose HOME it has."""
    tasks = [*REPOSITORY.glob("roles/ray/tasks/*.yml"), *REPOSITORY.glob("playbooks/*.yml")]
    text = "\n".join(path.read_text() for path in tasks)
    assert not re.search(r"ray_python, '-[^I]", text)
    assert not re.search(r"/bin/python'?, '?-[^I]", text)


def test_nothing_has_a_known_name_where_everyone_writes(tmp_path):
    assert value(tmp_path, "_ray_temp_directory").items() >= {"own": True, "mode": "1770", "group": "ray"}.items()


def test_what_tries_the_environment_finds_what_the_node_finds(tmp_path):
    """And is given no secret of the workload's."""
    found = value(tmp_path, "_ray_loading_environment", ray_ascend_home="/cann", ray_environment_variables={
        "HF_TOKEN": "hf_secret", "LD_LIBRARY_PATH": "/own"})
    assert found["LD_LIBRARY_PATH"] == "/own" and found["PYTHONPATH"].startswith("/cann/python/site-packages:")
    assert found["ASCEND_HOME_PATH"] == "/cann" and "HF_TOKEN" not in found
    assert value(tmp_path, "_ray_loading_environment", ray_environment_variables={}) == {
        "LD_LIBRARY_PATH": "", "PYTHONPATH": ""}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order in which a cluster changes what it speaks, and who refuses it before that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]


def read(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))
    return found


def called(task: dict[str, Any]) -> str:
    """The module of a task, or the role's file that it brings in."""
    for name, options in task.items():
        if name.endswith(("include_role", "import_role")):
            return f"{options['name'].rpartition('.')[2]}/{options.get('tasks_from', 'main')}"
        if name.startswith(("rayops.", "ansible.builtin.")):
            return name.rpartition(".")[2]
    return ""


def plays(playbook: str) -> list[dict[str, Any]]:
    """Of a verb, with those that it has in files of their own."""
    found: list[dict[str, Any]] = []
    for each in read(f"playbooks/{playbook}.yml"):
        part = each.get("ansible.builtin.import_playbook", "")
        found += read(f"playbooks/{part}") if part.startswith("plays/") else [each]
    return found


def play(playbook: str, name: str) -> dict[str, Any]:
    return next(each for each in plays(playbook) if each["name"].startswith(name))


@pytest.mark.parametrize(
    "place", ["worker/tasks/check.yml", "monitor/tasks/preflight.yml", "redis/tasks/preflight.yml"]
)
def test_a_run_without_the_head_looks_at_it_first(place):
    first = read(f"roles/{place}")[0]
    assert called(first) == "ray/same_tls" and first["when"] == "hostvars[_ray_head_host].ray_node_plan is not defined"


def test_a_restart_looks_at_the_head_before_it_asks():
    calls = [called(task) for task in play("restart", "Check the cluster's variables")["tasks"]]
    assert calls == ["ray/preflight", "ray/same_tls", "import_tasks"]


def test_a_run_of_all_refuses_before_it_counts_what_restarts():
    calls = [task["name"] for task in read("roles/head/tasks/check.yml")]
    assert calls.index("Refuse to change TLS on a running cluster") < calls.index("Find a running head that differs")


def test_an_upgrade_touches_no_node_before_it_knows_that_it_can():
    names = [each["name"] for each in plays("upgrade")]
    order = ["Look at Redis", "Make the certificate authority", "Make and try the new environment",
             "Write the files of the nodes, which name the new environment", "Write the files of Redis",
             "Change to the new environment, and back if it does not come up"]
    assert [name for name in names if name in order] == order
    # What is replaced is kept first, and what cannot sign is refused last, when it is known.
    calls = [called(task) for task in play("upgrade", "Make the certificate authority")["tasks"]]
    assert calls == ["ray_upgrade", "ray/authority", "ray_tls"]
    # Redis has the password that the head has.
    calls = [called(task) for task in play("upgrade", "Write the files of the nodes")["tasks"]]
    assert calls == ["ray_upgrade", "ray/configure", "head/configure", "worker/configure"]


def test_redis_changes_while_no_head_runs():
    names = [task["name"] for task in read("playbooks/tasks/switch.yml")]
    assert names.index("Stop the head") < names.index("Run Redis as its files say") < names.index("Start the head")


def test_an_upgrade_has_finished_when_all_nodes_came_up():
    names = [task["name"] for task in read("playbooks/tasks/switch.yml")]
    assert names[-3:] == ["Refuse nodes that did not come up", "Note that the node runs what its files say",
                          "Note that Redis runs what its files say"]


def test_what_is_told_of_is_asked_by_what_runs():
    """With what is declared nobody would answer."""
    tasks = play("upgrade", "Make and try")["tasks"] + read("playbooks/tasks/roll_back.yml")
    asked = [task for task in tasks if str(task.get("ansible.builtin.import_tasks", "")).endswith("interrupt.yml")]
    assert len(asked) == 2 and all("_ray_speaks_tls" in task["vars"] for task in asked)
    [after] = [task for task in read("playbooks/tasks/roll_back.yml") if "_ray_environment" in task.get("vars", {})]
    assert len(after["block"]) == 2 and "_ray_speaks_tls" in after["vars"]
    connection = yaml.safe_load((REPOSITORY / "roles/ray_defaults/vars/main/cluster.yml").read_text(encoding="utf-8"))
    assert "_ray_speaks_tls" in connection["_ray_connection"]["tls_directory"]


def test_all_that_is_kept_goes_back():
    """The way back puts each file where the upgrade found it: with the same list."""
    kept = [task for each in plays("upgrade") for task in each.get("tasks", [])
            if task.get("rayops.cluster.ray_upgrade", {}).get("state") == "kept"]
    restored = [task for task in read("playbooks/tasks/switch_back.yml")
                if task.get("rayops.cluster.ray_upgrade", {}).get("state") == "restored"]
    assert len(kept) == 2 and len(restored) == 1
    lists = [task["module_defaults"]["rayops.cluster.ray_upgrade"] for task in kept + restored]
    assert lists == ["{{ _ray_upgrade }}"] * 3
    assert [task for task in kept + restored if {"files", "tls"} & set(task["rayops.cluster.ray_upgrade"])] == []
    shared = yaml.safe_load((REPOSITORY / "roles/ray_defaults/vars/main/environment.yml").read_text(encoding="utf-8"))
    assert shared["_ray_upgrade"]["files"] == "{{ _ray_head_kept_files if _ray_is_head else [] }}"
    states = [task["vars"]["_redis_previous"] for path in ("switch_back", "switch")
              for task in read(f"playbooks/tasks/{path}.yml") if called(task) == "redis/previous"]
    assert states == ["restored", "finished"]


def test_a_way_back_takes_the_authority_with_it_before_it_starts_anything():
    """For both ways: where an upgrade did not come up, and with ray_rollback."""
    calls = [called(task) for task in read("playbooks/tasks/switch_back.yml")]
    assert calls == ["ray_upgrade", "ray/authority", "redis/previous", "import_tasks"]
    back = read("playbooks/tasks/switch_back.yml")[1]
    assert back["vars"] == {"_ray_tls_authority_state": "restored"}
    # One that cannot be put back leaves no node down.
    assert back["ansible.builtin.include_role"]["apply"] == {"ignore_errors": True}
    for path in ("plays/upgrade_change.yml", "tasks/roll_back.yml"):
        assert "switch_back.yml" in (REPOSITORY / "playbooks" / path).read_text(encoding="utf-8")


def test_a_way_back_says_how_the_monitor_follows():
    """With what was declared it would be configured anew: only those who declare can go back there."""
    last = read("playbooks/tasks/roll_back.yml")[-1]["ansible.builtin.debug"]["msg"]
    assert "rayops.cluster.site with --tags monitor" in last and "groups['ray_monitor']" in last
    # An upgrade that went well ends with all of site.
    assert read("playbooks/upgrade.yml")[-1]["ansible.builtin.import_playbook"] == "rayops.cluster.site"

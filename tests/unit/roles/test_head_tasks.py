# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tasks of the head run as root, and what they name on the operator's machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
HEAD = REPOSITORY / "roles" / "head"


def tasks(path: Path) -> Iterator[dict]:
    waiting = list(yaml.safe_load(path.read_text(encoding="utf-8")) or [])
    while waiting:
        task = waiting.pop(0)
        yield task
        for part in ("block", "rescue", "always", "tasks"):
            waiting += task.get(part, [])


@pytest.mark.parametrize("path", sorted((HEAD / "tasks").glob("*.yml")), ids=lambda path: path.name)
def test_root_runs_no_program_of_rays_environment(path):
    for task in tasks(path):
        command = task.get("ansible.builtin.command", task.get("ansible.builtin.shell", {}))
        text = command.get("argv") or command.get("cmd", "")
        if "_ray_environment" in text:
            assert text.startswith("{{ _ray_as_user ") and "-I" in text, task
            # The password is no argument.
            assert "_password_file" not in text.partition("<")[0], task


@pytest.mark.parametrize("path", sorted((HEAD / "tasks").glob("*.yml")), ids=lambda path: path.name)
def test_programs_of_root_import_nothing_that_lies_about(path):
    scripts = [task["ansible.builtin.script"] for task in tasks(path) if "ansible.builtin.script" in task]
    assert [script for script in scripts if not script["executable"].endswith(" -I")] == []


def test_no_file_of_roots_has_a_name_that_others_can_take():
    found = [path.name for path in (*HEAD.rglob("*.yml"), REPOSITORY / "playbooks" / "support_bundle.yml")
             if "/var/tmp" in path.read_text(encoding="utf-8") or " /tmp/" in path.read_text(encoding="utf-8")]
    assert found == []


def test_a_file_of_the_operators_is_named_here():
    variables = yaml.safe_load((HEAD / "vars" / "main" / "backup.yml").read_text(encoding="utf-8"))
    assert "answer" not in variables["_head_backup_here"] and "stdout" not in variables["_head_archive"]
    place, fetched, _told = tasks(HEAD / "tasks" / "fetch_backup.yml")
    assert place["ansible.builtin.copy"]["dest"] == "{{ _head_backup_here }}"
    assert fetched["ansible.builtin.fetch"]["dest"] == "{{ " + place["register"] + ".dest }}"
    assert [path.name for path in HEAD.rglob("*.yml") if "from_json" in path.read_text(encoding="utf-8")] == []

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lists of node_files that name templates and files: run by Ansible on this host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


class Role:
    """A role beside a play, which imports another one's tasks, as the roles head and worker do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.target = directory / "target"
        self.target.mkdir()
        for role, tasks in (("outer", [{"ansible.builtin.import_role": {"name": "inner"}}]), ("inner", [])):
            self.write(f"roles/{role}/tasks/main.yml", json.dumps(tasks))
        self.write("roles/inner/templates/inner.j2", "inner {{ word }}\n{% if true %}\nkept\n{% endif %}\n")
        self.write("roles/outer/templates/outer.j2", "{% include 'inner.j2' %}outer {{ word }}\n")
        self.write("roles/outer/files/program.py", "print('{{ word }}')\n\n")

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(
        self, *files: dict[str, Any], options: tuple[str, ...] = (), **others: Any
    ) -> subprocess.CompletedProcess[str]:
        entries = [{**entry, "path": f"{self.target}/{entry['path']}", "owner": str(os.geteuid()),
                    "group": str(os.getegid())} for entry in files]
        task = {"rayops.cluster.node_files": {"files": entries, "record": f"{self.directory}/record", **others}}
        self.write("roles/inner/tasks/main.yml", json.dumps([task]))
        play = {"hosts": "localhost", "gather_facts": False, "vars": {"word": "said", "hidden": "hunter2hunter2"},
                "roles": ["outer"]}
        self.write("play.yml", json.dumps([play]))
        return subprocess.run(
            ["ansible-playbook", "-vvv", "-i", "localhost,", "-c", "local",
             "-e", f"ansible_python_interpreter={sys.executable}", *options, "play.yml"],
            cwd=self.directory, capture_output=True, text=True, check=False,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{REPOSITORY}/.ansible/collections"},
        )

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.target.iterdir() if path.is_file()}


@pytest.fixture
def role(tmp_path: Path) -> Role:
    return Role(tmp_path)


FILES = (
    {"path": "inner", "template": "inner.j2"},
    {"path": "outer", "template": "outer.j2"},
    {"path": "program", "source": "program.py"},
    {"path": "inline", "content": "{{ word }}"},
    {"path": "left out", "template": "missing.j2", "when": "{{ word == 'other' }}"},
    {"path": "gone", "template": "missing.j2", "state": "absent"},
)


def test_what_is_named_is_written(role):
    (role.target / "gone").touch()
    (role.target / "left out").write_text("theirs")
    done = role.run(*FILES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert role.texts() == {
        "inner": "inner said\nkept\n", "outer": "inner said\nkept\nouter said\n", "program": "print('{{ word }}')\n\n",
        "inline": "said", "left out": "theirs",
    }
    assert "changed=0" in role.run(*FILES).stdout


def test_what_goes_is_not_rendered(role):
    assert role.run(*FILES).returncode == 0
    (role.directory / "roles" / "inner" / "templates" / "inner.j2").write_text("{{ unknown }}")
    (role.target / "left out").write_text("theirs")
    done = role.run(*FILES, state="absent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert role.texts() == {"left out": "theirs"}


def test_check_mode_writes_nothing_and_shows_all(role):
    done = role.run(*FILES, options=("--check", "--diff"))
    assert "changed=1" in done.stdout and "+inner said" in done.stdout
    assert role.texts() == {}


def test_a_secret_is_shown_nowhere(role):
    role.write("roles/outer/templates/secret.j2", "password={{ hidden }}\n")
    done = role.run({"path": "secret", "secret_template": "secret.j2", "mode": "0600"}, options=("--diff",))
    assert done.returncode == 0 and role.texts() == {"secret": "password=hunter2hunter2\n"}
    assert "(another secret)" in done.stdout and "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(("entry", "said"), [
    ({"template": "nowhere.j2"}, "/x cannot be written from nowhere.j2"),
    ({"template": "unknown.j2"}, "'unknown' is undefined"),
    ({"template": "inner.j2", "content": "x"}, "parameters are mutually exclusive"),
    ({"template": "inner.j2", "source": "program.py"}, "parameters are mutually exclusive"),
    ({"template": "inner.j2", "when": "perhaps"}, "is not a valid boolean"),
])
def test_what_cannot_be_written_is_named(role, entry, said):
    role.write("roles/inner/templates/unknown.j2", "{{ unknown }}")
    done = role.run({"path": "first", "content": "first"}, {"path": "x", **entry})
    assert done.returncode == 2 and said in done.stdout + done.stderr, done.stdout + done.stderr
    assert role.texts() == {}

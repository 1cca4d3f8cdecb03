# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller sends of a model's files, to hosts that are this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from ansible import constants

from ansible_collections.rayops.cluster.plugins.action import ray_model_files
from ansible_collections.rayops.cluster.plugins.action.ray_model_files import awaited, known_digest

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = {"config.json": "{}", "model-1.safetensors": "one", "inference/model.py": "pass"}
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - rayops.cluster.ray_model_files:
        models: "{{ ray_models }}"
        served: "{{ ray_serve_models }}"
        records: "{{ directory }}/records-{{ inventory_hostname }}"
      register: model_files
      ignore_errors: true
    - copy:
        content: "{{ model_files | to_json }}"
        dest: "{{ directory }}/{{ inventory_hostname }}.json"
        mode: "0600"
      check_mode: false
"""


class Play:
    """Two workers, one of them of pool h20."""

    def __init__(self, directory: Path):
        self.directory, self.source = directory, directory / "source"
        for name, text in FILES.items():
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            (self.source / name).write_text(text)
        hosts = {name: {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
                 for name in ("w1", "w2")}
        groups = {"ray_workers": {"hosts": hosts}, "ray_pool_h20": {"hosts": {"w1": {}}}}
        (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
        (directory / "play.yml").write_text(PLAY)

    def run(self, *entries, check=False, served=()):
        """Host -> what the task registered."""
        variables = {"directory": str(self.directory), "ray_models": list(entries), "ray_serve_models": list(served)}
        done = subprocess.run(
            ["ansible-playbook", "-i", "hosts.yml", "play.yml", "-v", "-e", json.dumps(variables),
             *(["--check"] if check else [])],
            check=False, capture_output=True, text=True, timeout=120, cwd=self.directory,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{REPOSITORY}/.ansible/collections",
                 "ANSIBLE_HOME": str(self.directory / "home"), "PWD": str(self.directory)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.output = done.stdout
        return {name: json.loads((self.directory / f"{name}.json").read_text()) for name in ("w1", "w2")}

    def content(self, name: str):
        top = self.directory / name
        return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


@pytest.fixture
def play():
    with tempfile.TemporaryDirectory(prefix="rm", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Play(Path(name))


def test_a_model_comes_from_the_controller_to_the_hosts_of_its_pool(play):
    entry = {"path": f"{play.directory}/r1", "source": "source", "pools": ["h20"]}
    found = play.run(entry, check=True)
    assert found["w1"]["changed"] and not found["w2"]["changed"] and not (play.directory / "r1").exists()
    found = play.run(entry)
    assert found["w1"]["changed"] and not found["w1"]["lacks"] and play.content("r1") == FILES
    assert found["w1"]["models"][0]["awaited"] == [] and "r1/config.json" in found["w1"]["diff"]["after"]
    assert found["w2"] == {"changed": False, "failed": False, "lacks": False, "models": []}
    assert f"w1: {play.directory}/r1/config.json, 1 of 3" in play.output
    # Size and time say that nothing is to be read, or sent, by a second run.
    before = (play.source / "model-1.safetensors").stat()
    (play.source / "model-1.safetensors").write_text("ONE")
    os.utime(play.source / "model-1.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
    found = play.run(entry)
    assert not found["w1"]["changed"] and not found["w1"]["lacks"] and play.content("r1") == FILES
    os.utime(play.source / "model-1.safetensors", (5, 5))
    assert play.run(entry)["w1"]["changed"] and play.content("r1")["model-1.safetensors"] == "ONE"
    assert "r1/model-1.safetensors, 1 of 1" in play.output


def test_what_is_wrong_on_the_controller(play):
    here = f"{play.directory}/r1"
    assert play.run({"path": here})["w2"]["msg"].startswith("ray_models[0]: set source, a directory on the controller")
    said = play.run({"path": here, "source": "no"})["w1"]["msg"]
    assert said == (f"ray_models, {here}: source no is not there, on the controller, or is empty: see to that, or "
                    "correct it.")
    (play.directory / "sums").write_text("no")
    assert play.run({"path": here, "source": "source", "checksums": "sums"})["w1"]["msg"].startswith(
        f"ray_models, {here}: checksums sums cannot be used, line 1 is not as sha256sum writes it: ")
    assert play.run({"path": here, "source": "source", "checksums": "none"})["w1"]["msg"] == (
        f"ray_models, {here}: checksums none cannot be read (No such file or directory): see to that, or correct the "
        "entry.")
    (play.source / "key").symlink_to("/etc/shadow")
    assert "source source cannot be used, key is a link" in play.run({"path": here, "source": "source"})["w1"]["msg"]
    assert not (play.directory / "r1").exists()


def test_a_host_is_sent_what_is_declared_and_nothing_else():
    entry = {"files": {"config.json": (2, 0)}}
    said = [["config.json", False], ["/etc/shadow", False], ["../key", False], [["x"], False], "x", ["a"], None]
    assert awaited([entry], {"models": [{"awaited": said}]}) == [{"config.json": False}]
    for answer in (None, {}, [], [{}], [{"awaited": "config.json"}], ["x"], [{}, {}]):
        assert awaited([entry], {"models": answer}) == [{}]
    assert awaited([{"files": None}], {"models": [{"awaited": said}]}) == [{}]


def test_a_digest_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ANSIBLE_HOME", str(tmp_path / "home"))
    path, read = tmp_path / "model.safetensors", []
    digest_of = ray_model_files.digest_of
    monkeypatch.setattr(ray_model_files, "digest_of", lambda number: (read.append(1), digest_of(number))[1])
    path.write_text("one")
    first = known_digest(str(path))
    assert known_digest(str(path)) == first and len(read) == 1
    path.write_text("two!")
    assert known_digest(str(path)) != first and len(read) == 2
    # What a run left that died is none.
    (note,) = (tmp_path / "home" / "rayops" / "digests").iterdir()
    note.write_text(note.read_text()[:-1])
    known_digest(str(path))
    assert len(read) == 3

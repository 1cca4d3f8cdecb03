# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host must have before Ray is installed. Interpreters are the test's programs, file systems this host's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._environment import needs
from ansible_collections.rayops.cluster.plugins.module_utils._environment.needs import (
    Room,
    python_problem,
    room_for_environment,
    room_for_sessions,
    room_problems,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A host with two interpreters that Ray can use and one that it cannot."""
    for name in ("python3.9", "python3.10", "python3.12", "python3.12-config", "python3"):
        (tmp_path / name).touch()
    monkeypatch.setattr(needs, "_advice", lambda advice=needs._advice: advice((str(tmp_path),)))
    return tmp_path


def test_the_python_of_these_tests_fits():
    assert python_problem(sys.executable) is None


def test_what_is_no_python_for_ray_is_named_with_one_that_is(there):
    use = f"set it to {there}/python3.12, which is there."
    missing = python_problem(f"{there}/nowhere")
    assert str(missing) == f"ray_python {there}/nowhere does not exist on this host: {use}"
    old = python_problem(program(there / "old", "echo 3.9"))
    assert str(old) == f"ray_python {there}/old is Python 3.9, and Ray needs 3.10 or later: {use}"
    assert (missing.kind, old.kind) == ("python_missing", "python_old")
    other = python_problem(program(there / "other", "echo hello; exit 3"))
    assert str(other) == f"ray_python {there}/other does not run as a Python: {use}"
    assert python_problem(program(there / "fit", "echo 3.10")) is None


def test_a_host_without_one_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "_advice", lambda advice=needs._advice: advice((str(tmp_path),)))
    assert python_problem(f"{tmp_path}/x").fix == "install Python 3.10 or later, and name it."


def test_an_interpreter_that_others_can_change_is_not_run(there):
    path = program(there / "theirs", f"touch {there}/ran; echo 3.12")
    os.chmod(path, 0o777)
    with pytest.raises(PathError, match="can be written by others than root"):
        python_problem(path)
    assert not (there / "ran").exists()


@pytest.mark.parametrize(("packages", "size", "bytes_needed"), [
    (["ray[default]==2.60.0", "pip"], 0, 750 * 10**6),
    (["ray", "Torch>=2"], 0, 9 * 10**9),
    (["ray", "vllm==0.20", "torch"], 0, 15 * 10**9),
    (["ray", "vllm_ascend"], 0, 15 * 10**9),
    (["ray", "vllm"], 2 * 10**9, 3 * 10**9),
    ([], 0, 750 * 10**6),
])
def test_what_an_environment_needs(packages, size, bytes_needed):
    assert room_for_environment("/opt/ray/1", packages, size).size == bytes_needed


def test_a_file_system_holds_all_that_is_to_lie_on_it_or_is_named(tmp_path, monkeypatch):
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    # Each would fit alone, and on a link's other end they are on the same file system.
    (tmp_path / "link").symlink_to(tmp_path)
    half = int(free * 0.6)
    rooms = [Room("Ray's environment", f"{tmp_path}/opt/ray/1", half, "ray_root"),
             Room("sessions and logs", f"{tmp_path}/link/ray", half, "ray_temp_dir")]
    assert room_problems(rooms[:1]) == room_problems(rooms[1:]) == []
    (found,) = room_problems(rooms)
    point = needs._mount_point(str(tmp_path))
    assert found.kind == "disk_small"
    assert found.fact.startswith(f"the file system {point} has ")
    shown = f"{half / 1e9:.1f} GB"
    assert f"{shown} for Ray's environment in {tmp_path}/opt/ray/1 and {shown} for sessions" in found.fact
    assert found.fix.endswith("set ray_root or ray_temp_dir to a directory on another one.")


def test_file_systems_are_looked_at_one_by_one(tmp_path):
    shm = os.statvfs("/dev/shm")
    much = shm.f_bavail * shm.f_frsize + 10**9
    found = room_problems([Room("logs", "/dev/shm/ray", much, "ray_temp_dir"), Room("x", str(tmp_path), 1, "ray_root")])
    assert [problem.fact.partition(" has ")[0] for problem in found] == ["the file system /dev/shm"]
    assert room_for_sessions("/x").size == 10**9

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Ray's user left, removed as that user, who has a number that nobody else has."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")

REPOSITORY = Path(__file__).resolve().parents[3]
USER = 59871
IDENTITY = {"user": USER, "group": USER, "extra_groups": [], "cwd": "/"}
DEAD, ELSEWHERE = "a" * 56, "c" * 56
# The user has no name on this host, but as far as the module can see.
RUN = f"""
import json, pwd, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rayops.cluster.plugins.modules import ray_remains
known = pwd.getpwnam
ray = pwd.struct_passwd(("ray", "x", {USER}, {USER}, "", "/", ""))
pwd.getpwnam = lambda name: ray if name == "ray" else known(name)
with patch_module_args(json.load(sys.stdin)):
    ray_remains.main()
"""


def run(check_mode: bool = False, user: str = "ray", **options: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", RUN], capture_output=True, text=True, check=False,
        input=json.dumps({"user": user, "_ansible_check_mode": check_mode, **options}),
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"},
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def remains() -> Iterator[list[Path]]:
    """Files of the user's in each directory that everyone shares."""
    paths = []
    for directory in ("/dev/shm", "/tmp", "/var/tmp"):
        tree = Path(directory) / f"user-remains-{secrets.token_hex(4)}"
        (tree / "below").mkdir(parents=True)
        (tree / "below" / "link").symlink_to("/etc")
        paths.append(tree)
        (Path(directory) / f"{tree.name}.link").symlink_to("/etc/hosts")
        paths.append(Path(directory) / f"{tree.name}.link")
    for path in paths:
        for item in [path, *(path.rglob("*") if not path.is_symlink() else [])]:
            os.lchown(item, USER, USER)
    yield paths
    for path in paths:
        subprocess.run(["rm", "-rf", path], check=True)


def test_all_of_the_users_goes(remains):
    others = Path("/tmp") / f"user-remains-of-root-{secrets.token_hex(4)}"
    others.touch()
    with subprocess.Popen(["sleep", "600"], **IDENTITY) as process:
        try:
            told = run(check_mode=True, last=True)
            expected = {f"{process.pid} sleep", *map(str, remains)}
            assert told["changed"] and told["left"] == [] and set(told["gone"]) == expected
            assert process.poll() is None and all(map(os.path.lexists, remains))
            done = run(last=True)
            assert done["changed"] and done["left"] == [] and set(done["gone"]) == expected
            assert set(done["diff"]["before"].splitlines()) == expected
            assert process.wait(10) == -9
        finally:
            process.kill()
    assert not any(map(os.path.lexists, remains)) and others.exists()
    others.unlink()
    assert run(last=True) == {**run(last=True), "changed": False, "gone": []}


def test_root_is_refused():
    done = run(check_mode=True, user="root", last=True)
    assert done["failed"] and "root's processes and files are not ended" in done["msg"]


def test_without_the_user_or_a_node_there_is_nothing_to_do(ended):
    assert not run(user="nobody-at-all", last=True)["changed"]
    assert not run(temp_dir=str(ended / "ray"), removes=str(ended / "ray-prune.py"))["changed"]
    assert len(list((ended / "ray").glob("session_2*"))) == 2


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" * 5000)
    return path


@pytest.fixture
def ended() -> Iterator[Path]:
    """A host where no Ray runs any more, whose nodes spilled on a disk that other hosts share."""
    with tempfile.TemporaryDirectory() as directory:
        host = Path(directory)
        live = host / "ray" / "session_2026-11-20_08-00-00_000001_100"
        write(live / f"metrics_export_port_{DEAD}")
        write(live / "logs" / "raylet.out")
        (host / "ray" / "session_latest").symlink_to(live)
        for place in (host / "ray", host / "disk"):
            for node in (DEAD, ELSEWHERE):
                write(place / f"ray_spilled_objects_{node}" / "object")
        write(host / "ray" / "gcs" / "state")
        write(host / "outside" / "precious")
        # What a job can leave.
        (host / "ray" / "session_2_trap").symlink_to(host / "outside")
        (live / "logs" / "link").symlink_to(host / "outside")
        for path in [host, *host.rglob("*")]:
            os.lchown(path, USER, USER)
        yield host


@pytest.mark.parametrize("spilling", ["", "disk"])
def test_all_sessions_and_what_their_nodes_spilled(ended, spilling):
    top = ended / "ray"
    place = ended / spilling if spilling else top
    options = {"temp_dir": str(top), "spilling_directory": str(ended / spilling) if spilling else ""}
    before = sorted(map(str, ended.rglob("*")))
    told = run(check_mode=True, **options)
    assert told["changed"] and sorted(map(str, ended.rglob("*"))) == before
    paths = [top / "session_2026-11-20_08-00-00_000001_100", top / "session_2_trap", top / "session_latest"]
    assert sorted(told["gone"]) == sorted(map(str, [*paths, place / f"ray_spilled_objects_{DEAD}"]))
    done = run(**options)
    assert done["gone"] == told["gone"] and done["left"] == []
    assert sorted(entry.name for entry in place.iterdir() if entry.name.startswith("ray_spilled")) == [
        f"ray_spilled_objects_{ELSEWHERE}"
    ]
    assert not list(top.glob("session_*")) and (top / "gcs" / "state").exists()
    assert (ended / "outside" / "precious").exists()
    again = run(**options)
    assert not again["changed"] and again["gone"] == []


def test_what_rays_user_may_not_remove_is_named(ended):
    live = ended / "ray" / "session_2026-11-20_08-00-00_000001_100"
    os.chown(live / "logs", 0, 0)
    done = run(temp_dir=str(ended / "ray"))
    assert any(line.startswith(f"{live} stays, remove it as root") for line in done["left"])
    assert (live / "logs" / "raylet.out").exists() and not (ended / "ray" / "session_2_trap").is_symlink()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a user's processes and files, as that user, who has a number that nobody else has."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")

PROGRAM = (Path(__file__).resolve().parents[3] / "roles" / "ray" / "files" / "user_remains.py").read_text()
USER = 59871
IDENTITY = {"user": USER, "group": USER, "extra_groups": [], "cwd": "/"}


def run(*arguments: str, **identity) -> subprocess.CompletedProcess:
    command = ["/usr/bin/python3", "-I", "-c", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **identity)


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
            told = run("--check", **IDENTITY)
            expected = {f"{process.pid} sleep", *map(str, remains)}
            assert (told.returncode, told.stderr) == (0, "") and set(told.stdout.splitlines()) == expected
            assert process.poll() is None and all(map(os.path.lexists, remains))
            done = run(**IDENTITY)
            assert (done.returncode, done.stderr) == (0, "") and set(done.stdout.splitlines()) == expected
            assert process.wait(10) == -9
        finally:
            process.kill()
    assert not any(map(os.path.lexists, remains)) and others.exists()
    others.unlink()
    assert run(**IDENTITY).stdout == ""


def test_root_is_refused():
    done = run("--check")
    assert done.returncode == 1 and "root's processes and files are not ended" in done.stderr

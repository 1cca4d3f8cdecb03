# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that keeps the head's name in /etc/hosts, as the unit runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "ray" / "files" / "ray_hosts.py"
IMAGE = "127.0.1.1 worker-1\n127.0.0.1 localhost\n# 10.0.0.9 demo-head\n10.0.0.8 demo-head-2\n"


def run(directory: Path, hosts: str, entry: str = "10.0.0.1 demo-head\n") -> subprocess.CompletedProcess[str]:
    (directory / "entry").write_text(entry)
    (directory / "hosts").write_text(hosts)
    (directory / "hosts").chmod(0o644)
    return subprocess.run(
        [sys.executable, "-I", str(PROGRAM), "--entry", str(directory / "entry"), "--file", str(directory / "hosts")],
        capture_output=True, text=True, check=False,
    )


@pytest.mark.parametrize(("before", "after"), [
    (IMAGE, f"{IMAGE}10.0.0.1 demo-head\n"),
    (IMAGE.removesuffix("\n"), f"{IMAGE}10.0.0.1 demo-head\n"),
    (f"10.0.0.7 demo-head\n{IMAGE}\t10.0.0.6\tdemo-head other\n", f"{IMAGE}10.0.0.1 demo-head\n"),
    ("", "10.0.0.1 demo-head\n"),
])
def test_the_entry_comes_back(tmp_path, before, after):
    done = run(tmp_path, before)
    assert (done.returncode, done.stderr) == (0, "")
    assert "it is there again" in done.stdout
    assert (tmp_path / "hosts").read_text() == after
    assert (tmp_path / "hosts").stat().st_mode & 0o777 == 0o644
    assert {path.name for path in tmp_path.iterdir()} == {"entry", "hosts"}


def test_what_is_as_it_is_to_be_is_not_written(tmp_path):
    text = f"10.0.0.1 demo-head\n{IMAGE}"
    before = (tmp_path / "hosts")
    before.write_text(text)
    inode = before.stat().st_ino
    done = run(tmp_path, text)
    assert (done.returncode, done.stdout) == (0, "")
    assert before.read_text() == text and before.stat().st_ino == inode

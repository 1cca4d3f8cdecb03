# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Removal from open directories, beside somebody who exchanges what is being removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._system import removal as _removal
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened
from ansible_collections.rayops.cluster.plugins.module_utils._system.removal import (
    Removal,
    holds_something,
    is_mount_point,
)

REPOSITORY = Path(__file__).resolve().parents[3]


def empty(path: Path, **options) -> tuple[bool, bool]:
    """What went, and whether nothing stayed."""
    removal = Removal(**options)
    with opened(str(path)) as directory:
        whole = removal.empty(directory)
    return removal.goes, whole


def tree(path: Path) -> list[str]:
    return sorted(str(item.relative_to(path)) for item in path.rglob("*"))


@pytest.fixture
def theirs(tmp_path):
    path = tmp_path / "theirs"
    path.mkdir()
    (path / "precious").touch()
    return path


@pytest.fixture
def ours(tmp_path):
    path = tmp_path / "ours"
    (path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/file", "a/file", "file"):
        (path / name).touch()
    return path


def test_all_goes_and_no_link_is_followed(ours, theirs):
    (ours / "a" / "link").symlink_to(theirs)
    (ours / "file-link").symlink_to(theirs / "precious")
    before = tree(ours)
    assert empty(ours, check=True) == (True, True) and tree(ours) == before
    assert empty(ours) == (True, True)
    assert tree(ours) == [] and tree(theirs) == ["precious"]
    assert empty(ours) == (False, True)


def test_what_is_kept_stays_with_the_directories_above(ours):
    assert empty(ours, keep={f"{ours}/a/b"}) == (True, False)
    assert tree(ours) == ["a", "a/b", "a/b/file"]
    assert empty(ours, keep={f"{ours}/a/b"}) == (False, False)


def test_whether_there_is_something(ours, tmp_path):
    with opened(str(ours)) as directory:
        assert holds_something(directory)
        assert not holds_something(directory, {f"{ours}/a", f"{ours}/file"})
    assert len(tree(ours)) == 5


def test_a_tree_deeper_than_pythons_stack_and_the_open_files_allow(ours):
    here = os.open(ours, os.O_RDONLY)
    for _level in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert empty(ours) == (True, True)


def swapped(monkeypatch, name: str, swap) -> None:
    """Exchange something between the moment in which a directory is looked at and that in which it is opened."""
    real, done = os.open, []

    def exchange_first(path, flags, *arguments, **options):
        if path == name and not done:
            done.append(name)
            swap()
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(_removal.os, "open", exchange_first)


def test_a_directory_that_becomes_a_link(monkeypatch, ours, theirs):
    def swap():
        (ours / "a").rename(ours / "away")
        (ours / "a").symlink_to(theirs)

    swapped(monkeypatch, "a", swap)
    with pytest.raises(OSError, match="Not a directory|Too many levels"):
        empty(ours)
    assert tree(theirs) == ["precious"]


def test_a_directory_that_is_moved_away_while_it_is_emptied(monkeypatch, ours, theirs):
    swapped(monkeypatch, "b", lambda: (ours / "a").rename(theirs / "a"))
    with pytest.raises(PathError, match="was moved while it was removed"):
        empty(ours)
    assert (theirs / "precious").exists()


def test_somebody_who_exchanges_all_the_time(ours, theirs):
    ended = threading.Event()

    def exchange():
        while not ended.is_set():
            try:
                os.rename(ours / "a", ours / "x")
                os.symlink(theirs, ours / "a")
                os.unlink(ours / "a")
                os.mkdir(ours / "a")
                os.mkdir(ours / "a" / "b")
            except OSError:
                continue

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _round in range(300):
            try:
                empty(ours)
            except (OSError, PathError):
                continue
    finally:
        ended.set()
        thread.join()
    assert tree(theirs) == ["precious"]


MOUNTED = """
import json, os, sys
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import opened
from ansible_collections.rayops.cluster.plugins.module_utils._system.removal import (
    Removal, holds_something, is_mount_point)
top = sys.argv[1]
removal = Removal()
with opened(top) as directory:
    found = [is_mount_point(directory), holds_something(directory), removal.empty(directory), removal.goes,
             holds_something(directory)]
print(json.dumps(found + [sorted(os.path.relpath(os.path.join(place, name), top)
                                 for place, names, files in os.walk(top) for name in names + files)]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize(("mounts", "found"), [
    # A bind mount of the same file system, whose device is the same.
    ("mount --bind {theirs} {ours}/a/b", [False, True, False, True, False, ["a", "a/b", "a/b/precious"]]),
    ("mount --bind {theirs}/precious {ours}/file", [False, True, False, True, True, ["file"]]),
    ("mount -t tmpfs none {ours} && mkdir {ours}/lost+found && touch {ours}/x",
     [True, True, True, True, False, ["lost+found"]]),
    ("mount -t tmpfs none {ours} && mkdir {ours}/lost+found", [True, False, True, False, False, ["lost+found"]]),
], ids=["directory", "file", "file system", "fresh file system"])
def test_what_is_mounted_stays(ours, theirs, mounts, found):
    command = mounts.format(ours=ours, theirs=theirs) + ' && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", sys.executable, "-c", MOUNTED, str(ours)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == found
    assert tree(theirs) == ["precious"]


def test_a_directory_is_no_mount_point(ours):
    with opened(str(ours)) as directory, opened("/proc") as proc:
        assert not is_mount_point(directory) and is_mount_point(proc)

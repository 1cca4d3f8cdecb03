# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a verb removes is its own: the record of directories, and what is refused without it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest

OWN = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}


@pytest.fixture
def record(tmp_path_factory):
    return tmp_path_factory.mktemp("lib") / "rayops" / "directories"


@pytest.fixture
def node_files(run_module, record):
    def run(*files, check_mode=False):
        options = {"files": [{**OWN, **entry} for entry in files], "record": str(record)}
        return run_module("node_files", options, check_mode)

    return run


def made(path: Path, **options) -> dict:
    return {"path": str(path), "state": "directory", "own": True, **options}


def gone(path: Path, **options) -> dict:
    return {"path": str(path), "state": "absent", "own": True, **options}


def test_what_is_made_is_noted_and_goes(node_files, record, tmp_path):
    path = tmp_path / "a" / "ours"
    assert node_files(made(path), check_mode=True)["changed"] and not record.exists()
    before = os.umask(0)
    try:
        assert node_files(made(path))["changed"]
    finally:
        os.umask(before)
    assert record.read_text() == f"{path}\n"
    assert [stat.S_IMODE(item.stat().st_mode) for item in (record, record.parent)] == [0o600, 0o700]
    assert not node_files(made(path))["changed"] and record.read_text() == f"{path}\n"
    (path / "file").touch()
    assert node_files(gone(path), check_mode=True)["changed"] and path.exists()
    assert node_files(gone(path))["changed"]
    assert os.listdir(tmp_path / "a") == [] and record.read_text() == ""
    assert not node_files(gone(path))["changed"]


def test_an_open_directory_of_the_record_is_closed(node_files, record, tmp_path):
    record.parent.mkdir(0o755)
    node_files(made(tmp_path / "ours"))
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700


def test_what_was_empty_is_noted_and_what_was_not_is_not(node_files, record, tmp_path):
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "theirs").touch()
    assert not node_files(made(tmp_path / "empty"), made(tmp_path / "full"))["changed"]
    assert record.read_text() == f"{tmp_path}/empty\n"


def test_nothing_of_the_list_is_touched_where_one_is_refused(node_files, record, tmp_path):
    node_files(made(tmp_path / "ours"))
    (tmp_path / "home" / "alice").mkdir(parents=True)
    (tmp_path / "home" / "alice" / "thesis").touch()
    (tmp_path / "file").touch()
    files = [{"path": f"{tmp_path}/file", "state": "absent"}, gone(tmp_path / "ours")]
    files.append(gone(tmp_path / "home" / "alice"))
    for check_mode in (True, False):
        result = node_files(*files, check_mode=check_mode)
        assert result["failed"] and result["msg"] == (
            f"{tmp_path}/home/alice was not made by rayops.cluster, and nothing was touched: remove what is Ray's "
            f"there by hand, or, if all that is in it may go, add the line {tmp_path}/home/alice to {record} on this "
            "host."
        )
        assert sorted(os.listdir(tmp_path)) == ["file", "home", "ours"]
    # As it says.
    record.write_text(record.read_text() + f"{tmp_path}/home/alice\n")
    assert node_files(*files)["changed"] and os.listdir(tmp_path) == ["home"]


@pytest.mark.parametrize(("path", "named"), [
    ("/etc/..", "/"), ("/usr/.", "/usr"), ("/var/lib", "/var/lib"), ("/var/lib/../../etc", "/etc"), ("//usr", "/usr"),
])
def test_a_directory_of_the_systems_is_refused(node_files, path, named):
    result = node_files({**gone(Path(path)), "path": path}, check_mode=True)
    assert result["failed"] and result["msg"].startswith(f"{named} was not made by rayops.cluster")


def test_what_lies_in_a_directory_of_ours_is_ours(node_files, record, tmp_path):
    node_files(made(tmp_path / "ours"))
    (tmp_path / "ours" / "state" / "file").mkdir(parents=True)
    assert node_files(gone(tmp_path / "ours" / "state"))["changed"]
    assert record.read_text() == f"{tmp_path}/ours\n" and os.listdir(tmp_path / "ours") == []


def test_an_empty_directory_that_is_not_ours_is_left(node_files, tmp_path):
    (tmp_path / "theirs").mkdir(0o700)
    assert not node_files(gone(tmp_path / "theirs"))["changed"]
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o700


def test_the_directory_behind_a_link_is_emptied(node_files, record, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    node_files(made(tmp_path / "link", mode="0700"))
    assert record.read_text() == f"{tmp_path}/disk\n"
    (tmp_path / "disk" / "tree" / "below").mkdir(parents=True)
    assert node_files(gone(tmp_path / "link"))["changed"]
    assert sorted(os.listdir(tmp_path)) == ["disk", "link"] and os.listdir(tmp_path / "disk") == []
    assert record.read_text() == "" and not node_files(gone(tmp_path / "link"))["changed"]


def test_what_is_kept_is_no_reason_to_refuse_the_next_time(node_files, tmp_path):
    node_files(made(tmp_path / "root"))
    (tmp_path / "root" / "env" / "lib").mkdir(parents=True)
    (tmp_path / "root" / "old").mkdir()
    entry = gone(tmp_path / "root", keep=f"{tmp_path}/root/env")
    assert node_files(entry)["changed"] and os.listdir(tmp_path / "root") == ["env"]
    assert not node_files(entry)["changed"]


ARCHIVES = r"\.?ray-backup-demo-(\d{8}T\d{6}Z\.tar\.gz|latest\.json)"


def test_of_a_directory_that_others_share_only_what_is_named_goes(node_files, record, tmp_path):
    path = tmp_path / "backups"
    entry = {"mode": "0700", "only": ARCHIVES}
    node_files(made(path, **entry))
    ours = ["ray-backup-demo-20261125T190000Z.tar.gz", ".ray-backup-demo-20261125T190000Z.tar.gz",
            "ray-backup-demo-latest.json"]
    theirs = ["ray-backup-demo-2-20261125T190000Z.tar.gz", "ray-backup-other-latest.json", "notes"]
    for name in ours + theirs:
        (path / name).touch()
    (path / "ray-backup-demo-20261125T190001Z.tar.gz").mkdir()
    assert node_files(gone(path, only=ARCHIVES), check_mode=True)["changed"] and len(os.listdir(path)) == 7
    assert node_files(gone(path, only=ARCHIVES))["changed"]
    assert set(os.listdir(path)) == {*theirs, "ray-backup-demo-20261125T190001Z.tar.gz"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert not node_files(gone(path, only=ARCHIVES))["changed"]


@pytest.mark.parametrize("found_empty", [True, False])
def test_a_shared_directory_goes_only_if_it_is_ours(node_files, tmp_path, found_empty):
    path = tmp_path / "backups"
    path.mkdir()
    archive = path / "ray-backup-demo-20261125T190000Z.tar.gz"
    if not found_empty:
        archive.touch()
    node_files(made(path))
    archive.touch()
    assert node_files(gone(path, only=ARCHIVES))["changed"]
    assert not archive.exists() and path.exists() is not found_empty

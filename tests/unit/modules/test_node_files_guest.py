# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""node_files where another user writes, or has written: nothing of root's is given away, read or overwritten."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give away")

REPOSITORY = Path(__file__).resolve().parents[3]
NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrgid(NOBODY.pw_gid).gr_name


@pytest.fixture
def node_files(run_module, tmp_path_factory):
    record = f"{tmp_path_factory.mktemp('records')}/directories"
    return lambda *files, check_mode=False: run_module("node_files", {"files": files, "record": record}, check_mode)


@pytest.fixture
def guests(tmp_path):
    """A directory as Ray's: root's, and its user's group may write in it."""
    path = tmp_path / "guests"
    path.mkdir()
    os.chown(path, 0, NOBODY.pw_gid)
    path.chmod(0o1770)
    return path


@pytest.fixture
def roots(tmp_path):
    path = tmp_path / "roots"
    path.mkdir()
    (path / "file").write_text("root's")
    (path / "file").chmod(0o600)
    return path


def link_of_nobody(path: Path, target: Path) -> None:
    path.symlink_to(target)
    os.lchown(path, NOBODY.pw_uid, NOBODY.pw_gid)


def attributes(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("entry", [
    {"path": "{}/link", "state": "directory", "owner": "nobody", "mode": "0777"},
    {"path": "{}/link", "state": "directory", "owner": "nobody", "own": True},
    {"path": "{}/link/below", "state": "directory", "owner": "nobody"},
    {"path": "{}/link/file", "content": "new"},
    {"path": "{}/link/file", "content": "new", "regexp": "old"},
    {"path": "{}/link/file", "state": "absent"},
    {"path": "{}/link/file", "state": "absent", "regexp": "root"},
    {"path": "{}/file-link", "content": "new", "owner": "nobody"},
    {"path": "{}/file-link", "secret": "new", "force": False, "group": GROUP, "mode": "0640"},
])
def test_the_link_of_a_job_is_refused(node_files, guests, roots, entry, check_mode):
    link_of_nobody(guests / "link", roots)
    link_of_nobody(guests / "file-link", roots / "file")
    before = attributes(roots), attributes(roots / "file")
    result = node_files({**entry, "path": entry["path"].format(guests)}, check_mode=check_mode)
    assert result["failed"] and "link', which nobody can have made, and root follows only its own" in result["msg"]
    assert (attributes(roots), attributes(roots / "file")) == before
    assert os.listdir(roots) == ["file"] and (roots / "file").read_text() == "root's"


@pytest.mark.parametrize("own", [True, False])
def test_of_a_jobs_link_only_the_link_goes(node_files, guests, roots, own):
    link_of_nobody(guests / "link", roots)
    assert node_files({"path": f"{guests}/link", "state": "absent", "own": own})["changed"]
    assert os.listdir(guests) == [] and os.listdir(roots) == ["file"]


def test_a_link_of_roots_to_a_data_disk(node_files, tmp_path):
    (tmp_path / "disk").mkdir(0o700)
    (tmp_path / "disk" / "conf").write_text("old")
    (tmp_path / "link").symlink_to("disk")
    (tmp_path / "conf").symlink_to("disk/conf")
    files = [
        {"path": f"{tmp_path}/link", "state": "directory", "group": GROUP, "mode": "1770"},
        {"path": f"{tmp_path}/link/below", "state": "directory", "owner": "nobody"},
        {"path": f"{tmp_path}/conf", "content": "new"},
    ]
    assert node_files(*files)["changed"]
    assert attributes(tmp_path / "disk") == (0, NOBODY.pw_gid, 0o1770)
    assert attributes(tmp_path / "disk" / "below")[0] == NOBODY.pw_uid
    assert (tmp_path / "disk" / "conf").read_text() == "new" and (tmp_path / "conf").is_symlink()
    assert not node_files(*files)["changed"]


def test_a_file_with_another_name_is_written_anew(node_files, guests, roots):
    os.link(roots / "file", guests / "file")
    entry = {"path": f"{guests}/file", "content": "root's", "owner": "nobody", "mode": "0666"}
    assert node_files(entry, check_mode=True)["changed"]
    assert node_files(entry)["changed"]
    assert attributes(guests / "file") == (NOBODY.pw_uid, 0, 0o666)
    assert attributes(roots / "file") == (0, 0, 0o600)
    assert not node_files(entry)["changed"]


@pytest.mark.parametrize("entry", [{"secret": "x", "force": False}, {"content": "line", "regexp": "line"}])
def test_the_content_of_another_name_is_not_handed_on(node_files, guests, roots, entry):
    os.link(roots / "file", guests / "file")
    result = node_files({"path": f"{guests}/file", "group": GROUP, "mode": "0640", **entry})
    assert result["failed"] and "has several names, and lies where others than root may write" in result["msg"]
    assert attributes(roots / "file") == (0, 0, 0o600)


def test_a_file_with_two_names_of_roots_is_left_alone(node_files, roots):
    os.link(roots / "file", roots / "second")
    assert node_files({"path": f"{roots}/file", "content": "root's", "mode": "0640"})["changed"]
    assert (roots / "file").stat().st_ino == (roots / "second").stat().st_ino


def test_a_pipe_is_not_waited_for(node_files, guests):
    os.mkfifo(guests / "pipe")
    result = node_files({"path": f"{guests}/pipe", "content": "x"})
    assert result["failed"] and "is no regular file" in result["msg"]


def test_parents_have_a_mode_of_their_own_whatever_the_mask(node_files, tmp_path):
    (tmp_path / "there").mkdir(0o700)
    before = os.umask(0o077)
    try:
        node_files({"path": f"{tmp_path}/there/a/b", "state": "directory", "owner": "nobody", "mode": "0700"},
                   {"path": f"{tmp_path}/there/a/file", "content": "x"})
    finally:
        os.umask(before)
    found = [attributes(tmp_path / name) for name in ("there", "there/a", "there/a/b", "there/a/file")]
    assert found == [(0, 0, 0o700), (0, 0, 0o755), (NOBODY.pw_uid, 0, 0o700), (0, 0, 0o644)]


@pytest.mark.parametrize(("entry", "sentence"), [
    ({"path": "/etc/hosts", "content": "10.0.0.1 demo head", "regexp": "nosuch"}, "is not an address and one name"),
    ({"path": "/etc/hosts", "content": "10.0.0.1", "regexp": "nosuch"}, "is not an address and one name"),
    ({"path": "/etc/hosts", "content": "10.0.0.1 a\n6.6.6.6 b", "regexp": "nosuch"}, "has a line break or control"),
    ({"path": "{}/x", "content": "a\x1b[2J", "regexp": "nosuch"}, "has a line break or control character"),
    ({"path": "{}/x", "content": "a", "mode": "u=rw"}, "The mode of {}/x is u=rw: use an octal number"),
    ({"path": "x", "content": "a"}, "'x' is no absolute path"),
    # It would be two lines of the record.
    ({"path": "{}/x\n/etc", "state": "directory", "own": True}, "is no absolute path"),
    ({"path": "{}/x", "content": "a", "owner": "nosuchuser"}, "name not found: 'nosuchuser'"),
])
def test_what_no_file_can_be(node_files, tmp_path, entry, sentence):
    entry = {**entry, "path": entry["path"].format(tmp_path)}
    check_mode = "nosuchuser" not in entry.values()
    first = {"path": f"{tmp_path}/first", "content": ""} if check_mode else entry
    result = node_files(first, entry, check_mode=check_mode)
    assert result["failed"] and sentence.format(tmp_path) in result["msg"]
    assert os.listdir(tmp_path) == []


MODULE = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rayops.cluster.plugins.modules import node_files
with patch_module_args(json.loads(sys.argv[1])):
    node_files.main()
"""


def test_a_file_that_an_engine_has_mounted_is_written_to(tmp_path):
    """As /etc/hosts in a container: nothing can take its place."""
    for name in ("outside", "hosts"):
        (tmp_path / name).write_text("127.0.0.1 localhost\nlonger than what follows\n")
    entry = {"path": f"{tmp_path}/hosts", "content": "127.0.0.1 localhost\n10.0.0.1 demo\n", "mode": "0640"}
    command = f'mount --bind {tmp_path}/outside {tmp_path}/hosts && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", sys.executable, "-c", MODULE, json.dumps({"files": [entry]})],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"},
    )
    assert json.loads(done.stdout)["changed"], done.stderr
    assert (tmp_path / "outside").read_text() == entry["content"]
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["hosts", "outside"]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways through directories that another user writes in."""

from __future__ import annotations

import os
import pwd
import stat

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import (
    PathError,
    open_to_others,
    opened,
    opened_place,
    path_of,
    read_regular,
    real,
    vouch,
)

NOBODY = pwd.getpwnam("nobody").pw_uid

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")


def place(path) -> str:
    with opened_place(str(path)) as (directory, name):
        return f"{path_of(directory)}/{name}"


@root
def test_links_of_root_are_followed_and_those_of_others_refused(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    assert real(f"{tmp_path}/link") == f"{tmp_path}/disk"
    os.lchown(tmp_path / "link", NOBODY, -1)
    with pytest.raises(PathError, match="goes through the link 'link', which nobody can have made"):
        real(f"{tmp_path}/link/below")


@root
@pytest.mark.parametrize(("owner", "mode", "followed"), [
    (0, 0o755, True), (0, 0o1777, True), (0, 0o1770, True), (0, 0o777, False), (0, 0o770, False),
    (NOBODY, 0o755, False),
])
def test_a_link_of_roots_where_others_can_have_moved_it(tmp_path, owner, mode, followed):
    (tmp_path / "disk").mkdir()
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "link").symlink_to(tmp_path / "disk")
    os.chown(tmp_path / "held", owner, -1)
    (tmp_path / "held").chmod(mode)
    if followed:
        assert real(f"{tmp_path}/held/link") == f"{tmp_path}/disk"
    else:
        with pytest.raises(PathError):
            real(f"{tmp_path}/held/link")


@root
def test_the_last_name_is_followed_to_its_end(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to(tmp_path / "disk" / "file")
    assert place(tmp_path / "first") == f"{tmp_path}/disk/file"
    (tmp_path / "disk" / "file").symlink_to("/etc/shadow")
    os.lchown(tmp_path / "disk" / "file", NOBODY, -1)
    with pytest.raises(PathError, match="the link 'file', which nobody"):
        place(tmp_path / "first")


def test_a_ring_of_links_ends(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(PathError):
        place(tmp_path / "a")
    with pytest.raises(PathError):
        real(f"{tmp_path}/a/below")


def test_directories_are_made_whatever_the_mask(tmp_path):
    before = os.umask(0o077)
    try:
        with opened(f"{tmp_path}/a/b", make=0o755) as directory:
            assert path_of(directory) == f"{tmp_path}/a/b"
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")] == [0o755, 0o755]
    with pytest.raises(FileNotFoundError), opened(f"{tmp_path}/c"):
        pass


def test_only_regular_files_are_read_and_a_pipe_is_not_waited_for(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert read_regular(f"{tmp_path}/file", 2) == b"te"
    with pytest.raises(PathError, match="is no regular file"):
        read_regular(f"{tmp_path}/pipe")
    with pytest.raises(OSError, match="Too many levels"):
        read_regular(f"{tmp_path}/link")


@root
@pytest.mark.parametrize(("change", "sentence"), [
    (lambda top: None, None),
    (lambda top: top.chmod(0o1777), None),
    (lambda top: top.chmod(0o777), "but {} can be written by others than root"),
    (lambda top: os.chown(top, NOBODY, -1), "but {} belongs to nobody"),
    (lambda top: (top / "program").chmod(0o775), "but {}/program can be written by others than root"),
    (lambda top: os.chown(top / "program", NOBODY, -1), "but {}/program belongs to nobody"),
    (lambda top: os.lchown(top.parent / "link", NOBODY, -1), "goes through the link 'link', which nobody"),
], ids=["root's", "sticky", "open directory", "other directory", "open program", "other program", "other link"])
def test_what_root_runs_is_roots(tmp_path, change, sentence):
    top = tmp_path / "top"
    top.mkdir(0o755)
    (top / "program").touch(0o755)
    (tmp_path / "link").symlink_to(top / "program")
    change(top)
    if sentence:
        with pytest.raises(PathError) as caught:
            vouch(f"{tmp_path}/link")
        assert sentence.format(top) in str(caught.value)
    else:
        vouch(f"{tmp_path}/link")


def test_the_systems_own_python_is_roots():
    vouch("/usr/bin/env")
    with pytest.raises(FileNotFoundError):
        vouch("/usr/bin/no-such-program")


@root
@pytest.mark.parametrize(("owner", "mode", "is_open"), [
    (0, 0o755, False), (0, 0o1777, True), (0, 0o1770, True), (NOBODY, 0o700, True),
])
def test_who_may_make_entries(tmp_path, owner, mode, is_open):
    os.chown(tmp_path, owner, -1)
    tmp_path.chmod(mode)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert open_to_others(descriptor) is is_open
    os.close(descriptor)

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess

import pytest

from ansible_collections.rayops.cluster.plugins.modules.proxy_users import crypt, fits, hashed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the file is root's")


@pytest.fixture(name="keep")
def keep_fixture(run_module, tmp_path):
    path = tmp_path / "users"

    def keep(users, check=False, **options):
        return run_module("proxy_users", {"path": str(path), "users": users, **options}, check)

    keep.path = path
    return keep


def test_they_are_hashed_as_crypt_says():
    # As `openssl passwd` has it.
    known = subprocess.run(["openssl", "passwd", "-6", "-salt", "saltstring", "Hello world!"], capture_output=True,
                           text=True, check=True).stdout.strip()
    assert crypt("Hello world!", "$6$saltstring") == known and fits("Hello world!", known)
    first, second = hashed("a password"), hashed("a password")
    assert first != second and all(fits("a password", each) and not fits("another", each) for each in (first, second))
    # A weaker method is not kept, nor is what is no hash.
    assert not fits("a password", crypt("a password", "$1$salt$")) and not fits("", "") and not fits("x", "*0")


def test_what_is_the_same_stays(keep):
    assert keep({"bob": "the first one", "alice": "another one"})["changed"]
    before = keep.path.read_text()
    assert [line.partition(":$6$")[0] for line in before.splitlines()] == ["alice", "bob"]
    assert keep.path.stat().st_mode & 0o777 == 0o640
    assert not keep({"alice": "another one", "bob": "the first one"})["changed"]
    assert keep.path.read_text() == before


def test_one_that_differs_is_written_and_one_that_is_gone_goes(keep):
    keep({"alice": "another one", "bob": "the first one"})
    alice = keep.path.read_text().splitlines()[0]
    found = keep({"alice": "another one", "bob": "the second one"})
    assert found["changed"] and keep.path.read_text().splitlines()[0] == alice
    assert found["diff"]["after"] == "alice\nbob (another password)\n"
    found = keep({"alice": "another one"})
    assert found["changed"] and keep.path.read_text() == f"{alice}\n" and found["users"] == ["alice"]
    assert "$6$" not in json.dumps(found["diff"])
    keep.path.write_text("alice:another one\n")
    assert keep({"alice": "another one"})["changed"] and "$6$" in keep.path.read_text()


def test_a_check_writes_nothing(keep):
    assert keep({"alice": "another one"}, check=True)["changed"] and not keep.path.exists()
    none = str(keep.path.parent / "none" / "users")
    assert keep({"alice": "another one"}, check=True, path=none, group="nobody-here")["changed"]


def test_who_else_may_write_it_is_mended(keep):
    keep({"alice": "another one"})
    keep.path.chmod(0o666)
    assert keep({"alice": "another one"}, check=True)["changed"] and keep.path.stat().st_mode & 0o777 == 0o666
    assert keep({"alice": "another one"})["changed"] and keep.path.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_is_told(keep):
    said = keep({"alice": "another one"}, group="nobody-here")["msg"]
    assert said == "This host has no group nobody-here: set ray_proxy_run_as to the user of its nginx."
    none = str(keep.path.parent / "none" / "users")
    assert "make its directory first" in keep({"a": "another one"}, path=none)["msg"]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""apt-get and dpkg-deb are stand-ins; molecule has the real ones."""

from __future__ import annotations

import os
import stat

import pytest

APT = """#!/bin/sh
echo "$@ in $PWD" >> "$CALLS"
case "$*" in
  "update -qq") [ "$OFFLINE" ] && { echo "Err: no network" >&2; exit 100; }; exit 0 ;;
  "download -qq $PACKAGE") touch "$PACKAGE.deb" ;;
  *) echo "E: no such package" >&2; exit 100 ;;
esac
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin" && cp "$2" "$3/usr/bin/promtool"
"""


@pytest.fixture(name="promtool")
def promtool_fixture(tmp_path, monkeypatch, run_module):
    """Runs the module on a host without a checker; its directory is not there yet."""
    if os.path.exists("/usr/bin/promtool"):
        pytest.skip("this host has Prometheus's checker")
    for name, text in (("apt-get", APT), ("dpkg-deb", DPKG)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def promtool(package="prometheus", state="present"):
        monkeypatch.setenv("PACKAGE", package)
        return run_module("promtool", {"directory": str(tmp_path / "records/check"), "state": state})

    return promtool


@pytest.mark.parametrize("package", ["promtool", "prometheus"])
def test_it_is_unpacked_and_goes_without_a_trace(promtool, tmp_path, package):
    records = tmp_path / "records"
    (records / "check").mkdir(parents=True)
    (records / "check" / "left.deb").write_text("of a run that died")
    found = promtool(package)
    assert found["path"] == f"{records}/check/usr/bin/promtool" and os.path.exists(found["path"])
    assert not (records / "check" / "left.deb").exists()
    assert stat.S_IMODE((records / "check").stat().st_mode) == 0o700
    assert promtool(state="absent")["changed"] and not records.exists()


def test_what_lies_beside_it_stays(promtool, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "directories").write_text("/etc/ray\n")
    promtool()
    promtool(state="absent")
    assert os.listdir(tmp_path / "records") == ["directories"]


def test_without_packages_the_reason_is_told(promtool, monkeypatch):
    told = promtool("nothing")["msg"]
    assert "cannot be fetched: E: no such package. Let this host reach" in told
    monkeypatch.setenv("OFFLINE", "1")
    assert "Err: no network" in promtool()["msg"]


def test_a_link_in_its_place_is_not_followed(promtool, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("")
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "check").symlink_to(tmp_path / "theirs")
    assert promtool()["failed"] and os.listdir(tmp_path / "theirs") == ["file"]

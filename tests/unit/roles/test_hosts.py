# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that keeps the head's name in /etc/hosts, as the unit runs it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "ray" / "files" / "ray_hosts.py"
IMAGE = "127.0.1.1 worker-1\n127.0.0.1 localhost\n# 10.0.0.9 demo-head\n10.0.0.8 demo-head-2\n"


@pytest.fixture
def watch(tmp_path):
    """Starts it, and returns when it says that it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(hosts: str) -> subprocess.Popen[str]:
        (tmp_path / "entry").write_text("10.0.0.1 demo-head\n")
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "hosts").chmod(0o644)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
            service_manager.bind(str(tmp_path / "notify"))
            service_manager.settimeout(30)
            started.append(subprocess.Popen(
                [sys.executable, "-I", str(PROGRAM), f"--entry={tmp_path}/entry", f"--file={tmp_path}/hosts"],
                env={"NOTIFY_SOCKET": str(tmp_path / "notify")}, stdout=subprocess.PIPE, text=True,
            ))
            assert service_manager.recv(100) == b"READY=1"
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_unit_is_ready_when_the_name_stands(tmp_path, watch):
    process = watch(IMAGE)
    process.terminate()
    assert "it is there again" in process.communicate()[0]
    assert (tmp_path / "hosts").stat().st_mode & 0o777 == 0o644
    assert {path.name for path in tmp_path.iterdir()} == {"entry", "hosts", "notify"}


@pytest.mark.parametrize(("before", "after"), [
    (IMAGE, f"{IMAGE}10.0.0.1 demo-head\n"),
    (IMAGE.removesuffix("\n"), f"{IMAGE}10.0.0.1 demo-head\n"),
    (f"10.0.0.7 demo-head\n{IMAGE}\t10.0.0.6\tdemo-head other\n", f"{IMAGE}10.0.0.1 demo-head\n"),
    ("", "10.0.0.1 demo-head\n"),
])
def test_the_entry_comes_back(tmp_path, watch, before, after):
    watch(before)
    assert (tmp_path / "hosts").read_text() == after


def test_what_is_as_it_is_to_be_is_not_written(tmp_path, watch):
    hosts = tmp_path / "hosts"
    hosts.write_text(text := f"10.0.0.1 demo-head\n{IMAGE}")
    inode = hosts.stat().st_ino
    process = watch(text)
    process.terminate()
    assert process.communicate()[0] == ""
    assert hosts.read_text() == text and hosts.stat().st_ino == inode


def test_no_writing_is_missed(tmp_path, watch):
    """However close one follows on the other, also on what the program itself has written."""
    watch(IMAGE)
    for _time in range(40):
        (tmp_path / "hosts").write_text(IMAGE)
        time.sleep(0.1)
    deadline = time.monotonic() + 30
    while (tmp_path / "hosts").read_text() != f"{IMAGE}10.0.0.1 demo-head\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_another_declared_address_takes_its_place(tmp_path, watch):
    watch(IMAGE)
    (tmp_path / "entry").write_text("10.0.0.2 demo-head\n")
    deadline = time.monotonic() + 30
    while (tmp_path / "hosts").read_text() != f"{IMAGE}10.0.0.2 demo-head\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_each_declared_name_comes_back(tmp_path, watch):
    watch(IMAGE)
    (tmp_path / "entry").write_text("10.0.0.1 demo-head\n10.0.0.7 demo-node\n")
    deadline = time.monotonic() + 30
    while (tmp_path / "hosts").read_text() != f"{IMAGE}10.0.0.1 demo-head\n10.0.0.7 demo-node\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)

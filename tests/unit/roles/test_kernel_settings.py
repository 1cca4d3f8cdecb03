# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that a teardown runs for the kernel's settings. That it sets them is for the integration test."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PROGRAM = runpy.run_path(str(Path(__file__).resolve().parents[3] / "roles/ray/files/kernel_settings.py"))


@pytest.mark.parametrize(("text", "numbers"), [
    ("", set()), ("6379\n", {6379}), ("6379,6381-6383,52365", {6379, 6381, 6382, 6383, 52365}),
])
def test_ports(text, numbers):
    assert PROGRAM["ports"](text) == numbers


def test_without_the_file_there_is_nothing_to_do(tmp_path, capsys):
    PROGRAM["main"](f"{tmp_path}/60-ray.conf")
    assert capsys.readouterr().out == ""

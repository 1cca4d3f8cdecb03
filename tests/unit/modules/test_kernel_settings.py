# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's settings, taken back. That they are is for the integration test."""

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.modules import kernel_settings


@pytest.mark.parametrize(("text", "numbers"), [
    ("", set()), ("6379\n", {6379}), ("6379,6381-6383,52365", {6379, 6381, 6382, 6383, 52365}),
])
def test_ports(text, numbers):
    assert kernel_settings.ports(text) == numbers


def test_without_the_file_there_is_nothing_to_do(run_module, tmp_path):
    assert run_module("kernel_settings", {"path": f"{tmp_path}/60-ray.conf"})["changed"] is False


@pytest.mark.parametrize(("name", "live", "ours", "left"), [
    (kernel_settings.PORTS, "6379,6381-6383,9000", "6379,6381-6383,52365", "9000"),
    (kernel_settings.PORTS, "", "6379", ""),
    ("net.core.somaxconn", "65535", "65535", "4096"),
    ("net.core.somaxconn", "1024", "65535", "1024"),
])
def test_what_is_ours_goes(name, live, ours, left):
    assert kernel_settings.without(name, live, ours) == left


def test_what_would_change_is_shown(run_module, tmp_path):
    with open("/proc/sys/net/core/somaxconn", encoding="utf-8") as stream:
        live = stream.read().strip()
    path = tmp_path / "60-ray.conf"
    path.write_text(f"# Managed by rayops.cluster\nnet.core.somaxconn = {live}\n")
    result = run_module("kernel_settings", {"path": str(path)}, check_mode=True)
    expected = "" if live == "4096" else f"net.core.somaxconn = {live}\n"
    assert result["changed"] and path.exists()
    assert result["diff"]["before"] == f"{expected}{path}\n"

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An environment whose Python prints what a case gives; molecule has Ray's."""

from __future__ import annotations

import json
import os
import pwd

import pytest

GOOD = [{"uid": "rayDefaultDashboard", "content": "{}\n"}, {"uid": "ray-serve", "content": '{"a": "密"}'}]


@pytest.fixture(name="dashboards")
def dashboards_fixture(tmp_path, run_module):
    """Runs the module where an environment answers with these dashboards."""
    (tmp_path / "bin").mkdir()

    def dashboards(answer, version="2.60.0", check_mode=False):
        (tmp_path / "answer").write_text(answer if isinstance(answer, str) else json.dumps({"dashboards": answer}))
        (tmp_path / "bin" / "python").write_text(f"#!/bin/sh\ncat > /dev/null; echo >> {tmp_path}/calls\n"
                                                 f"cat {tmp_path}/answer; echo\n")
        (tmp_path / "bin" / "python").chmod(0o755)
        return run_module("ray_dashboards", {
            "directory": str(tmp_path / "out"), "version": version, "environment": str(tmp_path),
            "user": pwd.getpwuid(os.geteuid()).pw_name,
        }, check_mode)

    return dashboards


def found(tmp_path):
    return sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_they_are_written_once_and_other_versions_go(dashboards, tmp_path):
    (tmp_path / "out" / "ray-2.57.0" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "ray-2.57.0" / "deep" / "old.json").write_text("")
    (tmp_path / "out" / "ray-glance.json").write_text("ours")
    assert dashboards(GOOD, check_mode=True)["changed"] and not (tmp_path / "calls").exists()
    assert dashboards(GOOD)["changed"]
    names = ["ray-2.60.0/complete", "ray-2.60.0/ray-serve.json", "ray-2.60.0/rayDefaultDashboard.json"]
    assert found(tmp_path) == [*names, "ray-glance.json"]
    assert not (tmp_path / "out" / "ray-2.57.0").exists()
    assert (tmp_path / "out" / "ray-2.60.0" / "ray-serve.json").read_text() == GOOD[1]["content"]
    assert not dashboards("never asked")["changed"]


@pytest.mark.parametrize("answer", [
    "", "[]", json.dumps([{"uid": "a", "content": "x"}]), [], "{}", [{"uid": "a"}], [{"uid": "a", "content": 1}],
    [{"uid": "../../escaped", "content": "x"}], [{"uid": "a" * 61, "content": "x"}],
    [{"uid": "a\n", "content": "x"}], [{"uid": str(number), "content": ""} for number in range(100)],
])
def test_nothing_but_dashboards_is_written(dashboards, tmp_path, answer):
    told = dashboards(answer)
    assert told["failed"] and "has printed something else than Ray's dashboards" in told["msg"]
    assert not (tmp_path / "out").exists()

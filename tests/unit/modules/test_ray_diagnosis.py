# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it. systemctl is a stand-in that answers like systemd 252; molecule has the real one."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import pytest

STOPPED = "LoadState=loaded\nActiveState=inactive\nUnitFileState=enabled\nNeedDaemonReload=no\nMainPID=0\nNRestarts=0\n"


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A host whose units are all there and stopped; what was asked stands in the file that this gives."""
    calls = tmp_path / "calls"
    (tmp_path / "shown").write_text("\n".join([STOPPED] * 3))
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {calls}\ncat {tmp_path}/shown\n')
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return calls


@pytest.fixture
def config(tmp_path):
    return {"network": {"head_address": "localhost:6379"}, "ray": {"environment": f"{tmp_path}/venv"},
            "auth": {"token_path": f"{tmp_path}/token"}}


@pytest.mark.parametrize("check_mode", [False, True])
def test_it_only_looks(systemd, run_module, config, check_mode):
    asked = time.time()
    options = {"node_type": "worker", "config": config, "clock": asked, "other_nodes": "ignore"}
    result = run_module("ray_diagnosis", options, check_mode)
    assert result["changed"] is False and "failed" not in result
    found = {finding["problem"]: finding for finding in result["findings"]}
    assert {"unit_stopped", "environment_missing"} <= set(found)
    assert set(found["unit_stopped"]) == {"problem", "detail", "mend", "person", "step"}
    # The GCS is silent: in check mode the head is taken to be back by the time that the worker's turn comes.
    assert "start" in result["steps"] and result["need"] == ("node" if check_mode else "head")
    assert result["clock"]["asked"] == asked and 0 <= result["clock"]["host"] - asked < 60
    assert all(call.startswith("show ") for call in systemd.read_text().splitlines())


def test_a_host_without_a_node(systemd, run_module):
    result = run_module("ray_diagnosis", {"redis_service": "redis-server", "disk_limit": 1.01})
    assert [finding["problem"] for finding in result["findings"]] == ["unit_stopped"]
    assert result["steps"] == ["redis"] and result["need"] == "redis" and result["stale"] == []


def test_a_declaration_that_cannot_work_is_a_finding(systemd, run_module, config):
    options = {"node_type": "worker", "config": {**config, "resources": {"gpu": 1}}, "disk_limit": 1.01}
    result = run_module("ray_diagnosis", options)
    assert [finding["problem"] for finding in result["findings"]] == ["wrong_declaration"]
    assert "did you mean 'GPU'?" in result["findings"][0]["detail"] and result["steps"] == []
    assert result["need"] == "person"


def test_a_host_without_systemd_is_a_finding(run_module, config, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run_module("ray_diagnosis", {"node_type": "worker", "config": config, "disk_limit": 1.01})
    assert result["findings"][0]["detail"].startswith("systemctl is missing")


def test_no_secret_is_returned(systemd, run_module, config, tmp_path):
    (tmp_path / "redis.env").write_text("RAY_REDIS_PASSWORD=hunter2-redis\n")
    head = {
        "ray": config["ray"], "auth": config["auth"], "gcs": {"storage": "redis"},
        "environment": {"HF_TOKEN": "hunter2-token"},
        "redis": {"host": "127.0.0.1", "port": 1, "password_file": f"{tmp_path}/redis.env"},
    }
    (Path(tmp_path) / "journalctl").write_text("#!/bin/sh\necho 'Error: hunter2-redis and hunter2-token'\n")
    (Path(tmp_path) / "journalctl").chmod(0o755)
    (tmp_path / "shown").write_text("\n".join([STOPPED.replace("inactive", "failed")] * 3))
    result = run_module("ray_diagnosis", {"node_type": "head", "config": head, "token_digest": "d" * 64})
    problems = [finding["problem"] for finding in result["findings"]]
    assert {"storage_unreachable", "unit_failed"} <= set(problems)
    assert "hunter2" not in json.dumps(result["findings"]) and "********" in json.dumps(result["findings"])


SMALL = ["count", "enable", "prune", "remove", "timers"]


def test_small_things_are_mended_and_nothing_else(systemd, run_module, config):
    (systemd.parent / "shown").write_text("\n".join([STOPPED.replace("=enabled", "=disabled")] * 3))
    options = {"node_type": "worker", "config": config, "other_nodes": "ignore", "mend": SMALL}
    told = run_module("ray_diagnosis", options, check_mode=True)
    assert told["changed"] is True
    assert all(call.startswith("show ") for call in systemd.read_text().splitlines())
    mended = run_module("ray_diagnosis", options)
    assert mended["changed"] is True and {"enable", "start"} <= set(mended["steps"])
    assert [call for call in systemd.read_text().splitlines() if not call.startswith("show ")] == [
        "enable --quiet -- ray-worker.service"
    ]
    assert run_module("ray_diagnosis", {**options, "mend": []})["changed"] is False


def test_what_cannot_be_mended_is_left_to_a_person(systemd, run_module, config):
    (systemd.parent / "shown").write_text("\n".join([STOPPED.replace("=enabled", "=disabled")] * 3))
    program = systemd.parent / "systemctl"
    program.write_text(program.read_text() + 'test "$1" = show || { echo "Unit is masked." >&2; exit 1; }\n')
    options = {"node_type": "worker", "config": config, "other_nodes": "ignore", "mend": SMALL}
    result = run_module("ray_diagnosis", options)
    found = next(finding for finding in result["findings"] if finding["problem"] == "unit_disabled")
    assert result["changed"] is False and "failed" not in result and (found["mend"], found["step"]) == ("", "")
    why, _dot, then = found["person"].partition(" failed: Unit is masked. ")
    assert why == "it could not be mended: systemctl enable --quiet -- ray-worker.service"
    assert then.startswith("`systemctl enable ray-worker.service` on the host")


def test_what_may_be_removed_is_removed_on_demand(systemd, run_module, config, tmp_path):
    (tmp_path / "t").mkdir()
    named = tmp_path / "t" / "ray_current_cluster"
    named.write_text("10.9.9.9:6379")
    config["ray"]["temp_dir"] = f"{tmp_path}/t"
    options = {"node_type": "worker", "config": config, "other_nodes": "ignore"}
    looked = run_module("ray_diagnosis", options)
    assert looked["changed"] is False and looked["stale"] == [str(named)] and "remove" in looked["steps"]
    told = run_module("ray_diagnosis", {**options, "mend": ["remove"]}, check_mode=True)
    assert told["changed"] is True and named.exists()
    removed = run_module("ray_diagnosis", {**options, "mend": ["remove"]})
    assert removed["changed"] is True and removed["stale"] == [str(named)] and not named.exists()
    again = run_module("ray_diagnosis", {**options, "mend": ["remove"]})
    assert again["changed"] is False and again["stale"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_the_units_user_looks_and_removes(systemd, run_module, config):
    """A pipe holds nobody up, and what that user cannot remove is left to a person."""
    with tempfile.TemporaryDirectory(prefix="rd", dir="/tmp") as name:
        os.chmod(name, 0o755)
        (systemd.parent / "shown").write_text("\n".join([f"{STOPPED}User=nobody\n"] * 3))
        config["ray"]["temp_dir"] = name
        options = {"node_type": "worker", "config": config, "other_nodes": "ignore", "mend": ["remove"]}
        os.mkfifo(f"{name}/ray_current_cluster")
        began = time.monotonic()
        found = run_module("ray_diagnosis", options)
        assert found["stale"] == [] and time.monotonic() - began < 20
        assert "not_looked_at" not in [finding["problem"] for finding in found["findings"]]
        os.unlink(f"{name}/ray_current_cluster")
        Path(f"{name}/ray_current_cluster").write_text("10.9.9.9:6379")
        found = run_module("ray_diagnosis", options)
        stale = next(finding for finding in found["findings"] if finding["problem"] == "stale_files")
        assert stale["person"] == f"remove {name}/ray_current_cluster, which user nobody cannot."
        assert stale["step"] == ""
        assert found["changed"] is False and os.path.exists(f"{name}/ray_current_cluster")

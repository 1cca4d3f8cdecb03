# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a running node differs from the declared one, and what that asks for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._node.difference import (
    all_differences,
    can_wait,
    other_environment,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import is_secret, redis_password
from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Difference, Differences
from tests.unit.module_utils.live_node import as_dict


def test_a_node_that_runs_as_declared_does_not_differ(host):
    host.run()
    found, action = all_differences(host.live())
    assert (found.to_list(), action) == ([], "none")


def test_each_option_that_differs_is_named(host):
    host.run()
    host.config["resources"] = {"CPU": 8, "GPU": 1}
    host.config["labels"] = {"zone": "a"}
    host.config["ray"]["options"] = {"include_log_monitor": False, "no_redirect_output": True}
    assert host.differences() == {
        "--include-log-monitor": ("false", None),
        "--labels": ("zone=a", None),
        "--no-redirect-output": ("set", None),
        "--num-cpus": ("8", "4"),
        "--num-gpus": ("1", None),
    }
    assert all_differences(host.live())[1] == "restart"


def test_an_option_that_is_no_longer_declared_differs(host):
    host.config["ray"]["options"] = {"no_redirect_output": True}
    host.run()
    del host.config["ray"]["options"], host.config["resources"]
    assert host.differences() == {"--no-redirect-output": (None, "set"), "--num-cpus": (None, "4")}


def test_both_spellings_of_an_option_are_the_same(host):
    start = compile_start(host.config, "worker")
    host.run(words=[part for word in start.argv for part in (word.split("=", 1) if word.startswith("--a") else [word])])
    assert "--address" in host.live().supervisor.argv
    assert host.differences() == {}


def test_another_environment_of_ray_differs(host, tmp_path):
    host.run()
    host.config["ray"]["environment"] = "/opt/ray/9.9.9"
    assert host.differences() == {"executable": ("/opt/ray/9.9.9/bin/ray", f"{tmp_path}/bin/ray")}


def test_variables_that_differ(host):
    host.config["environment"] = {"HF_HOME": "/a", "KEPT": "1"}
    host.run({"RAY_debug": "1", "UNRELATED": "1", "VLLM_USE_V1": "1"})
    host.config["environment"] = {"HF_HOME": "/b", "KEPT": "1", "NEW": "x"}
    assert host.differences() == {
        "environment HF_HOME": ("/b", "/a"),
        "environment NEW": ("x", None),
        "environment RAY_debug": (None, "1"),
        "environment VLLM_USE_V1": (None, "1"),
    }


def test_variables_that_workers_see_have_a_kind_of_their_own(host):
    host.run({"RAY_gcs_storage": "x", "NCCL_DEBUG": "INFO", "RAYOPS_VARIABLES": "NCCL_DEBUG"})
    kinds = {item.option: item.kind for item in all_differences(host.live())[0]}
    assert kinds["environment RAY_gcs_storage"] == "shared_environment"
    assert kinds["environment NCCL_DEBUG"] == "environment"


def test_a_variable_that_is_taken_out_again_differs(host):
    host.config["environment"] = {"NCCL_DEBUG": "INFO", "KEPT": "1"}
    host.run({"UNRELATED": "1"})
    host.config["environment"] = {"KEPT": "1"}
    assert host.differences() == {"environment NCCL_DEBUG": (None, "INFO")}
    del host.config["environment"]
    assert set(host.differences()) == {"environment NCCL_DEBUG", "environment KEPT"}


def test_secrets_are_compared_and_not_shown(host):
    host.config["environment"] = {
        "HF_TOKEN": "old-secret",
        "AWS_SECRET_ACCESS_KEY": "old-secret",
        "TOKENIZERS_PARALLELISM": "no",
    }
    host.run({"VLLM_API_KEY": "old-secret", "RAY_REDIS_PASSWORD": "old-secret"})
    host.config["environment"] = {"HF_TOKEN": "new-secret", "TOKENIZERS_PARALLELISM": "yes"}
    found, action = all_differences(host.live())
    assert as_dict(found) == {
        "environment AWS_SECRET_ACCESS_KEY": (None, "********"),
        "environment HF_TOKEN": ("********", "********"),
        "environment TOKENIZERS_PARALLELISM": ("yes", "no"),
        "environment VLLM_API_KEY": (None, "********"),
    }
    assert action == "restart"


def test_no_secret_of_a_node_that_is_not_there(host):
    host.config["environment"] = {"HF_TOKEN": "new-secret"}
    found, action = all_differences(host.live())
    assert action == "start"
    assert "new-secret" not in repr(found.to_list()) and "new-secret" not in repr(found.diff("x"))
    assert as_dict(found)["environment HF_TOKEN"] == ("********", None)
    assert as_dict(found)["--num-cpus"] == ("4", None)


@pytest.mark.parametrize(
    ("variable", "secret"),
    [
        ("HF_TOKEN", True),
        ("OPENAI_API_KEY", True),
        ("REDIS_PASSWORD", True),
        ("PGPASSWORD", True),
        ("client_secret", True),
        ("RAY_AUTH_TOKEN_PATH", False),
        ("RAY_TLS_SERVER_KEY", False),
        ("TOKENIZERS_PARALLELISM", False),
        ("VLLM_MAX_TOKENS", False),
        ("KEYBOARD", False),
        ("SSL_KEY_FILE", False),
        ("RAY_AUTH_TOKEN", True),
    ],
)
def test_names_of_secrets(variable, secret):
    assert is_secret(variable) is secret


def test_the_redis_password_is_compared_with_its_file(host, tmp_path):
    path = tmp_path / "redis.env"
    host.config = {
        "gcs": {"storage": "redis"},
        "redis": {"host": "r", "password_file": str(path)},
        "ray": {"environment": str(tmp_path)},
        "auth": {"allow_unauthenticated": True},
    }
    host.run(node_type="head")
    path.write_text("# made once\nRAY_REDIS_PASSWORD=s3cret\n")
    assert redis_password(host.config) == "s3cret"
    assert host.differences("head") == {}
    path.write_text("RAY_REDIS_PASSWORD=other\n")
    assert host.differences("head") == {"--redis-password": ("********", "******** (another)")}
    path.unlink()
    assert "--redis-password" in host.differences("head")
    host.config.update(gcs={}, redis={})
    found = host.differences("head")
    assert found["--redis-password"] == (None, "******** (another)")
    assert "s3cret" not in repr(found)


def test_the_limit_of_open_files(host):
    host.run()
    limit = next(
        line.split()
        for line in Path(f"/proc/{host.process.pid}/limits").read_text().splitlines()
        if "open files" in line
    )
    host.config["limits"] = {"nofile": int(limit[4])}
    assert host.differences() == {}
    host.config["limits"] = {"nofile": 77}
    assert host.differences() == {"LimitNOFILE": (77, int(limit[4]))}


def test_a_token_that_is_newer_than_the_process(host, tmp_path):
    token = tmp_path / "token"
    token.write_text("t")
    host.config["auth"] = {"token_path": str(token)}
    host.run()
    assert host.differences() == {}
    os.utime(token, (time.time() + 60, time.time() + 60))
    assert list(host.differences()) == ["auth token"]


@pytest.mark.parametrize(
    ("attribute", "value", "option"),
    [("stale", True, "unit file"), ("enabled", False, "enabled"), ("timers_active", False, "timers")],
)
def test_what_needs_no_restart_is_a_reload(host, attribute, value, option):
    host.run()
    setattr(host.unit, attribute, value)
    found, action = all_differences(host.live())
    assert (list(as_dict(found)), action) == ([option], "reload")


def test_timers_of_a_node_that_is_stopped_are_no_difference(host):
    host.unit.timers_active = host.unit.enabled = False
    found, action = all_differences(host.live())
    assert action == "start" and "timers" not in as_dict(found) and "enabled" in as_dict(found)


def test_a_restart_outranks_a_reload(host):
    host.run()
    host.unit.stale, host.config["resources"] = True, {"CPU": 5}
    found, action = all_differences(host.live())
    assert (list(as_dict(found)), action) == (["--num-cpus", "unit file"], "restart")


def test_a_unit_that_is_not_installed_is_a_start(host):
    host.unit.exists = host.unit.enabled = False
    found, action = all_differences(host.live())
    assert action == "start" and not {"unit file", "enabled", "timers"} & set(as_dict(found))


@pytest.mark.parametrize(
    ("kind", "option", "waits"),
    [
        ("option", "--num-cpus", True),
        ("option", "--dashboard-port", True),
        ("option", "--port", False),
        ("option", "--num-cpus-x", False),
        ("environment", "environment NCCL_DEBUG", True),
        ("shared_environment", "environment RAY_gcs_storage", False),
        ("shared_environment", "environment RAY_AUTH_MODE", False),
        ("shared_environment", "environment RAY_REDIS_ADDRESS", False),
        ("limit", "LimitNOFILE", True),
        ("unit", "unit file", True),
        ("enabled", "enabled", True),
        ("timers", "timers", True),
        ("executable", "executable", False),
        ("token", "auth token", False),
        ("health", "health", False),
        ("raylet", "raylet", False),
        ("foreign", "other Ray on this host, raylet 7", False),
        ("restart", "restart", False),
    ],
)
def test_what_a_head_can_wait_with(kind, option, waits):
    own = Difference("option", "--num-gpus", "1", "0")
    found = Differences([own, Difference(kind, option, "1", "2")])
    assert can_wait(found, "restart") is waits
    assert not can_wait(found, "start") and not can_wait(found, "reload")


def test_the_environment_that_runs(host, tmp_path):
    assert other_environment(host.live()) == ""
    host.run()
    assert other_environment(host.live()) == ""
    host.config["ray"]["environment"] = "/opt/ray/9.9.9"
    node = host.live()
    assert other_environment(node) == str(tmp_path)
    # A process may show what it likes.
    for shown in ("/tmp/{{ 1 }}/bin/ray", "/tmp/../etc/bin/ray", "bin/ray", "/tmp/x/bin/ray\n", "/tmp/x/bin/sh"):
        node.supervisor.argv[:] = [shown, "start"]
        assert other_environment(node) == ""

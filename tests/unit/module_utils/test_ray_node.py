# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The decisions of ray_node. systemd is a stand-in here; the live process is a real one."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils import _ray_node
from ansible_collections.rayops.cluster.plugins.module_utils._ray_node import (
    LiveNode,
    all_differences,
    is_secret,
    ray_version,
    redis_password,
    restart_differences,
)
from ansible_collections.rayops.cluster.plugins.module_utils._ray_process import RayProcess, ray_processes
from ansible_collections.rayops.cluster.plugins.module_utils._ray_start import compile_start

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "processes.json").read_text(encoding="utf-8"))
NAME = "ray-worker.service"
# Stands for `ray`: it stays, and says when it is there.
PROGRAM = "import sys, time\nprint(1, flush=True)\ntime.sleep(120)\n"
FOREIGN = RayProcess(7, "raylet", ["raylet", "--gcs-address=10.0.0.99:6379"], "0::/user.slice/session-1.scope\n")


class StandInUnit:
    """What LiveNode asks of a Unit."""

    name = NAME
    main_pid = 0
    active = False
    stopped = True
    exists = True
    enabled = True
    stale = False
    timers_active = True
    restarts = 0
    properties = {"ActiveState": "inactive"}

    def refresh(self) -> None:
        pass


class Host:
    """A worker's declared state and, after run(), the live process of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "bin").mkdir()
        (directory / "bin" / "ray").write_text(f"#!{sys.executable}\n{PROGRAM}")
        (directory / "bin" / "ray").chmod(0o755)
        self.config = {
            "cluster_name": "demo",
            "resources": {"CPU": 4},
            "network": {"head_address": "demo-head:6379", "node_ip_address": "10.0.0.11"},
            "ray": {"environment": str(directory)},
        }
        self.unit = StandInUnit()
        self.process: subprocess.Popen | None = None

    def run(
        self, extra: dict[str, str] | None = None, words: list[str] | None = None, node_type: str = "worker"
    ) -> None:
        start = compile_start(self.config, node_type)
        argv = words or [word.replace("${RAY_REDIS_PASSWORD}", "s3cret") for word in start.argv]
        environment = {"PATH": os.environ["PATH"], **start.environment, **(extra or {})}
        self.process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"1\n"
        self.unit.main_pid, self.unit.active, self.unit.stopped = self.process.pid, True, False

    def live(self, node_type: str = "worker") -> LiveNode:
        node = LiveNode(self.unit, compile_start(self.config, node_type), self.config)
        # Other tests on this host may run Ray.
        node.processes = [process for process in node.processes if process.pid == self.unit.main_pid]
        return node

    def differences(self, node_type: str = "worker") -> dict[str, tuple]:
        return as_dict(restart_differences(self.live(node_type)))


def as_dict(found) -> dict[str, tuple]:
    return {item["option"]: (item["declared"], item["live"]) for item in found.to_list()}


@pytest.fixture
def host(tmp_path):
    found = Host(tmp_path)
    yield found
    if found.process:
        found.process.kill()
        found.process.wait()


@pytest.fixture
def older(monkeypatch):
    """Every process is an hour old: none is starting."""
    monkeypatch.setattr(_ray_node, "started_at", lambda pid: time.time() - 3600 if pid else None)


@pytest.fixture
def agent():
    """The node's agent: a server on a port of this host; its `status` is what it answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status if self.path == "/api/local_raylet_healthz" else 404)
            self.end_headers()

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.status = 200
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def with_raylet(node: LiveNode) -> LiveNode:
    argv = next(item["argv"] for item in RECORDED["ray-worker"] if item["argv"][0].endswith("/raylet"))
    node.processes.append(RayProcess(4242, "raylet", argv, f"0::/system.slice/{NAME}\n"))
    return node


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


def test_a_node_whose_raylet_is_gone(host, older):
    host.run()
    assert host.differences() == {"raylet": ("running", "gone, although its unit is active")}
    assert all_differences(host.live())[1] == "restart"


def test_the_agent_says_whether_the_node_is_alive(host, older, agent):
    host.config["network"]["ports"] = {"dashboard_agent_listen": agent.server_port}
    host.run()
    node = with_raylet(host.live())
    assert node.health() == "alive" and not restart_differences(node)
    agent.status = 503
    assert as_dict(restart_differences(node)) == {"health": ("alive", "not alive (HTTP 503 from the node's agent)")}
    agent.shutdown()
    agent.server_close()
    assert as_dict(restart_differences(node)) == {"health": ("alive", "not alive (its agent does not answer)")}


def test_the_agent_is_asked_without_a_proxy(host, agent, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://203.0.113.7:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    host.config["network"]["ports"] = {"dashboard_agent_listen": agent.server_port}
    assert host.live().health() == "alive"


def test_a_node_that_systemd_starts_again_and_again_is_not_one_that_starts(host, agent):
    host.config["network"]["ports"] = {"dashboard_agent_listen": agent.server_port}
    host.run()
    agent.status = 503
    assert host.live().starting and host.differences() == {}
    host.unit.restarts = 5
    assert host.differences() == {"health": ("alive", "starting, after 5 restarts by systemd")}
    agent.status = 200
    assert host.differences() == {}


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


def test_another_node_on_the_host_is_a_difference(host):
    host.run()
    node = host.live()
    node.processes += [
        FOREIGN,
        RayProcess(8, "gcs_server", ["gcs_server"], "0::/x\n"),
        RayProcess(9, "other", ["ray::f"], "0::/x\n"),
    ]
    found, action = all_differences(node)
    assert action == "reload"
    assert as_dict(found) == {
        "other Ray on this host, raylet 7": (None, "10.0.0.99:6379"),
        "other Ray on this host, gcs_server 8": (None, "its own cluster"),
    }


def test_the_node_as_it_is_returned(host, agent):
    host.run()
    node = with_raylet(host.live())
    described = node.describe()
    assert 0 <= described.pop("uptime") < 60
    assert described == {
        "id": next(word[len("--node_id=") :] for word in node.raylet.argv if word.startswith("--node_id=")),
        "address": "10.0.0.11",
        "state": "ALIVE",
        "pid": host.process.pid,
        "session": node.raylet.options["--session_dir"].rpartition("/")[2],
        "ray_version": None,
    }
    assert described["session"].startswith("session_")


def test_a_node_that_does_not_run_as_it_is_returned(host):
    assert host.live().describe() == {
        "id": None,
        "address": "10.0.0.11",
        "state": "inactive",
        "pid": None,
        "session": None,
        "ray_version": None,
        "uptime": None,
    }


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ({"head_address": "demo-head:6379", "node_ip_address": "10.0.0.11"}, "demo-head:6379"),
        ({"node_ip_address": "10.0.0.10", "ports": {"gcs": 6400}}, "10.0.0.10:6400"),
        ({}, "127.0.0.1:6379"),
    ],
)
def test_where_the_gcs_listens(host, network, address):
    host.config["network"] = network
    host.config.pop("resources")
    assert host.live("head").gcs_address == address


def test_the_version_of_ray_in_an_environment(tmp_path):
    packages = tmp_path / "lib" / "python3.12" / "site-packages"
    for name in ("ray_ascend-1.0.dist-info", "raylib-5.0.dist-info", "ray"):
        (packages / name).mkdir(parents=True)
    assert ray_version(str(tmp_path)) is None
    (packages / "ray-2.60.0.dist-info").mkdir()
    assert ray_version(str(tmp_path)) is None, "the metadata alone is what an interrupted installation leaves"
    (packages / "ray" / "__init__.py").touch()
    assert ray_version(str(tmp_path)) == "2.60.0"


def test_the_live_process_is_found_among_all(host):
    """The stand-in `ray` is seen in /proc as the supervisor that it is."""
    host.run()
    found = {process.pid: process.kind for process in ray_processes()}
    assert found[host.process.pid] == "start"

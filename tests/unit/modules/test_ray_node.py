# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it. systemctl is a stand-in that answers like systemd 252; molecule has the real one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.conftest import as_shown

REPOSITORY = Path(__file__).resolve().parents[3]
SYSTEMCTL = """#!/bin/sh
directory=$(dirname "$0")
echo "$@" >> "$directory/calls"
case $1 in
  show) cat "$directory/show" ;;
  *) grep -qx "$1" "$directory/refuse" 2>/dev/null && { echo "Failed to $1: refused." >&2; exit 1; } ;;
esac
exit 0
"""
INSTALLED = {
    "LoadState": "loaded",
    "ActiveState": "inactive",
    "SubState": "dead",
    "UnitFileState": "disabled",
    "NeedDaemonReload": "no",
    "MainPID": "0",
    "NRestarts": "0",
    "ExecMainStatus": "0",
    "DropInPaths": "",
    "InvocationID": "",
}
# What systemd 252 says of a unit that it does not know.
UNKNOWN = {**INSTALLED, "LoadState": "not-found", "UnitFileState": ""}


# Without a token file, which a node that is to start would wait for.
AUTH = {"auth": {"allow_unauthenticated": True}}


class Systemd:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        (directory / "systemctl").write_text(SYSTEMCTL)
        (directory / "systemctl").chmod(0o755)
        self.show(UNKNOWN)

    def show(self, unit: dict[str, str], timers: str = "inactive", stale_helper: bool = False) -> None:
        blocks = [unit, {**UNKNOWN, "ActiveState": timers}, {**UNKNOWN, "ActiveState": timers}]
        # What they start is inactive almost always.
        blocks += [UNKNOWN, {**INSTALLED, "NeedDaemonReload": "yes" if stale_helper else "no"}]
        text = "\n".join("".join(f"{name}={value}\n" for name, value in block.items()) for block in blocks)
        (self.directory / "show").write_text(text)

    def calls(self) -> list[str]:
        lines = (self.directory / "calls").read_text().splitlines()
        # What comes after `--` is a name to systemctl, whatever it is.
        assert all(" -- " in line or line == "daemon-reload" for line in lines)
        return [line.replace(" -- ", " ") for line in lines if not line.startswith("show ")]


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    found = Systemd(tmp_path / "systemd")
    monkeypatch.setenv("PATH", f"{found.directory}:{os.environ['PATH']}")
    return found


@pytest.fixture
def config(tmp_path):
    return {
        "network": {"head_address": "demo-head:6379"},
        "resources": {"CPU": 2},
        "ray": {"environment": f"{tmp_path}/venv"},
        **AUTH,
    }


@pytest.fixture
def ray_node(run_module):
    def run(config=None, check_mode=True, **options):
        # Never other_nodes=stop outside check mode: another test's Ray may run on this host.
        options = {"node_type": "worker", "other_nodes": "ignore", **({"config": config} if config else {}), **options}
        return run_module("ray_node", options, check_mode)

    return run


@pytest.fixture
def foreign():
    """A process that looks like a raylet which somebody started by hand."""
    code = "import time; print(1, flush=True); time.sleep(120)"
    argv = ["raylet", "-c", code, "--gcs-address=10.0.0.99:6379"]
    with subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_bare_host_in_check_mode(systemd, ray_node, config, tmp_path):
    result = ray_node(config)
    assert (result["changed"], result["action"]) == (True, "start")
    differences = {item["option"]: (item["declared"], item["live"]) for item in result["differences"]}
    assert differences["executable"] == (f"{tmp_path}/venv/bin/ray", None)
    assert differences["--num-cpus"] == ("2", None) and differences["--block"] == ("set", None)
    assert differences["environment RAY_AUTH_MODE"] == ("disabled", None)
    assert result["node"]["state"] == "inactive" and result["node"]["id"] is None
    assert result["diff"]["before"] == "" and "--num-cpus: 2\n" in result["diff"]["after"]
    assert result["msg"].startswith("start: executable, ")
    restarted = ray_node(config, state="restarted")
    assert restarted["action"] == "start" and restarted["differences"] == result["differences"]
    assert systemd.calls() == []


def test_the_files_of_what_the_unit_starts_are_looked_at(systemd, ray_node, config):
    systemd.show(INSTALLED, stale_helper=True)
    found = {item["option"]: item["live"] for item in ray_node(config)["differences"]}
    assert found["unit file"] == "changed on disk"
    shown = next(line for line in (systemd.directory / "calls").read_text().splitlines() if line.startswith("show "))
    names = [word for word in shown.split() if word.startswith("ray-")]
    assert names[:3] == ["ray-worker.service", "ray-health.timer", "ray-prune.timer"]
    assert {"ray-health.service", "ray-prune.service", "ray-journal.service", "ray-sysctl.service"} <= {*names[3:]}
    systemd.show(INSTALLED)
    assert "unit file" not in [item["option"] for item in ray_node(config)["differences"]]


def test_a_unit_that_is_not_installed_is_not_started(systemd, ray_node, config):
    result = ray_node(config, check_mode=False)
    assert result["failed"]
    assert result["msg"] == "ray-worker.service is not installed on this host: run the playbook's worker role first."
    assert systemd.calls() == ["daemon-reload"]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"resources": {"gpu": 1}}, "worker-node.yaml: Unknown resource 'resources.gpu': did you mean 'GPU'?"),
        (
            {"resources": {"GPU": 1000}, "network": {"head_address": "h:1"}, **AUTH},
            "resources.GPU is 1000, but this host shows ",
        ),
        (
            {"network": {"head_address": "h:1", "node_ip_address": "203.0.113.7"}, **AUTH},
            "network.node_ip_address 203.0.113.7 is not an address of this host",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_touched(systemd, ray_node, config, sentence):
    result = ray_node(config, check_mode=False)
    assert result["failed"] and result["msg"].startswith(sentence)
    assert not (systemd.directory / "calls").exists() or systemd.calls() == []


def test_logical_accelerators(systemd, ray_node, config):
    config["resources"] = {"GPU": 1000}
    assert ray_node(config, check_accelerators=False)["action"] == "start"


def test_the_file_is_read_where_no_config_is_given(systemd, ray_node, tmp_path):
    path = tmp_path / "worker-node.yaml"
    path.write_text("network: {head_address: 'demo-head:6379'}\nauth: {token_path: /x}\nresources: {CPU: 3}\n")
    result = ray_node(config_file=str(path))
    assert {"kind": "option", "option": "--num-cpus", "declared": "3", "live": None} in result["differences"]
    path.write_text("[")
    result = ray_node(config_file=str(path))
    assert result["failed"] and result["msg"].startswith(f"worker-node.yaml: {path} is not valid YAML: ")
    result = ray_node(config_file=f"{tmp_path}/absent.yaml")
    assert result["failed"] and "does not exist: run the playbook's head or workers tag" in result["msg"]


def test_removing_what_is_not_there_changes_nothing(systemd, ray_node, tmp_path):
    for state in ("absent", "stopped"):
        result = ray_node(state=state, config_file=f"{tmp_path}/absent.yaml", check_mode=False)
        assert "failed" not in result, result["msg"]
        assert (result["changed"], result["action"], result["differences"]) == (False, "none", [])
    assert systemd.calls() == []


def test_a_node_is_removed_with_its_file(systemd, ray_node, config, tmp_path):
    path = tmp_path / "worker-node.yaml"
    path.write_text(json.dumps(config))
    systemd.show({**INSTALLED, "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"})
    predicted = ray_node(state="absent", config_file=str(path))
    assert (predicted["changed"], predicted["action"]) == (True, "remove") and path.exists()
    assert systemd.calls() == []
    result = ray_node(state="absent", config_file=str(path), check_mode=False)
    assert result["changed"] and result["differences"] == predicted["differences"]
    assert [item["option"] for item in result["differences"]] == ["unit", str(path)]
    assert not path.exists()
    assert systemd.calls() == [
        "stop ray-health.timer ray-prune.timer ray-worker.service",
        "reset-failed ray-worker.service",
        "disable --quiet ray-worker.service",
        "daemon-reload",
    ]


def test_a_node_is_stopped(systemd, ray_node, config):
    systemd.show({**INSTALLED, "ActiveState": "activating", "SubState": "auto-restart"})
    result = ray_node(config, state="stopped", check_mode=False)
    assert (result["changed"], result["action"]) == (True, "stop")
    assert systemd.calls()[0] == "stop ray-health.timer ray-prune.timer ray-worker.service"
    systemd.show({**INSTALLED, "ActiveState": "failed"})
    assert not ray_node(config, state="stopped", check_mode=False)["changed"]


def test_a_node_is_killed_whatever_its_file_holds(systemd, ray_node, tmp_path):
    path = tmp_path / "worker-node.yaml"
    path.write_text("[")
    assert ray_node(state="stopped", config_file=str(path))["failed"]
    systemd.show({**INSTALLED, "ActiveState": "activating", "SubState": "auto-restart"})
    assert ray_node(state="stopped", kill=True, config_file=str(path))["action"] == "stop" and not systemd.calls()
    result = ray_node(state="stopped", kill=True, config_file=str(path), check_mode=False)
    assert (result["changed"], result["action"]) == (True, "stop")
    assert systemd.calls() == [
        "stop --no-block ray-health.timer ray-prune.timer ray-worker.service",
        "kill --signal=SIGKILL ray-worker.service",
        "stop ray-health.timer ray-prune.timer ray-worker.service",
        "reset-failed ray-worker.service",
    ]
    systemd.show(INSTALLED)
    assert not ray_node(state="stopped", kill=True, config_file=str(path), check_mode=False)["changed"]


def test_another_node_is_killed_with_it(systemd, ray_node, foreign):
    option = f"other Ray on this host, raylet {foreign.pid}"
    result = ray_node(state="stopped", kill=True, other_nodes="stop")
    assert option in [item["option"] for item in result["differences"]] and result["action"] == "stop"
    assert not ray_node(state="stopped", kill=True)["changed"]
    assert not ray_node(state="stopped", other_nodes="stop")["changed"]


@pytest.mark.parametrize(
    ("state", "start"), [("inactive", "start"), ("activating", "restart"), ("deactivating", "restart")]
)
def test_a_node_is_started_and_its_failures_are_forgotten_first(systemd, ray_node, config, state, start):
    """The count of restarts that systemd keeps would otherwise end the wait for a node that has just been mended."""
    systemd.show({**INSTALLED, "ActiveState": state, "NeedDaemonReload": "yes"})
    result = ray_node(config, check_mode=False, timeout=1)
    assert result["failed"] and "was not ALIVE within 1 s at the GCS demo-head:6379" in result["msg"]
    assert systemd.calls()[:4] == [
        "daemon-reload",
        "enable --quiet ray-worker.service",
        "reset-failed ray-worker.service",
        f"{start} ray-worker.service ray-health.timer ray-prune.timer",
    ]


def test_a_unit_that_cannot_start_is_not_waited_for(systemd, ray_node, config, tmp_path):
    systemd.show({**INSTALLED, "ActiveState": "activating", "NRestarts": "3"})
    config["ray"]["temp_dir"] = str(tmp_path / "t")
    log = tmp_path / "t" / "session_latest" / "logs" / "raylet.err"
    log.parent.mkdir(parents=True)
    log.write_text("Check failed: the port is taken\n")
    os.utime(log, (time.time() + 60, time.time() + 60))
    # Its head is there: a worker ends again and again until it is.
    with socket.create_server(("127.0.0.1", 0)) as server:
        config["network"]["head_address"] = f"127.0.0.1:{server.getsockname()[1]}"
        result = ray_node(config, check_mode=False, timeout=60)
    assert result["failed"]
    assert result["msg"].startswith("ray-worker.service cannot start: systemd has started it again 3 times")
    assert result["msg"].endswith("\nraylet: the port is taken")


def test_systemd_refuses(systemd, ray_node, config):
    systemd.show(INSTALLED)
    (systemd.directory / "refuse").write_text("start\n")
    result = ray_node(config, check_mode=False, timeout=5)
    assert result["failed"]
    assert (
        result["msg"]
        == "systemctl start -- ray-worker.service ray-health.timer ray-prune.timer failed: Failed to start: refused."
    )


def test_a_host_without_systemd(ray_node, config, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    result = ray_node(config)
    assert result["failed"] and result["msg"] == "systemctl is missing: these roles need a host whose init is systemd."


def test_another_node_on_the_host(systemd, ray_node, config, foreign):
    option = f"other Ray on this host, raylet {foreign.pid}"
    result = ray_node(config, other_nodes="stop")
    assert {"kind": "foreign", "option": option, "declared": None, "live": "10.0.0.99:6379"} in result["differences"]
    result = ray_node(config, other_nodes="ignore")
    assert result["action"] == "start" and not [item for item in result["differences"] if "other Ray" in item["option"]]
    assert foreign.poll() is None


def test_another_node_alone_is_no_difference_where_it_is_ignored(systemd, ray_node, config, foreign, tmp_path):
    """A unit whose process is as declared, beside a foreign raylet."""
    program = tmp_path / "venv" / "bin" / "ray"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\nimport time\nprint(1, flush=True)\ntime.sleep(120)\n")
    program.chmod(0o755)
    planned = {item["option"]: item["declared"] for item in ray_node(config)["differences"]}
    argv = [str(program), "start"]
    argv += [name if value == "set" else f"{name}={value}" for name, value in planned.items() if name.startswith("--")]
    environment = {name.split()[1]: value for name, value in planned.items() if name.startswith("environment ")}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            running = {**INSTALLED, "ActiveState": "active", "UnitFileState": "enabled", "MainPID": str(process.pid)}
            systemd.show(running, timers="active")
            ignored = ray_node(config)
            assert (ignored["changed"], ignored["action"], ignored["differences"]) == (False, "none", [])
            assert ignored["msg"] == "The worker is as declared." and ignored["node"]["pid"] == process.pid
            restarted = ray_node(config, state="restarted")
            assert (restarted["changed"], restarted["action"]) == (True, "restart")
            found = ray_node(config, other_nodes="stop")
            assert found["action"] == "reload"
            assert all(item["option"].startswith("other Ray on this host") for item in found["differences"])
            systemd.show(running, timers="inactive")
            assert ray_node(config)["action"] == "reload"
        finally:
            process.kill()


def test_keys_that_do_nothing_are_warned_of(systemd, ray_node):
    result = ray_node({"redis": {"password": "hunter2hunter2"}, **AUTH}, node_type="head")
    assert "redis.password is not used: without a Redis server it protects nothing" in json.dumps(result["warnings"])


LOGGED = """
import importlib, json, sys
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
basic.AnsibleModule.log = lambda self, msg, log_args=None: sys.stderr.write(f"{msg} {log_args}\\n")
module = importlib.import_module("ansible_collections.rayops.cluster.plugins.modules.ray_node")
with patch_module_args(json.load(sys.stdin)):
    module.main()
"""


@pytest.mark.parametrize("keys", [{}, {"cluster_name": 7}])
def test_no_secret_in_the_result_or_in_the_hosts_log(systemd, keys):
    config = {
        "redis": {"password": "hunter2-redis"},
        "environment": {"HF_TOKEN": "hunter2-token", "HF_HOME": "/data"},
        **AUTH,
        **keys,
    }
    done = subprocess.run(
        [sys.executable, "-c", LOGGED],
        input=json.dumps({"node_type": "head", "config": config, "_ansible_check_mode": True}),
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"},
        capture_output=True,
        text=True,
        check=False,
    )
    result = as_shown(json.loads(done.stdout))
    assert ("failed" in result) is bool(keys)
    assert "Invoked" in done.stderr
    assert "hunter2" not in json.dumps(result) + done.stderr
    # ansible-core 2.21 leaves out by itself what a module that fails was called with.
    assert "/data" in json.dumps(result) or (keys and "invocation" not in result)

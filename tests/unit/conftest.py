# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Ray cluster for the tests: a head without CPUs and one worker, with token authentication."""

from __future__ import annotations

import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import RayCluster, RayClusterError
from tests.certificates import Site

# Who runs these tests, and so their Ray.
OWN_USER = pwd.getpwuid(os.geteuid()).pw_name
REPOSITORY = Path(__file__).resolve().parents[2]

# Runs a module's main() with the options on stdin, as Ansible does on a host, but without Ansible's start-up time, and
# without Ray, which Ansible's interpreter has nowhere.
RUN_MODULE = """
import importlib, json, sys
sys.modules["ray"] = None
from ansible.module_utils.testing import patch_module_args
module = importlib.import_module("ansible_collections.rayops.cluster.plugins.modules." + sys.argv[1])
with patch_module_args(json.load(sys.stdin)):
    module.main()
"""


def install_backup_program(directory: Path) -> Path:
    """The head's program for backups, with all that the role puts beside it; returns it."""
    directory.mkdir()
    variables = yaml.safe_load((REPOSITORY / "roles" / "head" / "vars" / "main" / "backup.yml").read_text())
    utils = REPOSITORY / "plugins" / "module_utils"
    for entry in variables["_head_backup_files"]:
        name = entry["path"].rpartition("/")[2]
        if name.endswith(".py") and entry.get("state") != "absent":
            places = (REPOSITORY / "roles" / "head" / "files", utils / "_system", utils / "_backup")
            shutil.copy(next(place / name for place in places if (place / name).exists()), directory)
    return directory / "ray_backup.py"


# `ray start`. Ray gives a node 30 s to register and has no setting for it; other tests keep this machine busier than
# that.
RAY = """
import runpy, sys, time, types
import ray._private.node
ray._private.node.time = types.SimpleNamespace(**{**vars(time), "monotonic": lambda: time.monotonic() / 4})
sys.argv[0] = "ray"
runpy.run_module("ray.scripts.scripts", run_name="__main__")
"""


class LocalRay:
    """A cluster on this host whose nodes are child processes. All its files and ports are its own."""

    def __init__(self, environment: str, extra: dict[str, str] | None = None) -> None:
        self.environment, self.extra = environment, extra or {}
        # Short, because Ray puts socket paths of at most 107 bytes below it.
        self.directory = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
        self.token = self.directory / "token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        self.port = free_ports(100)
        self.address = f"127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []

    def cluster(self, **options: Any) -> RayCluster:
        return RayCluster(**{**self.connection(), **options})

    def connection(self) -> dict[str, str]:
        where = {"environment": self.environment, "address": self.address}
        return {**where, "auth_token_path": str(self.token), "user": OWN_USER}

    def variables(self) -> dict[str, str]:
        return {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "AUTOSCALER_METRIC_PORT": str(self.port + 1),
            "DASHBOARD_METRIC_PORT": str(self.port + 2),
            **self.extra,
        }

    def start_head(self, *arguments: str) -> subprocess.Popen[bytes]:
        ports = [f"--port={self.port}", f"--ray-client-server-port={self.port + 3}", "--include-dashboard=false"]
        ports += [f"--dashboard-port={self.port + 4}"]
        return self._start("head", self.port + 10, "--head", *ports, *arguments)

    def start_worker(self, name: str, base: int, *arguments: str) -> subprocess.Popen[bytes]:
        """base: the first of the node's 30 ports, relative to the cluster's."""
        return self._start(name, self.port + base, f"--address={self.address}", *arguments)

    def _start(self, name: str, base: int, *arguments: str) -> subprocess.Popen[bytes]:
        options = ("node-manager", "object-manager", "dashboard-agent-grpc", "dashboard-agent-listen")
        ports = [f"--{option}-port={base + number}" for number, option in enumerate(options)]
        ports += [f"--metrics-export-port={base + 4}", f"--runtime-env-agent-port={base + 5}"]
        ports += [f"--min-worker-port={base + 6}", f"--max-worker-port={base + 29}"]
        common = ["--block", f"--node-name={name}", f"--temp-dir={self.directory}/{name}"]
        common += ["--object-store-memory=100000000"]
        with open(self.directory / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [f"{self.environment}/bin/python", "-c", RAY, "start", *common, *ports, *arguments],
                env=self.variables(),
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def run_driver(self, source: str) -> subprocess.Popen[str]:
        """Start a driver; end it with its process."""
        text = f"import ray\nray.init(address={self.address!r}, log_to_driver=False)\n{source}"
        command = [f"{self.environment}/bin/python", "-c", text]
        return subprocess.Popen(command, env=self.variables(), cwd="/", stdout=subprocess.PIPE, text=True)

    def wait_for(self, *names: str) -> dict[str, Any]:
        """Until the nodes are ALIVE; if they never are, the end of their logs says why."""
        try:
            return self.cluster().status({"node_names": list(names)}, timeout=120)
        except RayClusterError as error:
            logs = [f"--- {name}.log\n{(self.directory / f'{name}.log').read_text()[-2000:]}" for name in names]
            raise AssertionError("\n".join([str(error), *logs])) from error

    def stop_worker(self, name: str, process: subprocess.Popen[bytes]) -> None:
        stop(process)
        deadline = time.monotonic() + 60
        while any(node["node_name"] == name and node["state"] != "DEAD" for node in self.cluster().status()["nodes"]):
            assert time.monotonic() < deadline, f"{name} does not end"

    def close(self) -> None:
        for process in reversed(self.processes):
            stop(process)
        shutil.rmtree(self.directory, ignore_errors=True)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a node: the supervisor takes its children with it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_ports(count: int) -> int:
    """The first of count free ports below the ephemeral range."""
    for _attempt in range(50):
        base = random.randrange(21000, 32000 - count)
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        return base
    raise RuntimeError("found no free ports")


@pytest.fixture(scope="session")
def ray_environment() -> str:
    """The virtual environment that has Ray: RAYOPS_TEST_RAY_ENVIRONMENT, or the one that runs the tests."""
    path = os.environ.get("RAYOPS_TEST_RAY_ENVIRONMENT", sys.prefix)
    found = subprocess.run([f"{path}/bin/python", "-Ic", "import ray"], capture_output=True, check=False, cwd="/")
    if found.returncode:
        message = f"no Ray in {path}: set RAYOPS_TEST_RAY_ENVIRONMENT to a virtual environment that has it"
        # In CI these tests must never vanish in silence.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's directory with a certificate that is of nobody's cluster."""
    return Site().node(tmp_path_factory.mktemp("certificate") / "tls")


@pytest.fixture
def own_ray(ray_environment: str) -> Iterator[LocalRay]:
    """A cluster of the test's own, in which nothing runs yet."""
    ray = LocalRay(ray_environment)
    try:
        yield ray
    finally:
        ray.close()


@pytest.fixture(scope="session")
def dashboard_ray(ray_environment: str) -> Iterator[LocalRay]:
    """A head with 2 CPUs and a dashboard, for jobs and Serve; Serve's HTTP may listen on `port` + 95."""
    ray = LocalRay(ray_environment)
    try:
        ray.start_head("--num-cpus=2", "--include-dashboard=true", "--dashboard-host=127.0.0.1")
        ray.wait_for("head")
        yield ray
    finally:
        ray.close()


@pytest.fixture(scope="session")
def local_ray(ray_environment: str) -> Iterator[LocalRay]:
    """A head without CPUs and "worker-1" with 2 CPUs, a GPU and an NPU that do not exist."""
    ray = LocalRay(ray_environment)
    try:
        ray.start_head("--num-cpus=0")
        ray.wait_for("head")
        ray.start_worker("worker-1", 40, "--num-cpus=2", "--num-gpus=1", '--resources={"NPU":1}', "--labels=zone=a")
        ray.wait_for("head", "worker-1")
        yield ray
    finally:
        ray.close()


def run_module(name: str, options: dict[str, Any], check_mode: bool = False) -> dict[str, Any]:
    """What a module of this collection returns, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_MODULE, name],
        input=json.dumps({**options, "_ansible_check_mode": check_mode}),
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return as_shown(json.loads(done.stdout))


def as_shown(answer: Any) -> Any:
    """An answer as the controller hands it on: ansible-core 2.22 is told there what to hide, and hides it."""
    text = json.dumps({name: value for name, value in answer.items() if name != "_ansible_new_secrets"})
    for secret in sorted(answer.get("_ansible_new_secrets", []), key=len, reverse=True):
        text = text.replace(json.dumps(secret)[1:-1], "********")
    return json.loads(text)


@pytest.fixture(name="run_module", scope="session")
def run_module_fixture() -> Any:
    return run_module

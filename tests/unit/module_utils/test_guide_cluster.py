# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import RayCluster, RayClusterError
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import PORTS

DATA = Path(__file__).parents[1] / "data"


def guide(node_type: str) -> dict:
    return yaml.safe_load((DATA / f"guide-{node_type}-node.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def own_address() -> str:
    """An address of this host that other hosts could reach: Ray replaces 127.0.0.1 by it anyway."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def free_base(count: int = 60) -> int:
    """The first of so many free ports, below the range that the kernel hands out."""
    for base in random.sample(range(20000, 31000, count), 50):
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        return base
    raise AssertionError("there are no free ports")


class Nodes:
    """Nodes that run as child processes, on ports and in directories of their own."""

    def __init__(self, environment: str, address: str) -> None:
        self.environment = environment
        self.ip = address
        # Short, because Ray puts socket paths of at most 107 bytes below it.
        self.directory = Path(tempfile.mkdtemp(prefix="rs", dir="/tmp"))
        self.token = self.directory / "token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        self.base = free_base()
        self.processes: list[subprocess.Popen[bytes]] = []

    def ports(self) -> dict[str, int]:
        first = self.base + 20 * len(self.processes)
        ports = {name: first + offset for offset, name in enumerate(PORTS)}
        return {**ports, "worker_max": first + 19}

    def start(self, node_type: str, config: dict) -> dict:
        """Run what the configuration compiles to, and return the cluster's status when the node is ALIVE."""
        config["ray"] = {
            "environment": self.environment,
            "temp_dir": str(self.directory / node_type),
            "node_name": node_type,
            "drain_timeout": 0,
        }
        config["auth"] = {"token_path": str(self.token)}
        start = compile_start(config, node_type)
        log = self.directory / f"{node_type}.log"
        with open(log, "wb") as stream:
            variables = {**os.environ, **start.environment}
            self.processes.append(
                subprocess.Popen(
                    start.argv, env=variables, cwd="/", stdout=stream, stderr=stream, start_new_session=True
                )
            )
        cluster = RayCluster(self.environment, f"{self.ip}:{self.base}", str(self.token))
        try:
            return cluster.status({"node_names": [node_type]}, timeout=90)
        except RayClusterError as error:
            pytest.fail(f"{error}\n{log.read_text()}")

    def close(self) -> None:
        # A worker whose head is gone would wait for it.
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def nodes(ray_environment, own_address):
    found = Nodes(ray_environment, own_address)
    yield found
    found.close()


def scaled_down(nodes: Nodes, node_type: str) -> dict:
    """The guide's file, with ports and directories of this test and less memory."""
    config = guide(node_type)
    config["object_store"]["memory"] = 100000000
    config["system_config"]["plasma_directory"] = "/dev/shm"
    config.setdefault("network", {}).update(node_ip_address=nodes.ip, ports=nodes.ports())
    return config


def test_a_cluster_starts_from_the_guides_files_scaled_down(nodes):
    """The compiled command and environment, run as they are: two nodes, found by the cluster's own GCS."""
    head = scaled_down(nodes, "head")
    head["redis"]["port"] = head["network"]["ports"]["gcs"]
    head["head_node"]["resources"]["memory"] = 200000000
    nodes.start("head", head)
    worker = scaled_down(nodes, "worker")
    worker["resources"]["memory"] = 300000000
    worker["network"]["head_address"] = f"{nodes.ip}:{nodes.base}"
    status = nodes.start("worker", worker)
    totals = {node["node_name"]: node["resources"]["total"] for node in status["nodes"]}
    assert (totals["head"]["CPU"], totals["head"]["memory"]) == (32, 200000000)
    assert (totals["worker"]["CPU"], totals["worker"]["GPU"], totals["worker"]["memory"]) == (64, 4, 300000000)

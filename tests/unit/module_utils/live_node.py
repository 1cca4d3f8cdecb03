# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node for the tests of ray_node's decisions. systemd is a stand-in here; the live process is a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._node.difference import restart_differences
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import RayProcess

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "processes.json").read_text(encoding="utf-8"))
NAME = "ray-worker.service"
# Stands for `ray`: it stays, and says when it is there.
PROGRAM = "import sys, time\nprint(1, flush=True)\ntime.sleep(120)\n"


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
    user = ""
    program = ""
    properties = {"ActiveState": "inactive"}

    masked, failed, ending = False, False, ""
    drop_ins: list[str] = []

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
            "auth": {"allow_unauthenticated": True},
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


def with_raylet(node: LiveNode) -> LiveNode:
    argv = next(item["argv"] for item in RECORDED["ray-worker"] if item["argv"][0].endswith("/raylet"))
    node.processes.append(RayProcess(4242, "raylet", argv, f"0::/system.slice/{NAME}\n"))
    return node

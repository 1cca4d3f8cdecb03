# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the inventory plugin as users do, in a process of its own, against the simulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import ACCESS_KEY, SECRET_KEY

ROOT = Path(__file__).resolve().parents[3]
A, B = "cn-north-4", "cn-east-3"
DEMO = {"ray-cluster-name": "demo"}
SHORTS: list[dict[str, Any]] = [
    {"name": "head", "private_ip": "10.0.0.1", "public_ip": "1.2.3.4", "tags": {**DEMO, "ray-node-type": "head"}},
    {
        "name": "gpu-1",
        "private_ip": "10.0.0.2",
        "flavor": "p2s.2xlarge.8",
        "tags": {**DEMO, "ray-node-type": "worker", "ray-user-node-type": "gpu-v100"},
    },
    {
        "name": "npu-1",
        "region": B,
        "private_ip": "10.0.0.3",
        "flavor": "kat2.48xlarge.8",
        "tags": {**DEMO, "ray-node-type": "worker", "ray-user-node-type": "npu"},
    },
    {"name": "plain", "private_ip": "10.0.0.4"},
    {"name": "stopped", "private_ip": "10.0.0.5", "status": "SHUTOFF"},
    {"name": "rebooting", "private_ip": "10.0.0.6", "status": "REBOOT"},
]


# Parses each file of its arguments in one process: for many settings, and to time the plugin alone.
DRIVER = """
import json, sys, time
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader
from ansible.utils.display import Display
init_plugin_loader([])
warnings, verbose = [], []
Display.warning = lambda self, text, *more, **others: warnings.append(text)
Display.v = lambda self, text, *more, **others: verbose.append(text)
for path in sys.argv[1:]:
    inventory, error = InventoryData(), ""
    warnings.clear()
    verbose.clear()
    plugin = inventory_loader.get("rayops.cluster.huawei_ecs")
    wall, cpu = time.monotonic(), time.process_time()
    try:
        plugin.parse(inventory, DataLoader(), path)
        if plugin.get_option("cache"):
            plugin.update_cache_if_changed()
    except Exception as exc:
        error = f"{type(exc).__name__}: {exc}"
    times = {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}
    addresses = {name: host.vars.get("ansible_host") for name, host in inventory.hosts.items()}
    groups = {name: sorted(host.name for host in group.get_hosts()) for name, group in inventory.groups.items()}
    said = {"error": error, "warnings": warnings, "verbose": verbose}
    print(json.dumps({"hosts": addresses, "groups": groups, **said, **times}))
"""


class Bed:
    """A folder with a configuration file, and commands that run in it with the simulator's environment."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.file = folder / "test.huawei_ecs.yml"
        self.env = {name: os.environ[name] for name in ("HOME", "NO_PROXY", "PATH", "PYTHONPATH") if name in os.environ}
        self.env.update(simulator.environment())
        self.env.update(
            ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".ansible" / "collections"),
            LC_ALL="C.UTF-8",
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_CONFIG=str(folder / "ansible.cfg"),
        )
        (folder / "ansible.cfg").touch()
        self.configure()

    def configure(self, **options: Any) -> None:
        # JSON is YAML.
        self.file.write_text(json.dumps({"plugin": "rayops.cluster.huawei_ecs", **options}), encoding="utf-8")

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "ansible", command, "-i", str(self.file), *arguments)

    def python(self, *arguments: str, timeout: int = 60) -> subprocess.CompletedProcess[str]:
        """A Python in the folder, with the environment and nothing else of the tests."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def parse(self, *settings: dict[str, Any]) -> list[dict[str, Any]]:
        """What the plugin makes of each of the settings: hosts with ansible_host, groups, what it says, seconds."""
        files = []
        for number, options in enumerate(settings):
            files.append(self.folder / f"{number}.huawei_ecs.yml")
            files[-1].write_text(json.dumps({"plugin": "rayops.cluster.huawei_ecs", **options}), encoding="utf-8")
        done = self.python("-c", DRIVER, *map(str, files), timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def inventory(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """The inventory as ansible-inventory --list shows it, which must go without a word on stderr."""
        self.configure(**options)
        done = self.run("inventory", "--list", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return plain(json.loads(done.stdout))

    def failure(self, *arguments: str, **options: Any) -> str:
        """The sentence of a failing inventory. It must be all that is said, and hold no secret."""
        self.configure(**options)
        output = self.folder / "list.json"
        done = self.run("inventory", "--list", "--output", str(output), *arguments)
        text = done.stdout + done.stderr + output.read_text(encoding="utf-8")
        assert "Traceback" not in text
        assert not any(secret in text for secret in (SECRET_KEY, ACCESS_KEY, "sk-wrong", "TOKEN-SECRET"))
        assert json.loads(output.read_text(encoding="utf-8"))["_meta"]["hostvars"] == {}
        (sentence,) = re.findall(
            r"\[(?:WARNING|ERROR)\]: Failed to parse inventory with 'auto' plugin: (.*)", done.stderr
        )
        assert "\n" not in sentence and sentence[-1] in ".?"
        return sentence


def plain(value: Any) -> Any:
    """ansible-inventory --list wraps every string that is no template."""
    if isinstance(value, dict):
        return (
            value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else {k: plain(v) for k, v in value.items()}
        )
    return [plain(each) for each in value] if isinstance(value, list) else value


def hosts_of(inventory: dict[str, Any], group: str) -> list[str]:
    own = inventory.get(group, {})
    return sorted(
        [*own.get("hosts", []), *(host for child in own.get("children", []) for host in hosts_of(inventory, child))]
    )

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin on 10,000 instances in 4 regions, from the simulator, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bed.bed import ROOT
from tests.bench.cluster import BenchError
from tests.bench.figure import Figure

INSTANCES = 10_000
REGIONS = ("cn-north-4", "cn-north-9", "cn-east-3", "cn-south-1")
POOLS = ("p2s.2xlarge.8", "p2s.16xlarge.8", "kat2.48xlarge.8", "c7.2xlarge.4")
ACCESS_KEY, SECRET_KEY = "BENCHACCESSKEY", "bench-secret-key"
START_SECONDS = 30
# One call of the plugin, as Ansible makes it, without what Ansible itself does before and after.
PARSE = """
import json, sys, time
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader
init_plugin_loader()
plugin, inventory = inventory_loader.get("rayops.cluster.huawei_ecs"), InventoryData()
began, cpu = time.perf_counter(), time.process_time()
plugin.parse(inventory, DataLoader(), sys.argv[1], cache=False)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
workers = len(inventory.groups["ray_workers"].get_hosts())
sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu, "hosts": len(inventory.hosts), "workers": workers}))
"""


def inventory(repeat: int) -> list[Figure]:
    """The plugin's own CPU time, which is what more instances cost, and the time with the cloud's answers."""
    own = Figure("inventory", f"inventory of {INSTANCES:,} instances in {len(REGIONS)} regions, own time", budget=3)
    wall = Figure("inventory-wall", "the same, with the wait for the simulated cloud")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        (folder / "instances.json").write_text(json.dumps(instances()), encoding="utf-8")
        (folder / "huawei_ecs.yml").write_text((ROOT / "huawei_ecs.yml").read_text(encoding="utf-8"), encoding="utf-8")
        with simulated_cloud(folder) as environment:
            parse(folder, environment)  # The simulator builds its rows at the first request.
            for _turn in range(repeat):
                result = parse(folder, environment)
                if (result.get("hosts"), result.get("workers")) != (INSTANCES, INSTANCES - 1):
                    own.failed = wall.failed = f"it gave {result}"
                    break
                own.values.append(result["cpu"])
                wall.values.append(result["seconds"])
    own.note = "processor time of the plugin's process from the call to the last host, all threads"
    wall.note = "the simulator answers in Python, on the same processors"
    return [own, wall]


def instances() -> list[dict]:
    """One cluster: a head, and workers in a pool for each flavor."""
    shorts = []
    for number in range(INSTANCES):
        flavor = POOLS[number % len(POOLS)]
        kind = {"ray-node-type": "worker", "ray-user-node-type": flavor} if number else {"ray-node-type": "head"}
        shorts.append({
            "name": f"node-{number:05}", "region": REGIONS[number % len(REGIONS)], "flavor": flavor,
            "private_ip": f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}",
            "tags": {"ray-cluster-name": "bench", **kind},
        })
    return shorts


@contextmanager
def simulated_cloud(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the instances. Gives the environment of a user of that cloud."""
    port_file = folder / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ecs_simulator", "--instances", str(folder / "instances.json"),
         "--regions", ",".join(REGIONS), "--port-file", str(port_file),
         "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY], cwd=ROOT,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("the ECS simulator does not start: see its message above")
            time.sleep(0.1)
        yield cloud_environment(f"http://127.0.0.1:{port_file.read_text(encoding='utf-8').strip()}")
    finally:
        process.terminate()
        process.wait()


def cloud_environment(url: str) -> dict[str, str]:
    own = {
        "HUAWEICLOUD_SDK_AK": ACCESS_KEY, "HUAWEICLOUD_SDK_SK": SECRET_KEY,
        "HUAWEICLOUD_SDK_IAM_ENDPOINT": url, "HUAWEICLOUD_SDK_REGION": ",".join(REGIONS), "NO_PROXY": "127.0.0.1",
    }
    for region in REGIONS:
        own[f"HUAWEICLOUD_SDK_REGION_ECS_{region.replace('-', '_').upper()}"] = url
    foreign = ("HUAWEICLOUD_", "RAY_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(foreign)}, **own}


def parse(folder: Path, environment: dict[str, str]) -> dict:
    """Run PARSE in a new process. Raises BenchError with what the plugin said."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(folder / "huawei_ecs.yml")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )
    if done.returncode:
        raise BenchError(f"the plugin failed: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout)

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

from tests.bed.bed import ROOT, BedError
from tests.bench.figure import Figure

INSTANCES = 10_000
FEWER = 2_500
REGIONS = ("cn-north-4", "cn-north-9", "cn-east-3", "cn-south-1")
POOLS = ("p2s.2xlarge.8", "p2s.16xlarge.8", "kat2.48xlarge.8", "c7.2xlarge.4")
ACCESS_KEY, SECRET_KEY = "BENCHACCESSKEY", "bench-secret-key"
START_SECONDS = 30
# One call of the plugin, as Ansible makes it, without what Ansible itself does before and after.
PARSE = """
import json, re, sys, time
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader
init_plugin_loader()
plugin, inventory = inventory_loader.get("rayops.cluster.huawei_ecs"), InventoryData()
began, cpu = time.perf_counter(), time.process_time()
plugin.parse(inventory, DataLoader(), sys.argv[1], cache=True)
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
if plugin.get_option("cache"):
    plugin.update_cache_if_changed()
workers = len(inventory.groups["ray_workers"].get_hosts())
memory = int(re.search("VmHWM:(.*)kB", open("/proc/self/status").read())[1]) / 1024
found = {"seconds": seconds, "cpu": cpu, "memory": memory, "hosts": len(inventory.hosts), "workers": workers}
sys.stdout.write(json.dumps(found))
"""


def inventory(repeat: int) -> list[Figure]:
    """The plugin's own CPU time, beside that for no instances, so that what instances cost is told apart."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        many, wall, listed = [], [], []
        # In turns, so that a change of the machine's load meets all of them.
        few: list[dict] = []
        none: list[dict] = []
        cached: list[dict] = []
        with served(folder, INSTANCES) as full, served(folder, FEWER) as part, served(folder, 0) as empty:
            for _turn in range(repeat):
                none.append(parse(folder, empty))
                few.append(parse(folder, part))
                many.append(parse(folder, full))
                cached.append(parse(folder, full, cache=folder / "cache"))
                wall.append(ansible_inventory(folder, empty))
                listed.append(ansible_inventory(folder, full))
            # The first of them wrote the cache.
            cached[0] = parse(folder, full, cache=folder / "cache")
    return figures(many, few, none, cached) + [whole_command(listed, wall)]


def figures(many: list[dict], few: list[dict], none: list[dict], cached: list[dict]) -> list[Figure]:
    """The table's lines, each of many measurements."""
    size = f"{INSTANCES:,} instances in {len(REGIONS)} regions"
    own = Figure("inventory", f"inventory of {size}, own time", values(many, "cpu"), budget=3)
    own.note = "processor time of the plugin's process from the call to the last host, all threads"
    expected = {"hosts": INSTANCES, "workers": INSTANCES - 1}
    wrong = [each for each in many + cached if {key: each[key] for key in expected} != expected]
    own.failed = f"it gave {wrong[0]}" if wrong else ""
    wall = Figure("inventory-wall", "the same, with the wait for the simulated cloud", values(many, "seconds"))
    wall.note = "the simulator answers in Python, on the same processors"
    empty = Figure("inventory-empty", "the same with empty replies, own time", values(none, "cpu"))
    empty.note = "the SDK's import, the signatures, and Ansible's own part"
    cache = Figure("inventory-cache", f"the {INSTANCES:,} from the cache, own time", values(cached, "cpu"))
    growth = Figure("inventory-growth", f"{INSTANCES:,} : {FEWER:,}, own time beyond that of none", unit="times")
    growth.values = [
        (full["cpu"] - base["cpu"]) / max(part["cpu"] - base["cpu"], 0.001)
        for full, part, base in zip(many, few, none)
    ]
    growth.note = f"{INSTANCES // FEWER} where the cost is in proportion"
    memory = Figure("inventory-memory", f"the most memory for {INSTANCES:,}, beyond that for none", unit="MiB")
    memory.values = [full["memory"] - base["memory"] for full, base in zip(many, none)]
    return [own, wall, empty, cache, growth, memory]


def whole_command(listed: list[float], empty: list[float]) -> Figure:
    figure = Figure("inventory-list", f"ansible-inventory --list of {INSTANCES:,}, whole command", listed)
    figure.note = f"with empty replies {min(empty):.1f} s; the rest is mostly Ansible, which prints every variable"
    return figure


def values(results: list[dict], key: str) -> list[float]:
    return [each[key] for each in results]


def instances(count: int) -> list[dict]:
    """One cluster: a head, and workers in a pool for each flavor."""
    shorts = []
    for number in range(count):
        flavor = POOLS[number % len(POOLS)]
        kind = {"ray-node-type": "worker", "ray-user-node-type": flavor} if number else {"ray-node-type": "head"}
        shorts.append({
            "name": f"node-{number:05}", "region": REGIONS[number % len(REGIONS)], "flavor": flavor,
            "private_ip": f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}",
            "tags": {"ray-cluster-name": "bench", **kind},
        })
    return shorts


@contextmanager
def served(folder: Path, count: int) -> Iterator[dict[str, str]]:
    """A cloud with so many instances, which has built its rows."""
    own = folder / str(count)
    own.mkdir()
    (own / "instances.json").write_text(json.dumps(instances(count)), encoding="utf-8")
    with simulated_cloud(own) as environment:
        parse(own, environment)
        yield environment


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
                raise BedError("the ECS simulator does not start: see its message above")
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


def configuration(folder: Path, cache: Path | None) -> Path:
    """The configuration file of the project's root, with a cache if there is to be one."""
    options = (ROOT / "huawei_ecs.yml").read_text(encoding="utf-8")
    if cache:
        options += f"cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {cache}\n"
    path = folder / f"{'cached.' if cache else ''}huawei_ecs.yml"
    path.write_text(options, encoding="utf-8")
    return path


def parse(folder: Path, environment: dict[str, str], cache: Path | None = None) -> dict:
    """Run PARSE in a new process. Raises BedError with what the plugin said."""
    return json.loads(run([sys.executable, "-c", PARSE, str(configuration(folder, cache))], environment))


def ansible_inventory(folder: Path, environment: dict[str, str]) -> float:
    """The seconds of a whole ansible-inventory --list."""
    began = time.perf_counter()
    program = str(Path(sys.executable).with_name("ansible-inventory"))
    run([program, "-i", str(configuration(folder, None)), "--list"], environment)
    return time.perf_counter() - began


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise BedError(f"the plugin failed: {done.stderr.strip()[-800:]}")
    return done.stdout

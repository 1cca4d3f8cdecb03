# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ray-monitor on a cluster of 1,000 nodes: a real GCS, at which nodes are registered that have no processes."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bed.bed import CACHE, ROOT, BedError
from tests.bench.figure import Figure

NODES = 1000
TASKS = 100_000  # as many as the GCS remembers
SCRAPES = 50
READINGS = 20
FLEET_SECONDS = 60
# The bench reads more often than the role has it, which is every 15 s, and scales the processor time of a reading.
INTERVAL, ROLE_INTERVAL = 1, 15
# As the role lays them out: where each comes from, and its name on the host.
FILES = {
    **{file: file.name for file in sorted((ROOT / "roles/monitor/files").glob("ray_monitor*.py"))},
    ROOT / "plugins/module_utils/_gcs/under_ray/api.py": "_ray_api.py",
}
FLEET = Path(__file__).with_name("exporter_fleet.py")
DEADLINE = 60


def exporter(repeat: int) -> list[Figure]:
    """A scrape, and the processor time of both processes."""
    figures = []
    for gpus in (0, 8):
        what = f"exporter, {NODES:,} nodes" + (f" with {gpus} GPUs" if gpus else "")
        name = f"exporter-{gpus}-gpus" if gpus else "exporter"
        scrape = Figure(f"{name}-scrape", f"{what}: a scrape", budget=100, unit="ms")
        cpu = Figure(f"{name}-cpu", f"{what}: of one core", budget=2, unit="%")
        try:
            measure(gpus, repeat, scrape, cpu)
        except BedError as error:
            scrape.failed = cpu.failed = str(error)
        figures += [scrape, cpu]
    return figures


def measure(gpus: int, repeat: int, scrape: Figure, cpu: Figure) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        (folder / "token").write_text(secrets.token_hex(32), encoding="utf-8")
        address = stack.enter_context(gcs(folder))
        stack.enter_context(fleet(folder, address, gpus))
        process, url = stack.enter_context(monitor(folder, address, gpus))
        wait_for_readings(process, url, 2)  # The first ones include the start.
        wait_for_the_fleet(url, gpus)
        for _turn in range(repeat):
            spent, began = processor_seconds(process), readings(fetch(url))
            while readings(text := fetch(url)) < began + READINGS:
                started = time.perf_counter()
                text = fetch(url)
                scrape.values.append(1000 * (time.perf_counter() - started))
                # At odd moments, so that some of them meet a reading.
                time.sleep(INTERVAL * READINGS * repeat / SCRAPES * secrets.randbelow(100) / 50)
            per_reading = (processor_seconds(process) - spent) / (readings(text) - began)
            cpu.values.append(100 * per_reading / ROLE_INTERVAL)
            check(text, gpus)
    p95 = statistics.quantiles(scrape.values, n=20)[-1]
    scrape.note = f"95 % of {len(scrape.values)} scrapes within {p95:.1f} ms; {len(text) / 1e6:.1f} MB"
    cpu.note = (
        f"user and system time of the exporter and its reader per reading, over {READINGS} readings at {INTERVAL} s, "
        f"with the scrapes, scaled to one reading every {ROLE_INTERVAL} s"
    )


def wait_for_the_fleet(url: str, gpus: int) -> None:
    """Until the GCS has what the fleet has sent: it takes its time over the nodes' claims."""
    deadline = time.monotonic() + FLEET_SECONDS
    while True:
        try:
            return check(fetch(url), gpus)
        except BedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def check(text: str, gpus: int) -> None:
    """That the exporter said what it was to say. It leaves the tasks out where the GCS is too slow to count them."""
    rows = len(re.findall(r"^ray_node_up{.*} 1.0$", text, re.MULTILINE))
    shares = len(re.findall(r"^ray_node_gpu_usage{", text, re.MULTILINE))
    tasks = [int(float(value)) for value in re.findall(r"^ray_cluster_tasks{.*} (\S+)$", text, re.MULTILINE)]
    claimed = re.search(r'^ray_cluster_resource_used{pool="worker",resource="CPU"} (\S+)$', text, re.MULTILINE)
    amount = claimed and float(claimed[1])
    right = (rows, shares) == (NODES, NODES * gpus) and sum(tasks) in (0, TASKS) and amount
    if not right:
        raise BedError(f"the exporter shows {rows} nodes, {shares} GPUs, tasks {tasks}, CPUs claimed {amount}")


def environment(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**own, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "NO_PROXY": "127.0.0.1"}


def ray_python() -> Path:
    python = Path(os.environ.get("RAYOPS_TEST_RAY_ENVIRONMENT", CACHE / "ray")) / "bin" / "python"
    if not python.exists():
        raise BedError(f"there is no Ray at {python.parents[1]}: run make {CACHE.name}/ray/.done once")
    return python


@contextmanager
def gcs(folder: Path) -> Iterator[str]:
    """Start a GCS that does not look after its nodes. Gives its address."""
    (server,) = ray_python().parents[1].glob("lib/python*/site-packages/ray/core/src/ray/gcs/gcs_server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    never = str(10**9)
    settings = {"RAY_health_check_initial_delay_ms": never, "RAY_gcs_pull_resource_loads_period_milliseconds": never}
    (folder / "logs").mkdir()
    options = {
        "log_dir": folder / "logs", "config_list": "e30=", "gcs_server_port": port, "metrics-agent-port": 1,
        "node-ip-address": "127.0.0.1", "session-name": "session_bench", "session-dir": folder, "node-id": "00" * 28,
    }
    command = [server, *(f"--{name}={value}" for name, value in options.items())]
    with open(folder / "gcs.log", "wb") as log:
        with running(command, env={**environment(folder), **settings}, stdout=log, stderr=log) as process:
            for _attempt in range(DEADLINE * 10):
                if process.poll() is None and listens(port):
                    yield f"127.0.0.1:{port}"
                    return
                time.sleep(0.1)
            raise BedError(f"the GCS does not start: {end_of(folder / 'gcs.log')}")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def fleet(folder: Path, address: str, gpus: int) -> Iterator[None]:
    command = [ray_python(), FLEET, address, NODES, gpus, TASKS]
    with running(command, env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout.readline() != b"ready\n":
            raise BedError("the nodes could not be registered: see the message above")
        yield


@contextmanager
def monitor(folder: Path, address: str, gpus: int) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run the exporter as the role does. Gives its process, and where its metrics are."""
    for file, name in FILES.items():
        shutil.copy(file, folder / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hardware = {"gpus": gpus} if gpus else {}
    nodes = {f"worker-{number}" if number else "head": {"pool": "worker", **hardware} for number in range(NODES)}
    config = {
        "cluster_name": "bench", "address": address, "dashboard_url": "http://127.0.0.1:1",
        "auth_token_path": str(folder / "token"), "tls_directory": None, "gcs_storage": "memory",
        "interval": INTERVAL, "timeout": 10,
        "listen": {"address": "127.0.0.1", "port": port}, "nodes": nodes, "certificates": [], "renew_days": 30,
        "models": {"file": str(folder / "models.yaml"), "program": "/bin/false"}, "first_token_limit": 10,
    }
    (folder / "monitor.yaml").write_text(json.dumps(config), encoding="utf-8")
    command = [ray_python(), "-I", folder / "ray_monitor.py", folder / "monitor.yaml"]
    with open(folder / "log", "wb") as log, running(command, env=environment(folder), stderr=log) as process:
        try:
            yield process, f"http://127.0.0.1:{port}/metrics"
        except OSError as error:
            raise BedError(f"the exporter does not answer: {error}: {end_of(folder / 'log')}") from error


def end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-800:]


@contextmanager
def running(command: list, **options) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([str(word) for word in command], **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def fetch(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return answer.read().decode()


def readings(text: str) -> int:
    return int(float(re.search(r'^ray_monitor_readings_total{outcome="ok"} (\S+)$', text, re.MULTILINE)[1]))


def wait_for_readings(process: subprocess.Popen, url: str, number: int) -> None:
    for _attempt in range(DEADLINE * 10):
        try:
            if readings(fetch(url)) >= number:
                return
        except OSError:
            if process.poll() is not None:
                raise
        time.sleep(0.1)
    raise BedError(f"the exporter has not made {number} readings in {DEADLINE} s")


def processor_seconds(process: subprocess.Popen) -> float:
    """Of the exporter and its reader so far."""
    threads = Path(f"/proc/{process.pid}/task").iterdir()
    children = [child for thread in threads for child in (thread / "children").read_text().split()]
    ticks = 0
    for pid in (process.pid, *children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exporter, run as the role runs it, on a real Ray cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import listeners
from tests import prometheus
from tests.long import long
from tests.unit.monitor.exporter import NODES, Exporter, of, until

# One task of each fate. The GPU task and the one with memory run, so that a task for both CPUs has to wait.
LOAD = """
import time
def fail():
    raise ValueError("a test")
task = lambda seconds=0: time.sleep(seconds)
done = [ray.remote(num_cpus=1)(task).remote() for _ in range(3)]
ray.wait(done, num_returns=3)
failed = ray.remote(num_cpus=1, max_retries=0)(fail).remote()
ray.wait([failed])
running = [ray.remote(num_cpus=1, memory=50_000_000)(task).remote(60),
           ray.remote(num_cpus=0, num_gpus=0.5, resources={"NPU": 1})(task).remote(60)]
time.sleep(1)
waiting = [ray.remote(num_cpus=2)(task).remote(), ray.remote(num_cpus=50)(task).remote()]
group = ray.util.placement_group([{"CPU": 1, "GPU": 8}])
print("submitted", flush=True)
time.sleep(60)
"""


def test_the_figures_are_those_of_ray_status(local_ray, start, in_ray):
    exporter = start(of(local_ray))
    exporter.until_up(1)
    before = exporter.samples("ray_cluster_tasks")
    with local_ray.run_driver(LOAD) as driver:
        try:
            assert driver.stdout.readline() == "submitted\n"
            tasks = {("pending",): 2, ("running",): 2, ("finished",): 3, ("failed",): 1}
            until(lambda: difference(exporter.samples("ray_cluster_tasks"), before) == tasks)
            until(lambda: len(exporter.samples("ray_cluster_pending_demands")) == 3)
            status = local_ray.cluster().status()
            same_as_status(exporter, status)
            text = exporter.text()
        finally:
            driver.kill()
    (worker,) = [node for node in status["nodes"] if node["node_name"] == "worker-1" and node["state"] == "ALIVE"]
    ip = worker["ip"]
    assert f'ray_node_memory_usage{{node_ip="{ip}"}} 5e+07' in text
    assert f'ray_node_gpu_usage{{gpu_id="0",node_ip="{ip}"}} 0.5' in text
    assert f'ray_node_cpu_usage{{node_ip="{ip}"}} 1.0' in text
    assert f'ray_node_npus{{node="worker-1",node_ip="{ip}",pool="gpu_worker"}} 1.0' in text
    assert f'ray_node_gpus{{node="head",node_ip="{ip}",pool="head"}} 0.0' in text
    assert 'ray_node_gpus_declared{node="worker-1",pool="gpu_worker"} 1.0' in text
    assert f'session_name="{status["session_name"]}"' in text and 'cluster="demo",gcs_storage="memory"' in text
    well_formed(text, in_ray)
    # What the dashboard says to who shows it the token.
    (listed,) = json.loads(exporter.text("/ray-targets"))
    ports = [node["metrics_port"] for node in status["nodes"] if node["state"] == "ALIVE"]
    assert all(ports) and set(listed["targets"]) >= {f"{ip}:{port}" for port in ports}
    assert len(listed["targets"]) > len(ports), "the dashboard's own metrics"


def difference(now: dict[Any, float], before: dict[Any, float]) -> dict[Any, float]:
    return {key: value - before.get(key, 0) for key, value in now.items()}


def same_as_status(exporter: Exporter, status: dict[str, Any]) -> None:
    for metric, part in (("ray_cluster_resource_capacity", "total"), ("ray_cluster_resource_used", "used")):
        found: dict[str, float] = {}
        for (_pool, resource), value in exporter.samples(metric).items():
            found[resource] = found.get(resource, 0) + value
        assert found == pytest.approx(status["resources"][part])
    assert status["resources"]["used"]["GPU"] == 0.5 and status["resources"]["used"]["memory"] == 50_000_000
    demands = {
        (demand["kind"], ",".join(f"{name}:{value:g}" for name, value in sorted(demand["resources"].items()))):
        demand["count"] for demand in status["demands"]
    }
    assert exporter.samples("ray_cluster_pending_demands") == demands
    assert exporter.samples("ray_cluster_infeasible_demands") == {
        ("task_or_actor", "CPU:50"): 1, ("placement_group", "CPU:1,GPU:8"): 1,
    }
    assert {key: value for key, value in exporter.samples("ray_cluster_nodes").items() if value} == {
        ("cpu", "dead"): 1, ("gpu_worker", "alive"): 1, ("head", "alive"): 1,
    }
    assert exporter.samples("ray_node_up")["worker-9", "", "cpu"] == 0
    assert exporter.samples("ray_cluster_nodes_declared") == {("cpu",): 1, ("gpu_worker",): 1, ("head",): 1}
    starts = {node["node_name"]: node["uptime"] for node in status["nodes"] if node["state"] == "ALIVE"}
    for (name, _ip, _pool), moment in exporter.samples("ray_node_start_time_seconds").items():
        assert time.time() - moment == pytest.approx(starts[name], abs=2)
    assert exporter.value("ray_cluster_start_time_seconds") <= moment
    assert exporter.value("ray_gcs_storage_up") == 1 and 0 < exporter.value("ray_gcs_storage_probe_seconds") < 5


def well_formed(text: str, in_ray: Callable[..., Any]) -> None:
    parsed = in_ray(
        "from prometheus_client.parser import text_string_to_metric_families as parse\n"
        "print(json.dumps([[f.type, s.name, sorted(s.labels.items())] for f in parse(sys.stdin.read()) "
        "for s in f.samples]))",
        text,
    )
    series = [json.dumps(sample[1:]) for sample in parsed]
    assert len(series) == len(set(series)) == len([line for line in text.splitlines() if line[0] != "#"])
    assert {kind for kind, name, _labels in parsed if name.endswith("_total")} == {"counter"}
    assert {kind for kind, name, _labels in parsed if not name.endswith("_total")} == {"gauge"}
    command = [prometheus.programs()["promtool"], "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# The GCS remembers the nodes of other tests: no other one has this name.
RESTARTED = "restarted"


def test_a_node_that_restarts_drains_and_ends(local_ray, start):
    declared = {**NODES, RESTARTED: {"pool": "cpu"}}
    exporter, stranger = start(of(local_ray, nodes=declared)), None
    process = local_ray.start_worker(RESTARTED, 70, "--num-cpus=0")
    try:
        until(lambda: exporter.by_name("ray_node_up").get(RESTARTED) == 1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # Its children end after it, and its successor wants their ports.
        until(lambda: not any(listeners("127.0.0.1", local_ray.port + 70 + number) for number in range(30)))
        process = local_ray.start_worker(RESTARTED, 70, "--num-cpus=0", '--resources={"slot":1}')
        # The killed one is ALIVE beside its successor for a while.
        until(lambda: exporter.by_name("ray_node_restarts_total").get(RESTARTED) == 1, 90)
        until(lambda: exporter.samples("ray_cluster_nodes")["cpu", "alive"] == 1)
        assert exporter.samples("ray_cluster_nodes")["cpu", "dead"] == 1  # worker-9, which never was
        assert exporter.by_name("ray_node_restarts_total")["worker-1"] == 0
        # Another one, which knows nothing of it: it counts the dead twin that the GCS remembers.
        exporter.close()
        stranger = start(of(local_ray))
        stranger.until_up(1)
        assert stranger.by_name("ray_node_restarts_total")[RESTARTED] == 1
        assert stranger.samples("ray_cluster_nodes")["undeclared", "alive"] == 1
        drained(local_ray, stranger)
    finally:
        local_ray.stop_worker(RESTARTED, process)
    # What nobody declared is not missed.
    until(lambda: RESTARTED not in stranger.by_name("ray_node_up"))
    assert ("undeclared", "alive") not in stranger.samples("ray_cluster_nodes")


def drained(local_ray: Any, exporter: Exporter) -> None:
    source = (
        "import time\n"
        "task = ray.remote(num_cpus=0, resources={'slot': 1})(lambda: time.sleep(60))\n"
        "running = task.remote()\n"
        "time.sleep(60)\n"
    )
    slot = ("undeclared", "slot")
    with local_ray.run_driver(source) as driver:
        try:
            until(lambda: exporter.samples("ray_cluster_resource_used").get(slot) == 1)
            nodes = local_ray.cluster().status()["nodes"]
            node = next(node for node in nodes if node["node_name"] == RESTARTED and node["state"] == "ALIVE")
            assert not local_ray.cluster().drain(node["node_id"], 1, "a test")["drained"]
            until(lambda: exporter.by_name("ray_node_draining")[RESTARTED] == 1, 5)
            assert exporter.by_name("ray_node_up")[RESTARTED] == 1
            assert exporter.samples("ray_cluster_nodes")["undeclared", "draining"] == 1
            assert slot not in exporter.samples("ray_cluster_resource_capacity")
        finally:
            driver.kill()


@long
def test_the_head_dies_and_comes_back(start, new_ray):
    dashboard = ["--include-dashboard=true", f"--dashboard-port={new_ray.port + 4}"]
    head = new_ray.start_head("--num-cpus=0", *dashboard)
    url = f"http://127.0.0.1:{new_ray.port + 4}"
    exporter = start(of(new_ray, nodes={"head": {"pool": "head"}}, dashboard_url=url))
    exporter.until_up(1, 60)
    until(lambda: exporter.value("ray_cluster_token_auth") == 1)
    until(lambda: exporter.by_name("ray_node_up")["head"] == 1)
    ((name, ip, pool),) = exporter.samples("ray_node_up")
    os.killpg(head.pid, signal.SIGKILL)
    slowest = 0.0

    def lost() -> bool:
        nonlocal slowest
        began = time.monotonic()
        text = exporter.text()
        slowest = max(slowest, time.monotonic() - began)
        return "\nray_up 0.0" in text

    until(lost, 60)
    # A reading gives up after 10 s: no scrape has waited for one.
    assert slowest < 8
    text = exporter.text()
    assert "ray_gcs_reachable 0.0" in text and "ray_cluster_nodes_declared" in text
    assert "ray_node_up" not in text and "ray_cluster_info" not in text and "ray_cluster_tasks" not in text
    failed = exporter.samples("ray_monitor_readings_total")[("failed",)]
    until(lambda: exporter.samples("ray_monitor_readings_total")[("failed",)] > failed + 1)

    new_ray.start_head("--num-cpus=0")
    exporter.until_up(1, 60)
    # The new GCS does not know the old node; the exporter does.
    until(lambda: exporter.samples("ray_node_restarts_total") == {(name, ip, pool): 1})
    assert exporter.samples("ray_node_up") == {(name, ip, pool): 1}
    lines = exporter.log.read_text().splitlines()
    assert len([line for line in lines if "the cluster is lost" in line]) == lines[1].count("is lost") + 1
    assert lines[-1].startswith("ray-monitor: ") and len([line for line in lines if "the cluster answers" in line]) == 2


@pytest.fixture
def new_ray(ray_environment: str, local_ray: Any) -> Iterator[Any]:
    """A cluster of the test's own, to be started and killed by it."""
    ray = type(local_ray)(ray_environment)
    yield ray
    ray.close()


def test_a_reader_that_hangs_is_replaced(local_ray, start):
    exporter = start(of(local_ray, timeout=3))
    exporter.until_up(1)
    reader = exporter.reader()
    os.kill(reader, signal.SIGSTOP)
    answered, deadline = 0, time.monotonic() + 60
    while exporter.value("ray_up") == 1:
        assert time.monotonic() < deadline
        answered += 1
        time.sleep(0.05)
    # Each scrape that waits for the reader would be answered as the reader is given up, and be the last one.
    assert answered > 1
    assert exporter.value("ray_monitor_reading_age_seconds") > 2.5
    exporter.until_up(1)
    assert exporter.reader() != reader
    assert "accepts connections, but gave no reading in 3 s" in exporter.log.read_text()
    # One that was killed between two readings costs no reading.
    failed = exporter.samples("ray_monitor_readings_total")[("failed",)]
    os.kill(exporter.reader(), signal.SIGKILL)
    done = exporter.samples("ray_monitor_readings_total")[("ok",)]
    until(lambda: exporter.samples("ray_monitor_readings_total")[("ok",)] > done)
    assert exporter.samples("ray_monitor_readings_total")[("failed",)] <= failed + 1


def test_sigterm_ends_both_processes_at_once(local_ray, start):
    exporter = start(of(local_ray, interval=60))
    exporter.until_up(1)
    assert exporter.text("/-/healthy") == "ray-monitor is healthy.\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        exporter.text("/")
    reader = exporter.reader()
    exporter.process.terminate()
    # The next reading is a minute away: nothing waits for it.
    assert exporter.process.wait(30) == 0
    until(lambda: ended(reader), 30)


def ended(pid: int) -> bool:
    """A process that nobody has waited for yet has no command line any more."""
    file = Path(f"/proc/{pid}/cmdline")
    return not file.exists() or not file.read_bytes()


def test_a_token_that_is_wrong_and_then_right(local_ray, start, tmp_path):
    token = tmp_path / "token"
    token.write_text("f" * 64)
    exporter = start({**of(local_ray), "auth_token_path": str(token)})
    until(lambda: "is lost" in exporter.log.read_text())
    refused = f"ray-monitor: the cluster is lost: The cluster at {local_ray.address} refused the token in {token}."
    assert refused in exporter.log.read_text()
    assert exporter.value("ray_up") == 0 and exporter.value("ray_gcs_reachable") == 1
    assert exporter.value("ray_monitor_reading_age_seconds") is None

    def lost_with_its_reader() -> bool:
        token.write_text(local_ray.token.read_text())
        exporter.until_up(1)
        token.unlink()
        os.kill(exporter.reader(), signal.SIGKILL)
        exporter.until_up(0)
        return f"The token file {token} is empty or gone" in exporter.log.read_text()

    # The end of a reader in the middle of a reading is told instead.
    assert any(lost_with_its_reader() for _attempt in range(5))

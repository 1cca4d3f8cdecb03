# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._gcs import environment as _environment
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import RayCluster, RayClusterError
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import api, gone, smoke_test

AGENT_PORT = Path(__file__).resolve().parents[3] / "roles" / "ray" / "files" / "ray_agent_port.py"


def node(status, name):
    return next(entry for entry in status["nodes"] if entry["node_name"] == name and entry["state"] != "DEAD")


def test_status_describes_the_cluster(local_ray):
    status = local_ray.cluster().status()
    worker = node(status, "worker-1")
    assert [entry["node_name"] for entry in status["nodes"]][:2] == ["head", "worker-1"]
    assert worker["state"] == "ALIVE" and not worker["is_head"] and node(status, "head")["is_head"]
    assert worker["labels"]["zone"] == "a"
    assert worker["resources"]["total"]["CPU"] == 2
    assert worker["resources"]["total"] == worker["resources"]["available"]
    assert not [name for name in worker["resources"]["total"] if name.startswith("node:")]
    assert status["resources"]["total"]["GPU"] == 1 and status["resources"]["used"]["GPU"] == 0
    assert status["ray_version"] == status["environment_version"]
    assert status["session_name"].startswith("session_")
    assert status["summary"] == "2 ALIVE, CPU 0/2 used, GPU 0/1 used, NPU 0/1 used"


def test_work_shows_as_used_and_as_demand(local_ray):
    source = (
        "import time\n"
        "task = ray.remote(num_cpus=2)(lambda: time.sleep(60))\n"
        "running, waiting = task.remote(), task.remote()\n"
        "print('submitted', flush=True)\n"
        "time.sleep(60)\n"
    )
    with local_ray.run_driver(source) as driver:
        try:
            assert driver.stdout.readline() == "submitted\n"
            until(lambda: local_ray.cluster().status()["demands"])
            status = local_ray.cluster().status()
            assert status["demands"] == [{"kind": "task_or_actor", "resources": {"CPU": 2}, "count": 1}]
            assert status["resources"]["used"]["CPU"] == 2
            assert status["summary"].endswith("1 pending")

            busy = local_ray.cluster().smoke_test(task_seconds=0.1)["resources"]
            assert (busy["CPU"]["in_use"], busy["CPU"]["tasks"], busy["GPU"]["tasks"]) == (2, 0, 1)

            with pytest.raises(RayClusterError) as caught:
                local_ray.cluster().smoke_test(task_seconds=0.1, in_use="wait", timeout=4)
            ip = node(status, "worker-1")["ip"]
            assert caught.value.kind == "pending"
            assert " of 4 tasks are not done after 4 s: " in str(caught.value)
            assert f" 2 CPU on worker-1 ({ip}), where 0 of 2 CPU are free" in str(caught.value)
        finally:
            driver.kill()
    until(lambda: local_ray.cluster().status()["resources"]["used"]["CPU"] == 0)


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


def test_smoke_test_runs_on_every_unit(local_ray):
    result = local_ray.cluster().smoke_test(task_seconds=1, payload_bytes=1000000)
    cpu = result["resources"]["CPU"]
    assert (cpu["total"], cpu["tasks"], cpu["in_use"], cpu["nodes"]) == (2, 2, 0, {"worker-1": 2})
    assert cpu["sum_seconds"] >= 2 and 1 <= cpu["seconds"] <= result["seconds"]
    # What took less than its parts one after the other was parallel; a slow machine may start the second too late.
    assert cpu["parallel"] == 2 or cpu["seconds"] >= cpu["sum_seconds"]
    assert result["resources"]["GPU"]["tasks"] == result["resources"]["NPU"]["tasks"] == 1


def test_smoke_test_names_the_node_of_a_task_that_dies(local_ray):
    def kill_one_task():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                if b"ray::rayops.smoke_test" in read(f"/proc/{pid}/cmdline") and is_ours(pid):
                    os.kill(int(pid), signal.SIGKILL)
                    return
            time.sleep(0.05)

    def is_ours(pid):
        return str(local_ray.directory).encode() in read(f"/proc/{pid}/environ") + read(f"/proc/{pid}/maps")

    def read(path):
        try:
            return Path(path).read_bytes()
        except OSError:
            return b""

    killer = threading.Thread(target=kill_one_task)
    killer.start()
    with pytest.raises(RayClusterError, match=r"task \d on worker-1 \([0-9.]+\) failed: ") as caught:
        local_ray.cluster().smoke_test(task_seconds=20, timeout=60)
    killer.join()
    assert caught.value.kind == "task"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"node_id": "b"}, "it ran on node b"),
        ({"devices": 0}, "it was given 0 GPUs"),
        ({"data": b"rayops 6 ray"}, "its 12 bytes are not the 12 that it made"),
        ({"data": b""}, "its 0 bytes are not the 12 that it made"),
        ({}, ""),
    ],
)
def test_a_wrong_result_is_seen(change, problem):
    task = {"index": 7, "resource": "GPU", "node": {"node_id": "a"}}
    seen = {"node_id": "a", "devices": 1, "data": b"rayops 7 ray", **change}
    assert smoke_test.wrong(task, seen, seen["data"], 12) == problem


def test_a_cap_takes_tasks_from_all_nodes_alike():
    def entry(name, cpus, free):
        resources = {"total": {"CPU": cpus}, "available": {"CPU": free}}
        return {"node_id": name, "node_name": name, "resources": resources}

    nodes = [entry("a", 8, 8), entry("b", 1, 1), entry("c", 4, 2.5), entry("d", 0, 0)]
    _tasks, capped = smoke_test.plan(nodes, {"in_use": "skip", "max_tasks": 7})
    assert capped["CPU"]["nodes"] == {"a": 4, "b": 1, "c": 2}
    tasks, everything = smoke_test.plan(nodes, {"in_use": "wait", "max_tasks": 0})
    assert everything["CPU"]["nodes"] == {"a": 8, "b": 1, "c": 4}
    assert everything["CPU"]["in_use"] == 2
    assert [task["index"] for task in tasks] == list(range(13))


@pytest.mark.parametrize(
    ("spans", "most"),
    [([(0, 1), (1, 2)], 1), ([(0, 3), (1, 2), (1.5, 4)], 3), ([(0, 1), (0.5, 2), (1, 3)], 2)],
)
def test_most_at_once(spans, most):
    assert smoke_test.most_at_once(spans) == most


def test_waiting_names_what_is_missing(local_ray):
    wait = {"nodes": 3, "node_names": ["head", "worker-9"], "node_ips": ["10.0.0.7"], "resources": {"GPU": 2}}
    with pytest.raises(RayClusterError) as caught:
        local_ray.cluster().status(wait, timeout=0.5)
    assert str(caught.value) == (
        "2 of 3 nodes are ALIVE after 0.5 s; missing: worker-9; 10.0.0.7; GPU (1 of 2)."
    )
    assert caught.value.kind == "missing"
    assert len(caught.value.status["resources"]["total"]) == 5


def test_a_restarted_node_counts_once_and_a_drained_one_not_at_all(local_ray):
    cluster = local_ray.cluster()
    first = local_ray.start_worker("worker-2", 70, "--num-cpus=0")
    try:
        old = node(local_ray.wait_for("worker-2"), "worker-2")
        os.killpg(first.pid, signal.SIGKILL)
        local_ray.start_worker("worker-2", 70, "--num-cpus=0")

        def alive():
            named = [entry for entry in cluster.status()["nodes"] if entry["node_name"] == "worker-2"]
            return [entry["node_id"] for entry in named if entry["state"] == "ALIVE"]

        until(lambda: set(alive()) - {old["node_id"]}, 120)
        # Here the GCS still has the killed node as ALIVE, if the new one was quick.
        (new_id,) = alive()
        dead = next(entry for entry in cluster.status()["nodes"] if entry["node_id"] == old["node_id"])
        assert dead["state"] == "DEAD" and dead["uptime"] is None
        assert cluster.wait_alive(new_id, 5)["start_time"] > dead["start_time"]
        assert cluster.status()["summary"].startswith("3 ALIVE")

        drained = cluster.drain(new_id, 20, "a test")
        assert drained["drained"] and drained["seconds"] < 20
        with pytest.raises(RayClusterError, match=r"missing: worker-2 \([0-9.]+\), which is DEAD: .*a test"):
            cluster.status({"node_names": ["worker-2"]}, timeout=0)
    finally:
        local_ray.stop_worker("worker-2", local_ray.processes[-1])


def test_a_host_that_starts_again_says_that_its_former_node_is_gone(local_ray):
    cluster = local_ray.cluster()
    port = local_ray.port + 70
    worker = local_ray.start_worker("worker-2", 70, "--num-cpus=0")
    old = node(local_ray.wait_for("worker-2"), "worker-2")
    assert old["port"] == port
    os.killpg(worker.pid, signal.SIGKILL)

    def say(address, ip, number):
        command = [f"{local_ray.environment}/bin/python", "-I", gone.__file__, f"--address={address}", f"--ip={ip}"]
        return subprocess.run([*command, f"--port={number}"], env=local_ray.variables(), capture_output=True, text=True,
                              check=True, timeout=30).stdout

    assert say(local_ray.address, old["ip"], port + 1) == say(local_ray.address, "10.9.9.9", port) == ""
    # One that a test before this has killed may still be ALIVE on this port.
    said = say(local_ray.address, old["ip"], port).splitlines()
    assert f"Told the GCS that the node {old['node_id']} has ended." in said
    dead = next(entry for entry in cluster.status()["nodes"] if entry["node_id"] == old["node_id"])
    # Not what follows from a silence of 15 s.
    assert (dead["state"], dead["death"], dead["state_message"]) == (
        "DEAD", "unexpected", "Its processes ended by themselves.")
    assert node(cluster.status(), "worker-1")["state"] == node(cluster.status(), "head")["state"] == "ALIVE"
    assert say(local_ray.address, old["ip"], port) == ""
    assert say("127.0.0.1:1", old["ip"], port).startswith("The GCS was not told ")


def test_a_node_whose_port_was_taken_over_is_dead():
    def entry(node_id, start_time, port, state):
        resources = {"available": {"CPU": 1}}
        return {"node_id": node_id, "ip": "10.0.0.7", "port": port, "start_time": start_time, "state": state,
                "uptime": 5.0, "state_message": "", "resources": resources}

    nodes = [
        entry("newest", "t3", 7000, "DEAD"), entry("killed", "t1", 7000, "ALIVE"),
        entry("other", "t1", 7001, "ALIVE"), entry("again", "t2", 7000, "ALIVE"),
    ]
    api.mark_replaced(nodes)
    assert {node["node_id"]: node["state"] for node in nodes if node["state"] != "DEAD"} == {"other": "ALIVE"}
    assert nodes[1]["state_message"] == "Replaced by node again." and nodes[1]["resources"]["available"] == {}
    assert nodes[3]["state_message"] == "Replaced by node newest."


def test_a_node_that_ended_while_the_head_was_stopped_is_not_given_up():
    now = 1_800_000_000_000
    heads = [now - 900_000, now - 600_000]  # Stopped before it began anew 600 s ago.

    def death(began, ended, message="health check failed due to missing too many heartbeats"):
        info = SimpleNamespace(reason=2, reason_message=message)
        times = {"start_time_ms": now - int(began * 1000), "end_time_ms": now - int(ended * 1000)}
        return api.death(SimpleNamespace(death_info=info, **times), heads)

    found = [
        death(900, 580), death(900, 570), death(900, 500), death(590, 560), death(900, 610),
        death(900, 570, "its raylet ended"),
        # The former head is given up as soon as the new one is there.
        death(900, 599.998), death(900, 600), death(900, 600.001),
    ]
    assert found == [
        "unspecified", "unspecified", "given_up", "given_up", "given_up", "unexpected",
        "unspecified", "unspecified", "given_up",
    ]


@contextmanager
def busy_worker(local_ray, source, *options):
    """The id of a worker with no CPU, while a driver runs."""
    process = local_ray.start_worker("worker-3", 70, "--num-cpus=0", *options)
    try:
        worker = node(local_ray.wait_for("worker-3"), "worker-3")["node_id"]
        with local_ray.run_driver(source) as driver:
            try:
                yield worker
            finally:
                driver.kill()
    finally:
        local_ray.stop_worker("worker-3", process)


def test_a_busy_node_drains_until_the_deadline(local_ray):
    cluster = local_ray.cluster()
    source = (
        "import time\n"
        "task = ray.remote(num_cpus=0, resources={'slot': 1})(lambda: time.sleep(60))\n"
        "running = task.remote()\n"
        "time.sleep(60)\n"
    )
    with busy_worker(local_ray, source, '--resources={"slot":1}') as worker:
        # Its resources are used as soon as a process is started for it, which a drain need not wait for.
        until(lambda: cluster.held(worker)["tasks"] == 1)
        drained = cluster.drain(worker, 4, "a test")
        assert not drained["drained"] and drained["node"]["state"] == "DRAINING"
        assert drained["node"]["drain_deadline"] and drained["node"]["activity"]
        assert drained["held"]["tasks"] == 1 and drained["held"]["actors"] == []
        status = cluster.status()
        assert "slot" not in status["resources"]["total"]
        assert status["summary"].startswith("2 ALIVE, 1 DRAINING")


def test_a_node_is_drained_when_only_what_ray_restarts_is_left(local_ray):
    cluster = local_ray.cluster()
    source = (
        "import time\n"
        "kind = ray.remote(num_cpus=0, resources={'slot': 1})(type('Held', (), {'ready': lambda self: 1}))\n"
        "moves = kind.options(name='moves', max_restarts=-1).remote()\n"
        "stays = kind.options(name='stays').remote()\n"
        "made = ray.remote(num_cpus=0, resources={'slot': 1})(lambda: bytes(3000000)).remote()\n"
        "ray.get([moves.ready.remote(), stays.ready.remote()])\n"
        "ray.wait([made], fetch_local=False)\n"
        "time.sleep(60)\n"
    )
    with busy_worker(local_ray, source, '--resources={"slot":3}') as worker:
        until(lambda: cluster.held(worker)["objects"] == 1)
        held = cluster.held(worker)
        assert sorted((actor["name"], actor["restarts"]) for actor in held["actors"]) == [
            ("moves", True), ("stays", False)]
        assert held["object_bytes"] >= 3000000 and (held["tasks"], held["drivers"]) == (0, 0)
        assert not cluster.drain(worker, 2, "a test")["drained"]
        given_up = cluster.drain(worker, 20, "a test", lose=True)
        assert given_up["drained"] and given_up["seconds"] < 10 and len(given_up["held"]["actors"]) == 2


def test_drain_of_an_unknown_node_fails(local_ray):
    with pytest.raises(RayClusterError, match="The GCS knows no node 00"):
        local_ray.cluster().drain("00" * 28, 5, "a test")


def refused(kind, **options):
    with pytest.raises(RayClusterError) as caught:
        RayCluster(**options).status()
    assert caught.value.kind == kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_token_that_is_wrong_absent_or_empty(local_ray, tmp_path):
    connection = local_ray.connection()
    wrong, empty = tmp_path / "wrong", tmp_path / "empty"
    wrong.write_text("f" * 64)
    empty.touch()
    message = refused("unauthorized", **{**connection, "auth_token_path": str(wrong)})
    assert message == f"The cluster at {local_ray.address} refused the token in {wrong}."
    message = refused("unauthorized", **{**connection, "auth_token_path": str(tmp_path / "no")})
    assert message == f"The cluster at {local_ray.address} wants a token, and there is none at {tmp_path}/no."
    assert f"The token file {empty} is empty" in refused("token", **{**connection, "auth_token_path": str(empty)})


def test_tls_is_on_here_and_off_in_the_cluster(local_ray, certificate):
    message = refused("tls", **local_ray.connection(), tls_directory=str(certificate))
    assert message.startswith(f"The GCS at {local_ray.address} speaks no TLS (")
    assert message.endswith("run rayops.cluster.upgrade, which puts all nodes on TLS together, or set ray_tls: false.")


def test_nobody_listens(ray_environment):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        started = time.monotonic()
        message = refused("unreachable", environment=ray_environment, address=address)
        assert message == f"The GCS at {address} is not reachable: Connection refused."
        # Ray's own client would wait for a minute and more.
        assert time.monotonic() - started < 50
        with pytest.raises(RayClusterError, match="is not reachable within 1 s: Connection refused"):
            RayCluster(ray_environment, address).status({"nodes": 1}, timeout=1)


def test_a_listener_that_says_nothing_is_given_up(ray_environment, monkeypatch):
    monkeypatch.setattr(_environment, "MARGIN_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        message = refused("timeout", environment=ray_environment, address=address, timeout=1)
    assert message == f"The GCS at {address} accepts connections, but gave no answer in 3 s."
    assert not [pid for pid in filter(str.isdigit, os.listdir("/proc")) if address.encode() in cmdline(pid)]


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_an_environment_without_ray(tmp_path):
    message = refused("no_ray", environment=str(tmp_path))
    assert message == f"There is no Python at {tmp_path}/bin/python: install Ray there, or set environment."
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/usr/bin/python3")
    assert refused("no_ray", environment=str(tmp_path)).startswith(f"Ray is not installed in {tmp_path}: No module")


def test_other_users(local_ray):
    connection = local_ray.connection()
    assert refused("user", **{**connection, "user": "nosuchuser"}) == "There is no user nosuchuser on this host."
    assert refused("address", **{**connection, "address": "10.0.0.5"}).startswith("The address must be host:port")


def test_secrets_and_proxies_stay_out_of_the_helper(tmp_path, monkeypatch):
    """The helper's own view: what a Python in its place is given."""
    seen = tmp_path / "seen"
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\n(echo \"$@\"; env; cat) > {seen}\necho '{{}}'\n")
    python.chmod(0o755)
    token = tmp_path / "token"
    token.write_text("Zq7-of-the-file")
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "Zq7-of-the-shell")
    RayCluster(str(tmp_path), auth_token_path=str(token)).status()
    text = seen.read_text()
    assert text.startswith("-I - rayops.cluster.status\n")
    assert "Zq7" not in text and "proxy.example" not in text
    assert "RAY_AUTH_MODE=token" in text and f"RAY_AUTH_TOKEN_PATH={token}" in text
    token.unlink()
    RayCluster(str(tmp_path), auth_token_path=str(token)).status()
    assert "RAY_AUTH_MODE=disabled" in seen.read_text()


def test_internal_resources_are_left_out():
    names = ("CPU", "node:10.0.0.5", "node:__internal_head__", "CPU_group_0_3f2ac1", "bundle_group_3f2ac1", "slot")
    assert list(api.public(dict.fromkeys(names, 1.0))) == ["CPU", "slot"]


def agent_of(directory: Path) -> int | None:
    """The process id of the agent of the node whose temp_dir this is."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_text().split("\0")
            if f"--temp-dir={directory}" in words and any(word.endswith("/dashboard/agent.py") for word in words):
                return int(path.parent.name)
    return None


def test_a_raylet_that_is_told_the_port_of_its_agent_does_not_end_without_it(own_ray):
    """A raylet waits 15 s for its agent. This one is held for 20 s from its start, as by a slow disk or nvidia-smi."""
    directory, port = own_ray.directory / "head", own_ray.port + 13
    command = [sys.executable, "-I", str(AGENT_PORT), "--temp-dir", str(directory), "--port", str(port)]
    with subprocess.Popen(command) as program:
        own_ray.start_head("--num-cpus=0")
        agent = until(lambda: agent_of(directory), 120)
        os.kill(agent, signal.SIGSTOP)
        try:
            assert program.wait(60) == 0
            own_ray.wait_for("head")
            time.sleep(20)
            assert node(own_ray.cluster().status(), "head")["state"] == "ALIVE"
        finally:
            os.kill(agent, signal.SIGCONT)
    with urllib.request.urlopen(until(lambda: answers(port), 60)) as answer:
        assert answer.status == 200
    os.kill(agent, 0)


def answers(port: int) -> str:
    """The address of an agent's health where somebody listens on this port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return f"http://127.0.0.1:{port}/api/local_raylet_healthz"
    return ""

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import (
    foreign_nodes,
    ray_processes,
    send,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import (
    environment_of,
    open_files_limit,
    service_of,
    started_at,
)

# What a head and a worker of Ray 2.60 show in /proc; the longest arguments are shortened.
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "processes.json").read_text(encoding="utf-8"))
REPOSITORY = Path(__file__).resolve().parents[3]
PYTHON = "/opt/ray/2.60.0/bin/python"
RAY = "/opt/ray/2.60.0/lib/python3.11/site-packages/ray"


class Proc:
    """A /proc of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "self" / "ns").mkdir(parents=True)
        (path / "self" / "ns" / "pid").symlink_to("pid:[1]")
        (path / "uptime").write_text("100.0 200.0\n")
        self.next = 1000

    def add(self, argv: list[str], unit: str = "ssh.service", namespace: str | None = "pid:[1]", pid: int = 0) -> int:
        self.next += 1
        directory = self.path / str(pid or self.next)
        (directory / "ns").mkdir(parents=True)
        (directory / "cmdline").write_text("\0".join(argv) + "\0")
        (directory / "cgroup").write_text(f"0::/system.slice/{unit}\n")
        if namespace:
            (directory / "ns" / "pid").symlink_to(namespace)
        return pid or self.next

    def kinds(self) -> list[str]:
        return sorted(process.kind for process in ray_processes(str(self.path)))


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path / "proc")


@pytest.mark.parametrize("node", ["ray-head", "ray-worker"])
def test_a_recorded_node(proc, node):
    for process in RECORDED[node]:
        proc.add(process["argv"], f"{node}.service", pid=process["pid"])
    found = {process.pid: process for process in ray_processes(str(proc.path))}
    # Two helpers of Python's own show nothing of Ray; they end with the dashboard.
    unseen = [process["argv"][1:3] for process in RECORDED[node] if process["pid"] not in found]
    assert all(words[0] == "-c" and "multiprocessing" in words[1] for words in unseen)
    kinds = [process.kind for process in found.values()]
    assert (kinds.count("start"), kinds.count("raylet")) == (1, 1)
    assert kinds.count("gcs_server") == (node == "ray-head")
    assert all(
        process.in_unit(f"{node}.service") and not process.in_unit("ray-other.service") for process in found.values()
    )
    raylet = next(process for process in found.values() if process.kind == "raylet")
    assert raylet.options["--node_ip_address"] == ("10.0.0.10" if node == "ray-head" else "10.0.0.11")
    assert len(raylet.options["--node_id"]) == 56
    assert foreign_nodes(list(found.values()), f"{node}.service") == []
    assert {process.kind for process in foreign_nodes(list(found.values()), "ray-other.service")} <= {
        "raylet",
        "gcs_server",
    }


@pytest.mark.parametrize(
    ("argv", "kind"),
    [
        ([f"{RAY}/core/src/ray/raylet/raylet", "--node_id=ab"], "raylet"),
        (["gcs_server"], "gcs_server"),
        ([PYTHON, "/opt/ray/2.60.0/bin/ray", "start", "--head"], "start"),
        (["/usr/bin/python3", "-u", "/home/me/.local/bin/ray", "start", "--address=h:6379"], "start"),
        ([PYTHON, "-m", "ray.scripts.scripts", "start", "--block"], "start"),
        (["ray", "start", "--head"], "start"),
        (["ray::IDLE"], "other"),
        (["ray::train()"], "other"),
        (["ray-dashboard-JobHead-0 (/opt/ray/2.60.0/bin/python -c x)"], "other"),
        ([PYTHON, "-u", f"{RAY}/_private/log_monitor.py", "--session-dir=/x"], "other"),
        ([PYTHON, f"{RAY}/_private/workers/default_worker.py"], "other"),
        ([PYTHON, "-m", "ray.util.client.server", "--mode=proxy"], "other"),
    ],
)
def test_what_is_ray(proc, argv, kind):
    proc.add(argv)
    assert proc.kinds() == [kind]


@pytest.mark.parametrize(
    "argv",
    [
        ["python", "train.py"],
        ["python3", "train.py", "--data", f"{RAY}/data"],
        ["/usr/bin/python3", "-c", "import ray; ray.init()"],
        [PYTHON, "/opt/ray/2.60.0/bin/ray", "status"],
        [PYTHON, "/opt/ray/2.60.0/bin/ray", "job", "submit", "--", "start"],
        [PYTHON, "-I", "-", "rayops.cluster.status"],
        ["vim", "ray", "start"],
        ["vim", f"{RAY}/serve/api.py"],
        ["less", "/var/lib/ray/session_latest/logs/raylet.out"],
        ["grep", "-r", "ray.util.client.server", f"{RAY}/util"],
        ["tail", "-f", "raylet"],
        ["systemctl", "start", "ray"],
        ["service", "ray", "start"],
        ["docker", "start", "ray"],
        ["/bin/bash", "-c", "ray start --head"],
        ["x-ray", "start"],
        ["arraylet"],
    ],
)
def test_what_is_not_ray(proc, argv):
    proc.add(argv)
    assert proc.kinds() == []


def test_processes_in_containers_are_not_this_hosts(proc):
    proc.add(["raylet"], namespace="pid:[2]")
    proc.add(["gcs_server"], namespace="pid:[1]")
    # Without the right to trace, the namespace cannot be read.
    proc.add(["raylet"], namespace=None)
    assert proc.kinds() == ["gcs_server", "raylet"]


def test_processes_that_end_meanwhile(proc):
    pid = proc.add(["raylet"])
    (proc.path / str(pid) / "cgroup").unlink()
    zombie = proc.add(["raylet"])
    (proc.path / str(zombie) / "cmdline").write_text("")
    gone = proc.add(["raylet"])
    (proc.path / str(gone) / "cmdline").unlink()
    assert proc.kinds() == []


IN_DOCKER = "9:name=systemd:/docker/ab/init.scope\n0::/docker/ab/init.scope\n"


@pytest.mark.parametrize(("cgroup", "service", "first"), [
    ("0::/system.slice/ray-head.service\n", "ray-head.service", "0::/init.scope\n"),
    ("12:pids:/x.service\n9:name=systemd:/system.slice/ray-head.service\n0::/y.service\n", "ray-head.service", ""),
    ("0::/system.slice/ray-head.service/ray-worker.service\n", "ray-head.service", ""),
    ("0::/system.slice/ray-head.service/--host=evil.service\n", "ray-head.service", ""),
    ("0::/system.slice/system-getty.slice/getty@tty1.service\n", "getty@tty1.service", ""),
    ("0::/system.slice/a\\x2db.service\n", "a\\x2db.service", ""),
    # What is below a scope is its processes' own as well.
    ("0::/user.slice/user-0.slice/session-1.scope/ray-head.service\n", "", ""),
    ("0::/user.slice/user-1.slice/user@1.service/app.slice/ray-head.service\n", "user@1.service", ""),
    ("0::/-host=evil.service\n", "", ""),
    ("0::/system.slice/--host=evil.service\n", "", ""),
    ("0::/system.slice/a b.service\n", "", ""),
    ("0::/\n", "", ""),
    ("", "", ""),
    # In a container that sees its host's hierarchy.
    ("9:name=systemd:/docker/ab/system.slice/ray-head.service\n", "ray-head.service", IN_DOCKER),
    ("0::/docker/ab/system.slice/ray-head.service\n", "ray-head.service", IN_DOCKER.splitlines()[1]),
    ("0::/docker/cd/system.slice/ray-head.service\n", "", IN_DOCKER.splitlines()[1]),
])
def test_the_service_is_the_one_that_systemd_made(proc, cgroup, service, first):
    (proc.path / "1").mkdir()
    (proc.path / "1" / "cgroup").write_text(first)
    assert service_of(cgroup, str(proc.path)) == service


def test_a_process_of_another_unit_with_the_units_name_below_it_is_not_in_the_unit(proc):
    proc.add(["raylet"], "ray-worker.service/ray-head.service")
    proc.add(["raylet"], "ray-head.service/job.service")
    found = ray_processes(str(proc.path))
    assert sorted(process.in_unit("ray-head.service") for process in found) == [False, True]


def test_only_the_process_that_is_meant_is_signalled():
    """A pid of /proc is a number that another process may have by the time of the signal."""
    code = "import time; print(1, flush=True); time.sleep(60)"
    for name, wanted, signalled in (
        ("raylet", lambda found: found.kind == "raylet", True), ("raylet", lambda found: False, False),
        ("postgres", lambda found: True, False),
    ):
        with subprocess.Popen([name, "-c", code], executable=sys.executable, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            assert send(process.pid, signal.SIGTERM, wanted, 5) is True
            if signalled:
                assert process.wait(5) == -15
            time.sleep(0.1)
            assert (process.poll() is None) is not signalled
            process.kill()
        assert send(process.pid, signal.SIGTERM, lambda found: True)
    assert send(0, signal.SIGKILL, lambda found: True) and send(-1, signal.SIGKILL, lambda found: True)


def test_foreign_nodes_are_those_outside_the_unit(proc):
    for unit in ("ray-worker.service", "ray-worker2.service", "user@1000.service"):
        for argv in (["raylet"], ["ray::IDLE"], ["ray", "start"]):
            proc.add(argv, unit)
    foreign = foreign_nodes(ray_processes(str(proc.path)), "ray-worker.service")
    assert sorted((process.kind, process.cgroup.strip().rpartition("/")[2]) for process in foreign) == [
        ("raylet", "ray-worker2.service"),
        ("raylet", "user@1000.service"),
    ]


def test_facts_of_a_real_process():
    code = (
        "import resource, time; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512)); "
        "print(1, flush=True); time.sleep(60)"
    )
    environment = {"A": "b=c", "EMPTY": "", "LINES": "a\nb", "LC_ALL": "C"}
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"1\n"
            assert environment_of(process.pid) == environment
            assert open_files_limit(process.pid) == 512
            assert before - 1 < started_at(process.pid) < time.time() + 1
        finally:
            process.kill()
    assert environment_of(process.pid) == {}
    assert open_files_limit(process.pid) is None
    assert started_at(process.pid) is None


def test_a_limit_that_is_none(proc):
    pid = proc.add(["raylet"])
    limits = "Limit           Soft Limit    Hard Limit    Units\nMax open files  1024          {}            files\n"
    (proc.path / str(pid) / "limits").write_text(limits.format("unlimited"))
    assert open_files_limit(pid, str(proc.path)) is None
    (proc.path / str(pid) / "limits").write_text(limits.format("4096"))
    assert open_files_limit(pid, str(proc.path)) == 4096


def test_a_start_time_behind_a_title_with_brackets(proc):
    pid = proc.add(["raylet"])
    ticks = 40 * os.sysconf("SC_CLK_TCK")
    (proc.path / str(pid) / "stat").write_text(f"{pid} (ray::f (a) b) S " + " ".join(["0"] * 18) + f" {ticks} 0 0\n")
    assert started_at(pid, str(proc.path)) == pytest.approx(time.time() - 60, abs=2)


STOP = """
import os, signal, subprocess, sys, time
from ansible_collections.rayops.cluster.plugins.module_utils._node import processes as _ray_process
def start(name, code):
    return subprocess.Popen([name, "-c", code + "; import time; print(1, flush=True); time.sleep(60)"],
                            executable=sys.executable, stdout=subprocess.PIPE)
deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
found = {"polite": start("raylet", "0"), "deaf": start("gcs_server", deaf), "task": start("ray::f", "0"),
         "driver": start("python", "0")}
for process in found.values():
    process.stdout.readline()
    # Their parent is this program, which must reap them as init would.
signal.signal(signal.SIGCHLD, lambda *_: [process.poll() for process in found.values()])
_ray_process.stop_foreign("ray-head.service", grace=1.0)
time.sleep(0.2)
print({name: process.poll() for name, process in found.items()})
found["driver"].kill()
"""


def test_others_are_asked_to_end_and_then_made_to():
    """In a process namespace of its own, so that no other Ray on this host is met."""
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", *own, "--pid", "--fork", "--mount-proc", sys.executable, "-c", STOP],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unshare" in done.stderr and not os.environ.get("CI"):
        pytest.skip(done.stderr.strip())
    assert done.stdout.strip() == "{'polite': -15, 'deaf': -9, 'task': -15, 'driver': None}", done.stderr

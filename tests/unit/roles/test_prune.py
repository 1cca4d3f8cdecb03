# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that removes what Ray leaves behind, on real trees and real processes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "ray" / "files" / "ray_prune.py"
DAY = 86400
DEAD = "a" * 56
LIVE = "b" * 56
ELSEWHERE = "c" * 56
NO_SUCH_PID = 4194304  # The highest number of a process is one less (proc(5), pid_max).


class Host:
    """A directory like /var/lib/ray, and the program for it."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.top = directory / "ray"
        self.top.mkdir()
        # Where other users can read it, too.
        self.program = shutil.copy(PROGRAM, directory / "ray-prune.py")
        self.live = self.session("session_2026-11-20_08-00-00_000001_100")
        (self.top / "session_latest").symlink_to(self.live)

    def options(self) -> list[str]:
        return ["--temp-dir", str(self.top), "--keep-days", "7"]

    def load(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("ray_prune", self.program)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["ray_prune"] = module
        spec.loader.exec_module(module)
        return module

    def session(self, name: str) -> Path:
        (self.top / name / "logs" / "old").mkdir(parents=True)
        return self.top / name

    def run(self, *arguments: str, python: str = sys.executable, **options: Any) -> str:
        done = subprocess.run(
            [python, "-I", self.program, *self.options(), *arguments],
            capture_output=True, text=True, check=False, **options,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


def write(path: Path, days: float = 0, content: str = "x" * 5000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return aged(path, days)


def aged(path: Path, days: float) -> Path:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment), follow_symlinks=False)
    return path


def aged_session(session: Path, days: float) -> Path:
    for path in [*(session / "logs").iterdir(), session / "logs", session]:
        aged(path, days)
    return session


def spill(directory: Path, node_id: str, hours: float) -> Path:
    found = directory / f"ray_spilled_objects_{node_id}"
    write(found / "0f3c-multi-5")
    return aged(found, hours / 24)


def snapshot(directory: Path) -> list[str]:
    return sorted(str(path) for path in directory.rglob("*"))


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture(name="spawn")
def spawn_fixture() -> Iterator[Any]:
    """Start a process that says when it is ready, and lives as long as the test."""
    processes = []

    def spawn(source: str, *arguments: str, name: str = sys.executable) -> None:
        # Its arguments are shown under another name, as Ray's own processes do.
        command = [name, "-c", f"{source}\nprint('ready', flush=True)\nimport time; time.sleep(60)", *arguments]
        process = subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout and process.stdout.readline() == "ready\n"

    yield spawn
    for process in processes:
        process.kill()
        process.communicate()


def test_sessions_that_ended_long_ago_are_removed(host, spawn):
    ended = host.session("session_2026-11-01_08-00-00_000001_100")
    write(ended / "logs" / "raylet.out", 8)
    aged_session(ended, 8)
    # It began long ago, but worked until yesterday.
    recent = host.session("session_2026-11-02_08-00-00_000001_100")
    write(recent / "logs" / "raylet.out", 1)
    aged(recent, 30)
    used = aged_session(host.session("session_2026-11-03_08-00-00_000001_100"), 30)
    aged_session(host.live, 30)
    write(host.top / "gcs" / "000004.log", 30)
    write(host.directory / "outside" / "raylet.out", 30)
    link = host.top / "session_2026-11-04_08-00-00_000001_100"
    link.symlink_to(host.directory / "outside")
    aged(link, 30)
    spawn("", f"--session_dir={used}", name="/opt/ray/raylet")

    assert host.run().startswith("Removed 1 session: ")
    assert not ended.exists()
    kept = [recent / "logs" / "raylet.out", used, host.live, link, host.directory / "outside" / "raylet.out"]
    assert [path for path in [*kept, host.top / "gcs" / "000004.log"] if not path.exists()] == []
    assert host.run() == "Removed nothing: 0 bytes.\n"


def test_old_logs_of_ended_processes_are_removed_from_the_live_session(host, spawn):
    logs = host.live / "logs"
    removed = [
        write(logs / name, 8)
        for name in (
            f"worker-{DEAD}-01000000-{NO_SUCH_PID}.out", f"worker-{DEAD}-ffffffff-{NO_SUCH_PID}.err.1",
            f"io_worker-{DEAD}-{NO_SUCH_PID}.out", f"python-core-worker-{DEAD}_{NO_SUCH_PID}.log",
            f"python-core-driver-01000000ffff_{NO_SUCH_PID}.1.log", f"events/event_CORE_WORKER_{NO_SUCH_PID}.log",
            f"old/worker-{DEAD}-01000000-{NO_SUCH_PID}.err", "runtime_env_setup-01000000.log",
            "job-driver-raysubmit_1.log", "raylet.77.out.2", "dashboard_agent.77.log", "serve/replica_llm_x.log",
        )
    ]
    reading = write(logs / f"worker-{LIVE}-01000000-{NO_SUCH_PID}.out", 8)
    writing = write(logs / "job-driver-raysubmit_2.log", 30)
    kept = [
        writing, write(logs / f"worker-{DEAD}-01000000-{os.getpid()}.out", 8), write(logs / "raylet.77.out", 6),
        write(logs / "profiles" / "flame.svg", 30), write(logs / "nsight" / "report.nsys-rep", 30),
    ]
    spawn("import sys; files = [open(sys.argv[1]), open(sys.argv[2], 'a')]", str(reading), str(writing))

    assert host.run().startswith("Removed 13 log files: ")
    assert [path for path in [*removed, reading] if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_links_below_the_logs_are_not_followed(host):
    outside = write(host.directory / "outside" / "gone.log", 30)
    (host.live / "logs" / "directory").symlink_to(outside.parent)
    aged_link = host.live / "logs" / "file.log"
    aged_link.symlink_to(outside)
    aged(aged_link, 30)
    other = host.top / "session_2026-11-10_08-00-00_000001_100"
    other.mkdir()
    (other / "logs").symlink_to(outside.parent)
    before = snapshot(host.directory)
    assert host.run() == "Removed nothing: 0 bytes.\n"
    assert snapshot(host.directory) == before


def test_spilled_objects_of_nodes_that_ended(host, spawn):
    removed = spill(host.live, DEAD, 2)
    kept = [spill(host.live, LIVE, 48), spill(host.live, "d" * 56, 0.5)]
    outside = spill(host.directory / "outside", DEAD, 48)
    link = host.live / f"ray_spilled_objects_{'e' * 56}"
    link.symlink_to(outside)
    aged(link, 2)
    spawn("", f"--node_id={LIVE}", name="/opt/ray/raylet")

    assert host.run().startswith("Removed 1 spill directory: ")
    assert not removed.exists()
    assert [path for path in [*kept, outside, link] if not path.exists()] == []


def test_of_a_spilling_directory_only_what_this_host_made(host, spawn):
    """Hosts may share it: a node ran here if it left its files in a session of this host."""
    shared = host.directory / "disk" / "spill"
    declared = host.directory / "spill"
    shared.mkdir(parents=True)
    declared.symlink_to(shared)
    for node_id in (DEAD, LIVE):
        write(host.live / f"metrics_export_port_{node_id}", 30, "6385")
    removed = spill(shared, DEAD, 2)
    kept = [spill(shared, LIVE, 48), spill(shared, ELSEWHERE, 48), write(shared / "mine.txt", 30)]
    assert host.run() == "Removed nothing: 0 bytes.\n"  # No raylet says that this is where it spills.
    spawn("", f"--node_id={LIVE}", f"--fallback_directory={declared}", name="/opt/ray/raylet")

    assert host.run().startswith("Removed 1 spill directory: ")
    assert not removed.exists()
    assert [path for path in kept if not path.exists()] == []


def test_a_dry_run_says_what_would_go_and_touches_nothing(host):
    log = write(host.live / "logs" / f"worker-{DEAD}-01000000-{NO_SUCH_PID}.out", 8)
    spilled = spill(host.live, DEAD, 2)
    session = aged_session(host.session("session_2026-11-01_08-00-00_000001_100"), 8)
    before = snapshot(host.directory)
    said = host.run("--dry-run").splitlines()
    assert sorted(said[:-1]) == sorted(map(str, [log, spilled, session]))
    assert said[-1].startswith("Would remove 1 session, 1 log file, 1 spill directory: ")
    assert snapshot(host.directory) == before
    assert host.run().splitlines()[-1].removeprefix("Removed") == said[-1].removeprefix("Would remove")


def test_what_vanishes_meanwhile_is_no_error(host):
    files = [write(host.live / "logs" / f"x{number}.log", 8) for number in range(3000)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, host.program, *host.options()], text=True, **pipes)
    for path in reversed(files):
        path.unlink(missing_ok=True)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "") and output.startswith("Removed ")
    assert not any(path.exists() for path in files)
    program = host.load()
    removal = program.Removal(dry_run=False)
    descriptor = os.open(host.live / "logs", os.O_RDONLY)
    removal.file("log file", str(files[0]), descriptor, 5000)
    os.close(descriptor)
    assert removal.summary() == "Removed nothing: 0 bytes.\n"


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/usr/bin/python3"),
    reason="only root can run it as another user, by a Python that this one may run",
)
def test_what_belongs_to_others(host, spawn):
    """A driver of another user leaves its own files in Ray's directories, which are open to everyone."""
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    logs = host.live / "logs"
    kept = [write(logs / "ray-data.log", 30), write(logs / f"python-core-driver-01_{os.getpid()}.log", 30)]
    removed = write(logs / f"python-core-driver-01_{NO_SUCH_PID}.log", 30)
    closed = write(host.session("session_2026-11-01_08-00-00_000001_100") / "logs" / "ray-data" / "ray-data.log", 30)
    aged_session(closed.parents[2], 30)
    for path in (host.directory, host.top, host.live, logs, closed.parents[2], closed.parents[1]):
        path.chmod(0o777)
    # A path that another user's process names is not to be trusted.
    named = spill(host.directory / "named", DEAD, 2)
    write(host.live / f"metrics_export_port_{DEAD}", 30, "6385")
    for path in (named.parent, named):
        path.chmod(0o777)
    aged(named, 1)
    spawn("", f"--fallback_directory={named.parent}", name="/opt/ray/raylet")
    for path in list(host.directory.parents)[:2]:  # Those that pytest makes for itself alone.
        path.chmod(0o755)
    aged_session(closed.parents[2], 30)
    said = host.run(python="/usr/bin/python3", cwd="/", **user).splitlines()
    assert said[0].startswith("Removed 1 log file: ")
    assert said[1] == f"<4>1 could not be removed, {closed.parents[2]} for one: remove them as root."
    assert not removed.exists() and closed.exists() and named.exists()
    assert [path for path in kept if not path.exists()] == []


def test_nothing_is_removed_where_other_hosts_share_the_directory(host, monkeypatch):
    write(host.live / "logs" / "x.log", 8)
    program = host.load()
    assert program.file_system("/proc/self") == "proc"
    for kind in ("nfs4", "cifs", "fuse.s3fs"):
        monkeypatch.setattr(program, "file_system", lambda path, kind=kind: kind)
        before = snapshot(host.top)
        assert program.prune(str(host.top), 7, dry_run=False) == (
            f"{host.top} lies on a file system that other hosts share: nothing is removed there.\n"
        )
        assert snapshot(host.top) == before
    monkeypatch.setattr(program, "file_system", lambda path: "ext4")
    assert program.prune(str(host.top), 7, dry_run=False).startswith("Removed 1 log file: ")


def test_a_host_where_ray_never_ran(host):
    host.top = host.directory / "nowhere"
    assert host.run() == "Removed nothing: 0 bytes.\n"

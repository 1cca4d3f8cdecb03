# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that backs up a head's state, on the RocksDB of a real gcs_server that is written to all the while."""

from __future__ import annotations

import base64
import getpass
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.long import long
from tests.unit.conftest import free_ports, install_backup_program

BACKUPS = 20

# Counts in both databases by turns, the one never more than one ahead, and says how far it came. The other kind makes
# RocksDB write files of its tables and begin new logs.
WRITER = """
import sys, grpc
from ray._raylet import GcsClient
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
address, kind = sys.argv[1:3]
client = GcsClient(address=address)
jobs = gcs_service_pb2_grpc.JobInfoGcsServiceStub(grpc.insecure_channel(address))
number = 0
while kind == "fill":
    client.internal_kv_put(b"%d" % (number % 100), b"%09d" % number * 20000, True, b"fill")
    number += 1
while True:
    client.internal_kv_put(b"%09d" % number, b"", True, b"count")
    jobs.GetNextJobID(gcs_service_pb2.GetNextJobIDRequest())
    number += 1
    print(number, flush=True)
"""
READER = """
import sys, grpc
from ray._raylet import GcsClient
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
client = GcsClient(address=sys.argv[1])
keys = sorted(int(key) for key in client.internal_kv_keys(b"", b"count"))
assert keys == list(range(len(keys))), keys
fill = {key: client.internal_kv_get(key, b"fill") for key in client.internal_kv_keys(b"", b"fill")}
assert all(value == value[:9] * 20000 for value in fill.values())
jobs = gcs_service_pb2_grpc.JobInfoGcsServiceStub(grpc.insecure_channel(sys.argv[1]))
print(len(keys), jobs.GetNextJobID(gcs_service_pb2.GetNextJobIDRequest()).job_id - 1)
"""


class Gcs:
    """A gcs_server alone, with its state in a directory."""

    def __init__(self, environment: str, directory: Path) -> None:
        self.python = f"{environment}/bin/python"
        (program,) = Path(environment).glob("lib/python3*/site-packages/ray/core/src/ray/gcs/gcs_server")
        self.state, self.port = directory / "gcs", free_ports(1)
        (directory / "session" / "logs").mkdir(parents=True)
        self.variables = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_gcs_storage": "rocksdb",
                          "RAY_gcs_storage_path": str(self.state)}
        self.process = subprocess.Popen(
            [program, f"--log_dir={directory}/session/logs", f"--config_list={base64.b64encode(b'{}').decode()}",
             f"--gcs_server_port={self.port}", "--metrics-agent-port=0", "--node-ip-address=127.0.0.1",
             "--session-name=session", "--ray-commit=none", f"--session-dir={directory}/session",
             f"--node-id={'a' * 56}"],
            env=self.variables, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        )

    def client(self, source: str, *arguments: str, output: Any = subprocess.PIPE) -> subprocess.Popen[str]:
        command = [self.python, "-c", source, f"127.0.0.1:{self.port}", *arguments]
        return subprocess.Popen(command, env=self.variables, stdout=output, text=True)

    def counts(self) -> tuple[int, int]:
        """How far the writer came in each database; asking counts as one in the second."""
        output, _errors = self.client(READER).communicate(timeout=120)
        keys, jobs = output.split()
        return int(keys), int(jobs)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Program:
    """The program with the options of one host."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = install_backup_program(directory / "libexec")
        self.token = directory / "auth_token"
        self.token.write_text("a token")

    def run(self, verb: str, *arguments: object) -> dict:
        done = self.start(verb, *arguments)
        output, errors = done.communicate(timeout=120)
        assert errors == "" and done.returncode == ("error" in json.loads(output))
        return json.loads(output)

    def start(self, verb: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-I", str(self.program), verb, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def save(self, state: Path, keep: int = BACKUPS) -> dict:
        return self.run("save", *self.save_options(state, keep))

    def save_options(self, state: Path, keep: int = BACKUPS) -> list[object]:
        return ["--gcs", state, "--token", self.token, "--dest", self.directory / "backups", "--keep", keep,
                "--cluster", "demo", "--version", "2.60.0", "--user", getpass.getuser(), "--unit", ""]

    def inspect_options(self, state: Path, token: Path | None = None) -> list[object]:
        return ["--gcs", state, "--token", token or self.token, "--user", getpass.getuser()]

    def restore(self, archive: str, state: Path, token: Path) -> dict:
        return self.run("restore", "--archive", archive, "--gcs", state, "--token", token, "--user", getpass.getuser())

    def check(self, archive: object, cluster: str = "demo", version: str = "2.60.0") -> str:
        answer = self.run("check", "--archive", archive, "--cluster", cluster, "--version", version)
        return answer.get("error", "")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def gcs(ray_environment: str, tmp_path: Path) -> Iterator[Gcs]:
    gcs = Gcs(ray_environment, tmp_path / "live")
    # It answers, so it has both databases.
    assert gcs.counts() == (0, 0)
    yield gcs
    gcs.close()


@long
def test_each_backup_under_load_is_one_moment_of_both_databases(gcs, program, ray_environment, tmp_path):
    progress = tmp_path / "progress"
    with progress.open("w") as stream:
        writers = [gcs.client(WRITER, kind, output=stream) for kind in ("fill", "fill", "count")]
    saved = []
    try:
        while not progress.read_text().count("\n"):
            time.sleep(0.1)
        while len(saved) < BACKUPS:
            reached = progress.read_text().count("\n")
            saved.append((reached, program.save(gcs.state)))
            time.sleep(1)  # Their names have seconds.
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert saved[-1][0] > saved[0][0] and any(name.endswith(".sst") for name in os.listdir(gcs.state / "kv"))
    assert all(0 < answer["pause_ms"] < 2000 for _reached, answer in saved)
    sys.stdout.write(f"pauses: {sorted(answer['pause_ms'] for _reached, answer in saved)} ms\n")
    gcs.close()
    for number, (reached, answer) in enumerate(saved):
        home = tmp_path / f"restored-{number}"
        home.mkdir()
        assert program.restore(answer["archive"], home / "gcs", home / "auth_token")["aside"] == ""
        assert (home / "auth_token").read_text() == "a token"
        restored = Gcs(ray_environment, home)
        keys, jobs = restored.counts()
        restored.close()
        # What was answered before the backup began is in it.
        assert keys >= reached and keys - (jobs - 1) in (0, 1)


def test_a_program_that_is_ended_lets_the_gcs_go_on(gcs, program):
    # A pause that would not end.
    source = (
        f"import os, runpy, signal, sys, time; runpy.run_path({str(program.program)!r})\n"
        f"import state; pid = state.lock_holder(os.open({str(gcs.state)!r}, os.O_RDONLY))\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))\n"
        f"with state.paused({str(gcs.state)!r}, pid, ''):\n"
        " print(state.states(pid), flush=True); time.sleep(60)"
    )
    for ending in ("term", "limit"):
        process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        assert process.stdout.readline() == "{'T'}\n"
        if ending == "term":
            process.send_signal(signal.SIGTERM)
        _output, errors = process.communicate(timeout=30)
        assert process.returncode == (143 if ending == "term" else 1)
        assert ending == "term" or "could not be paused within 10 s" in errors
        assert gcs.counts()[0] == 0


def test_old_backups_make_way_only_for_a_state_that_a_gcs_works_with(gcs, program, tmp_path):
    backups = tmp_path / "backups"
    backups.mkdir()
    for day in range(1, 5):
        (backups / f"ray-backup-demo-2026010{day}T000000Z.tar.gz").touch()
    (backups / "ray-backup-other-20260101T000000Z.tar.gz").touch()
    (backups / ".ray-backup-demo-20260101T000000Z.tar.gz").touch()
    answer = program.save(gcs.state, keep=2)
    kept = {Path(answer["archive"]).name, "ray-backup-demo-20260104T000000Z.tar.gz", "ray-backup-demo-latest.json",
            "ray-backup-other-20260101T000000Z.tar.gz"}
    assert set(os.listdir(backups)) == kept
    assert Path(answer["archive"]).stat().st_mode & 0o777 == 0o600
    assert json.loads((backups / "ray-backup-demo-latest.json").read_text()) == answer and "a token" not in str(answer)
    gcs.close()
    time.sleep(1)
    assert program.save(gcs.state, keep=2)["pause_ms"] == 0
    assert len(os.listdir(backups)) == len(kept) + 1


def test_a_backup_that_cannot_be_used_is_refused(gcs, program, tmp_path):
    archive = Path(program.save(gcs.state)["archive"])
    assert program.check(archive) == ""
    assert "is a backup of cluster_name demo, and this cluster's is prod" in program.check(archive, cluster="prod")
    assert "set ray_version to 2.60.0" in program.check(archive, version="2.61.0")
    for length in (0, 10, 5000, archive.stat().st_size - 2000):
        (tmp_path / "half").write_bytes(archive.read_bytes()[:length])
        assert "is no whole backup" in program.check(tmp_path / "half")
    with tarfile.open(archive) as whole, tarfile.open(tmp_path / "other", "w:gz") as other:
        for entry in whole:
            if entry.name != "gcs/kv/CURRENT":
                other.addfile(entry, whole.extractfile(entry))
    assert "is damaged" in program.check(tmp_path / "other")
    with tarfile.open(tmp_path / "evil", "w:gz") as evil:
        evil.addfile(tarfile.TarInfo("gcs/../../evil"))
    assert "is no backup: it holds gcs/../../evil" in program.check(tmp_path / "evil")
    assert "A GCS runs with" in program.restore(str(archive), gcs.state, program.token)["error"]


def test_a_state_that_is_replaced_is_kept(gcs, program, tmp_path):
    answer = program.save(gcs.state)
    gcs.close()
    (gcs.state / "kv" / "CURRENT").write_text("broken")
    before = program.run("inspect", *program.inspect_options(gcs.state))
    assert (before["state"], before["restored"], before["token"]) == (True, "", True)
    restored = program.restore(answer["archive"], gcs.state, program.token)
    assert (Path(restored["aside"]) / "kv" / "CURRENT").read_text() == "broken"
    after = program.run("inspect", *program.inspect_options(gcs.state, tmp_path / "none"))
    assert after == {**after, "restored": answer["state_id"], "state_id": answer["state_id"], "token": False}
    nothing = program.run("inspect", *program.inspect_options(tmp_path / "none"))
    assert (nothing["state"], nothing["written"], nothing["state_id"]) == (False, 0, "")


def test_a_link_among_the_files_is_not_followed(program, tmp_path):
    state = tmp_path / "gcs"
    (state / "kv").mkdir(parents=True)
    (state / "kv" / "000004.log").symlink_to("/etc/hostname")
    assert "Too many levels of symbolic links" in program.save(state)["error"]
    assert os.listdir(tmp_path / "backups") == []

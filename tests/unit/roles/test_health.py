# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that looks after a node: a stand-in of systemctl, and real processes."""

from __future__ import annotations

import contextlib
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "ray" / "files" / "ray_health.py"
# Like `ray start` it goes on when its raylet has ended without an error, or its GCS before there is a raylet.
RAY_START = "import subprocess, sys, time; print(subprocess.Popen([sys.argv[1], '60']).pid, flush=True); time.sleep(60)"
# "systemctl kill" kills what is the unit's main process at that time.
SYSTEMCTL = """#!/bin/sh
[ "$1" = show ] && echo $4 >> {0}/shown && cat "{0}/$4" && exit
echo "$*" >> {0}/calls
[ "$1" != kill ] || kill -KILL $(cat {0}/main)
"""


class Node:
    """A unit of systemd whose `ray start` has started a process, and the program that looks after it."""

    def __init__(self, directory: Path, name: str, kind: str = "worker") -> None:
        self.directory, self.unit = directory, f"ray-{kind}.service"
        shutil.copy("/bin/sleep", directory / name)
        self.start = subprocess.Popen(
            [sys.executable, "-c", RAY_START, str(directory / name)], stdout=subprocess.PIPE, text=True
        )
        self.child = int(self.start.stdout.readline())
        self.properties(ActiveState="active", MainPID=self.start.pid,
                        ActiveEnterTimestampMonotonic=int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6))
        (directory / "main").write_text(str(self.start.pid))
        systemctl = directory / "systemctl"
        systemctl.write_text(SYSTEMCTL.format(directory))
        systemctl.chmod(0o755)
        text = PROGRAM.read_text(encoding="utf-8")
        assert "WATCH, LOOK = 30, 0.5" in text
        (directory / "health.py").write_text(text.replace("WATCH, LOOK = 30, 0.5", "WATCH, LOOK = 5, 0.1"))

    def properties(self, **values: object) -> None:
        for name, value in values.items():
            (self.directory / name).write_text(f"{value}\n")

    def watched(self) -> subprocess.Popen[str]:
        """Run it, and wait until it watches the process."""
        program = self.run()
        shown = self.directory / "shown"
        while program.poll() is None and not (shown.exists() and "MainPID" in shown.read_text()):
            time.sleep(0.1)
        time.sleep(1)
        return program

    def run(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}"}
        return subprocess.Popen(
            [sys.executable, "-I", self.directory / "health.py", "--unit", self.unit, "--port", "1",
             "--grace", "180"], env=environment, stdout=subprocess.PIPE, text=True
        )


@pytest.fixture
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    node = Node(tmp_path, *getattr(request, "param", ["raylet"]))
    yield node
    for pid in (node.child, node.start.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    node.start.communicate()


@pytest.mark.parametrize(("node", "name"), [
    (["raylet"], "raylet"), (["gcs_server", "head"], "gcs_server"),
], ids=["raylet", "GCS"], indirect=["node"])
def test_start_without_its_raylet_or_its_gcs_is_ended(node, name):
    program = node.watched()
    os.kill(node.child, signal.SIGTERM)
    output, _errors = program.communicate(timeout=20)
    assert program.returncode == 0
    assert output == f"{node.unit} is active, but its {name} has ended: starting it again\n"
    assert node.start.wait(timeout=10) == -signal.SIGKILL
    assert (node.directory / "calls").read_text() == f"kill --kill-who=main --signal=SIGKILL {node.unit}\n"


@pytest.mark.parametrize(("node", "seconds", "killed"), [
    (["python", "head"], 70, True), (["python", "head"], 0, False), (["python"], 70, False),
], ids=["head", "head that starts", "worker"], indirect=["node"])
def test_a_head_whose_gcs_ended_before_anyone_looked_is_ended(node, seconds, killed):
    began = time.clock_gettime(time.CLOCK_MONOTONIC) - seconds
    node.properties(ActiveEnterTimestampMonotonic=max(int(began * 1e6), 1))
    output, _errors = node.run().communicate(timeout=20)
    assert ("its gcs_server has ended" in output) is killed
    assert (node.start.poll() is not None) is killed


def test_who_has_the_number_of_the_process_by_now_is_left_alone(node):
    with subprocess.Popen(["sleep", "60"]) as other:
        # systemd has started the unit anew, and knows its main process by another number.
        (node.directory / "main").write_text(str(other.pid))
        program = node.watched()
        os.kill(node.child, signal.SIGTERM)
        program.communicate(timeout=20)
        assert other.wait(timeout=10) == -signal.SIGKILL and node.start.poll() is None


def test_node_that_is_being_stopped_is_left_alone(node):
    program = node.watched()
    node.properties(ActiveState="deactivating")
    os.kill(node.child, signal.SIGTERM)
    assert program.communicate(timeout=20) == ("", None)
    assert node.start.poll() is None


def test_node_that_runs_is_left_alone(node):
    assert node.run().communicate(timeout=20) == ("", None)
    assert node.start.poll() is None
    assert not (node.directory / "calls").exists()


def test_unit_that_is_active_and_dead_to_the_cluster_is_restarted(node):
    node.properties(ActiveEnterTimestampMonotonic=1)
    text = (node.directory / "health.py").read_text().replace("TRIES, PAUSE = 3, 5", "TRIES, PAUSE = 2, 0.1")
    (node.directory / "health.py").write_text(text)
    output, _errors = node.run().communicate(timeout=20)
    assert "its node is not alive" in output
    assert (node.directory / "calls").read_text() == "restart --no-block ray-worker.service\n"


class Agent:
    """Whoever listens on the agent's port, and what it answers: each piece after a pause."""

    def __init__(self, *pieces: bytes, pause: float = 0.0) -> None:
        self.pieces, self.pause = pieces, pause
        self.requests: list[bytes] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _address = self.server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.requests.append(connection.recv(1000))
                for piece in self.pieces:
                    connection.sendall(piece)
                    time.sleep(self.pause)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(("agent", "alive", "seconds"), [
    (Agent(OK, b"Content-Length: 7\r\n\r\nsuccess"), True, 25),
    (Agent(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), False, 25),
    (Agent(*[b"x" * 60000] * 10000), False, 25),
    (Agent(*[b"H"] * 60, pause=0.5), False, 25),
    (Agent(b""), False, 25),
], ids=["well", "ill", "endless", "slow", "silent"])
def test_what_the_agents_port_answers(tmp_path, agent, alive, seconds):
    namespace = runpy.run_path(str(PROGRAM))
    began = time.monotonic()
    assert namespace["alive"](agent.port) is alive
    assert time.monotonic() - began < seconds
    assert agent.requests[0].startswith(b"GET /api/local_raylet_healthz HTTP/1.0\r\n")


def test_a_redirect_of_the_agents_port_is_not_followed(tmp_path):
    elsewhere = Agent(OK)
    agent = Agent(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\n\r\n" % elsewhere.port)
    test_what_the_agents_port_answers(tmp_path, agent, False, 1)
    assert elsewhere.requests == []

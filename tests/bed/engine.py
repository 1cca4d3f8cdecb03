# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine: the one that answers, or the distribution's own, installed and started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from functools import cache
from pathlib import Path

import docker
from docker.errors import DockerException
from requests import RequestException

from .bed import CACHE, BedError, say, write

PID_FILE = CACHE / "dockerd.pid"
LOG_FILE = CACHE / "dockerd.log"


@cache
def client() -> docker.DockerClient:
    """The engine that DOCKER_HOST names, or this machine's. Raises DockerException where none answers."""
    return docker.from_env(timeout=300)


def answers() -> bool:
    try:
        return client().ping()
    except (DockerException, RequestException):
        return False


def ensure() -> None:
    """Make sure that an engine answers."""
    if answers():
        return
    if os.geteuid() != 0:
        raise BedError("No Docker engine answers: start one, or join the group 'docker', or run as root.")
    if not shutil.which("dockerd"):
        install("docker.io", "iptables")
    # For the user, who is told to look into containers with it.
    if not shutil.which("docker"):
        install("docker-cli")
    start()


def install(*packages: str) -> None:
    """Install packages of the distribution (Debian, Ubuntu)."""
    if not shutil.which("apt-get"):
        raise BedError(f"Install {' '.join(packages)} first: only Debian's and Ubuntu's packages are known here.")
    if os.geteuid() != 0:
        raise BedError(f"Run this as root once: apt-get install {' '.join(packages)}")
    say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BedError(f"apt-get {command[0]} failed: {done.stderr.strip()[-800:]}")


def start() -> None:
    if Path("/run/systemd/system").is_dir():
        say("starting the Docker engine: systemctl start docker")
        subprocess.run(["systemctl", "start", "docker"], check=True)
    else:
        say(f"starting the Docker engine in the background, its log is {LOG_FILE}")
        CACHE.mkdir(exist_ok=True)
        # One that was killed leaves this, and dockerd refuses to start once the number belongs to any other process.
        left = Path("/var/run/docker.pid")
        if left.exists() and not process_runs(int(left.read_text(encoding="utf-8") or 0), "dockerd"):
            left.unlink()
        with LOG_FILE.open("ab") as log:
            process = subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        write(PID_FILE, f"{process.pid}\n")
    deadline = time.monotonic() + 60
    while not answers():
        if time.monotonic() > deadline:
            raise BedError(f"The Docker engine did not answer within 60 s: see {LOG_FILE} or 'journalctl -u docker'.")
        time.sleep(0.5)


def stop_own() -> None:
    """Stop the engine that ``start`` put into the background, unless it runs anything else."""
    if not PID_FILE.exists():
        return
    pid = int(PID_FILE.read_text(encoding="utf-8"))
    if process_runs(pid, "dockerd") and not (answers() and client().containers.list()):
        say("stopping the Docker engine that the bed started")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while process_runs(pid, "dockerd") and time.monotonic() < deadline:
            time.sleep(0.2)
    PID_FILE.unlink()


def process_runs(pid: int, word: str) -> bool:
    """Whether the process lives and has the word in its command line (an id may have been given away since)."""
    try:
        return word in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False

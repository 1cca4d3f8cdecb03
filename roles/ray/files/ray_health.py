# Managed by rayops.cluster
"""Restart a Ray unit whose node is gone.

systemd calls a unit active as long as its `ray start` runs. That goes on when the raylet has ended by itself, after a
drain or with one of its agents, or when the GCS has ended during the head's start, so both are watched. One that runs
may still be dead to the cluster, so the node's agent is asked: it asks the GCS whether this node is alive.

Runs as root, and looks at what a job may have made: processes, their names, and who answers on the agent's port. So all
that it ever does is to have systemd kill or restart this one unit, by its name: a job can harm its own node alone.
"""
from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import time

HEAD = "ray-head.service"
TRIES, PAUSE = 3, 5
WATCH, LOOK = 30, 0.5  # seconds for which the processes are watched, and between two looks
# What `ray start` starts, and the seconds that it has to end by itself, and to say why, when that has ended.
WATCHED = {"raylet": 0, "gcs_server": 5}
UNSEEN = 60  # seconds after which a head that has processes, and no GCS among them, had one that nobody saw end
ANSWER = 5  # seconds that the agent has
SYSTEMCTL = 20  # seconds that systemd has


def systemctl(*arguments: str) -> str:
    """What systemctl(1) writes."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=True, timeout=SYSTEMCTL)
    return done.stdout.strip()


def show(unit: str, name: str) -> str:
    """A property of the unit."""
    return systemctl("show", "--value", "--property", name, unit)


def active_for(unit: str) -> float:
    """Seconds since the unit became active; 0 if it is not."""
    if show(unit, "ActiveState") != "active":
        return 0
    return time.clock_gettime(time.CLOCK_MONOTONIC) - int(show(unit, "ActiveEnterTimestampMonotonic")) / 1e6


def alive(port: int) -> bool:
    """Whether the agent answers that its node is alive. Only the first line is read, and no redirect followed."""
    deadline, line = time.monotonic() + ANSWER, b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER) as connection:
            connection.sendall(b"GET /api/local_raylet_healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            while b"\n" not in line and len(line) < 100:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                received = connection.recv(100)
                if not received:
                    break
                line += received
    except OSError:
        return False
    return re.match(rb"HTTP/1\.[01] 200\b", line) is not None


def process(pid: int | str) -> tuple[str, int] | None:
    """Name, state and parent of a process (proc(5), stat); None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            name, _bracket, rest = stream.read(4096).partition("(")[2].rpartition(")")
    except OSError:
        return None
    state, parent = rest.split()[:2]
    return None if state in "ZX" else (name, int(parent))


def children_of(main: int, deadline: float) -> dict[str, str]:
    """The process ids, by name, of what a `ray start` has started so far."""
    pids: dict[str, str] = {}
    with os.scandir("/proc") as found:
        for entry in found:
            name, parent = (entry.name.isdigit() and process(entry.name)) or ("", 0)
            if parent == main:
                pids[name] = entry.name
            if time.monotonic() > deadline:
                break
    return pids


def ended(unit: str, main: int, pids: dict[str, str]) -> str | None:
    """Which of what is watched has ended. A head starts its GCS before all that stays, so that may end unseen."""
    if unit == HEAD and pids and "gcs_server" not in pids and active_for(unit) > UNSEEN:
        return "gcs_server"
    return next((name for name in WATCHED if name in pids and process(pids[name]) != (name, main)), None)


def watch(unit: str) -> None:
    """End a `ray start` that goes on without its raylet or its GCS: systemd starts all of them again."""
    main = int(show(unit, "MainPID"))
    pids: dict[str, str] = {}
    deadline = time.monotonic() + WATCH
    while time.monotonic() < deadline and main and process(main):
        # A GCS that has ended is not forgotten while a raylet is still looked for.
        if "raylet" not in pids:
            pids = {**children_of(main, deadline), **pids}
        name = ended(unit, main, pids)
        if name:
            time.sleep(WATCHED[name])
            # It may have been about to begin, and a unit that is being stopped is no longer active.
            alone = name not in children_of(main, time.monotonic() + ANSWER)
            if alone and show(unit, "ActiveState") == "active" and show(unit, "MainPID") == str(main):
                sys.stdout.write(f"{unit} is active, but its {name} has ended: starting it again\n")
                # Not by its number, which may be another process's by now. systemd 252: --kill-whom, and both.
                systemctl("kill", "--kill-who=main", "--signal=SIGKILL", unit)
            return
        time.sleep(LOOK if "raylet" in pids else 2 * LOOK)


def main() -> None:
    parser = argparse.ArgumentParser(description="Restart a Ray unit whose node is gone.")
    parser.add_argument("--unit", required=True, help="such as ray-worker.service")
    parser.add_argument("--port", type=int, required=True, help="of the node's agent")
    parser.add_argument("--grace", type=int, required=True, help="seconds that the unit may take to start")
    options = parser.parse_args()
    for _attempt in range(TRIES):
        if active_for(options.unit) < options.grace or alive(options.port):
            watch(options.unit)
            return
        time.sleep(PAUSE)
    sys.stdout.write(f"{options.unit} is active, but its node is not alive: restarting it\n")
    systemctl("restart", "--no-block", options.unit)


if __name__ == "__main__":
    main()

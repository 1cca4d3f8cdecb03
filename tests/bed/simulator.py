# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ECS simulator of a bed: it shows the bed's containers as instances of a cloud."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from .bed import ROOT, Bed, BedError, say, write
from .engine import process_runs

MODULE = "tests.ecs_simulator"


def folder(bed: Bed) -> Path:
    return bed.state / "simulator"


def access(bed: Bed) -> dict[str, str]:
    """The bed's access key and secret key, made at the first call."""
    file = folder(bed) / "access.json"
    if not file.exists():
        keys = {"access_key": f"BED{secrets.token_hex(8).upper()}", "secret_key": secrets.token_hex(20)}
        write(file, json.dumps(keys) + "\n", 0o600)
    keys = json.loads(file.read_text(encoding="utf-8"))
    return {"access_key": keys["access_key"], "secret_key": keys["secret_key"]}


def ensure(bed: Bed) -> int:
    """Start the simulator when it does not run, and return its port on 127.0.0.1."""
    port_file = folder(bed) / "port"
    if runs(bed) and port_file.exists():
        return int(port_file.read_text(encoding="utf-8"))
    keys = access(bed)
    port_file.unlink(missing_ok=True)
    log_file = folder(bed) / "log"
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--port", "0", "--port-file", str(port_file), "--containers", bed.label,
             "--access-key", keys["access_key"], "--secret-key", keys["secret_key"]],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )
    write(folder(bed) / "pid", f"{process.pid}\n")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.exists() and port_file.read_text(encoding="utf-8").strip():
            port = int(port_file.read_text(encoding="utf-8"))
            say(f"the ECS simulator listens on 127.0.0.1:{port}")
            return port
        time.sleep(0.1)
    raise BedError(f"The ECS simulator did not start: {log_file.read_text(encoding='utf-8').strip()[-800:]}")


def process_id(bed: Bed) -> int | None:
    try:
        return int((folder(bed) / "pid").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def runs(bed: Bed) -> bool:
    pid = process_id(bed)
    return pid is not None and process_runs(pid, MODULE)


def stop(bed: Bed) -> None:
    pid = process_id(bed)
    if pid is None or not process_runs(pid, MODULE):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while process_runs(pid, MODULE):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)

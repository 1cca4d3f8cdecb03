# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sees the cluster as the GCS has it. Runs on a node under Ray's own Python: ``python -c SOURCE ADDRESS``.

Each line is ``[time, nodes]`` in JSON: the ids of the ALIVE nodes by name, or null while the GCS does not answer.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
import time

os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/etc/ray/auth_token")

PAUSE = 0.2
# A look that takes longer hangs: the process that looks is ended, and another one begins anew.
LOOK_SECONDS = 3


def say(nodes: dict[str, list[str]] | None) -> None:
    sys.stdout.write(f"{json.dumps([round(time.time(), 3), nodes])}\n")
    sys.stdout.flush()


def answers(address: str) -> bool:
    """Whether anything listens there: Ray's own client needs long to find out that nothing does."""
    host, _colon, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def look(address: str) -> None:
    """Look for as long as the GCS answers."""
    from ray._raylet import GcsClient
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    signal.alarm(LOOK_SECONDS)
    client = GcsClient(address=address)
    while True:
        nodes: dict[str, list[str]] = {}
        for node in client.get_all_node_info(timeout=LOOK_SECONDS).values():
            if node.state == GcsNodeInfo.ALIVE:
                nodes.setdefault(node.node_name, []).append(node.node_id.hex())
        say(nodes)
        signal.alarm(LOOK_SECONDS)
        time.sleep(PAUSE)


def child(address: str) -> None:
    """The process that looks: it alone has a connection."""
    try:
        look(address)
    finally:
        os._exit(1)


def asked_to_end(seconds: float) -> bool:
    """Whether the reader has closed our input."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def main() -> None:
    # Once, for all the children. It takes a second.
    importlib.import_module("ray._raylet")

    address = sys.argv[1]
    while not asked_to_end(PAUSE):
        if answers(address):
            looker = os.fork() or child(address)
            while os.waitpid(looker, os.WNOHANG) == (0, 0):
                if asked_to_end(PAUSE):
                    os.kill(looker, signal.SIGKILL)
                    return
        say(None)


if __name__ == "__main__":
    main()

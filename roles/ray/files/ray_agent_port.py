# Managed by rayops.cluster
"""Tell a raylet the port of its agent, before the agent does.

A raylet waits 15 s for the file with it (port_persistence.h; no setting of Ray's changes that), and ends without. An
agent that is read from a cold disk, or asks nvidia-smi first, takes longer, and so its node starts again and again. The
port is declared, so it can be told at once. The agent writes the same file when it listens, and with an agent that ends
its raylet ends all the same.

Runs as Ray's user, and believes what that user's processes say: it can harm no more than they can.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator

LOOK = 0.25  # seconds between two looks
PATIENCE = 300  # seconds: a worker may wait that long for its head before it starts a raylet


def raylets(temp_dir: str) -> Iterator[dict[str, str]]:
    """The options of the raylets that run with this directory."""
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as stream:
            program, *arguments = os.fsdecode(stream.read(1 << 16)).split("\0")
            options = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
            if os.path.basename(program) == "raylet" and options.get("temp_dir") == temp_dir:
                yield options


def tell(options: dict[str, str], port: int) -> bool:
    """Write the file, as a whole; False for a raylet that has it, as one that is about to end."""
    path = os.path.join(options.get("session_dir", ""), f"dashboard_agent_listen_port_{options.get('node_id')}")
    if os.path.exists(path):
        return False
    try:
        with open(f"{path}.told", "w", encoding="utf-8") as stream:
            stream.write(str(port))
        os.replace(f"{path}.told", path)
    except OSError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Tell a raylet the port of its agent.")
    parser.add_argument("--temp-dir", required=True, help="of Ray, such as /var/lib/ray")
    parser.add_argument("--port", type=int, required=True, help="that the node's agent listens on")
    options = parser.parse_args()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not any(tell(found, options.port) for found in raylets(options.temp_dir)):
        time.sleep(LOOK)


if __name__ == "__main__":
    main()

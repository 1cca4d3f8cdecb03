# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the simulator: python3 -m tests.ecs_simulator --help."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from pathlib import Path

from tests.ecs_simulator.instances import DEFAULT_REGION, ContainerSource, FileSource
from tests.ecs_simulator.server import LARGEST_LIMIT, Simulator


def main() -> int:
    """Serve until SIGTERM or Ctrl-C."""
    options = _parser().parse_args()
    source = ContainerSource(options.containers) if options.containers else FileSource(options.instances)
    simulator = Simulator(
        source,
        options.access_key,
        options.secret_key,
        options.regions.split(","),
        options.security_token or None,
        options.port,
        options.host,
        options.page_cap,
    )
    for command in options.fail:
        simulator.add_failure(json.loads(command))
    if options.env_file:
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in simulator.environment().items()]
        _write(options.env_file, "".join(lines))
    if options.port_file:
        _write(options.port_file, f"{simulator.server_address[1]}\n")
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        simulator.serve_forever()
    except KeyboardInterrupt:
        pass
    return 0


def _write(path: str, text: str) -> None:
    """Appears whole, because someone waits for it, and for its owner only, because it may hold the key."""
    draft = Path(f"{path}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.ecs_simulator", description="Simulate IAM and ECS over HTTP."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", help="gets the port once the simulator listens")
    parser.add_argument("--env-file", help="gets export lines for the SDK, mode 0600")
    parser.add_argument("--access-key", default=os.environ.get("HUAWEICLOUD_SDK_AK", "SIMULATORAK"))
    parser.add_argument("--secret-key", default=os.environ.get("HUAWEICLOUD_SDK_SK", "simulator-secret"))
    parser.add_argument("--security-token", default="", help="required of every request if set")
    parser.add_argument("--regions", default=DEFAULT_REGION, help="with commas")
    parser.add_argument("--page-cap", type=int, default=LARGEST_LIMIT, help="most rows in a page, whatever limit says")
    parser.add_argument("--fail", action="append", default=[], metavar="JSON", help="a failure, as for POST /_simulate")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--instances", metavar="FILE", help="JSON list of instances")
    source.add_argument("--containers", metavar="LABEL", help="running Docker containers with this label, such as a=b")
    return parser


if __name__ == "__main__":
    sys.exit(main())

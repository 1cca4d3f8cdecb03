# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which TCP ports of a host answer: all 65,535 of them, in seconds, also where most packets are dropped.

A program of the standard library alone, so that it runs as it is in a container or a network namespace:
``python3 tests/nft.py 10.0.0.5`` prints the open ports, a line each.
"""

from __future__ import annotations

import argparse
import errno
import resource
import selectors
import socket
import time
from collections.abc import Iterable, Iterator

ALL = range(1, 65536)
# Connections that are tried at the same time, if the process may have as many files.
MOST = 4000


def open_ports(address: str, ports: Iterable[int] = ALL, seconds: float = 0.8, tries: int = 1) -> list[int]:
    """The ports on which a connection is made.

    :arg seconds: how long an answer may take: a port that says nothing costs so long, shared with MOST others.
    :arg tries: how often a port that said nothing is tried, for a network that loses packets.
    """
    found: set[int] = set()
    left = list(ports)
    for _try in range(tries):
        silent: list[int] = []
        for port, answer in _answers(address, left, seconds):
            if answer is None:
                silent.append(port)
            elif answer:
                found.add(port)
        left = silent
    return sorted(found)


def _answers(address: str, ports: Iterable[int], seconds: float) -> Iterator[tuple[int, bool | None]]:
    """Each port with what became of its connection: made, refused, or None for silence."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    waiting, most = iter(ports), _files()
    # In the order of their ends: each has the same time.
    begun: dict[int, tuple[float, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        while True:
            while len(begun) < most:
                port = next(waiting, None)
                if port is None:
                    break
                connection = socket.socket(family, socket.SOCK_STREAM)
                connection.setblocking(False)
                code = connection.connect_ex((address, port))
                if code == errno.EINPROGRESS:
                    selector.register(connection, selectors.EVENT_WRITE, port)
                    begun[port] = time.monotonic() + seconds, connection
                else:
                    connection.close()
                    yield port, code == 0
            if not begun:
                return
            first = next(iter(begun.values()), (0.0,))[0]
            for key, _events in selector.select(max(first - time.monotonic(), 0)):
                _end, connection = begun.pop(key.data)
                made = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                selector.unregister(connection)
                connection.close()
                yield key.data, made
            now = time.monotonic()
            for port, (end, connection) in list(begun.items()):
                if end > now:
                    break
                del begun[port]
                selector.unregister(connection)
                connection.close()
                yield port, None


def _files() -> int:
    """How many connections this process may have at the same time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST + 100)), hard))
    return min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the TCP ports of a host that answer.")
    parser.add_argument("address")
    parser.add_argument("--seconds", type=float, default=0.8, help="how long an answer may take")
    parser.add_argument("--tries", type=int, default=1)
    parsed = parser.parse_args()
    for port in open_ports(parsed.address, seconds=parsed.seconds, tries=parsed.tries):
        print(port)


if __name__ == "__main__":
    main()

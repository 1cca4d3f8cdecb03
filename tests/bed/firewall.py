# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's firewall, set from outside: its image needs no program for it. Docker has iptables on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.bed.bed import BedError
from tests.bed.cluster import Cluster
from tests.bed.containers import address

# Without a word, as a security group does; or with one, as ufw and firewalld may.
DROP, REJECT = ("DROP",), ("REJECT", "--reject-with", "tcp-reset")


def close(
    cluster: Cluster, host: str, source: str, how: tuple[str, ...] = DROP, ports: str = "23:65535", new: bool = True
) -> Callable[[], None]:
    """Close ports of a host to another host; returns what opens them again.

    :arg new: whether connections that are open stay so, as in a security group.
    """
    rule = ["INPUT", "-s", address(cluster.bed, source), "-p", "tcp", *(["--syn"] if new else []), "--dport", ports]
    _iptables(cluster, host, "-A", *rule, "-j", *how)
    return lambda: _iptables(cluster, host, "-D", *rule, "-j", *how)


def open_all(cluster: Cluster, host: str) -> None:
    """Open all that close() has closed on a host."""
    _iptables(cluster, host, "--flush", "INPUT")


@contextmanager
def closed(cluster: Cluster, host: str, source: str, *how: Any) -> Iterator[None]:
    """close() for the time of a context."""
    opens = close(cluster, host, source, *how)
    try:
        yield
    finally:
        opens()


def _iptables(cluster: Cluster, host: str, *words: str) -> None:
    command = ["nsenter", f"--net=/proc/{cluster.process(host)}/ns/net", "iptables", "--wait", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise BedError(f"'{' '.join(command)}' failed, which root alone may: {done.stderr.strip()}")

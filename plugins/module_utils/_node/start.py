# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a node comes up: other Rays on the host make way, and its raylet appears."""

from __future__ import annotations

import socket
import time

from ansible_collections.rayops.cluster.plugins.module_utils._node.failure import start_problems
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import stop_foreign
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import Unit

# systemd restarts a node that cannot start; after so many tries in a row its log says why. One may fail on a host
# that boots, or that has too much to do.
MAX_RESTARTS = 3
# Seconds between two looks at the files of a node that is waited for.
_LOOK = 2.0


class NodeError(Exception):
    """The node does not run as it should. The message is one sentence; the unit's log says more."""


class StartError(NodeError):
    """It is known why it cannot start, and what to do. The message is one sentence, and the log says no more."""


def stop_others(live: LiveNode, stop_timeout: float, kill: bool = False) -> None:
    """End every Ray on this host that is not the unit's, and what would start it again.

    :arg kill: at once, without a drain.

    :raises NodeError: another one starts again at once.
    """
    for process in live.processes:
        if process.kind == "start" and process.service not in ("", live.unit.name):
            # A unit that runs Ray itself, such as that of a head that has become a worker, would start it again.
            other = Unit(process.service)
            if other.main_pid == process.pid:
                other.disable()
                (other.kill if kill else other.stop)(stop_timeout)
    stop_foreign(live.unit.name, kill=kill)
    time.sleep(0.5)
    live.refresh()
    if live.foreign:
        where = live.foreign[0].cgroup.strip().rpartition("/")[2]
        raise NodeError(
            f"Another Ray starts again on this host, in {where}: disable what starts it, or set other_nodes: ignore."
        )


def wait_for_gcs(address: str, deadline: float) -> bool:
    """Wait until something listens where the head's GCS is to be: `ray start` gives up where nothing does.

    :arg address: host:port.
    :arg deadline: by the monotonic clock, when it is waited for no longer.
    :returns: whether it listens.
    """
    host, _colon, port = address.rpartition(":")
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
                return True
        except OSError:
            time.sleep(0.25)
    return False


def wait_for_raylet(live: LiveNode, node_type: str, old_raylet: int, deadline: float, timeout: float) -> str:
    """Wait for a raylet whose agent says that it is alive.

    :arg node_type: ``head`` or ``worker``.
    :arg old_raylet: process id of one that does not count; 0 for none.
    :arg deadline: by the monotonic clock, when it is waited for no longer.
    :arg timeout: the seconds that a message names.
    :returns: the id of its node.
    :raises StartError: it is known why there will be none.
    :raises NodeError: the unit cannot start, or there is none in time.
    """
    looked, idle = time.monotonic(), -1
    while True:
        live.refresh()
        raylet = live.raylet
        if raylet and raylet.pid != old_raylet and live.health(timeout=2) == "alive":
            return raylet.options.get("--node_id", "")
        late = time.monotonic() >= deadline
        # Between two tries it is stopped for a moment: only one that still is has ended.
        stopped = live.unit.stopped and live.unit.restarts == idle
        idle = live.unit.restarts if live.unit.stopped else -1
        ended = stopped or live.unit.restarts >= MAX_RESTARTS
        if late or ended or time.monotonic() - looked >= _LOOK:
            refuse_problems(live, node_type)
            looked = time.monotonic()
        # A worker ends again and again until its head is there: that is no fault of its own.
        if ended and (node_type == "head" or stopped or wait_for_gcs(live.gcs_address, looked + 0.1)):
            raise NodeError(live.misfit() or _ended(live))
        if late:
            break
        time.sleep(0.25)
    raise NodeError(live.misfit() or (
        f"The node at {live.address} was not ALIVE within {timeout} s at the GCS {live.gcs_address}; check that the "
        "head runs and that its port is open."
    ))


def refuse_problems(live: LiveNode, node_type: str) -> None:
    """Start nothing, and wait for nothing, that is known to be in vain.

    :raises StartError: what it is, and what to do.
    """
    found = start_problems(live, node_type)
    if found:
        raise StartError(" ".join(map(str, found)))


def _ended(live: LiveNode) -> str:
    unit = live.unit
    how = f", the last time with {unit.ending}" if unit.ending else ""
    changed = f" It is changed by {' and '.join(unit.drop_ins)}." if unit.drop_ins else ""
    if unit.restarts >= MAX_RESTARTS:
        return f"{unit.name} cannot start: systemd has started it again {unit.restarts} times{how}.{changed}"
    if unit.failed:
        return f"{unit.name} cannot start: it has failed{how}.{changed}"
    return f"{unit.name} was stopped while it was waited for, or a condition of its unit is not met.{changed}"

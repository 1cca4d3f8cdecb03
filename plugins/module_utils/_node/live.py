# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A snapshot of this host's node: what runs."""

from __future__ import annotations

import http.client
import os
import time
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._environment.virtual_environment import ray_version
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.tls import misfit
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import (
    REDIS_PASSWORD_VARIABLE,
    RayStart,
    gcs_address,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import (
    RayProcess,
    foreign_nodes,
    ray_processes,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user, own_name
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import (
    environment_of,
    has_open,
    started_at,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import Unit

# Beside a node's certificate: that with which it ran before the last upgrade.
PREVIOUS = "previous"
_SWITCH, _AUTHORITY = "RAY_USE_TLS", "RAY_TLS_CA_CERT"
# Ray's own port of the node's agent, where none is declared (python/ray/_private/ray_constants.py).
DEFAULT_AGENT_PORT = 52365
# `ray start` needs seconds, on a busy host many, before its raylet shows: a younger unit is starting, not sick.
STARTING = 120.0
_GREETING = 10.0
_TIMERS = ("ray-health.timer", "ray-prune.timer")
# What the unit and its timers start: systemd must know their files as they are. A host need not have all of them.
_HELPERS = (
    "ray-agent-port.service", "ray-health.service", "ray-prune.service", "ray-journal.service", "ray-sysctl.service",
    "ray-gpu.service", "ray-hide-processes.service", "ray-backup.service",
)
# Of a head that makes backups, and of a host whose /etc/hosts has the head's name.
_OPTIONAL_TIMERS = {"head": ("ray-backup.timer", "ray-hosts.service"), "worker": ("ray-hosts.service",)}
_SECRETS = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "CREDENTIALS")
# Ray's own name for where a key lies.
_PATHS = ("RAY_TLS_SERVER_KEY",)


def unit_of(node_type: str) -> Unit:
    """The unit of a node, ``head`` or ``worker``, with its timers and what watches beside them."""
    more = tuple(name for name in _OPTIONAL_TIMERS[node_type] if os.path.exists(f"/etc/systemd/system/{name}"))
    return Unit(f"ray-{node_type}.service", _TIMERS + more, _HELPERS)


class LiveNode:
    """A snapshot of this host's node."""

    def __init__(self, unit: Unit, start: RayStart, config: dict[str, Any]):
        self.unit = unit
        self.start = start
        self.config = config
        self.processes: list[RayProcess] = []
        self._program = (-1, "")
        self.refresh()

    def refresh(self) -> None:
        """Read systemd and /proc anew."""
        self.unit.refresh()
        self.processes = ray_processes()
        # Kept as long as the process runs: a daemon-reload shows the program of the next one.
        if self._program[0] != self.unit.main_pid:
            self._program = (self.unit.main_pid, self.unit.program)

    @property
    def running(self) -> bool:
        """Whether the unit's `ray start` runs."""
        return self.unit.active and self.unit.main_pid > 0

    @property
    def starting(self) -> bool:
        """Whether it runs for so short a time that its raylet may still be to come."""
        started = started_at(self.unit.main_pid) if self.running else None
        return started is not None and time.time() - started < STARTING

    @property
    def raylet_gone(self) -> bool:
        """Whether it runs without its raylet, although that is not still to come."""
        # `ray start --block` opens this log when all its processes run (python/ray/scripts/scripts.py).
        started = not self.starting or has_open(self.unit.main_pid, "ray_process_exit.log")
        return self.running and not self.raylet and started

    @property
    def raylet(self) -> RayProcess | None:
        """The unit's raylet."""
        own = [process for process in self.processes if process.kind == "raylet" and process.in_unit(self.unit.name)]
        return own[0] if own else None

    @property
    def supervisor(self) -> RayProcess | None:
        """The unit's `ray start`."""
        own = [process for process in self.processes if process.pid == self.unit.main_pid]
        return own[0] if own else None

    @property
    def executable(self) -> str:
        """The `ray` that runs, else the declared one: only the same version understands a cluster.

        By systemd's record: a process can write its own command line anew.
        """
        _pid, live = self._program
        known = self.running and os.path.normpath(live) == live and live.endswith("/bin/ray")
        return live if known else self.start.executable

    @property
    def user(self) -> str | None:
        """The user of the unit, as which Ray is talked to and its files are read; None for root."""
        return self.unit.user or None

    @property
    def foreign(self) -> list[RayProcess]:
        """Raylets and GCS servers beside the unit."""
        return foreign_nodes(self.processes, self.unit.name)

    @property
    def others(self) -> list[RayProcess]:
        """Every Ray process beside the unit, such as a worker process that outlived its raylet."""
        return [process for process in self.processes if not process.in_unit(self.unit.name)]

    @property
    def address(self) -> str:
        """The node's IP address."""
        raylet = self.raylet
        declared = (self.config.get("network") or {}).get("node_ip_address")
        return (raylet.options.get("--node_ip_address") if raylet else None) or declared or ""

    @property
    def gcs_address(self) -> str:
        """Where the cluster's GCS listens, host:port."""
        return gcs_address(self.config, self.start)

    @property
    def tls_directory(self) -> str:
        """Where the certificate lies with which it runs, else with which it is declared; empty where it speaks no TLS.

        Who asks the cluster that runs needs what runs.
        """
        if not self.running:
            return (self.config.get("tls") or {}).get("directory") or ""
        live = environment_of(self.unit.main_pid)
        return os.path.dirname(live.get(_AUTHORITY, "")) if live.get(_SWITCH) == "1" else ""

    @property
    def spoken_tls(self) -> str:
        """Where what it has read lies now: another authority's files take their place before it stops (ray_upgrade)."""
        directory = self.tls_directory
        kept, started = os.path.join(directory, PREVIOUS), started_at(self.unit.main_pid) if self.running else None
        # Since it was started; one that is older is of an upgrade before.
        ended = bool(directory and started and os.path.exists(kept)) and os.stat(kept).st_ctime > (started or 0)
        return kept if ended else directory

    @property
    def missing_secrets(self) -> list[str]:
        """The files with secrets that the node is to start with and that are not there."""
        auth, redis = self.config.get("auth") or {}, self.config.get("redis") or {}
        declared = (auth.get("token_path"), redis.get("password_file"))
        return [path for path in declared if path and not os.path.exists(path)]

    def health(self, timeout: float = 5.0) -> str:
        """Ask the node's agent, which asks the GCS, whether this node is alive.

        :returns: ``alive``, or why not.
        """
        ports = (self.config.get("network") or {}).get("ports") or {}
        port = ports.get("dashboard_agent_listen") or DEFAULT_AGENT_PORT
        try:
            # Any job may listen there, and answer a byte every few seconds: all of it must end in time.
            user: Any = self.user or own_name()  # None, of a process whose user has no name, is that process's own.
            status = as_user(user, lambda: _ask_agent(port, timeout), 2 * timeout)
        except GuestError:
            return "not alive (its agent does not answer)"
        return "alive" if status == 200 else f"not alive (HTTP {status} from the node's agent)"

    def misfit(self) -> str:
        """What of TLS keeps the node from its GCS: one sentence; empty for nothing that is known."""
        user: Any = self.user or own_name()
        try:
            # Anybody may listen there by now, and the key is for Ray's group.
            return str(as_user(user, lambda: misfit(self.gcs_address, self.config), _GREETING))
        except GuestError:
            return ""

    def describe(self) -> dict[str, Any]:
        """The node as the module returns it."""
        raylet, pid = self.raylet, self.unit.main_pid if self.running else None
        started = started_at(pid) if pid else None
        session = raylet.options.get("--session_dir", "") if raylet else ""
        return {
            "id": raylet.options.get("--node_id") if raylet else None,
            "address": self.address or None,
            "state": "ALIVE" if raylet and not self.unit.stopped
            else self.unit.properties.get("ActiveState", "inactive"),
            "pid": pid,
            "session": os.path.basename(session) or None,
            "ray_version": ray_version(os.path.dirname(os.path.dirname(self.start.executable))),
            "uptime": round(time.time() - started, 1) if started else None,
            "tls": bool(self.tls_directory) if pid else None,
        }


def _ask_agent(port: int, timeout: float) -> int:
    """The status that the agent answers with. It is not followed to another address."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/api/local_raylet_healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def redis_password(config: dict[str, Any]) -> str:
    """The declared password of Redis, out of the unit's EnvironmentFile; compared but never shown."""
    path = (config.get("redis") or {}).get("password_file")
    if not path or not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        lines = [line.strip().partition("=") for line in stream]
    return next((value for name, _equals, value in lines if name == REDIS_PASSWORD_VARIABLE), "")


def is_secret(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret, and not only the path of one."""
    words = variable.upper().split("_")
    named = any(word.endswith(_SECRETS) for word in words) and "PATH" not in words and "FILE" not in words
    return named and variable.upper() not in _PATHS


def secrets_of(config: dict[str, Any]) -> set[str]:
    """What of the declared state must stand in no result; the shorter words would hide others than themselves."""
    redis, environment = config.get("redis"), config.get("environment")
    found = [redis.get("password")] if isinstance(redis, dict) else []
    if isinstance(environment, dict):
        found += [value for name, value in environment.items() if is_secret(str(name))]
    return {str(value) for value in found if len(str(value)) >= 6 and value is not None}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: do not import it from elsewhere.

"""The node of this host: what runs, and where it differs from what is declared."""

from __future__ import annotations

import http.client
import os
import time

from ansible_collections.rayops.cluster.plugins.module_utils._environment.virtual_environment import ray_version
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import (
    NAMES_VARIABLE,
    REDIS_PASSWORD_VARIABLE,
    RayStart,
    parse_argv,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import (
    RayProcess,
    foreign_nodes,
    ray_processes,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user, own_name
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import (
    environment_of,
    has_open,
    open_files_limit,
    started_at,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import Unit

# Ray's own port of the node's agent, where none is declared (python/ray/_private/ray_constants.py).
DEFAULT_AGENT_PORT = 52365
# `ray start` needs seconds, on a busy host many, before its raylet shows: a younger unit is starting, not sick.
STARTING = 120.0
_TIMERS = ("ray-health.timer", "ray-prune.timer")
# What the unit and its timers start: systemd must know their files as they are. A host need not have all of them.
_HELPERS = (
    "ray-health.service", "ray-prune.service", "ray-journal.service", "ray-sysctl.service", "ray-gpu.service",
    "ray-hide-processes.service", "ray-backup.service",
)
_BACKUP_TIMER = "ray-backup.timer"  # Of a head that makes backups.
_HIDDEN = "********"
_SECRETS = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "CREDENTIALS")
# Only variables of these families are Ray's business: a drop-in may set others.
_FAMILIES = ("RAY_", "VLLM_", "HCCL_", "ASCEND_", "AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")


def unit_of(node_type: str) -> Unit:
    """The unit of a node, ``head`` or ``worker``, with its timers."""
    backup = node_type == "head" and os.path.exists(f"/etc/systemd/system/{_BACKUP_TIMER}")
    return Unit(f"ray-{node_type}.service", _TIMERS + ((_BACKUP_TIMER,) if backup else ()), _HELPERS)


class LiveNode:
    """A snapshot of this host's node."""

    def __init__(self, unit: Unit, start: RayStart, config: dict):
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
        network = self.config.get("network") or {}
        port = self.start.options.get("--port") or "6379"
        return network.get("head_address") or f"{network.get('node_ip_address') or '127.0.0.1'}:{port}"

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
            status = as_user(self.user or own_name(), lambda: _ask_agent(port, timeout), 2 * timeout)
        except GuestError:
            return "not alive (its agent does not answer)"
        return "alive" if status == 200 else f"not alive (HTTP {status} from the node's agent)"

    def describe(self) -> dict:
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
        }


def _ask_agent(port: int, timeout: float) -> int:
    """The status that the agent answers with. It is not followed to another address."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/api/local_raylet_healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def redis_password(config: dict) -> str:
    """The declared password of Redis, out of the unit's EnvironmentFile; compared but never shown."""
    path = (config.get("redis") or {}).get("password_file")
    if not path or not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        lines = [line.strip().partition("=") for line in stream]
    return next((value for name, equals, value in lines if name == REDIS_PASSWORD_VARIABLE), "")


def restart_differences(node: LiveNode) -> Differences:
    """Where the running process differs from what is declared: each of them needs a restart."""
    found = Differences()
    start, supervisor = node.start, node.supervisor
    argv = supervisor.argv if supervisor else []
    if "start" in argv:
        found.compare("executable", start.executable, argv[argv.index("start") - 1])
    live_options = parse_argv(argv)
    for option in sorted(set(start.options) | set(live_options)):
        declared, live = start.options.get(option, ""), live_options.get(option, "")
        if option == "--redis-password":
            if (redis_password(node.config) if option in start.options else "") != live:
                shown = _HIDDEN if option in start.options else None
                found.add(option, shown, f"{_HIDDEN} (another)" if live else None)
        elif declared != live:
            found.add(option, _shown(option, start.options), _shown(option, live_options))
    _compare_environment(found, start.environment, environment_of(node.unit.main_pid))
    limit = (node.config.get("limits") or {}).get("nofile")
    if limit:
        found.compare("LimitNOFILE", limit, open_files_limit(node.unit.main_pid))
    _compare_token(found, node)
    if node.raylet_gone:
        found.add("raylet", "running", "gone, although its unit is active")
    elif not node.starting:
        found.compare("health", "alive", node.health())
    elif node.unit.restarts and node.health() != "alive":
        # Each of these starts is young: without this, a node that can never start would pass for one that is starting.
        found.add("health", "alive", f"starting, after {node.unit.restarts} restarts by systemd")
    return found


def _shown(option: str, options: dict) -> str | None:
    if option not in options:
        return None
    return "set" if options[option] is None else options[option]


def _shown_variable(name: str, environment: dict) -> str | None:
    return _HIDDEN if name in environment and is_secret(name) else environment.get(name)


def is_secret(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret, and not only the path of one."""
    words = variable.upper().split("_")
    return any(word.endswith(_SECRETS) for word in words) and "PATH" not in words and "FILE" not in words


def secrets_of(config: dict) -> set[str]:
    """What of the declared state must stand in no result; the shorter words would hide others than themselves."""
    redis, environment = config.get("redis"), config.get("environment")
    found = [redis.get("password")] if isinstance(redis, dict) else []
    if isinstance(environment, dict):
        found += [value for name, value in environment.items() if is_secret(str(name))]
    return {str(value) for value in found if len(str(value)) >= 6 and value is not None}


def _compare_environment(found: Differences, declared: dict, live: dict) -> None:
    if not live:
        return
    extra = {name for name in live if name.startswith(_FAMILIES)} - {REDIS_PASSWORD_VARIABLE}
    extra |= {name for name in live.get(NAMES_VARIABLE, "").split(",") if name in live}
    for name in sorted((set(declared) | extra) - {NAMES_VARIABLE}):
        if declared.get(name) != live.get(name):
            found.add(f"environment {name}", _shown_variable(name, declared), _shown_variable(name, live))


def _compare_token(found: Differences, node: LiveNode) -> None:
    """Ray reads the token once: a file that is newer than the process holds another one."""
    path = (node.config.get("auth") or {}).get("token_path")
    started = started_at(node.unit.main_pid)
    if path and started and os.path.exists(path) and os.path.getmtime(path) > started + 2:
        found.add("auth token", "the file's", "an older one")


def all_differences(node: LiveNode) -> tuple[Differences, str]:
    """Everything that stands between the declared state and this host.

    :returns: the differences, and the action that mends them: none, reload, start or restart.
    """
    found, action = Differences(), "none"
    if node.running:
        found = restart_differences(node)
        action = "restart" if found else "none"
    else:
        action = "start"
        found.add("executable", node.start.executable, None)
        for option in node.start.options:
            found.add(option, _HIDDEN if option == "--redis-password" else _shown(option, node.start.options), None)
        for name in sorted(node.start.environment):
            found.add(f"environment {name}", _shown_variable(name, node.start.environment), None)
    for process in node.foreign:
        where = process.options.get("--gcs-address") or "its own cluster"
        found.add(f"other Ray on this host, {process.kind} {process.pid}", None, where)
    before = len(found)
    if node.unit.exists:
        found.compare("unit file", "loaded", "changed on disk" if node.unit.stale else "loaded")
        found.compare("enabled", True, node.unit.enabled)
        if node.running:
            found.compare("timers", "active", "active" if node.unit.timers_active else "inactive")
    if len(found) > before and action == "none":
        action = "reload"
    return found, "reload" if action == "none" and found else action

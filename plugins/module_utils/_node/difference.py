# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the node that runs differs from what is declared, and what follows from that."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import (
    NAMES_VARIABLE,
    REDIS_PASSWORD_VARIABLE,
    parse_argv,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode, is_secret, redis_password
from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user, own_name
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import (
    environment_of,
    open_files_limit,
    started_at,
)
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles, shown_by

_HIDDEN = "********"
# Only variables of these families are Ray's business: a drop-in may set others.
_FAMILIES = ("RAY_", "VLLM_", "HCCL_", "ASCEND_", "AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")
# What of the head its workers do not see. All else they need first: a port, a token, what the GCS hands to every node,
# another storage, a sick head.
_OWN_KINDS = ("limit", "enabled", "timers", "unit", "environment", "certificate", "trust")
_OWN_OPTIONS = (
    "--num-cpus", "--num-gpus", "--memory", "--resources", "--labels", "--object-store-memory",
    "--object-spilling-directory", "--plasma-directory", "--dashboard-host", "--dashboard-port",
    "--ray-client-server-port",
)
_SHARED_VARIABLES = ("RAY_gcs", "RAY_REDIS", "RAY_external", "RAY_AUTH")
# Whether and with which files its gRPC speaks TLS: with another answer than the others' it reaches none of them.
_TLS_VARIABLES = ("RAY_USE_TLS", "RAY_TLS_")
# Seconds that the own raylet may take to show its certificate.
_HANDSHAKE = 3.0


def restart_differences(node: LiveNode, certificate: Mapping[str, Any] | None = None) -> Differences:
    """Where the running process differs from what is declared: each of them needs a restart.

    :arg certificate: what a run finds wrong with the node's certificate, before it writes another.
    """
    found = Differences()
    live = _live_executable(node)
    if live is not None:
        found.compare("executable", node.start.executable, live, "executable")
    _compare_options(found, node)
    _compare_environment(found, node.start.environment, environment_of(node.unit.main_pid))
    limit = (node.config.get("limits") or {}).get("nofile")
    if limit:
        found.compare("LimitNOFILE", limit, open_files_limit(node.unit.main_pid), "limit")
    _compare_token(found, node)
    _compare_certificate(found, node, certificate or {})
    if node.raylet_gone:
        found.add("raylet", "running", "gone, although its unit is active", "raylet")
    elif not node.starting:
        found.compare("health", "alive", node.health(), "health")
    elif node.unit.restarts and node.health() != "alive":
        # Each of these starts is young: without this, a node that can never start would pass for one that is starting.
        found.add("health", "alive", f"starting, after {node.unit.restarts} restarts by systemd", "health")
    return found


def _live_executable(node: LiveNode) -> str | None:
    """The `ray` that runs, as its process shows it; None for none."""
    argv = node.supervisor.argv if node.supervisor else []
    return argv[argv.index("start") - 1] if "start" in argv else None


def _compare_options(found: Differences, node: LiveNode) -> None:
    options = node.start.options
    live_options = parse_argv(node.supervisor.argv if node.supervisor else [])
    for option in sorted(set(options) | set(live_options)):
        declared, live = options.get(option, ""), live_options.get(option, "")
        if option == "--redis-password":
            if (redis_password(node.config) if option in options else "") != live:
                found.add(option, _HIDDEN if option in options else None, f"{_HIDDEN} (another)" if live else None)
        elif declared != live:
            found.add(option, _shown(option, options), _shown(option, live_options))


def _shown(option: str, options: dict[str, str | None]) -> str | None:
    if option not in options:
        return None
    return "set" if options[option] is None else options[option]


def _shown_variable(name: str, environment: dict[str, str]) -> str | None:
    return _HIDDEN if name in environment and is_secret(name) else environment.get(name)


def _compare_environment(found: Differences, declared: dict[str, str], live: dict[str, str]) -> None:
    if not live:
        return
    extra = {name for name in live if name.startswith(_FAMILIES)} - {REDIS_PASSWORD_VARIABLE}
    extra |= {name for name in live.get(NAMES_VARIABLE, "").split(",") if name in live}
    for name in sorted((set(declared) | extra) - {NAMES_VARIABLE}):
        if declared.get(name) != live.get(name):
            shown = _shown_variable(name, declared), _shown_variable(name, live)
            found.add(f"environment {name}", *shown, _kind_of(name))


def _kind_of(variable: str) -> str:
    if variable.startswith(_TLS_VARIABLES):
        return "other_tls"
    return "shared_environment" if variable.startswith(_SHARED_VARIABLES) else "environment"


def _compare_token(found: Differences, node: LiveNode) -> None:
    """Ray reads the token once: a file that is newer than the process holds another one."""
    path = (node.config.get("auth") or {}).get("token_path")
    if path and _is_newer(path, node):
        found.add("auth token", "the file's", "an older one", "token")


def _is_newer(path: str, node: LiveNode) -> bool:
    started = started_at(node.unit.main_pid)
    return bool(started and os.path.exists(path) and os.path.getmtime(path) > started + 2)


def _compare_certificate(found: Differences, node: LiveNode, certificate: Mapping[str, Any]) -> None:
    """Ray reads its certificate once, too, and whom it trusts.

    :arg certificate: what is wrong with the files (_tls), which are not written yet: kind, rejected.
    """
    directory = (node.config.get("tls") or {}).get("directory")
    if not directory or directory != node.tls_directory:
        return
    files = NodeFiles.of(directory)
    kind = str(certificate.get("kind") or "")
    if kind == "authority" or _is_newer(files.authority, node) and not _is_trusted(node, files.authority):
        found.add("certificate authority", "the declared one", "another one", "other_tls")
    elif kind:
        own = "trust" if kind == "trust" else "certificate"
        found.add("certificate", "valid", kind, "rejected_certificate" if certificate.get("rejected") else own)
    elif _is_newer(files.authority, node):
        found.add("trusted authorities", "the file's", "older ones", "trust")
    elif _is_newer(files.certificate, node):
        found.add("certificate", "the file's", "an older one", "certificate")


def _is_trusted(node: LiveNode, authority: str) -> bool:
    """Whether the certificate that its raylet has read is of the authorities of a file."""
    ports = (node.config.get("network") or {}).get("ports") or {}
    address, port = node.address or "127.0.0.1", ports.get("node_manager")
    if not port:
        return True
    try:
        # What listens there is Ray's.
        user: Any = node.user or own_name()
        return bool(as_user(user, lambda: shown_by(address, int(port), authority, _HANDSHAKE), 2 * _HANDSHAKE))
    except GuestError:
        return True  # It does not answer, which is another difference.


def other_tls(found: Differences, node: LiveNode) -> str:
    """What runs where that cannot talk to nodes as declared: plain, tls or authority (another one); empty for none."""
    if not node.running or not any(item.kind == "other_tls" for item in found):
        return ""
    declared, live = bool((node.config.get("tls") or {}).get("directory")), bool(node.tls_directory)
    return "authority" if declared and live else "tls" if live else "plain"


def all_differences(
    node: LiveNode, others: bool = True, certificate: Mapping[str, Any] | None = None
) -> tuple[Differences, str]:
    """Everything that stands between the declared state and this host.

    :arg others: whether other Ray nodes on the host count.
    :arg certificate: see restart_differences.
    :returns: the differences, and the action that mends them: none, reload, start or restart.
    """
    if node.running:
        found = restart_differences(node, certificate)
        action = "restart" if found else "none"
    else:
        found, action = Differences(), "start"
        found.add("executable", node.start.executable, None, "executable")
        for option in node.start.options:
            found.add(option, _HIDDEN if option == "--redis-password" else _shown(option, node.start.options), None)
        for name in sorted(node.start.environment):
            found.add(f"environment {name}", _shown_variable(name, node.start.environment), None, "environment")
    for process in node.foreign if others else []:
        where = process.options.get("--gcs-address") or "its own cluster"
        found.add(f"other Ray on this host, {process.kind} {process.pid}", None, where, "foreign")
    if node.unit.exists:
        found.compare("unit file", "loaded", "changed on disk" if node.unit.stale else "loaded", "unit")
        found.compare("enabled", True, node.unit.enabled, "enabled")
        if node.running:
            found.compare("timers", "active", "active" if node.unit.timers_active else "inactive", "timers")
    return found, "reload" if action == "none" and found else action


def can_wait(found: Differences, action: str) -> bool:
    """Whether a running head may be restarted after its workers: none of what differs is seen by them."""
    return action == "restart" and all(
        item.kind in _OWN_KINDS or (item.kind == "option" and item.option in _OWN_OPTIONS) for item in found
    )


def other_environment(node: LiveNode) -> str:
    """The environment that runs where it is not the declared one; empty for none.

    A process can write its own command line anew: what is no plain path of a `ray` is none.
    """
    live = _live_executable(node) if node.running else None
    if not live or live == node.start.executable or not re.fullmatch(r"(/[A-Za-z0-9._+~@-]+)+/bin/ray", live):
        return ""
    return os.path.dirname(os.path.dirname(live)) if os.path.normpath(live) == live else ""

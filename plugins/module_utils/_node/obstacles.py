# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a node that is to start on this host: other programs on its ports, closed directories."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._environment.imported import python_version
from ansible_collections.rayops.cluster.plugins.module_utils._environment.needs import (
    python_problem,
    room_for_environment,
    room_for_sessions,
    room_problems,
)
from ansible_collections.rayops.cluster.plugins.module_utils._environment.virtual_environment import ray_version
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import ports_of
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import Listener, listeners
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened_place, path_of
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem

# What Ray 2.60 binds to one address only; all else it binds to every one.
_OWN_ADDRESS = ("client_server", "dashboard_agent_listen", "runtime_env_agent")
_ANY = "0.0.0.0"
# By it Ray compares less of two Pythons.
_MATCH_LEVEL = "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL"


def obstacles(live: LiveNode, install: dict[str, Any] | None, stop_others: bool) -> list[Problem]:
    """What would keep a node from starting that does not run as declared.

    :arg install: the module's option; without it only ports and the disk of the sessions are looked at.
    :arg stop_others: whether the host's other Ray nodes are ended first.
    :returns: of the kinds port_taken, path_refused, path_closed, python_missing, python_old, version_mismatch and
        disk_small.
    :raises PathError: the interpreter is one that others than root can change.
    """
    environment = os.path.dirname(os.path.dirname(live.start.executable))
    temp_dir = (live.config.get("ray") or {}).get("temp_dir")
    found, rooms = list(_ports(live, stop_others)), []
    if temp_dir and not live.running:
        rooms.append(room_for_sessions(temp_dir))
    if install:
        found += [problem for path in (os.path.dirname(environment), temp_dir) if path
                  for problem in _way(path, install["user"])]
        # What is closed to its owner below that, an earlier run has made, and the next one opens.
        state = (live.config.get("gcs") or {}).get("path")
        way = _way(state, install["user"]) if state else []
        found += [problem for problem in way if problem.kind == "path_refused"]
    if install and install["python"] and not os.path.exists(live.start.executable):
        unfit = python_problem(install["python"])
        found += [unfit] if unfit else []
        rooms.insert(0, room_for_environment(environment, install["packages"], install["size"]))
    found += _unlike_the_head(live, install) if install else []
    return found + room_problems(rooms)


def versions(live: LiveNode, install: Mapping[str, Any]) -> dict[str, str]:
    """What a node runs, or is to run: ray and python, empty for what is not known. install: the module's option."""
    environment = os.path.dirname(os.path.dirname(live.start.executable))
    python = f"{environment}/bin/python"
    python = python if os.path.exists(python) else install["python"]
    user = install["user"] if guest.exists(install["user"]) else "nobody"
    return {"ray": ray_version(environment) or "", "python": python_version(python, user) if python else ""}


def _unlike_the_head(live: LiveNode, install: Mapping[str, Any]) -> Iterator[Problem]:
    """Ray lets no node join that has another Ray or Python than the head, down to the last number."""
    if not install.get("head_versions"):
        return
    own, head = versions(live, install), install["head_versions"]
    parts = 2 if (live.config.get("environment") or {}).get(_MATCH_LEVEL) == "minor" else 3
    unlike = [name for name in own if own[name] and head.get(name)
              and own[name].split(".")[:parts] != str(head[name]).split(".")[:parts]]
    if unlike:
        pool = next((group for group in install["groups"] if group.startswith("ray_pool_")), "")
        file = f" in group_vars/{pool}.yml" if pool else ""
        here, there = (", ".join(f"{name.capitalize()} {found[name]}" for name in unlike) for found in (own, head))
        environment = os.path.dirname(os.path.dirname(live.start.executable))
        fix = f"set ray_environment_path{file} to an environment with {there}."
        if install["python"]:
            again = f", and remove {environment}, which is made anew" if os.path.exists(environment) else ""
            fix = f"set ray_python{file} to an interpreter of {there}{again}."
        who = live.config["ray"]["node_name"] + (f" of pool {pool[len('ray_pool_'):]}" if pool else "")
        fact = f"{who} has {here}, the head has {there}, and Ray lets only equal ones join"
        yield Problem("version_mismatch", fact, fix)


def _ports(live: LiveNode, stop_others: bool) -> Iterator[Problem]:
    """Ports that somebody else has. What this unit has is the node's own, and what is ended first holds nothing."""
    others = live.others if stop_others else []
    pids = {process.pid for process in others}
    services = {live.unit.name, *(process.service for process in others if process.service)}
    for name, port in ports_of(live.start).items():
        for found in _listeners(live, name, port):
            if found.pid not in pids and found.service not in services:
                stop = f"stop it (systemctl disable --now {found.service})" if found.service else "stop it"
                yield Problem("port_taken", f"port {port} of this host (ray_ports.{name}) is taken by {found}",
                              f"{stop}, or set ray_ports.{name} to a free port, for all hosts.")
                break


def _listeners(live: LiveNode, name: str, port: int) -> list[Listener]:
    addresses = [_ANY]
    if name in _OWN_ADDRESS:
        addresses = [live.address, "127.0.0.1"] if live.address else [_ANY]
    elif name == "dashboard":
        addresses = [live.start.options.get("--dashboard-host") or "127.0.0.1"]
    return [found for address in addresses for found in listeners(address, port)]


def _way(path: str, user: str) -> list[Problem]:
    """Whether root goes to a place, through links of its own to a data disk, and the node's user then can."""
    closed: list[str] = []

    def look(directory: int) -> None:
        if not _may_pass(os.fstat(directory), user) and "system.posix_acl_access" not in os.listxattr(directory):
            closed.append(path_of(directory))

    try:
        with opened_place(path, each=look):
            pass
    except (FileNotFoundError, NotADirectoryError):
        pass
    except PathError as error:
        return [Problem("path_refused", error.fact, error.fix)]
    return [
        Problem("path_closed", f"{path} lies in {place}, which is closed to user {user}", f"chmod o+x {place}.")
        for place in dict.fromkeys(closed)
    ]


def _may_pass(directory: os.stat_result, user: str) -> bool:
    """Whether a user may go through a directory; one that is not there yet is nobody's owner and in no group."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return bool(directory.st_mode & stat.S_IXOTH)
    if entry.pw_uid in (0, directory.st_uid):
        return entry.pw_uid == 0 or bool(directory.st_mode & stat.S_IXUSR)
    if directory.st_gid in os.getgrouplist(user, entry.pw_gid):
        return bool(directory.st_mode & stat.S_IXGRP)
    return bool(directory.st_mode & stat.S_IXOTH)

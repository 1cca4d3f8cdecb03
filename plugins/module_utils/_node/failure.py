# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a node does not start: what its unit, its storage and its logs say, to who starts it and to who diagnoses it."""

from __future__ import annotations

import glob
import os
import re
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._node.config import storage_of
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import (
    GuestError,
    as_user,
    own_name,
    read_tail,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.log import telling_line
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import Unit

# For what is read as Ray's user.
GUEST_SECONDS = 20.0
_CORRUPT = re.compile(r"Corruption: .*|Bad file format reading .*|Short read or OOM loading DB.*|Wrong signature .*")


def unit_problem(unit: Unit) -> Problem | None:
    """What keeps a unit from running the command that its file declares; None for nothing.

    Drop-ins that add settings are the host's own affair.
    """
    if unit.masked:
        return Problem("unit_overridden", f"{unit.name} is masked by {unit.fragment}", (
            f"`systemctl unmask {unit.name}` on the host, then run site.yml, which installs it again."))
    paths = unit.overriding("ExecStart") if unit.drop_ins else []
    if paths:
        which = f"which starts {unit.program}" if unit.program else "which starts nothing"
        return Problem("unit_overridden", f"ExecStart of {unit.name} is replaced by {' and '.join(paths)}, {which}", (
            "take ExecStart out of that file, then `systemctl daemon-reload`; other settings may stay in it."))
    return None


def corruption(log: str) -> str:
    """The last line that tells of stored state that cannot be read; empty for none."""
    found = _CORRUPT.findall(log)
    return " ".join(found[-1].split())[:200].rstrip(". ") if found else ""


def newest_log(temp_dir: str, program: str) -> str:
    """The file with the last words of a program of Ray's in its last session; empty for none."""
    logs = glob.glob(f"{glob.escape(temp_dir)}/session_latest/logs/{program}*.err")
    return max(logs, key=os.path.getmtime, default="")


def rocksdb_corruption(temp_dir: str, path: str) -> str:
    """What the last GCS server said of a RocksDB that it could not open; empty where it could, or has another by now.

    :arg temp_dir: where the sessions are.
    :arg path: the database.
    """
    log = newest_log(temp_dir, "gcs_server")
    found = corruption(read_tail(log)) if log else ""
    # A backup that was put back is newer than the log. Opening the database touches it too, just before.
    files = [path, *glob.glob(f"{glob.escape(path)}/*"), *glob.glob(f"{glob.escape(path)}/*/CURRENT")]
    changed = max((os.stat(name).st_ctime for name in files if os.path.exists(name)), default=0)
    return found if found and changed <= os.path.getmtime(log) + 2 else ""


def raylet_words(live: LiveNode, since: float) -> str:
    """Why a raylet ended by itself, in its own words: its unit's log has none of them. Empty where it said nothing.

    :arg since: seconds since the epoch; what is older belongs to another start.
    """
    temp_dir = _directory(live.config, "ray", "temp_dir")

    def words() -> str:
        log = newest_log(temp_dir, "raylet")
        return telling_line(read_tail(log)) if log and os.path.getmtime(log) >= since else ""

    user = live.user or own_name()
    try:
        return str(as_user(user, words, GUEST_SECONDS) if user else words())
    except (GuestError, OSError):
        return ""


def storage_problem(live: LiveNode, node_type: str, user: str | None) -> Problem | None:
    """What keeps a head from reading its state in RocksDB; None for nothing, and while a GCS server has it open.

    :arg user: as whom the logs are read; None for whoever runs this.
    :raises GuestError: they could not be read.
    """
    if node_type != "head" or storage_of(live.config) != "rocksdb":
        return None
    if any(process.kind == "gcs_server" and process.in_unit(live.unit.name) for process in live.processes):
        return None
    temp_dir, path = _directory(live.config, "ray", "temp_dir"), _directory(live.config, "gcs", "path")
    corrupt = as_user(user, lambda: rocksdb_corruption(temp_dir, path), GUEST_SECONDS) if user else (
        rocksdb_corruption(temp_dir, path))
    return None if not corrupt else Problem("storage_corrupt", f"the GCS cannot read {path}: {corrupt}", (
        "put a backup back, which moves the damaged state aside: `ansible-playbook rayops.cluster.replace_head "
        "-e replace_head_backup=FILE -e replace_head_force=true`; or begin anew: "
        "`ansible-playbook rayops.cluster.reset -e reset_state=wipe`."))


def _directory(config: dict[str, Any], part: str, name: str) -> str:
    return str((config.get(part) or {}).get(name) or "")


def start_problems(live: LiveNode, node_type: str) -> list[Problem]:
    """What is known to end a node's start, before it and while it is waited for."""
    found = [unit_problem(live.unit)]
    if live.unit.exists:
        try:
            found.append(storage_problem(live, node_type, live.user or own_name()))
        except GuestError:
            pass  # Whoever cannot look at the logs does not know.
    return [problem for problem in found if problem]

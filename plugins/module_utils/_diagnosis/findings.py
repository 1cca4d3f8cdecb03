# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a host of a Ray cluster. Only looks; what it finds says what may be done without harm."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Union

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis import facts
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.host import Nft
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.rules import TABLE
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.table import Table
from ansible_collections.rayops.cluster.plugins.module_utils._node.failure import GUEST_SECONDS, corruption
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user, harmless
from ansible_collections.rayops.cluster.plugins.module_utils._system.log import telling_line
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import SystemdError, Unit

# A node that was started by systemd again and again and is younger than this may fall once more.
STEADY = 300.0
# A node that was given up this often within these seconds, the last time not longer ago than these, flaps: it takes the
# GCS half a minute at most.
FLAPS, FLAP_WINDOW, FLAP_PAUSE = 3, 600.0, 60.0
# Sessions of terabytes have many files.
PRUNE_SECONDS = 900.0
# None is that all was done.
Mending = Callable[[], Union[tuple[bool, str], None]]


@dataclass
class Finding:
    """One thing that is wrong.

    problem: its fixed name; detail: a sentence with the facts; mend: what recover does, empty for nothing;
    person: what a person must do where recover does nothing, or in vain; empty for nothing;
    step: how recover does it; blocks: the step that is of no use, or does harm, before a person has done this.
    """

    problem: str
    detail: str
    mend: str = ""
    person: str = ""
    step: str = ""
    blocks: str = ""

    def to_dict(self) -> dict[str, str]:
        """As a module returns it."""
        # Logs, and names of files and nodes, are for any job to choose.
        shown: dict[str, str] = harmless({name: value for name, value in asdict(self).items() if name != "blocks"})
        return shown


@dataclass
class KnownNode:
    """A node, as the GCS has it."""

    node_id: str = ""
    node_name: str = ""
    ip: str = ""
    state: str = ""
    state_message: str = ""
    death: str = ""
    dead_for: float | None = None


@dataclass
class Cluster:
    """What the GCS says: whether it answers, or why not, and its nodes that have this host's name or address."""

    answers: bool = False
    msg: str = ""
    ray_version: str = ""
    python_version: str = ""
    nodes: list[KnownNode] = field(default_factory=list)


def known_to(config: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """What a host has to know of its cluster: all but the nodes that have neither its name nor its address.

    :arg config: the declared state of its node.
    :arg status: what ray_status returned, with all nodes, or failed with; or what this function did.
    """
    nodes = status.get("nodes") or []
    # What is declared wrongly is told by who compiles it.
    node, network = (part if isinstance(part, dict) else {} for part in map(config.get, ("ray", "network")))
    name, address = node.get("node_name"), network.get("node_ip_address")
    own = [known for known in nodes if known.get("node_name") == name or known.get("ip") == address]
    return {
        "answers": bool(nodes or status.get("answers")),
        **{key: str(status.get(key) or "") for key in ("msg", "ray_version", "python_version")},
        "nodes": [_known_node(known) for known in own],
    }


def _known_node(node: dict[str, Any]) -> dict[str, Any]:
    texts = {key: str(node.get(key) or "") for key in KnownNode.__annotations__ if key != "dead_for"}
    seconds = node.get("dead_for")
    return {**texts, "dead_for": float(seconds) if isinstance(seconds, (int, float)) else None}


def flapping(cluster: Cluster) -> list[KnownNode]:
    """The nodes of this host that the GCS gave up of late, the last first; none where that is over, or no habit."""
    found = [node for node in cluster.nodes
             if node.death == "given_up" and node.dead_for is not None and node.dead_for <= FLAP_WINDOW]
    found.sort(key=lambda node: node.dead_for or 0.0)
    return found if len(found) >= FLAPS and (found[0].dead_for or 0.0) <= FLAP_PAUSE else []


@dataclass
class Declared:
    """What the diagnosis is told of the host and its cluster."""

    config: dict[str, Any] = field(default_factory=dict)
    config_file: str = ""
    cluster: Cluster = field(default_factory=Cluster)
    head_address: str = ""
    ray_version: str = ""
    token_digest: str = ""
    # In PEM, whom the head trusts; and by how many seconds this host's clock is ahead of the controller's, with the
    # time that it took to ask.
    authority: str = ""
    clock_ahead: float = 0.0
    redis_service: str = ""
    firewall: bool = False
    disk_limit: float = 0.95
    crash_restarts: int = 3
    user: str = "ray"

    @property
    def temp_dir(self) -> str:
        """Where Ray keeps its sessions."""
        return (self.config.get("ray") or {}).get("temp_dir") or ""

    @property
    def gcs_path(self) -> str:
        """Where RocksDB lies; empty for none."""
        return (self.config.get("gcs") or {}).get("path") or ""

    @property
    def token_path(self) -> str:
        """The host's file with the cluster's token; empty for none."""
        return (self.config.get("auth") or {}).get("token_path") or ""


def settle(findings: list[Finding]) -> tuple[list[Finding], list[str]]:
    """Leave to a person what is of no use, or does harm, before a person has done something else.

    :returns: the findings, and the steps that recover takes.
    """
    blocked = {finding.blocks for finding in findings} - {""}
    for finding in findings:
        if finding.step in blocked:
            finding.mend = ""
            finding.person = f"first what else is said of this host; then run recover again. {finding.person}".strip()
    return findings, sorted({finding.step for finding in findings if finding.step} - blocked)


def need_of(findings: list[Finding], steps: list[str], step: str, wait: bool) -> str:
    """Who is next, when all has been done that this host does for itself.

    :arg steps: what recover does, see settle.
    :arg step: the one of them that a role does for the host, ``start`` or ``redis``.
    :arg wait: whether nothing can be started, nor said of a node, before the head is back.
    :returns: ``nothing``, ``head`` (look again when it is back), ``node`` or ``redis`` (to be mended) or ``person``.
    """
    if wait and (step in steps or any(finding.problem == "node_unknown" for finding in findings)):
        return "head"
    if any(finding.blocks == step for finding in findings):
        return "person"
    return {"start": "node"}.get(step, step) if step in steps else "nothing"


def mend(findings: list[Finding], steps: Mapping[str, Mending], check: bool) -> bool:
    """Take steps on this host, each of which returns what it changed and what it left to a person.

    :arg check: only say so.
    :returns: whether anything was changed, or would be. What could not be done is left to a person, with the reason.
    """
    changed = False
    for name, step in steps.items():
        try:
            done, left = (True, "") if check else step() or (True, "")
        except (GuestError, SystemdError) as error:
            done, left = False, f"it could not be mended: {str(error).rstrip('.')}."
        changed = changed or done
        for finding in findings if left else []:
            if finding.step == name:
                finding.mend, finding.step, finding.person = "", "", f"{left} {finding.person}".strip()
    return changed


def prune() -> None:
    """Remove what ended sessions left, and wait for that."""
    Unit("ray-prune.service").restart(PRUNE_SECONDS)


def gather(checks: list[Callable[[], list[Finding]]]) -> list[Finding]:
    """All that the checks find. One that cannot look is a finding, not a failure."""
    found = []
    for check in checks:
        try:
            found += check()
        except Exception as error:  # pylint: disable=broad-exception-caught
            name = check.__name__.strip("_").replace("_", " ")
            found.append(Finding(
                "not_looked_at", f"'{name}' could not be looked at: {type(error).__name__}: {error}",
                person="mend what the message names, then run recover again.",
            ))
    return found


def crash_loop(unit: Unit, alive: bool, started: float | None, limit: int) -> bool:
    """Whether systemd starts a unit again and again; one that has run for a while since is over it."""
    steady = alive and started is not None and time.time() - started > STEADY
    return unit.restarts >= limit and not steady


def sick_unit(unit: Unit, step: str) -> list[Finding]:
    """What is wrong with a unit that does not run, and which step starts it."""
    log = f"see `journalctl -u {unit.name}` on the host for why it does not stay up."
    state = unit.properties.get("ActiveState") or "inactive"
    if not unit.exists:
        return [Finding("unit_missing", f"{unit.name} is not installed.", "it is installed and started.", log, step)]
    if not unit.stopped:
        return []
    if state == "failed":
        why = telling_line(unit.journal(60))
        detail = f"{unit.name} has failed" + (f": {why}" if why else ".")
        return [Finding("unit_failed", detail, "it is started.", log, step)]
    return [Finding("unit_stopped", f"{unit.name} is stopped.", "it is started.", log, step)]


def disabled_unit(unit: Unit, step: str) -> list[Finding]:
    """Whether a unit would not come back with its host, and which step enables it."""
    if not unit.exists or unit.enabled:
        return []
    return [Finding(
        "unit_disabled", f"{unit.name} does not start with the host.", "it is enabled.",
        f"`systemctl enable {unit.name}` on the host, and look for what disables it.", step,
    )]


class HostDiagnosis:
    """What can be wrong with a host whatever it runs."""

    def __init__(self, declared: Declared):
        self.declared = declared
        # Whose the files below temp_dir are; None where no node is declared, so that there are none.
        self.user: str | None = None
        # The files of ended processes, once they have been looked for.
        self.stale: list[str] = []

    def as_guest(self, call: Callable[[], Any]) -> Any:
        """Look at what Ray may have changed as Ray's user, which finds no more than a job does, and for a time."""
        return as_user(self.user, call, GUEST_SECONDS) if self.user else call()

    def steps(self) -> dict[str, Mending]:
        """The small things that are mended here: none of them ends a node, and none needs another host."""
        return {"prune": prune}

    def checks(self) -> list[Callable[[], list[Finding]]]:
        """The checks, in the order in which their findings are shown."""
        return [self.disks, *([self.redis_unit] if self.declared.redis_service else []),
                *([self.firewall] if self.declared.firewall else [])]

    def disks(self) -> list[Finding]:
        """File systems without room: Ray makes no object on a disk that is 95 % full."""
        found = []
        for path, used, prune in self.as_guest(self._full_disks):
            found.append(Finding(
                "disk_full", f"the file system of {path} has used {used}.",
                "what ended sessions left is removed (ray-prune.service)." if prune else "",
                f"make room: `du -xh {path} | sort -h | tail` on the host names the largest directories.",
                "prune" if prune else "",
            ))
        return found

    def _full_disks(self) -> list[tuple[str, str, bool]]:
        """The file systems that are full, what is used up, and whether sessions lie there."""
        store = self.declared.config.get("object_store") or {}
        temp_dir = self.declared.temp_dir
        paths = [temp_dir, self.declared.gcs_path, store.get("spilling_directory"), "/"]
        sessions = os.stat(temp_dir).st_dev if temp_dir and os.path.exists(temp_dir) else None
        full = facts.full_disks([path for path in paths if path], self.declared.disk_limit)
        return [(path, used, os.stat(path).st_dev == sessions) for path, used in full]

    def firewall(self) -> list[Finding]:
        """The table that keeps strangers from the cluster's ports: Ray starts without it, too."""
        trouble = Table(Nft()).trouble()
        return [Finding(
            "firewall_missing", f"the table {TABLE} does not keep strangers from the cluster's ports: {trouble}",
            person="run `ansible-playbook rayops.cluster.firewall`, which loads it or says what is in its way.",
        )] if trouble else []

    def redis_unit(self) -> list[Finding]:
        """The service that keeps the cluster's state."""
        unit = Unit(self.declared.redis_service)
        found = sick_unit(unit, "redis")
        looping = not found and not unit.active and unit.restarts >= self.declared.crash_restarts
        corrupt = corruption(unit.journal(60)) if looping or (found and unit.exists) else ""
        if corrupt:
            return [Finding(
                "storage_corrupt", f"{unit.name} cannot read its state: {corrupt}.", blocks="redis",
                person="put a backup of its directory back, or repair its files with redis-check-aof; or begin anew: "
                "`ansible-playbook rayops.cluster.reset -e reset_state=wipe`.",
            )]
        if looping:
            found = [Finding(
                "crash_loop", f"systemd has started {unit.name} {unit.restarts} times in vain: "
                f"{telling_line(unit.journal(60)) or 'its log does not say why'}", "it is started anew.",
                f"see `journalctl -u {unit.name}` on the host.", "redis",
            )]
        return found + disabled_unit(unit, "redis")

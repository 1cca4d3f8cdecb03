# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the Ray node of a host, against its declared state and what the GCS says of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis import facts
from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.findings import (
    Declared,
    Finding,
    HostDiagnosis,
    KnownNode,
    Mending,
    crash_loop,
    disabled_unit,
    flapping,
    sick_unit,
)
from ansible_collections.rayops.cluster.plugins.module_utils._environment.imported import python_version
from ansible_collections.rayops.cluster.plugins.module_utils._environment.virtual_environment import ray_version
from ansible_collections.rayops.cluster.plugins.module_utils._node import redis
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import (
    RayConfigError,
    load,
    redis_namespace,
    redis_of,
    storage_of,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.difference import all_differences, other_tls
from ansible_collections.rayops.cluster.plugins.module_utils._node.failure import (
    raylet_words,
    storage_problem,
    unit_problem,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.hardware import has_address, problems
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode, redis_password
from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import exists, own_name
from ansible_collections.rayops.cluster.plugins.module_utils._system.log import telling_line
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import started_at
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import Unit
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles, judge

# What a Redis that runs and cannot serve a GCS does, and who can help; the role mends the others.
_REDIS = {
    "loading": ("is still reading its state", "wait for it, then run recover again."),
    "unwritable": ("takes no writes", "make room on its disk, or mend what its log names."),
    "replica": ("takes no writes", "make it the primary again: restart its service on its host."),
}
# What a run as declared mends in the collection's own.
_OWN_REDIS = {
    "refused": "refuses the declared password",
    "certificate": "has a certificate that is not to be trusted: {0}",
}
_SICK = ("health", "raylet")
# What is told as something else, or concerns no process of the node.
_BESIDE = ("unit", "enabled", "timers", "foreign", "other_tls")
# What runs unlike declared, and what to set to keep it.
_OTHER_TLS = {
    "plain": ("without TLS", "set ray_tls: false"),
    "tls": ("with TLS", "set ray_tls: true"),
    "authority": ("with a certificate of another authority", "declare that one"),
}
# A certificate that others refuse: its problem, and what it is. All others have files that cannot be used.
_CERTIFICATES = {
    "expired": ("certificate_expired", "has ended"),
    "not_yet": ("certificate_not_yet", "is not valid yet"),
    "authority": ("certificate_foreign", "is of another authority than the head's"),
    "foreign": ("certificate_foreign", "is of no authority that the nodes trust"),
}
# A clock that is so far behind the controller's is wrong, and one that is so far ahead: to ask takes less.
_BEHIND, _AHEAD = 60.0, 3600.0
# Seconds for which a raylet's own words tell of its node's state now.
_RECENT = 600.0


class NodeDiagnosis(HostDiagnosis):
    """A Ray node, its unit, and its host."""

    def __init__(self, declared: Declared, node_type: str, live: LiveNode, accelerators: bool, other_nodes: str):
        super().__init__(declared)
        self.node_type, self.live, self.unit = node_type, live, live.unit
        self.accelerators, self.other_nodes = accelerators, other_nodes
        # The unit's, by systemd's record; before it is there, the one that it is to have, or one that finds nothing.
        planned = declared.user if exists(declared.user) else "nobody"
        self.user = (live.user or own_name()) if self.unit.exists else planned
        self.environment = os.path.dirname(os.path.dirname(live.start.executable))
        differences = all_differences(live)[0] if live.running else Differences()
        self.other_tls, found = other_tls(differences, live), list(differences)
        self.sick = [item for item in found if item.kind in _SICK]
        # What site.yml would change of a node that works.
        self.changed = [item for item in found if item.kind not in _SICK + _BESIDE]
        self.alive = bool(live.raylet) and not self.sick

    def checks(self) -> list[Callable[[], list[Finding]]]:
        return [
            self.declaration, self.overriding, self.versions, self.tls, self.certificate, self.storage, self.node,
            self.others, self.twins, self.token, self.address, self.head_name, self.beside, *super().checks(),
            self.shared_memory, self.stale_files,
        ]

    def steps(self) -> dict[str, Mending]:
        return {**super().steps(), "count": self.unit.reset_failed, "enable": self.unit.enable,
                "timers": self.start_timers, "remove": self.remove_stale}

    @property
    def again(self) -> str:
        """What a person looks at where recover mended in vain."""
        return f"see `journalctl -u {self.unit.name}` on the host for why it does not stay up."

    def declaration(self) -> list[Finding]:
        """What the declared state asks of this host and it has not: no start would get past that."""
        return [
            Finding(problem.kind, f"{problem.fact}.", person=problem.fix, blocks="start")
            for problem in problems(self.declared.config, self.node_type, self.accelerators)
        ]

    def overriding(self) -> list[Finding]:
        """Whether the unit starts what is declared."""
        problem = unit_problem(self.unit)
        if not problem:
            return []
        if self.alive:
            return [Finding(problem.kind, f"the node works, but {problem.fact}.",
                            f"nothing: it does not start again before a person does this: {problem.fix}")]
        return [Finding(problem.kind, f"{problem.fact}.", person=problem.fix, blocks="start")]

    def versions(self) -> list[Finding]:
        """Ray and Python must be the cluster's to the last digit."""
        cluster, installed = self.declared.cluster, ray_version(self.environment)
        ours = self.declared.ray_version or installed
        runs = cluster.ray_version
        upgrade = "run `ansible-playbook rayops.cluster.upgrade`"
        if runs and ours and ours != runs:
            return [Finding(
                "version_mismatch", f"Ray {ours} is declared for this host, and the cluster runs {runs}.",
                person=f"{upgrade}, or set ray_version: {runs}.", blocks="start",
            )]
        applied = self._applied_environment()
        if not runs and applied not in ("", self.environment):
            return [Finding(
                "version_mismatch", f"{self.environment} is declared for this host, which was set up with {applied}.",
                person=f"{upgrade}, or set ray_version as it was.", blocks="start",
            )]
        if not installed:
            return [Finding(
                "environment_missing", f"there is no Ray in {self.environment}.", "it is installed.",
                f"install Ray {ours or ''} there.", "start",
            )]
        ours, runs = python_version(f"{self.environment}/bin/python", self.user), cluster.python_version
        if runs and ours and ours != runs:
            return [Finding(
                "version_mismatch", f"{self.environment} has Python {ours}, and the cluster runs {runs}.",
                person=f"give every host the same Python (ray_python), then {upgrade}.", blocks="start",
            )]
        return []

    def tls(self) -> list[Finding]:
        """Whether the node speaks as the others do: to those it reaches none."""
        if not self.other_tls:
            return []
        runs, keep = _OTHER_TLS[self.other_tls]
        detail = f"the node runs {runs}, unlike what is declared (ray_tls), and Ray does not mix the two."
        if self.node_type == "worker" and self.declared.cluster.answers:
            return [Finding("tls_mismatch", detail, "it is restarted as declared.", self.again, "start")]
        return [Finding("tls_mismatch", detail, blocks="start", person=(
            f"run `ansible-playbook rayops.cluster.upgrade`, which changes all nodes together, or {keep}."))]

    def certificate(self) -> list[Finding]:
        """Whether the other nodes take its certificate."""
        directory = (self.declared.config.get("tls") or {}).get("directory")
        # One that is to have its first is told of above.
        if not directory or self.other_tls or not self.unit.exists:
            return []
        own = [name for name in (self.live.address,) if name]
        verdict = judge(NodeFiles.of(directory), own, self.declared.authority)
        if not verdict.rejected:
            return []
        problem, what = _CERTIFICATES.get(verdict.kind, ("certificate_unusable", f"cannot be used ({verdict.words})"))
        detail, ahead = f"the node's certificate {what}", self.declared.clock_ahead
        if problem in ("certificate_expired", "certificate_not_yet") and not -_BEHIND <= ahead <= _AHEAD:
            off = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the controller's"
            return [Finding(problem, f"{detail} by this host's clock, which is {off}.", blocks="start",
                            person="set the host's clock: `apt install chrony`, then `chronyc makestep`.")]
        return [Finding(problem, f"{detail}.", "it is signed anew, and the node is restarted.",
                        "see above why it could not be signed.", "start")]

    def _applied_environment(self) -> str:
        """The environment of the last run that configured this host; empty where none is known."""
        try:
            applied = load(self.declared.config_file, (self.environment,), self.user)
        except RayConfigError:
            return ""
        return (applied.get("ray") or {}).get("environment") or ""

    def storage(self) -> list[Finding]:
        """Where the head keeps the cluster's state."""
        storage = storage_of(self.declared.config) if self.node_type == "head" else ""
        if storage == "redis":
            return self._redis()
        problem = storage_problem(self.live, self.node_type, self.user)
        return [Finding(problem.kind, f"{problem.fact}.", person=problem.fix, blocks="start")] if problem else []

    def _redis(self) -> list[Finding]:
        config = self.declared.config
        server = redis_of(config) or redis.RedisServer("")
        where, password, namespace = f"Redis at {server.address}", redis_password(config), redis_namespace(config)
        theirs = bool((config.get("redis") or {}).get("url"))
        # With Redis down, any job may listen there.
        asked = self.as_guest(lambda: asdict(redis.ask(server, password, namespace if theirs else "")))
        reply = redis.RedisReply(**asked)
        if reply.kind == "ok":
            return []
        if theirs:
            fact, person = redis.explain(reply, server)
            return [Finding("storage_unreachable", f"{where} {fact}.", person=f"{person}.", blocks="start")]
        if reply.kind in _REDIS:
            fact, person = _REDIS[reply.kind]
            return [Finding("storage_unreachable", f"{where} {fact}: {reply.words}.", person=person)]
        fact = _OWN_REDIS.get(reply.kind, "does not answer: {0}").format(reply.words)
        return [Finding("storage_unreachable", f"{where} {fact}.", "it is configured and started.",
                        "see its log, and open its port to the head.", "redis")]

    def node(self) -> list[Finding]:
        """The unit, and whether its node lives."""
        if self.unit.masked:
            return []  # It is told of above.
        if not self.live.running:
            found = sick_unit(self.unit, "start")
            if found:
                return found
        flaps = flapping(self.declared.cluster)
        if flaps:
            return [self._flaps(flaps)]
        if self._loops():
            return [self._loop()]
        if not self.live.running:
            return []
        raylet, cluster = self.live.raylet, self.declared.cluster
        node_id = raylet.options.get("--node_id") if raylet else None
        dead = [node for node in cluster.nodes if node.node_id == node_id and node.state == "DEAD"]
        if dead:
            message = " ".join(dead[0].state_message.split()).rstrip(".")
            return [self._dead(f"the GCS has it as DEAD{f': {message}' if message else ''}")]
        if self.sick and (self.node_type == "head" or not raylet or cluster.answers):
            return [self._dead(self.sick[0].live if raylet else "its raylet is gone")]
        if not raylet:
            return [Finding("node_starting", f"{self.unit.name} runs, and its raylet is still to come.",
                            "nothing: it is waited for.")]
        if self.sick:
            # An agent asks the GCS: that it gets no answer says nothing of its own node.
            return [Finding("node_unknown", "the GCS does not answer, so nobody can say whether the node is alive.",
                            "it is looked at again when the head is back.")]
        if self.node_type == "head" and not cluster.answers and cluster.msg:
            return [Finding("gcs_silent", cluster.msg, "the head is brought to its declared state.",
                            self.again, "start")]
        return []

    def _dead(self, why: str) -> Finding:
        return Finding("node_dead", f"{self.unit.name} is active, but its node is not: {why}.", "it is restarted.",
                       self.again, "start")

    def _flaps(self, lost: list[KnownNode]) -> Finding:
        last = max(node.dead_for or 0.0 for node in lost)
        why = " ".join(lost[0].state_message.split()).rstrip(".")
        return Finding(
            "node_flapping", f"the GCS gave its node up {len(lost)} times within {last / 60 + 1:.0f} minutes, and it "
            f"came back each time: {why}.", blocks="start",
            person="let the head open connections to this host on all ports of the cluster (see problem network), or "
            "find what keeps it from answering for half a minute: memory, disk, processor.",
        )

    def _loops(self) -> bool:
        started = started_at(self.unit.main_pid) if self.live.running else None
        return crash_loop(self.unit, self.alive, started, self.declared.crash_restarts)

    def _loop(self) -> Finding:
        own = telling_line(self.unit.journal(60)) or raylet_words(self.live, time.time() - _RECENT)
        why = own or self.unit.ending or "its log does not say why"
        detail = f"systemd has started {self.unit.name} {self.unit.restarts} times by itself: {why}"
        if self.alive:
            return Finding("crash_loop", detail, "it is alive: its count begins anew.", self.again, "count")
        return Finding("crash_loop", detail, "it is restarted as declared.", self.again, "start")

    def others(self) -> list[Finding]:
        """Ray that runs on this host outside the unit."""
        if self.other_nodes == "ignore" or not self.live.foreign:
            return []
        shown = [f"{process.kind} {process.pid}" for process in self.live.foreign]
        where = self.live.foreign[0].options.get("--gcs-address") or "its own"
        # A node that works would be restarted by what ends the others.
        works = self.alive and bool(self.changed)
        return [Finding(
            "node_foreign", f"{', '.join(shown)} runs outside {self.unit.name}, in cluster {where}.",
            "" if works else "it is ended.",
            "end it by hand, or run site.yml, which also restarts the node because it is not as declared." if works
            else "find what starts it again, and disable that.", "" if works else "start",
        )]

    def twins(self) -> list[Finding]:
        """Other nodes that the GCS has as ALIVE on this address, or under this name."""
        name = (self.declared.config.get("ray") or {}).get("node_name")
        raylets = [process for process in self.live.processes if process.kind == "raylet"]
        here = {process.options.get("--node_id"): process.in_unit(self.unit.name) for process in raylets}
        nodes = [node for node in self.declared.cluster.nodes
                 if node.state != "DEAD" and (node.ip == self.live.address or (name and node.node_name == name))]
        found = []
        for node in nodes if len(nodes) > 1 else []:
            what = f"the GCS has node {node.node_id[:12]}"
            if here.get(node.node_id) is False and self.other_nodes == "stop":
                found.append(Finding("twin_nodes", f"{what} too, which runs here outside the unit.", "it is ended."))
            elif node.ip != self.live.address:
                found.append(Finding("twin_nodes", f"a node of the same name runs at {node.ip}.", person=(
                    "give every host a name of its own in the inventory, or stop Ray there.")))
            elif node.node_id not in here:
                found.append(Finding("twin_nodes", f"{what} as ALIVE here, and it has ended.",
                                     "nothing: the GCS notices it within half a minute."))
        return found

    def token(self) -> list[Finding]:
        """Whether this host has the head's token."""
        path, wanted = self.declared.token_path, self.declared.token_digest
        digest = facts.digest_of(path) if path else ""
        if path and not digest and self.node_type == "head" and self.unit.exists:
            return [Finding("token_mismatch", f"{path} is missing, and a new one would shut out every worker.",
                            person=f"copy {path} here from a worker, group ray, mode 0640.", blocks="start")]
        if not path or not wanted or digest == wanted:
            return []
        detail = "is not the head's" if digest else "is missing"
        return [Finding("token_mismatch", f"the token in {path} {detail}.", "the head's is written; the node restarts.",
                        "see what writes another one there.", "start")]

    def address(self) -> list[Finding]:
        """Whether the node runs at an address that its host no longer has."""
        declared = (self.declared.config.get("network") or {}).get("node_ip_address") or ""
        raylet = self.live.raylet
        runs = raylet.options.get("--node_ip_address") if raylet else None
        if not declared or not runs or runs == declared or has_address(runs):
            return []
        return [Finding("address_changed", f"the node runs at {runs}, which is no address of this host any more.",
                        f"it is restarted at {declared}.", self.again, "start")]

    def head_name(self) -> list[Finding]:
        """Whether this host finds the head under its name."""
        wanted = self.declared.head_address
        name = self.live.gcs_address.rpartition(":")[0]
        if self.node_type == "head" or not wanted or name == wanted:
            return []
        found = facts.addresses_of(name)
        if wanted in found:
            return []
        leads = f"leads to {', '.join(sorted(found))}" if found else "is not known"
        return [Finding("head_name", f"{name} {leads} on this host, and the head is at {wanted}.",
                        "its line in /etc/hosts is written.", f"let {name} lead to {wanted} in the DNS.", "hosts")]

    def beside(self) -> list[Finding]:
        """What belongs to the unit: its start with the host, its timers; and what site.yml would change."""
        found = disabled_unit(self.unit, "enable")
        if self.live.running and not self.unit.timers_active:
            found.append(Finding("timers_stopped", f"{' or '.join(self.unit.timers)} does not run.", "it is started.",
                                 self.again, "timers"))
        if self.alive and self.changed:
            names = [item.option for item in self.changed]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            found.append(Finding("not_as_declared", f"the node works, with another {', '.join(names[:3])}{more}.",
                                 "nothing: site.yml changes it, with a drain."))
        return found

    def shared_memory(self) -> list[Finding]:
        """Whether what others left in it lets the object store grow to its size."""
        store = self.declared.config.get("object_store") or {}
        directory, raylet = store.get("plasma_directory") or "/dev/shm", self.live.raylet
        size = int(store.get("memory") or (raylet.options.get("--object_store_memory") if raylet else 0) or 0)
        if directory != "/dev/shm" or not size or not os.path.isdir(directory):
            return []
        used, largest = self.as_guest(lambda: facts.visible_bytes(directory))
        space = os.statvfs(directory)
        total = space.f_blocks * space.f_frsize
        # A store that is larger than the file system is another problem, and found above.
        if size > total or used + size <= total:
            return []
        detail = f"files of others take {used} of {total} bytes in {directory}, and the object store may need {size}."
        return [Finding("shm_full", detail, person=f"remove what nobody uses, {largest} first, or enlarge {directory}: "
                        f"`mount -o remount,size={used + size} {directory}`.")]

    def stale_files(self) -> list[Finding]:
        """What ended processes left, by which others look for them."""
        temp_dir, clusters = self.declared.temp_dir, self._clusters()
        self.stale = self.as_guest(lambda: facts.stale_files(temp_dir, clusters)) if temp_dir else []
        if not self.stale:
            return []
        more = f" and {len(self.stale) - 1} more" if len(self.stale) > 1 else ""
        return [Finding("stale_files", f"{self.stale[0]}{more} belongs to no process.", "it is removed.", "", "remove")]

    def remove_stale(self) -> tuple[bool, str]:
        """Remove them."""
        # As Ray's user too: by the time that root came to them, they may be links to something else.
        temp_dir, clusters = self.declared.temp_dir, self._clusters()
        kept = self.as_guest(lambda: facts.remove_stale(temp_dir, clusters))
        return len(kept) < len(self.stale), f"remove {kept[0]}, which user {self.user} cannot." if kept else ""

    def start_timers(self) -> None:
        """Start the timers of the node; one that runs is not touched."""
        for timer in self.unit.timers:
            Unit(timer).start()

    def _clusters(self) -> list[str]:
        """The addresses of the clusters that this host knows."""
        known = {process.options.get("--gcs-address") or "" for process in self.live.processes}
        port = self.live.gcs_address.rpartition(":")[2]
        return sorted(known | {self.live.gcs_address, f"{self.declared.head_address}:{port}"})

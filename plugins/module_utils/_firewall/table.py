# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table on a host: on trial until the controller has come in anew, and withdrawn by the host itself if not."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._files.file import replace_file
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.host import Nft, NftError, is_ours
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.netlink import delete_table
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.ports import Ports
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.rules import TABLE, Rules, replacing
from ansible_collections.rayops.cluster.plugins.module_utils._system.log import telling_line
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened_place, read_regular
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import SystemdError, Unit

# What is loaded at boot; what is known of it; what a trial needs, gone with the next boot.
RULES = "/etc/rayops/firewall.nft"
RECORD = "/var/lib/rayops/firewall.json"
TRIAL, BEFORE = "/run/rayops/firewall.trial", "/run/rayops/firewall.before"
UNIT, WITHDRAWAL = "ray-firewall.service", "ray-firewall-withdraw"
_UNIT_FILE = f"/etc/systemd/system/{UNIT}"
# Before anything of the cluster's, and before there is a network. Whoever flushes all tables by a restart of the
# distribution's own service brings ours back. It ends with the kernel, after the last process.
_UNIT = """\
# Managed by rayops.cluster: ray_firewall.
[Unit]
Description=Firewall of the Ray cluster
Documentation=https://github.com/rayops/rayops.cluster/blob/main/docs/security.md
DefaultDependencies=no
RequiresMountsFor={rules}
Wants=network-pre.target
Before=network-pre.target sysinit.target ray-head.service ray-worker.service
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} --file {rules}
ExecReload={nft} --file {rules}
ExecStop=-{nft} delete table {table}
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_ADMIN
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077

[Install]
WantedBy=sysinit.target
"""


@dataclass
class Record:
    """What this collection knows of a host's table.

    hosts: the cluster's hosts with their addresses; ports: by who may use them; clients, monitors: networks; listing:
    the digest of the table as it was listed when it was loaded, by which a hand in it is seen.
    """

    hosts: dict[str, list[str]] = field(default_factory=dict)
    ports: Ports = field(default_factory=Ports)
    clients: list[str] = field(default_factory=list)
    monitors: list[str] = field(default_factory=list)
    listing: str = ""

    @classmethod
    def read(cls) -> Record | None:
        """This host's; None where there is none, or none that can be read."""
        try:
            found = json.loads(read_regular(RECORD))
            hosts = {str(name): list(map(str, own)) for name, own in found["hosts"].items()}
            clients, monitors = (list(map(str, found[name])) for name in ("clients", "monitors"))
            return cls(hosts, Ports.of(found["ports"]), clients, monitors, str(found["listing"]))
        except (OSError, PathError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def rules(self) -> str:
        """The file that nft loads.

        :raises ValueError: a source is no network.
        """
        return Rules(self.ports, sorted(set().union(*self.hosts.values())), self.clients, self.monitors).render()

    def text(self) -> str:
        """The record as it is written."""
        content = {**vars(self), "ports": self.ports.texts()}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"


def unit_text(nft: str) -> str:
    """The unit that loads the table at boot. nft: the program."""
    return _UNIT.format(rules=RULES, table=TABLE, nft=nft)


def digest(listing: str) -> str:
    return hashlib.sha256(listing.encode()).hexdigest()


def traces() -> list[str]:
    """The files of ours that this host has; that the table is there, too, only nft knows."""
    files = (RULES, RECORD, _UNIT_FILE, BEFORE, TRIAL, f"{TRIAL}.json")
    return [path for path in files if os.path.lexists(path)]


def rules_file() -> str:
    """The file that is loaded at boot; empty where there is none."""
    return _read(RULES)


class Table:
    """Our table on this host, and what becomes of it."""

    def __init__(self, nft: Nft) -> None:
        self.nft = nft
        self.unit = Unit(UNIT)
        self.timer = Unit(f"{WITHDRAWAL}.timer")

    def is_kept(self, record: Record) -> bool:
        """Whether the host has what a record says, now and after a boot."""
        found = Record.read()
        return (
            record.rules == rules_file() and found is not None and self.unit.active and self.unit.enabled
            and not self.timer.active and _read(_UNIT_FILE) == self._unit_text()
            and found.listing == digest(self.nft.listing())
            and replace(record, listing=found.listing) == found
        )

    def trouble(self) -> str:
        """Why strangers are not kept out, now or after a boot, a sentence; empty where they are."""
        found = Record.read()
        if found is None or not rules_file():
            return "none was loaded by this collection."
        try:
            listing = self.nft.listing()
        except NftError as error:
            return str(error)
        if not listing:
            line = telling_line(self.unit.journal(60)) if self.unit.failed else ""
            return f"{UNIT} has failed: {line}" if line else "it is not there."
        if digest(listing) != found.listing:
            return "somebody has changed it."
        return "" if self.unit.enabled else f"{UNIT} does not start with the host."

    def try_out(self, record: Record, seconds: float) -> None:
        """Load what a record says. Unless they are kept within the time, the host goes back to what it had.

        :raises NftError: they cannot be loaded, and what was there has stayed.
        """
        if self.timer.active:
            # Of a run that was interrupted: what was before that is what can be gone back to.
            self.withdraw()
        # systemd takes no second unit of a name, and one whose withdrawal failed is there until it is forgotten.
        Unit(f"{WITHDRAWAL}.service").reset_failed()
        listing = self.nft.listing()
        _write(BEFORE, replacing(listing))
        _write(TRIAL, record.rules)
        self.nft.check(TRIAL)
        self._systemd_run(seconds)
        try:
            self.nft.load(TRIAL)
            _write(f"{TRIAL}.json", replace(record, listing=digest(self.nft.listing())).text())
        except NftError:
            self.withdraw()
            raise

    def keep(self) -> None:
        """Keep what is on trial, also after a boot.

        :raises NftError: it was withdrawn meanwhile.
        """
        trial, record = _read(TRIAL), _read(f"{TRIAL}.json")
        was_active = self.timer.active
        self._stop_timer()
        listing = digest(self.nft.listing())
        if not was_active or not record or json.loads(record)["listing"] != listing:
            raise NftError("The rules were withdrawn, as nobody kept them in time: run this again.")
        _write(_UNIT_FILE, self._unit_text(), 0o644)
        _write(RULES, trial)
        _write(RECORD, record)
        self.unit.reload()
        self.unit.enable()
        self.unit.start()
        self._forget_trial()

    def withdraw(self) -> None:
        """Go back to what was before the trial."""
        if os.path.exists(BEFORE):
            self.nft.load(BEFORE)
        self._stop_timer()
        self._forget_trial()

    def remains(self) -> list[str]:
        """What there is of ours, by the names that users know, whether or not nft can be asked."""
        try:
            return traces() + ([f"table {TABLE}"] if is_ours(self.nft.listing()) else [])
        except NftError:
            return traces()

    def remove(self) -> str:
        """Remove all that is ours.

        :returns: why the table itself may have stayed, a sentence; empty if it has not.
        """
        left = ""
        try:
            if is_ours(self.nft.listing()):
                self.nft.delete()
        except NftError as error:
            # It cannot be seen whose it is, but by what is known of it, and by what has loaded it.
            left = self._removed_without_nft(error) if Record.read() and self.unit.active else ""
        self._stop_timer()
        if os.path.lexists(_UNIT_FILE):
            # Its own end would remove a table of somebody else's that has come in the place of ours: it has none now.
            _write(_UNIT_FILE, self._unit_text().replace("ExecStop=", "#ExecStop="), 0o644)
            self.unit.reload()
            self.unit.stop(60)
            self.unit.disable()
        for path in (_UNIT_FILE, RULES, RECORD):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.unit.forget()
        self._forget_trial()
        with contextlib.suppress(OSError):
            # Others of the collection's may have theirs in it.
            os.rmdir(os.path.dirname(RULES))
        return left

    @staticmethod
    def _removed_without_nft(reason: NftError) -> str:
        try:
            delete_table(TABLE.split()[1])
        except OSError as error:
            if error.errno != errno.ENOENT:
                return f"The table {TABLE} may have stayed, and ends with the next boot: {reason}"
        return ""

    def _unit_text(self) -> str:
        return unit_text(self.nft.path or "/usr/sbin/nft")

    def _systemd_run(self, seconds: float) -> None:
        """Let the host itself go back, whatever becomes of this process, of its connection, and of the controller."""
        command = ["systemd-run", "--quiet", f"--unit={WITHDRAWAL}", f"--on-active={seconds}s",
                   "--timer-property=AccuracySec=100ms", "--description=Withdraws the firewall that nobody kept",
                   str(self.nft.path), "--file", BEFORE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SystemdError(f"systemd-run failed: {error}.") from None
        if done.returncode:
            raise SystemdError(f"systemd-run failed: {' '.join(done.stderr.split())}")
        self.timer.refresh()

    def _stop_timer(self) -> None:
        if self.timer.active:
            self.timer.stop(60)
        Unit(f"{WITHDRAWAL}.service").reset_failed()
        self.timer.refresh()

    @staticmethod
    def _forget_trial() -> None:
        for path in (TRIAL, f"{TRIAL}.json", BEFORE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(TRIAL))


def merged(known: Record | None, hosts: list[Mapping[str, Any]], keep: bool) -> dict[str, list[str]]:
    """The cluster's hosts with their addresses.

    :arg hosts: as the controller knows them, {name, addresses, found}; found is None for one that was not asked in this
        run: what is known of it stays.
    :arg keep: whether what is known of hosts that are gone stays, too.
    """
    before = known.hosts if known else {}
    found = {name: set(own) for name, own in before.items()} if keep else {}
    for host in hosts:
        own = before.get(host["name"], []) if host["found"] is None else host["found"]
        found.setdefault(host["name"], set()).update(host["addresses"], own)
    return {name: sorted(own) for name, own in found.items()}


def _read(path: str) -> str:
    try:
        return read_regular(path).decode(errors="replace")
    except (OSError, PathError):
        return ""


def _write(path: str, content: str, mode: int = 0o600) -> None:
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        os.makedirs(directory, 0o700 if directory.startswith("/var") else 0o755)
    with opened_place(path) as (parent, name):
        replace_file(parent, name, content.encode(), 0, 0, mode)

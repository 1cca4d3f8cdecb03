# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host's firewall is: the tables of nftables, who else rules it, and which ports are SSH's."""

from __future__ import annotations

import pwd
import re
import shutil
from collections.abc import Iterable

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.rules import MARK, TABLE
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import PATH, GuestError, exists, run
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import (
    Listener,
    listeners,
    listening_on,
    owners,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import read_file
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import Unit

_SECONDS = 30
_UFW = "/etc/ufw/ufw.conf"
# The units by which a host is reached, with a user's own process in none of them.
_SSH = re.compile(r"(sshd?|dropbear)(@.*)?\.(service|socket)")


class NftError(Exception):
    """nft is not there, or refused. The message is one sentence."""


class Nft:
    """The program nft."""

    def __init__(self) -> None:
        self.path = shutil.which("nft", path=PATH)

    def listing(self) -> str:
        """Our table as `nft -f` would load it, without counters; empty where there is none.

        :raises NftError: the tables cannot be seen.
        """
        tables = self._run("list", "tables").splitlines()
        return self._run("--stateless", "list", "table", *TABLE.split()) if f"table {TABLE}" in tables else ""

    def check(self, file: str) -> None:
        """Try a file, and load nothing."""
        self._run("--check", "--file", file)

    def load(self, file: str) -> None:
        """Load a file, all of it or nothing."""
        self._run("--file", file)

    def delete(self) -> None:
        """Remove our table."""
        self._run("delete", "table", *TABLE.split())

    def _run(self, *arguments: str) -> str:
        if not self.path:
            raise NftError("nft is missing: install the package nftables.")
        try:
            code, output, errors = run([self.path, *arguments], None, _SECONDS)
        except (OSError, GuestError) as error:
            raise NftError(f"nft {' '.join(arguments)} failed: {error}.") from None
        if code:
            raise NftError(f"nft {' '.join(arguments)} failed, which needs root and nf_tables in the kernel: "
                           f"{' '.join(errors.split())[:500]}")
        return output


def is_ours(listing: str) -> bool:
    """Whether a table is this collection's, by its mark."""
    return f'comment "{MARK}"' in listing


def ruler(host: str) -> Problem | None:
    """Another firewall that rules this host, and what to do about it; None for none."""
    firewalld = Unit("firewalld.service")
    if firewalld.active or firewalld.enabled:
        # One that somebody has stopped for now is back with the next boot.
        when = "rules" if firewalld.active else "starts with"
        return Problem(
            "firewalld", f"firewalld {when} {host}, and would shut the cluster's ports whatever ray_firewall opens",
            "turn it off (systemctl disable --now firewalld), or set ray_firewall to false for this host and open the "
            "cluster's ports in firewalld")
    if shutil.which("ufw", path=PATH) and re.search(r"^\s*ENABLED=\"?yes", read_file(_UFW), re.MULTILINE):
        return Problem(
            "ufw", f"ufw rules {host}, and would shut the cluster's ports whatever ray_firewall opens",
            "turn it off (ufw disable), or set ray_firewall to false for this host and open the cluster's ports in ufw")
    return None


def others_ports(ours: Iterable[str]) -> set[int]:
    """The ports on which other hosts are waited for, and by none but users of this host who are not ours.

    :arg ours: names of users. A number without a name is nobody else's either: some can be lent to a user of ours, as
        /etc/subuid does.
    """
    own = {pwd.getpwnam(name).pw_uid for name in filter(exists, ours)}
    return {port for port, users in owners().items() if not users & own and all(map(_has_name, users))}


def _has_name(number: int) -> bool:
    try:
        return bool(pwd.getpwuid(number))
    except KeyError:
        return False


def ssh_ports(first: int, last: int) -> set[int]:
    """The ports of a range on which this host waits for SSH, by systemd's word: a job may call itself sshd."""
    found = [port for port in listening_on("0.0.0.0") if first <= port <= last]
    return {port for port in found if any(map(_is_ssh, listeners("0.0.0.0", port)))}


def _is_ssh(listener: Listener) -> bool:
    # With a socket of systemd's it is systemd itself that listens.
    if listener.pid == 1:
        return True
    # Where nothing gives logins a place of their own, what they start is a part of sshd's unit, too.
    return bool(_SSH.fullmatch(listener.service)) and Unit(listener.service).main_pid == listener.pid

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH as on real hosts: a key of the bed's own, and host keys that are known before the first connection."""

from __future__ import annotations

import shutil
import subprocess

from . import hardened
from .bed import Bed, write
from .containers import wait_for_sshd
from .engine import install
from .execution import answer


def ensure(bed: Bed, addresses: dict[str, str]) -> None:
    """Let root of the bed's hosts in with its key, and the user of hardened ones; write the known_hosts file."""
    if not shutil.which("ssh-keygen"):
        install("openssh-client")
    if not bed.ssh_key.exists():
        bed.ssh_key.parent.mkdir(parents=True, exist_ok=True)
        bed.ssh_key.parent.chmod(0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"bed {bed.name}", "-f", bed.ssh_key],
                       check=True)
    public = bed.ssh_key.with_suffix(".pub").read_text(encoding="utf-8")
    homes = "/root " + (f"/home/{hardened.USER}" if bed.hardened else "")
    lines = []
    for node in bed.nodes:
        address = addresses[node.name]
        wait_for_sshd(address)
        # The host key comes through Docker, not through the network that it shall protect.
        host_key = answer(
            bed.container(node), "sh", "-ec",
            f"umask 077; read -r key; for home in {homes}; do mkdir -p $home/.ssh; echo \"$key\" > "
            "$home/.ssh/authorized_keys; chown -R --reference=$home $home/.ssh; done; "
            "cat /etc/ssh/ssh_host_ed25519_key.pub",
            stdin=public,
        )
        kind, key = host_key.split()[:2]
        lines.append(f"{address} {kind} {key}\n")
    write(bed.known_hosts, "".join(lines))

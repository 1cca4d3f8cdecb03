# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as careful sites and clouds make them: a strict umask, sudo and no root, links to a data disk, cloud-init."""

from __future__ import annotations

from .bed import Bed, Node
from .execution import answer

USER = "ubuntu"
# What sudo asks for, on one kind of host.
PASSWORD = "no-secret-of-anybody"
# A file system of its own that outlives a reboot, and a /tmp from which nothing can be started.
VOLUMES = ["/data"]
TMPFS = {"/tmp": "noexec,nosuid,nodev,mode=1777"}
SETUP = r"""
test ! -e /etc/bed-hardened || exit 0
useradd -m -s /bin/bash ubuntu
sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs
for file in common-session common-session-noninteractive; do
  echo 'session optional pam_umask.so umask=0077' >> /etc/pam.d/$file
done
# What the image has is in place: what comes is made by whoever comes.
chmod 0755 /data
mkdir -m 0755 /data/opt /data/ray
rmdir /opt
ln -s /data/opt /opt
ln -s /data/ray /var/lib/ray
# cloud-init with manage_etc_hosts: true.
mkdir -p /etc/cloud/templates
cat > /etc/cloud/templates/hosts.tmpl <<END
127.0.1.1 $(hostname)
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
END
cat > /usr/local/sbin/write-hosts <<'END'
#!/bin/sh -e
cp /etc/cloud/templates/hosts.tmpl /etc/hosts.new
chmod 0644 /etc/hosts.new
mv /etc/hosts.new /etc/hosts
END
chmod 0755 /usr/local/sbin/write-hosts
cat > /etc/systemd/system/cloud-init.service <<'END'
[Unit]
Description=What cloud-init does to /etc/hosts at every boot
Before=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/write-hosts
[Install]
WantedBy=multi-user.target
END
systemctl -q daemon-reload
systemctl -q enable --now cloud-init.service
touch /etc/bed-hardened
"""
SUDO = "Defaults umask=0077, umask_override, use_pty\n"


def asks(node: Node) -> bool:
    """Whether sudo wants a password and a terminal there: on the first worker, so that both kinds are tried."""
    return node.name == "worker-1"


def ensure(bed: Bed, node: Node) -> None:
    """Make a running container such a host."""
    answer(bed.container(node), "sh", "-ec", SETUP)
    rules = SUDO + (f"Defaults requiretty\n{USER} ALL=(ALL:ALL) ALL\n" if asks(node) else
                    f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL\n")
    answer(bed.container(node), "sh", "-ec",
           f"cat > /etc/sudoers.d/bed; chmod 0440 /etc/sudoers.d/bed; visudo -cq; echo {USER}:{PASSWORD} | chpasswd",
           stdin=rules)


def variables(node: Node) -> dict[str, object]:
    """What a user of such a host sets for it: sudo that wants a terminal cannot be given a program on its input."""
    return {"ansible_become_password": PASSWORD, "ansible_pipelining": False} if asks(node) else {}

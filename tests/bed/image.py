# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a bare host: Debian's own packages, with Python and systemd, and without Ray."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from docker.errors import DockerException, ImageNotFound

from .bed import BedError, say
from .engine import client, install

PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
PACKAGES = (
    "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,iproute2,procps,sudo,openssh-server"
)
# Runs inside the new root. Unique things (host keys, machine-id) are made when a container boots for the first time.
SETUP = r"""
rm -f /etc/ssh/ssh_host_*
: > /etc/machine-id
cat > /etc/ssh/sshd_config.d/bed.conf <<'END'
PermitRootLogin prohibit-password
PasswordAuthentication no
# Reverse lookups of the controller's address have no answer here.
UseDNS no
END
cat > /etc/systemd/system/bed-ssh-keys.service <<'END'
[Unit]
Description=Make the SSH host keys of this container
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
[Install]
WantedBy=multi-user.target
END
# Containers may not make user namespaces, nor raise their limits, which Debian's units ask for.
for unit in redis-server prometheus; do
  mkdir -p /etc/systemd/system/$unit.service.d
  printf '[Service]\nPrivateUsers=false\nLimitNOFILE=\n' > /etc/systemd/system/$unit.service.d/bed.conf
done
cat > /usr/local/sbin/bed-init <<'END'
#!/bin/sh
# Docker mounts /etc/hosts, and nobody can replace a mounted file: give the host one of its own, as real hosts have.
cat /etc/hosts > /run/docker-hosts
if umount /etc/hosts; then
  grep -qs localhost /etc/hosts || grep -E 'localhost|^ff|^fe' /run/docker-hosts > /etc/hosts
  sed -i "/ # bed$/d" /etc/hosts
  sed -n "s/[[:space:]]$(hostname)\$/& # bed/p" /run/docker-hosts >> /etc/hosts
  chmod 0644 /etc/hosts
fi
# systemd does this itself, but not in containers: without it, no credentials (LoadCredential=) reach a service.
mount --make-rshared /
exec /lib/systemd/systemd
END
chmod 0755 /usr/local/sbin/bed-init
systemctl -q enable bed-ssh-keys.service
systemctl -q mask getty@.service console-getty.service systemd-udevd.service systemd-resolved.service \
  systemd-networkd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
systemctl -q set-default multi-user.target
"""


def tag(suite: str) -> str:
    """The image's name. It holds a digest of the recipe, so that a changed recipe makes a new image."""
    digest = hashlib.sha256(f"{suite}\n{PACKAGES}\n{SETUP}".encode()).hexdigest()[:12]
    return f"rayops-bed:{suite}-{digest}"


def ensure(suite: str) -> str:
    """Return the image's tag; build the image when Docker does not have it."""
    name = tag(suite)
    if is_there(name):
        return name
    if not shutil.which("mmdebstrap"):
        install("mmdebstrap", "debian-archive-keyring")
    say(f"building the image {name} from Debian's packages (about 20 s)")
    began = time.monotonic()
    build = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "--quiet",
             "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
             f'--customize-hook=chroot "$1" sh -ec {quoted(SETUP)}', suite, "-"]
    refused = ""
    with tempfile.TemporaryFile("w+") as errors:
        # When it fails, mmdebstrap signals its whole process group: that must not be ours.
        with subprocess.Popen(build, stdout=subprocess.PIPE, stderr=errors, start_new_session=True) as builder:
            assert builder.stdout
            try:
                repository, _colon, version = name.partition(":")
                client().api.import_image_from_stream(
                    pieces(builder.stdout), repository, version,
                    changes=['CMD ["/usr/local/sbin/bed-init"]', "ENV container=docker"])
            except DockerException as error:
                refused = str(error)
        if builder.returncode or not is_there(name):
            if is_there(name):
                client().images.remove(name)
            errors.seek(0)
            raise BedError(f"The image {suite} cannot be built: {(errors.read() + refused).strip()[-800:]}")
    say(f"image built in {time.monotonic() - began:.0f} s")
    return name


def is_there(name: str) -> bool:
    try:
        client().images.get(name)
    except ImageNotFound:
        return False
    return True


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(1 << 20):
        yield piece


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"

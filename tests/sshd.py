# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real sshd that shows its host keys and lets nobody in: on PATH, or the distribution's, unpacked below .cache."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.redis import CACHE, SECONDS, program

PACKAGES = ["openssh-server", "libwrap0"]
NOBODY = 65534


def keygen(*words: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *words], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def make_key(path: Path) -> str:
    """A new pair without a passphrase; gives the line of its public half."""
    keygen("-t", "ed25519", "-N", "", "-C", "root@host", "-f", path)
    return path.with_suffix(".pub").read_text(encoding="utf-8").strip()


@contextmanager
def sshd(directory: Path, address: str, port: int, key: Path, certificate: Path | None = None) -> Iterator[None]:
    """The server with one host key, and its certificate, until the end of the block."""
    path, variables = program("sshd", CACHE.with_name("sshd"), PACKAGES)
    directory.mkdir()
    config = directory / "sshd_config"
    lines = [f"ListenAddress {address}:{port}", f"HostKey {key}", f"PidFile {directory}/pid", "UsePAM no"]
    lines += [f"HostCertificate {certificate}"] if certificate else []
    config.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    # As somebody who is not root it wants no user of its own, and no /run/sshd.
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        os.chown(key, NOBODY, NOBODY)
    log = directory / "log"
    with open(log, "wb") as output, subprocess.Popen(
        [path, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        env={**os.environ, **variables}, **user,  # type: ignore[call-overload]
    ) as process:
        try:
            deadline = time.monotonic() + SECONDS
            while b"Server listening" not in log.read_bytes():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(log.read_text())
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


def verdict(known_hosts: Path, address: str, port: int) -> str:
    """What a client with this file and no other thinks of the server: "known", or ssh's last line."""
    done = subprocess.run(
        ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
         "-o", "GlobalKnownHostsFile=none", "-o", f"UserKnownHostsFile={known_hosts}",
         "-o", "PreferredAuthentications=none", "-p", str(port), "--", f"nobody@{address}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
    # Who is asked for a login has been convinced by the key.
    return "known" if "Permission denied" in done.stderr else done.stderr.strip().rpartition("\n")[2]

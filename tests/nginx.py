# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real nginx for tests: the one on PATH, or the distribution's, unpacked below .cache. Nothing is installed."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from pathlib import Path

from tests.prometheus import PrometheusError, run

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "nginx"
# What it needs beside the C library and OpenSSL lies on every Debian: libcrypt1, libpcre2, zlib1g.
PACKAGES = ["nginx"]


def program() -> str:
    """The path of nginx."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if found:
        return found
    CACHE.parent.mkdir(exist_ok=True)
    with open(CACHE.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not CACHE.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE.parent, prefix="nginx-") as scratch:
                Path(scratch).chmod(0o777)
                try:
                    run("apt-get", "download", "--quiet", *PACKAGES, directory=scratch)
                except PrometheusError:
                    run("apt-get", "update", "--quiet", directory=scratch)
                    run("apt-get", "download", "--quiet", *PACKAGES, directory=scratch)
                for package in Path(scratch).glob("*.deb"):
                    run("dpkg-deb", "-x", str(package), f"{scratch}/root", directory=scratch)
                (Path(scratch) / "root").rename(CACHE)
    return str(CACHE / "usr" / "sbin" / "nginx")

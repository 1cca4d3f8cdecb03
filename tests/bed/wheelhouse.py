# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels of Ray, downloaded once: containers then install without a network, as on a site without internet."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from .bed import CACHE, ROOT, BedError, say, write

WHEELHOUSE = CACHE / "wheelhouse"
DEFAULTS = ROOT / "roles" / "ray" / "defaults" / "main.yml"
GLIBC_MINOR = 36  # of Debian 12, the older of the images


def requirements() -> list[str]:
    """What a node installs: ``ray_version`` and ``ray_packages`` of the role, and uv, which installs them."""
    text = DEFAULTS.read_text(encoding="utf-8") if DEFAULTS.exists() else ""
    version = re.search(r"^ray_version:\s*[\"']?([0-9][\w.]*)", text, re.MULTILINE)
    packages = re.search(r"^ray_packages:[ \t]*\n((?:[ \t]*-[ \t]+.*\n)+)", text, re.MULTILINE)
    extra = re.findall(r"-[ \t]+[\"']?([^\"'\s#]+)", packages.group(1)) if packages else []
    ray = f"ray[default]=={version.group(1) if version else '2.60.0'}"
    return [ray, "uv", *(name for name in extra if "{" not in name and not re.match(r"(ray|uv)\b", name))]


def ensure(python: str) -> Path:
    """Download what is missing for a Python version (such as ``3.11``) and return the folder of the wheels."""
    wanted = sorted(requirements())
    wheels = WHEELHOUSE / python
    stamp = wheels / ".stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8").split() == wanted:
        return wheels
    say(f"downloading wheels for Python {python}: {' '.join(wanted)} (once)")
    wheels.mkdir(parents=True, exist_ok=True)
    machine = platform.machine()
    # pip evaluates markers for the Python that runs it; uv does it for the one that is asked for. So uv picks the
    # versions, and pip fetches them.
    locked = wheels / ".requirements.txt"
    run("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary=:all:",
        "--python-version", python, "--python-platform", f"{machine}-manylinux_2_{GLIBC_MINOR}",
        "--output-file", str(locked), "-", stdin="\n".join(wanted))
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 4, -1)]
    run("pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
        "--python-version", python, *platforms, f"--platform=manylinux2014_{machine}", "--dest", str(wheels),
        "--requirement", str(locked))
    write(stamp, "\n".join(wanted) + "\n")
    return wheels


def run(module: str, *arguments: str, stdin: str | None = None) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], input=stdin, capture_output=True, text=True,
                          env={**os.environ, "UV_NO_PROGRESS": "1"}, check=False)
    if done.returncode:
        raise BedError(f"{module} failed (the Makefile's .cache/venv has pip and uv): {done.stderr.strip()[-1500:]}")

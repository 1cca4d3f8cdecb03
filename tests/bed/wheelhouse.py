# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels of Ray, downloaded once: containers then install without a network, as on a site without internet."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from .bed import CACHE, ROOT, BedError, say, write

WHEELHOUSE = CACHE / "wheelhouse"
DEFAULTS = ROOT / "roles" / "ray_defaults" / "defaults" / "main.yml"
GLIBC_MINOR = 36  # of Debian 12, the older of the images


def requirements() -> list[str]:
    """What a node installs: ``ray_version`` and ``ray_packages`` of the role, and uv, which installs them."""
    text = DEFAULTS.read_text(encoding="utf-8") if DEFAULTS.exists() else ""
    version = re.search(r"^ray_version:\s*[\"']?([0-9][\w.]*)", text, re.MULTILINE)
    packages = re.search(r"^ray_packages:[ \t]*\n((?:[ \t]*-[ \t]+.*\n)+)", text, re.MULTILINE)
    extra = re.findall(r"-[ \t]+[\"']?([^\"'\s#]+)", packages.group(1)) if packages else []
    ray = f"ray[default]=={version.group(1) if version else '2.60.0'}"
    return [ray, "uv", *(name for name in extra if "{" not in name and not re.match(r"(ray|uv)\b", name))]


def ensure(python: str, more: Iterable[str] = ()) -> Path:
    """Download what is missing for a Python version (such as ``3.11``) and return the folder of the wheels.

    more: requirements beside the role's own, each resolved alone, such as another version of Ray.
    """
    wheels = WHEELHOUSE / python
    fill(wheels, python, sorted(requirements()))
    if more:
        base, wheels = wheels, WHEELHOUSE / f"{python}-{hashlib.sha256(repr(sorted(more)).encode()).hexdigest()[:8]}"
        wheels.mkdir(exist_ok=True)
        for wheel in base.glob("*.whl"):
            if not (wheels / wheel.name).exists():
                os.link(wheel, wheels / wheel.name)
        for requirement in more:
            fill(wheels, python, [requirement])
    return wheels


def fill(wheels: Path, python: str, wanted: list[str]) -> None:
    """Download what is wanted and all that it needs, unless that was done before."""
    stamp = wheels / ".stamp"
    done = stamp.read_text(encoding="utf-8").splitlines() if stamp.exists() else []
    if " ".join(wanted) in done:
        return
    say(f"downloading wheels for Python {python}: {' '.join(wanted)} (once)")
    wheels.mkdir(parents=True, exist_ok=True)
    # pip evaluates markers for the Python that runs it; uv does it for the one that is asked for. So uv picks the
    # versions, and pip fetches them.
    locked = wheels / ".requirements.txt"
    run("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary=:all:",
        "--python-version", python, "--python-platform", f"{platform.machine()}-manylinux_2_{GLIBC_MINOR}",
        "--output-file", str(locked), "-", stdin="\n".join(wanted))
    run("pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
        "--python-version", python, *platforms(), "--dest", str(wheels), "--requirement", str(locked))
    write(stamp, "".join(f"{line}\n" for line in [*done, " ".join(wanted)]))


def platforms() -> list[str]:
    """pip's arguments for the wheels that the images can load."""
    machine = platform.machine()
    tags = [f"manylinux_2_{minor}" for minor in range(GLIBC_MINOR, 4, -1)]
    return [f"--platform={tag}_{machine}" for tag in [*tags, "manylinux2014"]]


def run(module: str, *arguments: str, stdin: str | None = None) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], input=stdin, capture_output=True, text=True,
                          env={**os.environ, "UV_NO_PROGRESS": "1"}, check=False)
    if done.returncode:
        raise BedError(f"{module} failed (the Makefile's .cache/venv has pip and uv): {done.stderr.strip()[-1500:]}")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make matrix``: unit tests, sanity and scenario default with each ansible-core and each Debian that is supported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
# What runs under Ray's own Python is the same with each controller: unit-oldest-ray is not among them.
TARGETS = ("unit-nodes", "unit-inventory", "sanity", "molecule-default")


@dataclass(frozen=True)
class Row:
    """A controller, and the Debian of its hosts.

    core: the oldest of a series, whose newest is installed; skip: tests of ansible-test sanity that cannot be had.
    """

    core: str
    python: str
    image: str
    skip: str = ""

    @property
    def series(self) -> str:
        return ".".join(self.core.split(".")[:2])

    @property
    def environment(self) -> Path:
        return CACHE / "matrix" / f"{self.series}-{self.python}"

    def __str__(self) -> str:
        return f"ansible-core {self.core} with Python {self.python}, hosts with {self.image}"


# meta/runtime.yml and both READMEs say the same; a unit test holds them to it.
ROWS = (
    Row("2.19.0", "3.11", "bookworm"),
    Row("2.20.0", "3.12", "trixie"),
    Row("2.21.0", "3.12", "bookworm"),
    # A candidate: its pylint wants an archive of GitHub's in the place of a release.
    Row("2.22.0rc1", "3.13", "trixie", skip="pylint"),
)


def interpreter(version: str) -> str | None:
    """A Python of this version that can make virtual environments: of the PATH, of pyenv, of uv; None without any."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    find = [sys.executable, "-m", "uv", "python", "find", "--managed-python", "--no-python-downloads", version]
    of_uv = subprocess.run(find, capture_output=True, text=True, check=False).stdout.strip()
    found = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python"))), of_uv]
    code = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    for python in filter(None, found):
        # A shim of pyenv is there for every version, and fails for those that are not chosen.
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return python
    return None


def prepare(row: Row, python: str) -> None:
    """Make the row's virtual environment, unless it is there with today's requirements."""
    done = row.environment / ".done"
    if done.exists() and done.stat().st_mtime >= REQUIREMENTS.stat().st_mtime:
        return
    print(f"make: preparing {row.environment.relative_to(ROOT)} (once)", flush=True)
    subprocess.run([python, "-m", "venv", "--clear", str(row.environment)], check=True)
    core = row.environment / "core.txt"
    core.write_text(f"ansible-core~={row.core}\n", encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(row.environment / "bin" / "python"),
         "--override", str(core), "--requirement", str(REQUIREMENTS)], check=True)
    done.touch()


def passes(row: Row) -> bool:
    """Run the row, with its output in a file, which is shown where it fails."""
    log = CACHE / "logs" / f"matrix-{row.series}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"make: {row}: begins", flush=True)
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        # GNU make gives its own variables to those that it starts.
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "VENV"}
        status = subprocess.run(
            ["make", "--no-print-directory", f"VENV={row.environment.relative_to(ROOT)}", f"SANITY_SKIP={row.skip}",
             *TARGETS], cwd=ROOT,
            env={**ours, "BED_IMAGE": row.image}, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        print(log.read_text(encoding="utf-8")[-20000:])
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    print(f"make: {row}: {'failed' if status else 'passed'} after {minutes}:{seconds:02d}", flush=True)
    return not status


def main(chosen: Iterable[str]) -> int:
    """Run the rows whose series of ansible-core are named, or all."""
    wanted = list(chosen)
    unknown = set(wanted) - {row.series for row in ROWS}
    if unknown:
        print(f"make: CORES may name {', '.join(row.series for row in ROWS)}, not {', '.join(sorted(unknown))}.")
        return 2
    rows = [row for row in ROWS if not wanted or row.series in wanted]
    pythons = {row.python: interpreter(row.python) for row in rows}
    failed = []
    for row in rows:
        if python := pythons[row.python]:
            prepare(row, python)
            failed += [] if passes(row) else [row]
    for version in sorted(name for name, python in pythons.items() if not python):
        left_out = ", ".join(row.series for row in rows if row.python == version)
        print(f"make: python{version} is missing, so ansible-core {left_out} was left out: "
              f"'uv python install {version}' brings it")
    return 1 if failed or not any(pythons.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

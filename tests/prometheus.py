# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real Prometheus and Alertmanager for tests: those on PATH, or the distribution's, unpacked below .cache.

Nothing is installed and no service is started. ``python -m tests.prometheus`` prints the paths.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "prometheus"
PACKAGES = ["prometheus", "prometheus-alertmanager"]
# The names that a program has: upstream's, Debian's.
PROGRAMS = {
    "prometheus": ("prometheus",),
    "promtool": ("promtool",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "amtool": ("amtool",),
}


class PrometheusError(Exception):
    """The programs are not here and cannot be fetched; the message says what helps."""


def programs() -> dict[str, str]:
    """The path of each program, by upstream's name. Raises PrometheusError."""
    found = {name: on_path(names) for name, names in PROGRAMS.items()}
    if all(found.values()):
        return {name: str(path) for name, path in found.items()}
    unpack()
    found = {name: found[name] or unpacked(names) for name, names in PROGRAMS.items()}
    missing = sorted(name for name, path in found.items() if not path)
    if missing:
        raise PrometheusError(f"the packages have no {', '.join(missing)}: put a release of Prometheus on PATH")
    return {name: str(path) for name, path in found.items()}


def on_path(names: tuple[str, ...]) -> str | None:
    return next((path for path in map(shutil.which, names) if path), None)


def unpacked(names: tuple[str, ...]) -> str | None:
    paths = (CACHE / "usr" / "bin" / name for name in names)
    return next((str(path) for path in paths if path.is_file()), None)


def unpack() -> None:
    """Fill .cache/prometheus, once; several processes may ask at the same time."""
    CACHE.parent.mkdir(exist_ok=True)
    with open(CACHE.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if CACHE.is_dir():
            return
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise PrometheusError("there is neither promtool nor apt-get: put a release of Prometheus on PATH")
        with tempfile.TemporaryDirectory(dir=CACHE.parent, prefix="prometheus-") as scratch:
            # apt fetches as its own user, who must be able to write here.
            Path(scratch).chmod(0o777)
            download(scratch)
            root = Path(scratch) / "root"
            for package in Path(scratch).glob("*.deb"):
                run("dpkg-deb", "-x", str(package), str(root), directory=scratch)
            root.rename(CACHE)


def download(directory: str) -> None:
    """The packages; where apt does not know them, its lists are fetched first, which needs root."""
    try:
        run("apt-get", "download", "--quiet", *PACKAGES, directory=directory)
    except PrometheusError:
        run("apt-get", "update", "--quiet", directory=directory)
        run("apt-get", "download", "--quiet", *PACKAGES, directory=directory)
    # Since Debian 13 promtool is a package of its own.
    if subprocess.run(["apt-cache", "show", "promtool"], capture_output=True, timeout=60, check=False).returncode == 0:
        run("apt-get", "download", "--quiet", "promtool", directory=directory)


def run(*command: str, directory: str) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise PrometheusError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}; put a release of Prometheus on PATH")


def metric_names(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads."""
    for noise in (r'"(?:[^"\\]|\\.)*"', r"\{[^{}]*\}", r"\[[^\]]*\]"):
        expression = re.sub(noise, "", expression)
    expression = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)", "", expression)
    words = {"by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "and", "or", "unless"}
    return set(re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", expression)) - words


def main() -> None:
    for name, path in programs().items():
        print(f"{name} {path}")


if __name__ == "__main__":
    main()

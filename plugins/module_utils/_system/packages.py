# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The distribution's packages on this host."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

STATUS = r"${db:Status-Status}\t${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n"


@dataclass(frozen=True)
class Package:
    """One that dpkg knows. needs: for each of its dependencies the names that satisfy it."""

    status: str
    provides: frozenset[str]
    needs: tuple[frozenset[str], ...]

    @property
    def unpacked(self) -> bool:
        """Whether its files are there."""
        return self.status not in ("not-installed", "config-files")


def _names(relation: str) -> Iterator[frozenset[str]]:
    """A field such as `libc6 (>= 2.36), default-mta | mail-transport-agent`, deb-control(5), without versions."""
    for group in relation.split(","):
        names = frozenset(word.split()[0].partition(":")[0] for word in group.split("|") if word.strip())
        if names:
            yield names


def parse(status: str) -> dict[str, Package]:
    """The answer of dpkg-query."""
    found: dict[str, Package] = {}
    for line in status.splitlines():
        state, name, provides, needs = line.split("\t")
        # The same package for another architecture needs no less.
        if name not in found or not found[name].unpacked:
            found[name] = Package(state, frozenset().union({name}, *_names(provides)), tuple(_names(needs)))
    return found


def missing_packages(names: Iterable[str], packages: dict[str, Package] | None = None) -> list[str]:
    """Those of the packages that are not installed, neither themselves nor as another that provides them.

    :arg packages: what dpkg knows, where that was asked already.
    """
    names = list(names)
    if names and packages is None:
        if not shutil.which("dpkg-query"):
            return [name for name in names if not _succeeds("rpm", "--query", "--whatprovides", name)]
        packages = parse(subprocess.run(
            ["dpkg-query", "--show", "--showformat", STATUS], capture_output=True, text=True, errors="replace",
            check=False).stdout)
    installed = [package for package in (packages or {}).values() if package.status == "installed"]
    there = frozenset().union(*(package.provides for package in installed))
    return [name for name in names if name not in there]


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False

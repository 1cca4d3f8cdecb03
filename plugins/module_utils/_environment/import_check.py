# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Import Ray, and the packages that are named, in the environment whose Python runs this; write Ray's version.

Module ray_upgrade hands this to that Python, and needs its text alone.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator

RAY = ("ray", "ray._raylet", "ray.scripts.scripts", "ray.dashboard.dashboard")


def modules(requirement: str) -> Iterator[str]:
    """The modules that an installed package brings; those with a leading underscore are its own business."""
    wanted = normalized(re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0])
    importlib.metadata.version(wanted)
    for module, packages in importlib.metadata.packages_distributions().items():
        if wanted in map(normalized, packages) and module.isidentifier() and not module.startswith("_"):
            yield module


def normalized(name: str) -> str:
    """A package's name as all its spellings have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    for module in RAY:
        importlib.import_module(module)
    for requirement in sys.argv[1:]:
        try:
            for module in modules(requirement):
                importlib.import_module(module)
        except Exception as error:
            raise SystemExit(f"{requirement} cannot be imported: {type(error).__name__}: {error}") from None
    sys.stdout.write(f"{sys.modules['ray'].__version__}\n")


if __name__ == "__main__":
    main()

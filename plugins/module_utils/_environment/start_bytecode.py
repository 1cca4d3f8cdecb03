# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leave the bytecode of what a node's processes import when they start, in the environment whose Python runs this.

Each of a head's dozen processes would compile it anew, for none of them may write it. Imports are read from the code
and followed, and nothing is imported: no package's code runs as root. What hands this to that Python needs its text
alone.
"""

from __future__ import annotations

import contextlib
import os
import sysconfig
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from modulefinder import ModuleFinder
from types import CodeType

ENTRIES = (
    "ray.scripts.scripts", "ray.dashboard.dashboard", "ray.dashboard.agent", "ray._private.runtime_env.agent.main",
    "ray._private.log_monitor", "ray._private.workers.default_worker", "ray.autoscaler._private.monitor",
    "ray.util.client.server",
)
# What most nodes never import, and Ray's own code names almost everywhere.
LIBRARIES = ("air", "data", "llm", "rllib", "tests", "train", "tune")
# Loaded by their names, each as a part of the dashboard or of a node's agent.
LOADED = "ray.dashboard.modules"
# Below the packages' own directory, what Ray puts before it.
OWN = os.path.join("ray", "thirdparty_files")


def source(name: str, roots: list[str]) -> str:
    """The file of a module; empty for one that is not in these directories, or is no Python."""
    for root in roots:
        base = os.path.join(root, *name.split("."))
        for path in (os.path.join(base, "__init__.py"), f"{base}.py"):
            if os.path.isfile(path):
                return path
    return ""


def imports(code: CodeType, package: str) -> Iterator[str]:
    """What a module imports when it is imported itself: not what its functions import when they are called.

    :arg package: where its relative imports begin.
    """
    for kind, found in ModuleFinder().scan_opcodes(code):
        if kind == "store":
            continue
        names, base = found[-2:]
        if kind == "relative_import":
            above = package.split(".")[:-(found[0] - 1) or None]
            base = ".".join([*above, base] if base else above)
        yield base
        # A name in a package may be a module of its.
        yield from (f"{base}.{name}" for name in names or () if name != "*")


def compile_imports(entries: tuple[str, ...], roots: list[str]) -> set[str]:
    """Compile modules and what they import, with the packages above them.

    :returns: the names of those that were found.
    """
    waiting, compiled, seen = list(entries), set(), {""}
    while waiting:
        name = waiting.pop()
        if name in seen or name.startswith("ray.") and name.split(".")[1] in LIBRARIES:
            continue
        seen.add(name)
        path = source(name, roots)
        waiting.append(name.rpartition(".")[0])
        # A template of code is none.
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            code = SourceFileLoader(name, path).get_code(name) if path else None
            if code:
                compiled.add(name)
                package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
                waiting += imports(code, package)
    return compiled


def below(package: str, root: str) -> Iterator[str]:
    """All modules of a package."""
    for directory, _directories, files in os.walk(os.path.join(root, *package.split("."))):
        inside = os.path.relpath(directory, root).replace(os.sep, ".")
        yield from (f"{inside}.{name[:-3]}" for name in files if name.endswith(".py") and name != "__init__.py")


def main() -> None:
    root = sysconfig.get_path("purelib")
    compile_imports((*ENTRIES, *below(LOADED, root)), [root, os.path.join(root, OWN)])


if __name__ == "__main__":
    main()

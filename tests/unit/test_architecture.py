# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may import whom: the table of docs/architecture.md, held against the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = REPOSITORY / "plugins"
OURS = "ansible_collections.rayops.cluster.plugins."
FILES = sorted(str(path.relative_to(PLUGINS)) for path in PLUGINS.rglob("*.py"))


def package_of(path: str) -> str:
    """The package that a file or a dotted name of ours belongs to, as the table names it."""
    found = re.match(r"module_utils/_gcs/under_ray|module_utils/_\w+|\w+", path)
    return found[0] if found else path


def table() -> dict[str, set[str]]:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*`) \|([^|]*)\|$", page.partition("## Who may import whom")[2], re.MULTILINE)
    allowed = {name: {f"module_utils/{other}" if other.startswith("_") else other
                      for other in re.findall(r"`([^`]+)`", imports)}
               for names, imports in rows for name in re.findall(r"`([^`]+)`", names)}
    every = {name for name in allowed if name.startswith("module_utils/")}
    for name in ("modules", "action", "filter", "lookup"):
        allowed[name] = every - {"module_utils/_gcs/under_ray"}
    allowed["action"].add("plugin_utils")
    return allowed


def imports(path: str) -> Iterator[str]:
    """The modules that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse((PLUGINS / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            # What is imported may itself be a module of the package.
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_the_table_names_every_package():
    assert set(table()) - {package_of(path) for path in FILES} <= {"action"}
    assert {package_of(path) for path in FILES} - {"doc_fragments"} <= set(table())


@pytest.mark.parametrize("path", FILES)
def test_a_file_imports_only_what_its_package_may(path):
    package, allowed = package_of(path), table()
    used = {package_of(name[len(OURS):].replace(".", "/")) for name in imports(path) if name.startswith(OURS)}
    assert used - {package} <= allowed.get(package, set())


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith(("module_utils/", "modules/"))])
def test_what_runs_on_a_node_needs_nothing_of_the_controllers(path):
    names = list(imports(path))
    assert [name for name in names if re.match(r"ansible\.(?!module_utils\b)", name)] == []
    if package_of(path) != "module_utils/_gcs/under_ray":
        assert [name for name in names if re.match(r"(ray|grpc)(\.|$)", name)] == []
    assert not re.search(r"\broles/\w", (PLUGINS / path).read_text(encoding="utf-8"))

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is compiled before a node starts: on a tree of the test's own, and beside what Ray's processes really import."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._environment import start_bytecode
from ansible_collections.rayops.cluster.plugins.module_utils._environment.start_bytecode import (
    ENTRIES,
    below,
    compile_imports,
    source,
)

TREE = {
    "ray/__init__.py": "import sys, json, ray.part.inner\nfrom ray.thirdparty import *\n",
    "ray/part/__init__.py": "from . import sibling\n",
    "ray/part/inner.py":
        "from ..top import name\nfrom .sibling import other\ntry:\n    import absent\nexcept ImportError:\n    pass\n",
    "ray/part/sibling.py": "def later():\n    import lazy\n",
    "ray/top.py": "if __name__ == 'main':\n    import conditional\nraise SystemExit('this runs')\n",
    "ray/data/big.py": "",
    "ray/unused.py": "",
    "ray/template.py": "class {{ name }}:\n",
    "ray/thirdparty.py": "from ray import template, data\nimport own.deep.inner as x, ray.data.big\n",
    "conditional.py": "",
    "lazy.py": "",
    "own/deep/inner.py": "",
    "plugins/one.py": "import lazy\n",
    "plugins/more/two.py": "",
    "plugins/more/note.txt": "",
}


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_are_followed_and_nothing_is_run(tree, monkeypatch):
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    found = compile_imports(("ray.part.inner",), [str(tree)])
    wanted = {"ray", "ray.part", "ray.part.inner", "ray.part.sibling", "ray.top", "ray.thirdparty", "conditional",
              "own.deep.inner"}
    assert found == wanted
    compiled = {path.name.split(".")[0] for path in tree.rglob("*.pyc")}
    assert compiled == {"__init__", "inner", "sibling", "top", "thirdparty", "conditional"}


def test_what_is_loaded_by_name_is_all_of_a_package(tree):
    assert {*below("plugins", str(tree))} == {"plugins.one", "plugins.more.two"}
    assert compile_imports(("plugins.one",), [str(tree / "nowhere"), str(tree)]) == {"plugins.one", "lazy"}


def test_nothing_that_is_no_module_breaks_it(tree):
    (tree / "ray" / "top.py").write_bytes(b"\0")
    (tree / "own" / "deep" / "inner.py").unlink()
    (tree / "own" / "deep" / "inner.py").symlink_to("inner.py")
    assert "ray.top" not in compile_imports(("ray", "..", "", "a.b.c"), [str(tree)])


def test_what_ray_imports_is_compiled(ray_environment):
    """Beside an import of all of it: what its files import by other ways than a statement may be left out."""
    agent = f"{start_bytecode.LOADED}.reporter.reporter_agent"
    code = (
        "import importlib, json, sys\n"
        f"for name in {(*ENTRIES, agent)!r}:\n    importlib.import_module(name)\n"
        "files = [getattr(module, '__file__', None) or '' for module in sys.modules.values()]\n"
        "print(json.dumps([file for file in files if file.startswith(sys.prefix) and file.endswith('.py')]))"
    )
    python = os.path.join(ray_environment, "bin", "python")
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    imported = {*json.loads(done.stdout.splitlines()[-1])}
    root = sysconfig.get_path("purelib", vars={"base": ray_environment})
    roots = [root, os.path.join(root, start_bytecode.OWN)]
    compiled = {source(name, roots) for name in compile_imports((*ENTRIES, *below(start_bytecode.LOADED, root)), roots)}
    assert source(agent, roots) in imported and len(imported) > 500
    assert len(imported & compiled) > 0.95 * len(imported), sorted(imported - compiled)

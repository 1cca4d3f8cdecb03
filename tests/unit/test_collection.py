# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must agree between the collection's files."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
# The role `ray_defaults` has the variables of role `ray`, and no tasks.
ROLES = sorted(path.name for path in (REPOSITORY / "roles").iterdir() if path.is_dir() and path.name != "ray_defaults")
MODULES = sorted(path.stem for path in (REPOSITORY / "plugins" / "modules").glob("[!_]*.py"))
PLUGINS = sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "plugins").rglob("*.py")
                 if path.stat().st_size)
GALAXY = yaml.safe_load((REPOSITORY / "galaxy.yml").read_text(encoding="utf-8"))


def read_yaml(path: str):
    return yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))


def defaults_of(role: str) -> dict:
    return read_yaml(f"roles/{'ray_defaults' if role == 'ray' else role}/defaults/main.yml") or {}


def documentation(module: str) -> dict:
    """What ansible-doc shows, with the fragments that it extends."""
    plugins = "ansible_collections.rayops.cluster.plugins"
    found = yaml.safe_load(importlib.import_module(f"{plugins}.modules.{module}").DOCUMENTATION)
    for name in found.get("extends_documentation_fragment", []):
        fragment = importlib.import_module(f"{plugins}.doc_fragments.{name.rpartition('.')[2]}").ModuleDocFragment
        for part, entries in yaml.safe_load(fragment.DOCUMENTATION).items():
            found[part] = {**entries, **found.get(part, {})}
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_variables_are_those_that_it_documents(role):
    defaults = defaults_of(role)
    options = read_yaml(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})
    assert sorted(options) == sorted(defaults)
    for name, option in options.items():
        assert option.get("description"), f"{name} has no description"
        assert option.get("default") == defaults[name], (
            f"{name}: the documented default is not the role's"
        )


def test_a_switch_from_the_command_line_is_no_text():
    """``-e monitor_prometheus=false`` gives a text, which is true: whoever reads a switch says ``| bool``."""
    specs = REPOSITORY.glob("roles/*/meta/argument_specs.yml")
    switches = {
        name for spec in specs for entry in read_yaml(spec)["argument_specs"].values()
        for name, option in entry.get("options", {}).items() if option.get("type") == "bool"
    }
    # Not a key, not a word of a sentence; a module that is given it alone has a type of its own.
    names = "|".join(switches)
    read = re.compile(rf"(?<![\w.'\"])(?<!set )({names})(?![\w:=])(?!\s*\|\s*(default\([^)]*\)\s*\|\s*)?bool)")
    alone = re.compile(r': "\{\{ \w+( \| default\(\w+\))? \}\}"$')
    files = [file for place in ("roles/*/tasks", "roles/*/vars", "roles/*/templates", "playbooks")
             for folder in REPOSITORY.glob(place) for file in folder.rglob("*") if file.is_file()]
    assert switches and files
    assert [f"{file.name}: {line.strip()}" for file in files for line in file.read_text(encoding="utf-8").splitlines()
            if read.search(line) and not line.lstrip().startswith("#") and not alone.search(line)] == []


@pytest.mark.parametrize("role", ROLES)
def test_an_example_is_no_template(role):
    """Ansible works out all of a spec when it checks a role's arguments, and knows no variable of an example."""
    for entry in read_yaml(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values():
        examples = {name: option.get("example") for name, option in entry.get("options", {}).items()}
        assert [name for name, example in examples.items() if "{{" in str(example)] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_entry_points_exist(role):
    # The variables of the playbooks stand beside those of role ray, and are no entry point.
    for entry in read_yaml(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].keys() - {"playbooks"}:
        assert (REPOSITORY / "roles" / role / "tasks" / f"{entry}.yml").is_file()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_a_readme_with_a_title(role):
    assert (REPOSITORY / "roles" / role / "README.md").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_variables_carry_its_name(role):
    assert [name for name in defaults_of(role) if not name.startswith(f"{role}_")] == []


def test_the_versions_agree():
    version = GALAXY["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert re.search(
        rf"^## .*\b{re.escape(version)}\b", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    for module in MODULES:
        added = tuple(map(int, str(documentation(module)["version_added"]).split(".")))
        assert added <= tuple(map(int, version.split("."))), module


def test_the_environment_with_vllm_has_the_clusters_ray():
    locked = (REPOSITORY / "tests" / "serving" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={defaults_of('ray')['ray_version']}" in locked


def test_the_action_groups_are_modules():
    groups = read_yaml("meta/runtime.yml")["action_groups"]
    for members in groups.values():
        assert members == sorted(members)
        assert [member for member in members if member not in MODULES] == []
    # module_defaults for the group reach each module that talks to the cluster.
    connected = {module for module in MODULES if "auth_token_path" in str(documentation(module))}
    assert connected <= set(groups["ray"])


@pytest.mark.parametrize("file, variable, module", [
    ("cluster", "_ray_connection", "ray_status"), ("config", "_ray_node_start", "ray_node"),
    ("environment", "_ray_upgrade", "ray_upgrade"), ("tls", "_ray_tls_certificate", "ray_tls"),
    ("tls", "_ray_tls_signer", "ray_tls_authority"),
])
def test_what_stands_in_one_place_are_options_of_a_module(file, variable, module):
    told = read_yaml(f"roles/ray_defaults/vars/main/{file}.yml")[variable]
    assert told and set(told) <= set(documentation(module)["options"])


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_documented_under_its_name(module):
    found = documentation(module)
    assert found["module"] == module
    assert set(found["attributes"]) >= {"check_mode", "diff_mode", "idempotent"}


@pytest.mark.parametrize("path", PLUGINS)
def test_the_header_of_a_plugin(path):
    lines = (REPOSITORY / path).read_text(encoding="utf-8").splitlines()
    assert (lines[0] == "#!/usr/bin/python") == (
        path.startswith("plugins/modules/") and not path.endswith("__init__.py")
    )
    assert "# SPDX-License-Identifier: GPL-3.0-or-later" in lines[:4]
    assert "from __future__ import annotations" in lines
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []

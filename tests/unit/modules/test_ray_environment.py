# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real virtual environments, from wheels made by hand: a `ray` that is one empty file, installs in a moment."""

from __future__ import annotations

import base64
import fcntl
import glob
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._environment.wheelhouse import digest, packed
from tests.unit.conftest import OWN_USER

MARKER = ".rayops-environment.json"


def make_wheel(directory: Path, name: str, version: str, files: dict[str, str | bytes] | None = None) -> Path:
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    content = {
        f"{name}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(files or {}),
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in content.items():
            wheel.writestr(member, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*content, f"{info}/RECORD"]))
    return path


@pytest.fixture(scope="module")
def uv_wheel(tmp_path_factory):
    """The uv of these tests, as a wheel: with it an installation takes a second and not ten."""
    program = Path(sys.executable).with_name("uv").read_bytes()
    return make_wheel(tmp_path_factory.mktemp("uv"), "uv", "1.0", {"uv-1.0.data/scripts/uv": program})


@pytest.fixture
def wheelhouse(tmp_path, uv_wheel):
    path = tmp_path / "wheels"
    path.mkdir()
    make_wheel(path, "ray", "9.9.9")
    make_wheel(path, "extra", "1.0")
    (path / uv_wheel.name).symlink_to(uv_wheel)
    return path


@pytest.fixture
def options(tmp_path, wheelhouse):
    return {
        "path": f"{tmp_path}/opt/9.9.9",
        "version": "9.9.9",
        "packages": ["ray==9.9.9"],
        "python": sys.executable,
        "wheelhouse": str(wheelhouse),
        "link": f"{tmp_path}/opt/current",
    }


@pytest.fixture
def ray_environment_module(run_module):
    return lambda options, **kind: run_module("ray_environment", options, **kind)


def snapshot(path: Path) -> dict[str, float]:
    return {str(found): found.lstat().st_mtime_ns for found in path.rglob("*")}


def test_install_link_and_nothing_more(ray_environment_module, options, tmp_path):
    predicted = ray_environment_module(options, check_mode=True)
    assert not (tmp_path / "opt").exists()
    first = ray_environment_module(options)
    for result in (predicted, first):
        assert (result["changed"], result["install"], result["link"]) == (True, True, True)
        assert result["diff"] == {
            "before": "",
            "after": f"{options['path']}: Ray 9.9.9, ray==9.9.9\n{options['link']} -> {options['path']}\n",
        }
    assert (predicted["ray_version"], predicted["python_version"], predicted["venv_missing"]) == (None, None, False)
    assert first["ray_version"] == "9.9.9"
    version = subprocess.run(
        [f"{options['link']}/bin/python", "-c", "import platform, ray; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert first["python_version"] == version
    assert os.readlink(options["link"]) == options["path"]
    before = snapshot(tmp_path / "opt")
    again = ray_environment_module(options)
    assert (again["changed"], again["install"], again["link"]) == (False, False, False)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert snapshot(tmp_path / "opt") == before


def test_an_interrupted_installation_is_begun_anew(ray_environment_module, options):
    ray_environment_module(options)
    path = Path(options["path"])
    (path / MARKER).unlink()
    (path / "leftover").touch()
    result = ray_environment_module(options)
    assert (result["changed"], result["install"], result["link"]) == (True, True, False)
    assert not (path / "leftover").exists() and (path / MARKER).exists()
    # A marker that is half written counts as none.
    (path / MARKER).write_text('{"packages": [')
    assert ray_environment_module(options, check_mode=True)["install"]


@pytest.mark.parametrize("damage", ["interpreter", "package"])
def test_a_damaged_environment_is_repaired(ray_environment_module, options, damage):
    ray_environment_module(options)
    path = Path(options["path"])
    if damage == "interpreter":
        (path / "bin" / "python").unlink()
    else:
        next(path.glob("lib/python3*/site-packages/ray-9.9.9.dist-info")).rename(path / "away")
    assert ray_environment_module(options)["install"]
    assert not ray_environment_module(options)["changed"]


def test_another_package_is_added_in_place(ray_environment_module, options):
    ray_environment_module(options)
    (Path(options["path"]) / "kept").touch()
    result = ray_environment_module({**options, "packages": ["ray==9.9.9", "extra"]})
    assert result["install"] and (Path(options["path"]) / "kept").exists()
    assert result["diff"]["before"].startswith(f"{options['path']}: Ray 9.9.9, ray==9.9.9\n")
    assert result["diff"]["after"].startswith(f"{options['path']}: Ray 9.9.9, ray==9.9.9 extra\n")
    subprocess.run([f"{options['path']}/bin/python", "-c", "import extra"], check=True)


def test_a_wheelhouse_in_a_tar_file(ray_environment_module, options, wheelhouse, tmp_path):
    (wheelhouse / "README").write_text("no wheel")
    # While uv installs, its wheels are there, and not the archive as well.
    make_wheel(wheelhouse, "uv", "2.0", {"uv-2.0.data/scripts/uv": (
        f'#!/bin/sh\ntest -e {tmp_path}/wheels.tar && echo "$1" >> {tmp_path}/held\n'
        f'exec {Path(sys.executable).with_name("uv")} "$@"\n')})
    with tarfile.open(tmp_path / "wheels.tar", "w", dereference=True) as archive:
        archive.add(wheelhouse, ".")
    assert ray_environment_module({**options, "wheelhouse": f"{tmp_path}/wheels.tar"})["ray_version"] == "9.9.9"
    assert not (tmp_path / "held").exists()


@pytest.mark.parametrize("content", [None, b"no tar file"])
def test_a_wheelhouse_that_cannot_be_read(ray_environment_module, options, tmp_path, content):
    if content:
        (tmp_path / "wheels.tar").write_bytes(content)
    result = ray_environment_module({**options, "wheelhouse": f"{tmp_path}/wheels.tar"})
    assert result["failed"] and result["msg"].startswith(f"The wheelhouse {tmp_path}/wheels.tar cannot be read: ")
    assert not Path(options["path"]).exists()


def test_a_package_that_is_missing_is_named(ray_environment_module, options):
    result = ray_environment_module({**options, "packages": ["ray==9.9.9", "nosuchpackage"]})
    assert result["failed"] and result["msg"].startswith(f"Installing Ray into {options['path']} failed: ")
    assert "nosuchpackage" in result["msg"] and "\n" not in result["msg"]
    assert not (Path(options["path"]) / MARKER).exists()
    assert not os.path.lexists(options["link"])


def test_packages_that_bring_another_version(ray_environment_module, options, wheelhouse):
    make_wheel(wheelhouse, "ray", "9.9.8")
    result = ray_environment_module({**options, "packages": ["ray==9.9.8"]})
    assert result["failed"]
    assert result["msg"] == (
        f"{options['path']} now holds Ray 9.9.8 and not 9.9.9: "
        "let ray_packages name the version that ray_version names."
    )


def test_an_interpreter_that_is_missing(ray_environment_module, options, tmp_path):
    """A check says so, too."""
    for check_mode in (False, True):
        result = ray_environment_module({**options, "python": f"{tmp_path}/python"}, check_mode=check_mode)
        assert result["failed"]
        assert result["msg"].startswith(f"ray_python {tmp_path}/python does not exist on this host: ")
    assert not Path(options["path"]).exists()


def test_a_disk_that_is_too_small(ray_environment_module, options):
    result = ray_environment_module({**options, "size": 10**15}, check_mode=True)
    assert result["failed"] and f"1500000.0 GB for Ray's environment in {options['path']} are needed" in result["msg"]
    assert not Path(options["path"]).exists()


def test_an_interpreter_without_ensurepip(ray_environment_module, options, tmp_path):
    (tmp_path / "python").write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\necho 3.12\n')
    (tmp_path / "python").chmod(0o755)
    assert ray_environment_module({**options, "python": f"{tmp_path}/python"}, check_mode=True)["venv_missing"] is True


def test_somebody_elses_environment_is_only_looked_at(ray_environment_module, options, tmp_path):
    ray_environment_module(options)
    before = snapshot(Path(options["path"]))
    unmanaged = {**options, "managed": False, "packages": ["ray[default]"], "link": f"{tmp_path}/new/place/current"}
    result = ray_environment_module(unmanaged)
    assert (result["changed"], result["install"], result["link"]) == (True, False, True)
    assert os.readlink(unmanaged["link"]) == options["path"]
    assert not ray_environment_module(unmanaged)["changed"]
    assert snapshot(Path(options["path"])) == before
    result = ray_environment_module({**unmanaged, "version": "2.60.0"})
    assert result["failed"] and result["msg"].startswith(
        f"{options['path']} holds Ray 9.9.9, but the cluster runs 2.60.0: set ray_version to 9.9.9 for every host"
    )
    result = ray_environment_module({**unmanaged, "path": f"{tmp_path}/empty", "version": "2.60.0"}, check_mode=True)
    assert (
        result["failed"]
        and result["msg"] == f"There is no Ray in {tmp_path}/empty: install ray[default]==2.60.0 into it."
    )


def test_the_link_moves_to_the_new_environment(ray_environment_module, options, tmp_path):
    ray_environment_module(options)
    (tmp_path / "opt" / "current.new").symlink_to("left by an interrupted run")
    newer = {**options, "path": f"{tmp_path}/opt/other"}
    predicted = ray_environment_module(newer, check_mode=True)
    assert predicted["link"] and os.readlink(options["link"]) == options["path"]
    assert predicted["diff"]["before"] == f"{options['link']} -> {options['path']}\n"
    ray_environment_module(newer)
    assert os.readlink(options["link"]) == newer["path"]
    assert not os.path.lexists(f"{options['link']}.new")


def test_a_directory_where_the_link_should_be(ray_environment_module, options, tmp_path):
    (tmp_path / "opt" / "current").mkdir(parents=True)
    result = ray_environment_module(options)
    assert result["failed"] and result["msg"] == f"{options['link']} is a directory and is to be a link: move it away."


def test_the_nodes_user_can_read_it_whatever_the_logins_mask(ray_environment_module, options):
    old = os.umask(0o077)
    try:
        ray_environment_module(options)
    finally:
        os.umask(old)
    for path in (Path(options["path"]).parent, Path(options["path"]), *Path(options["path"]).rglob("*")):
        if not path.is_symlink():
            assert path.stat().st_mode & stat.S_IROTH, path
            assert path.is_file() or path.stat().st_mode & stat.S_IXOTH, path


def test_uv_installs_where_its_wheel_runs_here(ray_environment_module, options, wheelhouse):
    """The newest wheel of uv is for another processor and is passed over."""
    make_wheel(wheelhouse, "uv", "1.0.1", {"uv-1.0.1.data/scripts/uv": b"\x7fELF of another processor"})
    assert ray_environment_module(options)["ray_version"] == "9.9.9"
    packages = next(Path(options["path"]).glob("lib/python3*/site-packages"))
    assert (packages / "ray-9.9.9.dist-info" / "INSTALLER").read_text() == "uv"
    assert not (packages / "pip").exists()


def test_pip_installs_where_there_is_no_uv(ray_environment_module, options, wheelhouse, uv_wheel):
    (wheelhouse / uv_wheel.name).unlink()
    assert ray_environment_module(options)["ray_version"] == "9.9.9"
    packages = next(Path(options["path"]).glob("lib/python3*/site-packages"))
    assert (packages / "ray-9.9.9.dist-info" / "INSTALLER").read_text().strip() == "pip"
    assert not ray_environment_module(options)["changed"]


class Index(BaseHTTPRequestHandler):
    """A package index that has nothing, and notes who asks."""

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Authorization"))
        self.send_error(404)

    def log_message(self, *_arguments: object) -> None:
        """Nothing is written."""


def test_a_password_in_the_address_of_an_index_is_no_argument(ray_environment_module, options, monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "0")
    environment = {name: value for name, value in options.items() if name != "wheelhouse"}
    with HTTPServer(("127.0.0.1", 0), Index) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}/simple"
        result = ray_environment_module({**environment, "index_url": f"http://user:hunter2%40hunter2@{address}"})
        server.shutdown()
    assert result["failed"]
    # Not what the module was called with either, which -vvv shows.
    assert "hunter2" not in json.dumps(result)
    # ansible-core 2.21 leaves it out by itself.
    shown = result.get("invocation", {}).get("module_args", {}).get("index_url")
    assert shown is None or re.fullmatch(rf"http://user:\*+@{address}", shown)
    # The address itself was used, with the password.
    assert f"Basic {base64.b64encode(b'user:hunter2@hunter2').decode()}" in server.asked


@pytest.mark.parametrize(("user", "missing"), [(None, False), ("root", False), ("nosuchuser", True)])
def test_the_user_is_looked_up(ray_environment_module, options, user, missing):
    assert (
        ray_environment_module({**options, **({"user": user} if user else {})}, check_mode=True)["user_missing"]
        is missing
    )


@pytest.mark.parametrize(("error", "said"), [
    # The first two are what glibc says.
    ("libnuma.so.1: cannot open shared object file: No such file or directory",
     r"vllm\._C cannot be loaded: the shared library libnuma\.so\.1 is missing on this host: add its package, "
     r"(libnuma1|numactl-libs), to ray_system_packages\.$"),
    ("libodd.so.7: cannot open shared object file: No such file or directory",
     r"libodd\.so\.7 is missing on this host: add the package that has it \(.* libodd\.so\.7\) to ray_system_pack"),
    ("/srv/vllm/_C.abi3.so: undefined symbol: _ZN2at6detail",
     r"vllm\._C cannot be loaded: /srv/vllm/_C\.abi3\.so: undefined symbol: _ZN2at6detail$"),
    # A head without a GPU has no driver, and is none of vLLM's nodes.
    ("libcuda.so.1: cannot open shared object file: No such file or directory",
     "" if not glob.glob("/dev/nvidia[0-9]*") else "install the driver"),
])
def test_an_engine_whose_library_does_not_load_is_refused(ray_environment_module, options, wheelhouse, error, said):
    """It imports all the same: vLLM loads the library when it serves, and only warns."""
    make_wheel(wheelhouse, "ray", "9.9.9", {
        "ray/__init__.py": "__version__ = '9.9.9'\n", "ray/_raylet.py": "", "ray/scripts/__init__.py": "",
        "ray/scripts/scripts.py": "", "ray/dashboard/__init__.py": "", "ray/dashboard/dashboard.py": ""})
    make_wheel(wheelhouse, "torch", "1.0")
    make_wheel(wheelhouse, "vllm", "1.0", {
        "vllm/_C.py": f"import sys\nassert 'torch' in sys.modules\nraise ImportError({error!r})\n"})
    wanted = {**options, "packages": ["ray==9.9.9", "torch", "vllm"], "user": OWN_USER}
    for _attempt in range(2):
        result = ray_environment_module(wanted)
        assert re.search(said, result["msg"]) if said else not result.get("failed")
        # The next run looks again: nothing but the link tells that this one was not whole.
        assert os.path.lexists(options["link"]) is not bool(said)
        assert ray_environment_module(wanted, check_mode=True)["link"] is bool(said)


def test_packages_of_the_distribution_are_looked_up(ray_environment_module, options, tmp_path, monkeypatch):
    """By their names, or by what provides them; with rpm where there is no dpkg."""
    known = "installed\tlibnuma1\t\t,\ninstalled\tg++-12\tc++-compiler\t,\nconfig-files\tninja-build\t\t,\n"
    programs = {"dpkg-query": f"#!/bin/sh\nprintf '{known}'\n", "rpm": "#!/bin/sh\ntest \"$3\" = libnuma1\n"}
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    wanted = {**options, "system_packages": ["libnuma1", "c++-compiler", "ninja-build", "meson"]}
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    for program, missing in (
        ("rpm", ["c++-compiler", "ninja-build", "meson"]), ("dpkg-query", ["ninja-build", "meson"]),
    ):
        (tmp_path / "bin" / program).write_text(programs[program])
        (tmp_path / "bin" / program).chmod(0o755)
        assert ray_environment_module(wanted, check_mode=True)["packages_missing"] == missing


def test_a_second_installation_waits_for_the_first(ray_environment_module, options):
    """Ctrl-C leaves the first one running on the host: the next run must neither clear it away nor install twice."""
    path = Path(options["path"])
    path.parent.mkdir(parents=True)
    with open(path.parent / f".{path.name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor(max_workers=1) as pool:
            second = pool.submit(ray_environment_module, options)
            time.sleep(2)
            assert not path.exists(), "it did not wait"
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.result()["ray_version"] == "9.9.9"


def test_bytecode_of_what_a_node_starts_is_made_and_the_rest_is_not_waited_for(
    ray_environment_module, options, tmp_path, monkeypatch
):
    """That is begun last, ended before anything changes, and comes for all but the libraries on top of Ray."""
    calls = tmp_path / "calls"
    for name in ("systemctl", "systemd-run"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(
            f'#!/bin/sh\necho {name} "$@" $(find {options["path"]} -name "*.pyc" 2> /dev/null | wc -l)'
            f' $(cat {options["path"]}/{MARKER} 2> /dev/null | cut -c1-12) >> {calls}\n'
            f'while test $# != 0 && test "$1" != --; do shift; done\n'
            f'test {name} = systemctl || {{ shift; exec "$@"; }}\n'
        )
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    wheels = Path(options["wheelhouse"])
    make_wheel(wheels, "ray", "9.9.9", {
        "ray/core.py": "", "ray/data/big.py": "", "ray/scripts/scripts.py": "from extra.data import needed"})
    make_wheel(wheels, "extra", "1.0", {"extra/data/small.py": "", "extra/data/needed.py": ""})
    ray_environment_module({**options, "packages": ["ray==9.9.9", "extra"]})
    stopped, started = calls.read_text().splitlines()
    assert stopped == "systemctl stop -- ray-bytecode.timer ray-bytecode.service 0"
    assert "--on-active=60" in started and "--property=Nice=19" in started and started.endswith(' 4 {"packages":')
    found = {path.name.split(".")[0] for path in Path(options["path"]).rglob("*.pyc")}
    assert found >= {"core", "small"} and "big" not in found
    # Whether it ran decides nothing.
    assert not ray_environment_module({**options, "packages": ["ray==9.9.9", "extra"]})["changed"]
    assert len(calls.read_text().splitlines()) == 2


def test_a_wheelhouse_is_packed_once(wheelhouse):
    archive = Path(packed(f"{wheelhouse}/"))
    first = archive.stat().st_ino
    assert packed(str(wheelhouse)) == str(archive) and archive.stat().st_ino == first
    with tarfile.open(archive) as stream:
        assert {Path(name).name for name in stream.getnames()} >= {"ray-9.9.9-py3-none-any.whl"}
        assert all(member.isreg() or member.isdir() for member in stream)
    time.sleep(0.01)
    make_wheel(wheelhouse, "more", "1.0")
    assert packed(str(wheelhouse)) == str(archive) and archive.stat().st_ino != first
    # In place, which leaves the directory as it was.
    second, before = archive.stat().st_ino, digest(str(wheelhouse))
    make_wheel(wheelhouse, "more", "1.0", {"more/code.py": "changed"})
    assert packed(str(wheelhouse)) == str(archive) and archive.stat().st_ino != second
    assert digest(str(wheelhouse)) != before
    assert [path.name for path in wheelhouse.parent.iterdir() if path.name.startswith(".wheelhouse")] == []

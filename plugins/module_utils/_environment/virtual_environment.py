# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be known of a virtual environment, and of the Python that makes one."""

from __future__ import annotations

import glob
import os
import subprocess

from ansible_collections.rayops.cluster.plugins.module_utils._environment.start_bytecode import LIBRARIES
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, read_regular

# One at a time on a host; systemd ends it, whoever started it. Role ray ends it, too, before it removes an environment.
_BYTECODE_UNIT = "ray-bytecode"
# Most of Ray's files.
_LIBRARIES = f"/site-packages/ray/({'|'.join(LIBRARIES)})/"


def ray_version(environment: str) -> str | None:
    """The version of Ray in an environment, from its package's metadata; None where there is none."""
    found = glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "ray-*.dist-info"))
    # The metadata alone is what an interrupted installation leaves.
    whole = found and os.path.exists(os.path.join(os.path.dirname(found[0]), "ray", "__init__.py"))
    return os.path.basename(found[0])[len("ray-"):-len(".dist-info")] if whole else None


def has_engine(environment: str) -> bool:
    """Whether vLLM is there, which links libraries of the host's."""
    return bool(glob.glob(os.path.join(environment, "lib", "python3*", "site-packages", "vllm-*.dist-info")))


def compile_later(environment: str) -> list[str]:
    """The command that lets the rest of the bytecode be left, as pip does and uv does not, and returns at once.

    In a minute: until then, the nodes that start on a fresh host need its processors.

    User ray cannot write it, and compiles at every start until it is there. Each file is moved into place, and an
    environment without it is slower, not broken.
    """
    packages = glob.glob(os.path.join(environment, "lib", "python3*", "site-packages"))
    return [
        "systemd-run", "--quiet", "--no-ask-password", "--collect", f"--unit={_BYTECODE_UNIT}", "--on-active=60",
        "--description=Bytecode of Ray's environment", "--property=Nice=19", "--property=IOSchedulingClass=idle", "--",
        os.path.join(environment, "bin", "python"), "-I", "-m", "compileall", "-q", "-j", "0", "-x", _LIBRARIES,
        *packages,
    ]


def compile_no_more() -> list[str]:
    """The command that ends it; one that does not run is none to end."""
    return ["systemctl", "stop", "--", f"{_BYTECODE_UNIT}.timer", f"{_BYTECODE_UNIT}.service"]


def python_version(environment: str) -> str | None:
    """The version that pyvenv.cfg names, without starting the interpreter, which may be anybody's."""
    try:
        text = read_regular(os.path.join(environment, "pyvenv.cfg")).decode()
    except (OSError, PathError, UnicodeDecodeError):
        return None
    pairs = dict(line.partition("=")[::2] for line in text.splitlines())
    values = {key.strip(): value.strip() for key, value in pairs.items()}
    return values.get("version") or values.get("version_info")


def venv_missing(python: str) -> bool:
    """Whether an interpreter lacks the module that makes environments with pip."""
    if not os.path.exists(python):
        return False
    return subprocess.run([python, "-I", "-c", "import ensurepip"], capture_output=True, check=False).returncode != 0

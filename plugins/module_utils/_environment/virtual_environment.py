# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: do not import it from elsewhere.

"""What is to be known of a virtual environment, and of the Python that makes one."""

from __future__ import annotations

import os
import subprocess

from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, read_regular


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

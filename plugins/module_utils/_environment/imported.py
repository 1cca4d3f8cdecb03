# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether an environment works: Ray, and the engine that serves models, are imported in it."""

from __future__ import annotations

import inspect
import os

from ansible_collections.rayops.cluster.plugins.module_utils._environment import import_check
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, harmless, run

# Seconds that Ray and a few large packages have, on a cold and slow disk.
PATIENCE = 300


class UnusableError(Exception):
    """What is to run does not work. The message is one sentence."""


def python_version(python: str, user: str | None = None) -> str:
    """The version of an interpreter, run as a user; empty where it does not run."""
    command = [python, "-I", "-c", "import platform; print(platform.python_version())"]
    try:
        return str(harmless(run(command, user, 10)[1].strip()[:40]))
    except (OSError, GuestError):
        return ""


def imported_version(environment: str, user: str, packages: list[str], variables: dict[str, str] | None = None) -> str:
    """Import Ray and packages in an environment, as a user, and load the native library of an engine that is there.

    :arg variables: what the node will have, such as the LD_LIBRARY_PATH of its accelerators.
    :returns: Ray's version.
    :raises UnusableError: that does not work.
    """
    python = os.path.join(environment, "bin", "python")
    try:
        code, output, errors = run([python, "-I", "-", *packages], user, PATIENCE, inspect.getsource(import_check),
                                   variables)
    except TimeoutError:
        raise UnusableError(f"{environment} was not imported within {PATIENCE} s.") from None
    except (GuestError, OSError) as error:
        raise UnusableError(f"{python} cannot be run: {error}") from None
    if code:
        words = [line.strip() for line in errors.splitlines() if line.strip()] or ["it wrote nothing"]
        raise UnusableError(f"{environment} does not work: {harmless(words[-1][:1000])}")
    return str(harmless((output.splitlines() or [""])[-1][:100]))

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: do not import it from elsewhere.

"""Whether an environment works: what it holds is imported as Ray's user, and never by root."""

from __future__ import annotations

import inspect
import os

from ansible_collections.rayops.cluster.plugins.module_utils._environment import import_check
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, harmless, run

# What Ray and a few large packages need on a cold and slow disk.
_PATIENCE = 300.0


class ImportFailedError(Exception):
    """Something cannot be imported. The message is one sentence."""


def imported_version(environment: str, user: str, packages: list[str]) -> str:
    """Import Ray and packages in an environment.

    :arg packages: requirements, of which the names count.
    :returns: the version of Ray that was imported.
    :raises ImportFailedError: not all of it can be imported within the time.
    """
    python = os.path.join(environment, "bin", "python")
    try:
        code, output, errors = run([python, "-I", "-", *packages], user, _PATIENCE, inspect.getsource(import_check))
    except TimeoutError:
        raise ImportFailedError(f"{environment} was not imported within {_PATIENCE:g} s.") from None
    except (GuestError, OSError) as error:
        raise ImportFailedError(f"{python} cannot be run: {error}") from None
    if code:
        words = [line.strip() for line in errors.splitlines() if line.strip()] or ["it wrote nothing"]
        raise ImportFailedError(f"{environment} does not work: {harmless(words[-1][:1000])}")
    return str(harmless((output.splitlines() or [""])[-1][:100]))

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what a cluster does by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def first_true(what: str, condition: Callable[[], Any], seconds: float) -> Any:
    """The first true value of a condition, asked each second; a failure that names what never came."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last: {found!r}"
        time.sleep(1)

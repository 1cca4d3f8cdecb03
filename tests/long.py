# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build server, which sets CI, leaves out; `make test` by hand does all of it."""

from __future__ import annotations

import os

import pytest

BUILD_SERVER = bool(os.environ.get("CI"))
# For a test that costs minutes, and whose decision a test of less shows as well.
long = pytest.mark.skipif(BUILD_SERVER, reason="a build server does fewer")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario's cluster, on which the tests run the verbs as a user does. BED_NAME names its bed."""

from __future__ import annotations

import os

import pytest

from tests.bed.bed import Bed
from tests.bench.cluster import Cluster


@pytest.fixture
def cluster() -> Cluster:
    """Read anew for each test: one of them may have added a host."""
    return Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-lifecycle")))

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All faults, in the order in which they are done."""

from __future__ import annotations

from tests.faults.hands import HANDS
from tests.faults.kills import KILLS
from tests.faults.machines import MACHINES

FAULTS = [*KILLS, *MACHINES, *HANDS]

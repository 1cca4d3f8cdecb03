# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work for a cluster that counts its own answers: whatever is done to the cluster, what was accepted is not lost."""

from tests.workload.report import Report
from tests.workload.workload import Workload

__all__ = ["Report", "Workload"]

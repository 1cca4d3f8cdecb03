# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Grafana dashboards that Ray generates. Runs under the Python of Ray's environment."""

from __future__ import annotations

from typing import Any


def dashboards(request: dict[str, Any]) -> dict[str, Any]:
    """All that ray.dashboard.modules.metrics generates: {dashboards: [{uid, content: JSON text}]}."""
    from ray.dashboard.modules.metrics import grafana_dashboard_factory as factory

    found = []
    for name in sorted(vars(factory)):
        if name.startswith("generate_") and name.endswith("_grafana_dashboard"):
            content, uid = getattr(factory, name)()
            found.append({"uid": uid, "content": content})
    return {"dashboards": found}

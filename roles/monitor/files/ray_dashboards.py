# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print the Grafana dashboards that Ray generates (ray.dashboard.modules.metrics): a JSON list of {uid, content}.

It writes nothing: its environment may be anybody's, so it runs as the user of Ray, and root writes what it says.
"""

from __future__ import annotations

import json
import os


def main() -> None:
    # Only the answer may get through, whatever Ray prints.
    with os.fdopen(os.dup(1), "w") as answer_to:
        os.dup2(2, 1)
        from ray.dashboard.modules.metrics import grafana_dashboard_factory as factory

        found = []
        for name in sorted(vars(factory)):
            if name.startswith("generate_") and name.endswith("_grafana_dashboard"):
                content, uid = getattr(factory, name)()
                found.append({"uid": uid, "content": content})
        answer_to.write(json.dumps(found))


main()

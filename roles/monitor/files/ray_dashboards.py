# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the Grafana dashboards that Ray generates into the directory that is given (ray.dashboard.modules.metrics)."""

from __future__ import annotations

import sys
from pathlib import Path

from ray.dashboard.modules.metrics import grafana_dashboard_factory as factory


def main(directory: Path) -> None:
    # Those of another version would claim the same uid.
    for old in directory.parent.glob("ray-[0-9]*/*.json"):
        old.unlink()
    directory.mkdir(exist_ok=True)
    for name in sorted(vars(factory)):
        if name.startswith("generate_") and name.endswith("_grafana_dashboard"):
            content, uid = getattr(factory, name)()
            (directory / f"{uid}.json").write_text(content, encoding="utf-8")


main(Path(sys.argv[1]))

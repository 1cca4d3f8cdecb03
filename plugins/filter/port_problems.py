# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: port_problems
short_description: Which variables give a port that another one has, or Ray on the same host
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Each clash is told in one sentence.
positional: ray_ports
options:
  _input: {description: The ports by the names of their variables., type: dict, required: true}
  ray_ports: {description: "Ports in use on this host, by their names in C(ray_ports), or by variables that begin with
      C(ray_).", type: dict, default: {}}
"""

EXAMPLES = r"""
problems: "{{ {'monitor_port': monitor_port} | rayops.cluster.port_problems(ray_ports) }}"
"""

RETURN = r"""
_value: {description: One sentence for each clash., type: list, elements: str}
"""

from typing import Any


def port_problems(ports: dict[str, Any], ray_ports: dict[str, Any] | None = None) -> list[str]:
    """Sentences; see the documentation above."""
    taken = {name: int(port) for name, port in (ray_ports or {}).items()}
    first, last = taken.pop("worker_min", 1), taken.pop("worker_max", 0)
    owners = {port: name if name.startswith("ray_") else f"ray_ports.{name}" for name, port in taken.items()}
    seen: dict[int, str] = {}
    problems = []
    for variable, port in ((variable, int(port)) for variable, port in ports.items()):
        if port in seen:
            problems.append(f"{seen[port]} and {variable} are both {port}: give each a port of its own.")
        elif port in owners:
            problems.append(f"{variable} is {port}, which {owners[port]} has on this host: choose another.")
        elif first <= port <= last:
            problems.append(
                f"{variable} is {port}, and Ray's workers take {first} to {last} on this host: choose another."
            )
        seen.setdefault(port, variable)
    return problems


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"port_problems": port_problems}

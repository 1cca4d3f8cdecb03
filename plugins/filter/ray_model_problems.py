# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_model_problems
short_description: Why the declared models cannot run on their hosts
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Puts together what M(rayops.cluster.ray_model_check) found on the hosts. Each problem names host and model.
positional: cluster, checks
options:
  _input: {description: "The models, as in C(ray_serve_models).", type: list, elements: dict, required: true}
  cluster: {description: "As of P(rayops.cluster.ray_models#filter).", type: dict, required: true}
  checks: {description: "By the names of the hosts, what the module returned there.", type: dict, required: true}
"""

EXAMPLES = r"""
problems: "{{ ray_serve_models | rayops.cluster.ray_model_problems(my_cluster, my_checks) }}"
"""

RETURN = r"""
_value: {description: "What cannot work, a sentence each with the fix in it.", type: list, elements: str}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.filter.ray_models import cluster_of
from ansible_collections.rayops.cluster.plugins.module_utils._serving.models import read
from ansible_collections.rayops.cluster.plugins.module_utils._serving.placement import host_of, unequal, unplaceable
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless


def ray_model_problems(
    declared: Sequence[Any], cluster: Mapping[str, Any], checks: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Sentences; see the documentation above."""
    models, _problems = read(declared)
    where, said = cluster_of(cluster), [
        f"{host}: {harmless(str(problem))}" for host, answer in checks.items()
        for problem in (answer.get("problems") or [])
    ]
    hosts = {
        host: host_of(answer) for host, answer in checks.items() if isinstance(answer.get("accelerators"), Mapping)
    }
    return [*said, *unplaceable(models, where, hosts), *unequal(models, where, hosts)]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_model_problems": ray_model_problems}

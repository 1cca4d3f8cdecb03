# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_tls_refusal
short_description: Why a node cannot be started beside the head that runs
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Ray does not mix TLS with plain text, or two certificate authorities. All nodes change together, by C(upgrade).
positional: declared, head
options:
  _input: {description: "What the head speaks, true for TLS; anything but true and false is a head that does not run.",
      type: raw, required: true}
  declared: {description: C(ray_tls)., type: bool, required: true}
  head: {description: The host., type: str, required: true}
  other_authority: {description: Whether its certificate is of another authority., type: bool, default: false}
  unfinished: {description: Whether its files are of an upgrade that was interrupted., type: bool, default: false}
"""

EXAMPLES = r"""
problem: "{{ ray_node_plan.node.tls | rayops.cluster.ray_tls_refusal(ray_tls | bool, _ray_head_host) }}"
"""

RETURN = r"""
_value: {description: One sentence with the fix in it; empty for nothing., type: str}
"""

from typing import Any

_TOGETHER = "Ray does not mix the two, so all nodes change together"


def ray_tls_refusal(
    speaks: Any, declared: bool, head: str, other_authority: bool = False, unfinished: bool = False
) -> str:
    """A sentence; see the documentation above."""
    if speaks is not True and speaks is not False:
        return ""
    if speaks is not bool(declared):
        return (
            f"The head {head} runs {'with' if speaks else 'without'} TLS, and ray_tls is {str(bool(declared)).lower()}"
            f": {_TOGETHER}. Run rayops.cluster.upgrade, or set ray_tls: {str(speaks).lower()}."
        )
    if declared and other_authority is True:
        return (
            f"The certificate of the head {head} is of another authority than the declared one: {_TOGETHER}. Run "
            "rayops.cluster.upgrade, or let ray_tls_dir or ray_tls_ca_certificate hold the other one, too."
        )
    if unfinished is True:
        return (
            f"An upgrade was interrupted, and the files of the head {head} are not what runs: run "
            "rayops.cluster.upgrade again, or with -e ray_rollback=true."
        )
    return ""


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_tls_refusal": ray_tls_refusal}

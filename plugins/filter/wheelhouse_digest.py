# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: wheelhouse_digest
short_description: What tells one content of a wheelhouse from another
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: By the names and sizes of its wheels. Role ray makes another environment of other wheels.
options:
  _input: {description: "The directory, on the controller.", type: path, required: true}
"""

EXAMPLES = r"""
- name: Show the wheelhouse's digest
  ansible.builtin.debug:
    msg: "{{ ray_wheelhouse | rayops.cluster.wheelhouse_digest }}"
"""

RETURN = r"""
_value: {description: "The digest, empty for what is no directory.", type: str}
"""

import os
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._environment.wheelhouse import digest


def wheelhouse_digest(directory: str) -> str:
    """The digest of a directory; empty for what is none, which is refused elsewhere."""
    path = os.path.expanduser(directory)
    return digest(path) if path and os.path.isdir(path) else ""


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"wheelhouse_digest": wheelhouse_digest}

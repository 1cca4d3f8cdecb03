# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: keep_keys
short_description: Only these keys of each dictionary in a list
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Nothing but these keys is looked at. Templates in the others, such as the content of files, are not rendered.
positional: keys
options:
  _input:
    description: The dictionaries.
    type: list
    elements: dict
    required: true
  keys:
    description: The keys that stay. One that a dictionary does not have is left out.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: The files are gone
  rayops.cluster.node_files:
    files: "{{ my_files | rayops.cluster.keep_keys(['path']) | map('combine', {'state': 'absent'}) | reverse }}"
"""

RETURN = r"""
_value:
  description: The dictionaries, each with no other keys.
  type: list
  elements: dict
"""


def keep_keys(dictionaries: list, keys: list) -> list:
    """Drop all other keys, unseen."""
    return [{key: dictionary[key] for key in keys if key in dictionary} for dictionary in dictionaries]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict:
        return {"keep_keys": keep_keys}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: systemd_quote
short_description: One word of a command as a unit of systemd wants it quoted
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - What stands in C(ExecStart=) keeps its blanks, quotes, percent signs and dollars.
options:
  _input:
    description: The word.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the line of a unit
  ansible.builtin.debug:
    msg: "ExecStart=/usr/bin/ls {{ directory | rayops.cluster.systemd_quote }}"
"""

RETURN = r"""
_value:
  description: The word, quoted where it has to be.
  type: str
"""

from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import systemd_quote


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict:
        return {"systemd_quote": lambda word: systemd_quote(str(word), expand=True)}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: file_secret
short_description: The secret in a file that was read from another host
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Takes what M(ansible.builtin.slurp) returned, and says what to do where there was no such file.
positional: missing, check
options:
  _input: {description: "The result of M(ansible.builtin.slurp), which may have failed.", type: dict, required: true}
  missing: {description: The message where there is nothing., type: str, required: true}
  check: {description: "Whether an empty secret will do, as in check mode on hosts that have none yet.",
      type: bool, default: false}
  variable: {description: "The variable that holds it, in a file of variables for systemd. Without it the file is the
      secret.", type: str, default: ""}
"""

EXAMPLES = r"""
- name: Show the length of a password
  ansible.builtin.debug:
    msg: "{{ my_slurped | rayops.cluster.file_secret('head has no password: run the playbook there first.') | length }}"
"""

RETURN = r"""
_value: {description: The secret., type: str}
"""

import base64

from ansible.errors import AnsibleFilterError


def file_secret(slurped: dict, missing: str, check: bool = False, variable: str = "") -> str:
    """The secret, without the line's end."""
    text = base64.b64decode(slurped.get("content") or "").decode()
    if variable:
        pairs = [line.strip().partition("=") for line in text.splitlines()]
        text = next((value for name, _equals, value in pairs if name == variable), "")
    if not text.strip() and not check:
        raise AnsibleFilterError(missing)
    return text.strip()


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict:
        return {"file_secret": file_secret}

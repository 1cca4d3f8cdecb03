# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_answer
short_description: What a host says of a backup or of its state, as data
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Reads what M(rayops.cluster.ray_backup) returns, or the file that it leaves beside the archives. Both come from a
    host that may have been taken, so each value is of its kind, or it is refused. What nobody asked for is dropped.
  - Control characters become question marks.
positional: names, directory
options:
  _input: {description: "The answer, a dictionary or JSON. An empty one has no values.", type: raw, required: true}
  names: {description: A regular expression that the name of an archive matches as a whole., type: str}
  directory: {description: "The directory on the host that an archive lies in, and in none below it.", type: str}
"""

EXAMPLES = r"""
- name: The backup is fetched
  ansible.builtin.fetch:
    src: "{{ (made.backup | rayops.cluster.backup_answer(_head_backup_names, head_backup_dir)).archive }}"
    dest: ./backup.tar.gz
    flat: true
"""

RETURN = r"""
_value: {description: The values., type: dict}
"""

import json
import os
import re
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.module_utils._backup.archive import KINDS, is_sound
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless

# Characters of an answer.
_MOST = 1 << 20
_SUM = r"([0-9a-f]{64})?"
_KINDS = {
    **KINDS, "state_id": _SUM, "restored": _SUM, "state": bool, "token": bool, "bytes": 1 << 62,
    "archive": r"/.{1,4000}", "aside": r"(/.{1,4000})?", "error": r".{1,4000}",
}


def backup_answer(answer: str | dict[str, Any], names: str = "", directory: str = "") -> dict[str, Any]:
    """Values of an answer by their names; see the documentation above.

    :raises AnsibleFilterError: it is no answer, or a value is not of its kind.
    """
    try:
        if len(answer) > _MOST:
            raise ValueError(f"it has {len(answer)} characters")
        read = json.loads(answer or "{}") if isinstance(answer, str) else answer
        if not isinstance(read, dict):
            raise ValueError("it is no dictionary")
        found = {name: value for name, value in read.items() if name in _KINDS}
        wrong = sorted(name for name, value in found.items() if not is_sound(value, _KINDS[name]))
        if wrong:
            raise ValueError(f"it has no true {', '.join(wrong)}")
        folder, name = os.path.split(found.get("archive", ""))
        if name and directory and (folder != os.path.normpath(directory) or not re.fullmatch(names, name, re.ASCII)):
            raise ValueError(f"it names an archive that is none of this cluster's in {directory}")
    except (ValueError, RecursionError) as error:
        reason = "it is no JSON" if isinstance(error, (json.JSONDecodeError, RecursionError)) else str(error)
        raise AnsibleFilterError(
            f"What the host says of its backup cannot be believed: {reason}. See who has changed what runs there."
        ) from None
    return harmless(found)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict:
        return {"backup_answer": backup_answer}

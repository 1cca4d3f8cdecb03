# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_sandbox
short_description: The sandbox of a node's systemd unit
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Lays a site's own directives over the collection's, and checks them. systemd itself only warns of a directive that
    it cannot read, and goes on without it.
  - V(false), V(null) and an empty string leave a directive out; an empty list is the empty set.
  - Older versions of systemd turn C(NoNewPrivileges=) on for many directives in a unit with C(User=), and a program
    that becomes root gets no capability that C(CapabilityBoundingSet=) lacks. Without C(NoNewPrivileges) the
    collection's own of these are left out.
positional: defaults
options:
  _input: {description: "What the site sets, O(ignore:ray_sandbox).", type: dict, required: true}
  defaults: {description: "Every directive that may be set, with the collection's value.", type: dict, required: true}
  refuse: {description: Whether what cannot work is an error. Otherwise it is returned., type: bool, default: true}
"""

EXAMPLES = r"""
- name: The sandbox is shown
  ansible.builtin.debug:
    msg: "{{ ({'LockPersonality': false} | rayops.cluster.ray_sandbox({'LockPersonality': true})).lines }}"
"""

RETURN = r"""
_value:
  description: The sandbox.
  type: dict
  contains:
    lines: {description: The lines of the unit's section Service., type: list, elements: str}
    problems: {description: "What cannot work, a sentence each.", type: list, elements: str}
"""

import difflib
import re

from ansible.errors import AnsibleFilterError

# What a word of a directive looks like; the others are yes or no. systemd.exec(5).
_WORDS = {
    "CapabilityBoundingSet": r"~?CAP_[A-Z_]+",
    "ProtectHome": r"read-only|tmpfs",
    "ProtectSystem": r"full",
    "RestrictAddressFamilies": r"~?(AF_[A-Z0-9_]+|none)",
    "RestrictNamespaces": r"~?(cgroup|ipc|net|mnt|pid|user|uts)",
    "SystemCallArchitectures": r"[a-z][a-z0-9-]*",
    "SystemCallErrorNumber": r"E[A-Z0-9]+",
    "SystemCallFilter": r"~?@?[a-z][a-z0-9_-]*",
}
# These say yes as well.
_SWITCHES_WITH_WORDS = ("ProtectHome", "ProtectSystem", "RestrictNamespaces")
# For each of these, systemd turns NoNewPrivileges on where a unit has User= (systemd.exec(5) of version 252).
_IMPLY_NO_NEW_PRIVILEGES = (
    "LockPersonality", "MemoryDenyWriteExecute", "PrivateDevices", "ProtectClock", "ProtectHostname",
    "ProtectKernelLogs", "ProtectKernelModules", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime",
    "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallFilter",
)
_YES = ("yes", "true", "on", "1")
_NO = ("no", "false", "off", "0", "")


def ray_sandbox(own: dict, defaults: dict, refuse: bool = True) -> dict:
    """Merge and check; the source of the unit's sandbox."""
    if not isinstance(own, dict):
        own, problems = {}, [f"ray_sandbox is {own}: use a dictionary, such as {{NoNewPrivileges: false}}."]
    else:
        problems = [found for name in own for found in [_problem(name, own[name], defaults)] if found]
    merged = {name: _typed(own.get(name, value)) for name, value in defaults.items()}
    if not merged.get("NoNewPrivileges"):
        for name in _IMPLY_NO_NEW_PRIVILEGES:
            if name in own and merged.get(name) not in (None, False):
                problems.append(
                    f"ray_sandbox.{name} cannot stand beside NoNewPrivileges: false, which systemd turns on again for "
                    "it: leave one of them out."
                )
        dropped = {*_IMPLY_NO_NEW_PRIVILEGES, "CapabilityBoundingSet", "SystemCallErrorNumber"} - set(own)
        merged = {name: value for name, value in merged.items() if name not in dropped}
    if problems and refuse:
        raise AnsibleFilterError(problems[0])
    return {
        "lines": [f"{name}={_text(value)}" for name, value in merged.items() if value not in (None, False)],
        "problems": problems,
    }


def _typed(value: object) -> object:
    """False and None leave a directive out; True is yes; all else is a list of words."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)):
        return [str(word) for word in value]
    text = str(value).strip()
    if text.lower() in _YES + _NO:
        return text.lower() in _YES
    return text.split()


def _text(value: object) -> str:
    return "yes" if value is True else " ".join(value)


def _problem(name: str, value: object, defaults: dict) -> str:
    """What is wrong with one directive; empty if nothing is."""
    if name not in defaults:
        near = difflib.get_close_matches(str(name), list(defaults), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"the known ones are {', '.join(sorted(defaults))}."
        return f"ray_sandbox has no directive {name}: {hint}"
    typed, where = _typed(value), f"ray_sandbox.{name} is {value}"
    if typed is None or typed is False:
        return ""
    if name not in _WORDS:
        return "" if typed is True else f"{where}: use true or false."
    if typed is True:
        return "" if name in _SWITCHES_WITH_WORDS else f"{where}: write what systemd's {name}= shall hold, or false."
    wrong = [word for word in typed if not re.fullmatch(_WORDS[name], word)]
    return f"{where}: {name}= takes no '{wrong[0]}', see systemd.exec(5)." if wrong else ""


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict:
        return {"ray_sandbox": ray_sandbox}

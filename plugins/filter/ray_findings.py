# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_findings
short_description: One table of what is wrong with the hosts of a Ray cluster
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Puts together what M(rayops.cluster.ray_diagnosis) returned on each host, and adds what only shows from outside,
    hosts that do not answer and clocks that differ from the head's.
positional: now
options:
  _input:
    description: For each host what the module returned there, as registered.
    type: dict
    required: true
  now:
    description: The time of the controller when all had answered, in seconds since the epoch.
    type: float
    required: true
  head:
    description: The name of the host whose clock the others are compared with.
    type: str
    default: ""
  skew:
    description: >-
      The seconds that a clock may differ. The time that it took to ask is in doubt, and counts for the host.
    type: float
    default: 5
"""

EXAMPLES = r"""
- name: What is wrong is shown
  ansible.builtin.debug:
    msg: "{{ {inventory_hostname: worker} | rayops.cluster.ray_findings(now().timestamp()) | map(attribute='line') }}"
"""

RETURN = r"""
_value:
  description: What is wrong, a line each; empty for nothing.
  type: list
  elements: dict
  contains:
    host:
      description: The host.
      type: str
    problem:
      description: The problem's fixed name, of M(rayops.cluster.ray_diagnosis), C(unreachable) or C(clock_skew).
      type: str
    detail:
      description: A sentence with the facts.
      type: str
    mend:
      description: What recover does; empty for nothing.
      type: str
    person:
      description: What a person must do; empty for nothing.
      type: str
    step:
      description: How recover does it, or empty.
      type: str
    line:
      description: All of it for a table, in columns.
      type: str
    left:
      description: The same where recover has done its part, with what a person must do.
      type: str
"""

from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless

# Longer ones would push the last column out of sight.
WIDEST = 90
# Characters of what a host says of itself.
LONGEST = 1000


def ray_findings(looks: Mapping, now: float, head: str = "", skew: float = 5) -> list[dict]:
    """What is wrong with all hosts."""
    if not isinstance(looks, Mapping):
        raise AnsibleFilterError(f"ray_findings: give it what was registered on each host, not {type(looks).__name__}.")
    rows = []
    for host, look in looks.items():
        rows += [{**finding, "host": host} for finding in of_host(look) + of_clock(looks, host, now, head, float(skew))]
    for row in rows:
        happens = row["mend"] or (f"a person: {row['person']}" if row["person"] else "nothing.")
        row["line"] = line(row, rows, happens)
        row["left"] = line(row, rows, row["person"] or row["mend"])
    return rows


def finding_of(problem: str, detail: str, person: str) -> dict:
    return {"problem": problem, "detail": detail, "mend": "", "person": person, "step": ""}


def known(finding: Mapping) -> dict:
    """What a finding is, and nothing else: a host that was taken says what it likes, also of others."""
    return {name: harmless(" ".join(str(finding.get(name) or "").split())[:LONGEST]) for name in finding_of("", "", "")}


def of_host(look: Mapping) -> list[dict]:
    """What the host said of itself, or that it said nothing."""
    findings = look.get("findings")
    if isinstance(findings, list):
        return [known(finding) for finding in findings if isinstance(finding, Mapping)]
    said = " ".join(str(look.get("msg") or "it gave no answer").split()).replace("Task failed: ", "")[:160]
    if look.get("unreachable"):
        return [finding_of("unreachable", said, (
            "see that the host runs and that its security group lets SSH in; if it is gone for good, take it out of "
            "the inventory."))]
    return [finding_of("not_looked_at", said, "mend what the message names, then run recover again.")]


def of_clock(looks: Mapping, host: str, now: float, head: str, skew: float) -> list[dict]:
    """Whether the clock surely differs: when within the asking a host looked at its own is not known."""
    if host == head:
        return []
    least, most = offset(looks[host], now)
    head_least, head_most = offset(looks.get(head) or {}, now)
    ahead, behind = least - head_most, head_least - most
    if max(ahead, behind) <= skew:
        return []
    which = "ahead of" if ahead > behind else "behind"
    whose = "the head's" if (looks.get(head) or {}).get("clock") else "this machine's"
    return [finding_of("clock_skew", f"its clock is at least {max(ahead, behind):.0f} s {which} {whose}.", (
        "let both follow one source: `apt install chrony`, then `chronyc makestep` on the host."))]


def offset(look: Mapping, now: float) -> tuple[float, float]:
    """The host's clock less ours, the least and the most that it can be; (0, 0) where it was not read."""
    clock = look.get("clock")
    try:
        asked, host = float(clock["asked"]), float(clock["host"])
    except (KeyError, TypeError, ValueError):
        return 0.0, 0.0
    return (host - now, host - asked) if asked else (0.0, 0.0)


def line(row: dict, rows: list[dict], happens: str) -> str:
    """One line of the table, as wide as the others."""
    widths = {name: max(len(other[name]) for other in rows) for name in ("host", "problem", "detail")}
    cells = [row[name].ljust(min(WIDEST, width)) for name, width in widths.items()]
    return " | ".join([*cells, happens])


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict:
        return {"ray_findings": ray_findings}

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
positional: hostvars, now
options:
  _input: {description: "The hosts, in the order of the table.", type: list, elements: str, required: true}
  hostvars: {description: "With what the module returned, registered as C(node_look) or C(redis_look),
      and M(rayops.cluster.ray_network_test), as C(network_test).", type: dict, required: true}
  now: {description: "The time of the controller when all had answered, since the epoch.", type: float, required: true}
  head: {description: The host whose clock the others are compared with., type: str, default: ""}
  skew: {description: "The seconds that a clock may differ. The time that it took to ask is in doubt, and counts for the
      host.", type: float, default: 5}
  cluster: {description: "What M(rayops.cluster.ray_status) returned on the head, also where it failed.", type: dict,
      default: {}}
"""

EXAMPLES = r"""
- name: Say what is wrong
  ansible.builtin.debug:
    msg: "{{ (groups['all'] | rayops.cluster.ray_findings(hostvars, now().timestamp())).lines }}"
"""

RETURN = r"""
_value: {description: "In C(findings) what is wrong, as RV(rayops.cluster.ray_diagnosis#module:findings), with problem
    C(network), C(unreachable) and C(clock_skew) beside its own, and its C(host). In C(lines) a table of it with what is
    done; in C(left) with what a person must do instead, without the files that are removed on the way. In C(refusal)
    which hosts need one; empty for none.", type: dict}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless

# Longer ones would push the last column out of sight.
WIDEST = 90
# Characters of what a host says of itself.
LONGEST = 1000
# A host may be looked at as a node and as a Redis.
LOOKS = ("node_look", "redis_look")


def ray_findings(
    hosts: Sequence[str], hostvars: Mapping, now: float, head: str = "", skew: float = 5, cluster: Mapping | None = None
) -> dict[str, Any]:
    """What is wrong with all hosts; see the documentation above."""
    if not isinstance(hostvars, Mapping):
        raise AnsibleFilterError(f"ray_findings: give it the hosts' variables, not {type(hostvars).__name__}.")
    looks = {host: looks_of(hostvars[host]) for host in hosts}
    rows: list[dict] = []
    for host in hosts:
        found = [finding for look in looks[host] or [{}] for finding in of_host(look)]
        found += of_clock(looks, host, now, head, float(skew)) + of_network(hostvars[host])
        for row in ({**finding, "host": host} for finding in found):
            # A disk that a node and a Redis share is found twice.
            if row not in rows:
                rows.append(row)
    # What was removed by the look itself is not left. A node that was restarted had left it.
    left = [row for row in rows if row["step"] != "remove"]
    persons = list(dict.fromkeys(row["host"] for row in left if row["person"]))
    happens = [row["mend"] or (f"a person: {row['person']}" if row["person"] else "nothing.") for row in rows]
    return {
        "findings": rows,
        "lines": [line(row, rows, end) for row, end in zip(rows, happens)] or ["Nothing is wrong."],
        "left": [line(row, rows, row["person"] or row["mend"]) for row in left] or ["Nothing is wrong any more."],
        "refusal": refusal(persons, cluster or {}),
    }


def refusal(persons: list[str], cluster: Mapping) -> str:
    """Who needs a person, and how the rest is; empty for nobody."""
    if not persons:
        return ""
    rest = f"{cluster['summary']}." if cluster.get("summary") else \
        f"The cluster does not answer: {cluster.get('msg') or 'no reason is known'}"
    need = "needs" if len(persons) == 1 else "need"
    return f"{', '.join(persons)} {need} a person: do what the table above says, then run recover again. {rest}"


def looks_of(variables: Mapping) -> list[Mapping]:
    """What was registered on a host, without the looks that were not for it."""
    found = [variables.get(name) for name in LOOKS]
    return [look for look in found if isinstance(look, Mapping) and not look.get("skipped")]


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


def of_network(variables: Mapping) -> list[dict]:
    """Whom the host cannot reach, in the words of the controller."""
    tested = variables.get("network_test")
    problems = tested.get("problems") if isinstance(tested, Mapping) else None
    return [known({**problem, "problem": "network"}) for problem in problems or []]


def of_clock(looks: Mapping[str, list[Mapping]], host: str, now: float, head: str, skew: float) -> list[dict]:
    """Whether the clock surely differs: when within the asking a host looked at its own is not known."""
    if host == head:
        return []
    least, most = offset(looks[host], now)
    head_least, head_most = offset(looks.get(head, []), now)
    ahead, behind = least - head_most, head_least - most
    if max(ahead, behind) <= skew:
        return []
    which = "ahead of" if ahead > behind else "behind"
    whose = "the head's" if any(look.get("clock") for look in looks.get(head, [])) else "this machine's"
    return [finding_of("clock_skew", f"its clock is at least {max(ahead, behind):.0f} s {which} {whose}.", (
        "let both follow one source: `apt install chrony`, then `chronyc makestep` on the host."))]


def offset(looks: list[Mapping], now: float) -> tuple[float, float]:
    """The host's clock less ours, the least and the most that it can be; (0, 0) where it was not read."""
    clock = looks[0].get("clock") if looks else None
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

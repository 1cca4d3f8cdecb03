# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of variables that nothing reads: nearly always a slip of the pen."""

from __future__ import annotations

import difflib
from collections.abc import Collection

# The collection's own: nothing else should begin like this. Words such as head_ and worker_ belong to everybody.
OWN = "ray"
# How alike two names are, after their first words: 1 is the same.
_OWN_NEAR, _NEAR = 0.75, 0.8


def strangers(names: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Of the names those that look like ours and are not, each with the nearest known one; "" where none is near."""
    rests: dict[str, dict[str, str]] = {}
    for name in known:
        first, _underscore, rest = name.partition("_")
        rests.setdefault(first, {})[rest] = name
    found = {}
    for name in sorted(set(names) - set(known)):
        first, underscore, rest = name.partition("_")
        if not underscore or first not in rests:
            continue
        cutoff = _OWN_NEAR if first == OWN else _NEAR
        near = difflib.get_close_matches(rest, sorted(rests[first]), n=1, cutoff=cutoff)
        if near or first == OWN:
            found[name] = rests[first][near[0]] if near else ""
    return found


def sentence(name: str, near: str, place: str = "") -> str:
    """What to do about one of them. place: as values.place() says it."""
    if near:
        return f"{name}{place} is no variable of rayops.cluster, which does not read it: did you mean {near}?"
    return (
        f"{name}{place} is no variable of rayops.cluster, which does not read it: remove it, or give one of your own "
        "a name that does not begin with ray_."
    )

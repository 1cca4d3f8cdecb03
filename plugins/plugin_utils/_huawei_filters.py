# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances become hosts. The server's filters are wider than their names say, so every row is checked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import Variables, tag

# Patterns by field: of each field one must match.
Filter = dict[str, list[str]]


@dataclass(frozen=True)
class Filters:
    """What an instance must match: one of the statuses, of each tag one of its values, one of include, none of exclude.

    An empty list admits all. A field of include and exclude is a host variable without ``ecs_``, or ``tag:KEY``.
    bare_metal: whether bare metal servers are admitted.
    """

    statuses: list[str] = field(default_factory=list)
    tags: dict[str, list[str]] = field(default_factory=dict)
    include: Sequence[Filter] = ()
    exclude: Sequence[Filter] = ()
    bare_metal: bool = True

    def match(self, variables: Variables) -> bool:
        """Whether an instance becomes a host."""
        return self.match_status(variables) and self.match_rest(variables)

    def match_status(self, variables: Variables) -> bool:
        """The server's ACTIVE gives REBOOT too."""
        return not self.statuses or variables["ecs_status"] in self.statuses

    def match_rest(self, variables: Variables) -> bool:
        """All but the status. The server finds a tag's value within others, too."""
        if variables["ecs_bare_metal"] and not self.bare_metal:
            return False
        for key, values in self.tags.items():
            own = tag(variables, key)
            if own is None or (values and own not in values):
                return False
        if self.include and not any(_matches(variables, each) for each in self.include):
            return False
        return not any(_matches(variables, each) for each in self.exclude)


def as_items(value: Any) -> list[Any]:
    """What is one thing or a list of them, as a list."""
    return value if isinstance(value, list) else [value]


def comparable(value: Any) -> str:
    """A value as a pattern meets it, whether it is YAML's or the cloud's."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _matches(variables: Variables, wanted: Filter) -> bool:
    return all(
        any(fnmatchcase(value, pattern) for value in _values(variables, name) for pattern in patterns)
        for name, patterns in wanted.items()
    )


def _values(variables: Variables, name: str) -> list[str]:
    """The values of a field as text; none where the instance has none."""
    if name.startswith("tag:"):
        own = tag(variables, name[4:])
        return [] if own is None else [own]
    value = variables.get(f"ecs_{name}", [])
    return [comparable(each) for each in as_items(value)]

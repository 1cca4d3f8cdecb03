# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One list of differences that drives `changed`, the diff and the message of a module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """One value that is declared and one that is live. kind: what decisions go by, such as option or unit.

    option: what a user calls it. None on a side: it is not there.
    """

    kind: str
    option: str
    declared: Any
    live: Any


class Differences:
    """Options whose declared and live values differ, in the order found."""

    def __init__(self, items: Iterable[Difference] = ()) -> None:
        self._items = list(items)

    def add(self, option: str, declared: Any, live: Any, kind: str = "option") -> None:
        """Note one difference; None means that the option is not there on that side."""
        self._items.append(Difference(kind, option, declared, live))

    def compare(self, option: str, declared: Any, live: Any, kind: str = "option") -> None:
        """Note a difference where there is one."""
        if declared != live:
            self.add(option, declared, live, kind)

    def __iter__(self) -> Iterator[Difference]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def to_list(self) -> list[dict[str, Any]]:
        """`[{kind, option, declared, live}]`, as a module returns them."""
        return [asdict(item) for item in self._items]

    def names(self, most: int = 4) -> str:
        """The options that differ, for a message; the first ones where there are many."""
        names = [item.option for item in self._items]
        return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

    def diff(self, header: str) -> dict[str, str]:
        """The differences as Ansible's --diff shows them. header: what they are differences of."""
        live = [(item.option, item.live) for item in self._items]
        declared = [(item.option, item.declared) for item in self._items]
        return {
            "before_header": f"{header} (live)",
            "after_header": f"{header} (declared)",
            "before": "".join(f"{option}: {value}\n" for option, value in live if value is not None),
            "after": "".join(f"{option}: {value}\n" for option, value in declared if value is not None),
        }

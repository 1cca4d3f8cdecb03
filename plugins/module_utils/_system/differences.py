# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: do not import it from elsewhere.

"""One list of differences that drives `changed`, the diff and the message of a module."""

from __future__ import annotations


class Differences:
    """Options whose declared and live values differ."""

    def __init__(self) -> None:
        self._items: list[dict] = []

    def add(self, option: str, declared, live) -> None:
        """Note one difference; None means that the option is not there on that side."""
        self._items.append({"option": option, "declared": declared, "live": live})

    def compare(self, option: str, declared, live) -> None:
        """Note a difference where there is one."""
        if declared != live:
            self.add(option, declared, live)

    def __bool__(self) -> bool:
        return bool(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def to_list(self) -> list[dict]:
        """`[{option, declared, live}]`, in the order found."""
        return list(self._items)

    def names(self, most: int = 4) -> str:
        """The options that differ, for a message; the first ones where there are many."""
        names = [item["option"] for item in self._items]
        return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

    def diff(self, header: str) -> dict:
        """The differences as Ansible's --diff shows them. header: what they are differences of."""
        return {
            "before_header": f"{header} (live)",
            "after_header": f"{header} (declared)",
            "before": self._side("live"),
            "after": self._side("declared"),
        }

    def _side(self, side: str) -> str:
        return "".join(f"{item['option']}: {item[side]}\n" for item in self._items if item[side] is not None)

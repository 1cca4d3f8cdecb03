# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a list to its end: by marker, or by the number of the page where an endpoint does not know markers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_variables as rows_of
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError

# The rows by their ids, and how many had none.
Pages = tuple[dict[str, dict[str, Any]], int]
# A reply for the parameters of a request.
Ask = Callable[[dict[str, Any]], dict[str, Any]]


class PlaceLost(HuaweiError):
    """The list changed so much that it cannot be continued where it was."""

    def __init__(self) -> None:
        super().__init__("the list changes faster than it can be read: try again")


def all_pages(ask: Ask, key: str, page_size: int, parameters: dict[str, Any]) -> Pages:
    """All rows of a list. It is read anew, once, when so much was deleted meanwhile that the place is lost.

    key: what the reply calls the list. Raises HuaweiError for a list that cannot be read to its end.
    """
    try:
        return _Walk(ask, key, page_size, parameters).run()
    except PlaceLost:
        return _Walk(ask, key, page_size, parameters).run()


class _Walk:
    """One way through the pages.

    Endpoints cap the size of a page, some without a total. So a short page is the last one only if the total says so,
    else the list ends with a page that brings nothing. A row that is seen twice, because the list grew meanwhile,
    counts once.
    """

    def __init__(self, ask: Ask, key: str, page_size: int, parameters: dict[str, Any]) -> None:
        self.ask = ask
        self.key = key
        self.parameters = {**parameters, "limit": page_size}
        self.found: dict[str, dict[str, Any]] = {}
        self.unusable = 0
        self.is_first = True
        # What the last page had, and how many rows the list has by its own account.
        self.rows: list[Any] = []
        self.count: Optional[int] = None

    def run(self) -> Pages:
        self._take(self.ask(self.parameters))
        if not self.found and self.count and not self.unusable:
            raise HuaweiError(f"the reply counts {self.count} {self.key} and lists none: check the endpoint, try again")
        while not self._is_end():
            last = list(self.found)[-4:]
            if not last or (not self._take(self._after(last)) and self.rows):
                # No row to continue after, or the first page again: this endpoint does not know markers.
                self._by_number()
                break
        return self.found, self.unusable

    def _by_number(self) -> None:
        """The rest of the list, from its second page on."""
        # The number counts pages of the size that the endpoint gives, which may be less than was asked for.
        parameters = {**self.parameters, "limit": len(self.rows)}
        number = 2
        while self._take(self.ask({**parameters, "offset": number})):
            number += 1
        full = len(self.rows) == self.parameters["limit"]
        if number == 2 and self.rows and (self._lacks() if self.count is not None else full):
            raise HuaweiError("the pages of the list do not advance: the endpoint ignores marker and offset")
        if self._lacks():
            # What is deleted moves the rows after it to an earlier page.
            raise PlaceLost

    def _take(self, reply: dict[str, Any]) -> int:
        """Add a page. The number of rows in it that are new."""
        rows, count = reply.get(self.key), reply.get("count")
        self.count = count if isinstance(count, int) and not isinstance(count, bool) else None
        if self.key not in reply and self.count is not None:
            rows = []  # an endpoint that leaves an empty list away
        if not isinstance(rows, list):
            raise ValueError(f"no list of {self.key}")
        usable = [row for row in rows if isinstance(row, dict) and _is_id(row.get("id"))]
        known, self.rows = len(self.found), rows
        self.found.update((row["id"], row) for row in usable)
        if self.is_first or len(self.found) > known:
            self.unusable += len(rows) - len(usable)
        self.is_first = False
        return len(self.found) - known

    def _is_end(self) -> bool:
        return not self.rows or (
            len(self.rows) < self.parameters["limit"] and self.count is not None and not self._lacks()
        )

    def _lacks(self) -> bool:
        return self.count is not None and len(self.found) + self.unusable < self.count

    def _after(self, last: list[str]) -> dict[str, Any]:
        """The next page. An instance deleted meanwhile is no valid marker any more: then one of those before it is."""
        for marker in reversed(last):
            try:
                return self.ask({**self.parameters, "marker": marker})
            except Exception as exc:
                if getattr(exc, "status_code", None) not in (400, 404):
                    raise
        raise PlaceLost


def _is_id(value: Any) -> bool:
    """Whether it can be sent back to continue after it."""
    return isinstance(value, str) and value != "" and rows_of.text(value) == value

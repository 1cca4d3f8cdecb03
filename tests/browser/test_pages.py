# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees: the console page, Prometheus's targets, and Ray's own dashboard behind its token."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.browser.conftest import WAIT_MILLISECONDS


def until(found: Callable[[], Any], page: Any, url: str) -> Any:
    """Load a page again until it shows what is looked for: the first readings come some seconds after a start."""
    deadline = time.monotonic() + WAIT_MILLISECONDS / 1000
    while True:
        answer = page.goto(url)
        assert answer.status == 200, f"{url} answers {answer.status}: {page.locator('body').inner_text()[:300]}"
        missing = found()
        if not missing:
            return
        assert time.monotonic() < deadline, f"{url}: {missing}"
        page.wait_for_timeout(1000)


def test_the_console_page_shows_the_cluster(page, site):
    hosts, errors = set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.on("pageerror", lambda error: errors.append(str(error)))

    def missing() -> list[str]:
        text = page.locator("body").inner_text()
        return [word for word in (site.name, "up", *site.nodes)
                if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.IGNORECASE)]

    until(missing, page, f"http://{site.monitor}:9090/consoles/ray.html")
    # It must work where there is no internet.
    assert (hosts, errors) == ({site.monitor}, [])


def test_every_target_is_up(page, site):
    wanted = [f"{site.monitor}:6386", *(f"{address}:6385" for address in site.nodes.values())]

    def missing() -> list[str]:
        rows = page.locator("tbody tr")
        texts = rows.all_inner_texts()
        state = page.locator(".state_indicator", has_text=re.compile("^up$", re.IGNORECASE))
        up = rows.filter(has=state).all_inner_texts()
        down = [" ".join(text.split()) for text in texts if text not in up]
        return down + [f"no target {target}" for target in wanted if not any(f"//{target}/" in text for text in texts)]

    # Debian's Prometheus has the classic pages only.
    until(missing, page, f"http://{site.monitor}:9090/classic/targets")


def test_the_dashboard_shows_the_nodes_to_who_has_the_token(page, site):
    page.goto(f"http://{site.head}:8265/#/cluster")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Authentication Token Required").wait_for()
    enter(dialog, "0" * 64)
    dialog.get_by_text("token is invalid").wait_for()
    alive = page.get_by_role("row").filter(has_text="ALIVE")
    assert alive.count() == 0

    enter(dialog, site.token)
    dialog.wait_for(state="detached")
    for name, address in site.nodes.items():
        row = alive.filter(has=page.get_by_role("cell", name=name, exact=True)).filter(has_text=address)
        row.first.wait_for()


def enter(dialog: Any, token: str) -> None:
    dialog.get_by_placeholder("Enter your authentication token").fill(token)
    dialog.get_by_role("button", name="Submit").click()

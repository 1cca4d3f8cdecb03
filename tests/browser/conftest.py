# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headless Chromium, pointed at a bed that is deployed. BED_NAME names it: demo unless told otherwise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bed import containers
from tests.bed.bed import CACHE, Bed, BedError
from tests.bed.execution import execute

SCREENSHOTS = CACHE / "screenshots"
WAIT_MILLISECONDS = 30_000


@dataclass(frozen=True)
class Site:
    """The cluster as its user knows it. nodes: the addresses by the names of the Ray nodes."""

    name: str
    nodes: dict[str, str]
    monitor: str
    token: str

    @property
    def head(self) -> str:
        return self.nodes["head"]


@pytest.fixture(scope="session")
def site() -> Site:
    bed = Bed.load(os.environ.get("BED_NAME", "demo"))
    kinds = {node.name: node.kind for node in bed.nodes}
    try:
        addresses = {name: containers.address(bed, name) for name in kinds}
    except BedError as error:
        pytest.fail(f"{error} Make one and deploy it: make demo.")
    if not all(addresses.values()):
        pytest.fail(f"Bed {bed.name} is stopped: start it with python -m tests.bed up {bed.name}.")
    done = execute(f"bed-{bed.name}-head", "cat", "/etc/ray/auth_token", seconds=30)
    if done.status:
        pytest.fail(f"The head of bed {bed.name} has no token: run site.yml on it first, as make demo does.")
    return Site(
        name=bed.cluster_name,
        nodes={name: addresses[name] for name, kind in kinds.items() if kind in ("head", "worker")},
        # Without a host of its own the monitor is on the head.
        monitor=addresses.get("monitor", addresses["head"]),
        token=done.stdout.strip(),
    )


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        pytest.fail("Python's playwright is missing: run make browser.")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.fail("chromium is missing: run make browser as root, or apt-get install chromium.")
    with sync_playwright() as playwright:
        try:
            # The addresses are those of containers: no proxy of the environment knows them.
            browser = playwright.chromium.launch(executable_path=program, args=["--no-proxy-server"])
        except Error as error:
            pytest.fail(f"{program} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page without a past. What it shows at the end, also of a test that fails, is kept as a picture."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(WAIT_MILLISECONDS)
    page = context.new_page()
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{request.node.name.removeprefix('test_')}.png", full_page=True)
    context.close()

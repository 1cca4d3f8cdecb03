# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario's cluster, a stranger beside it, and a user with a login. BED_NAME names its bed."""

from __future__ import annotations

import base64
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.bed.bed import Bed
from tests.bed.certificates import Signer
from tests.bed.cluster import Cluster
from tests.bed.containers import address
from tests.bed.outside import Outside, outside
from tests.waiting import first_true


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-transit")))


@pytest.fixture(scope="session")
def hosts(cluster: Cluster) -> dict[str, str]:
    """The address of each host."""
    return {node.name: address(cluster.bed, node.name) for node in cluster.bed.nodes}


@pytest.fixture(scope="session")
def stranger(cluster: Cluster) -> Iterator[Outside]:
    with outside(cluster.bed) as found:
        yield found


@pytest.fixture
def signer(cluster: Cluster) -> Signer:
    """The cluster's own authority."""
    return Signer.of(cluster)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    return first_true


class Page:
    """The proxy of a host, as a browser or curl reaches it that knows the authority; with a login or without."""

    def __init__(self, cluster: Cluster, host: str, login: str = "") -> None:
        self.url = f"https://{address(cluster.bed, host)}"
        self.headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
        context = ssl.create_default_context(cadata=cluster.sh(host, "cat /etc/ray/tls/ca.pem"))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))

    def ask(self, path: str, body: object = None) -> tuple[int, str, str]:
        """Status, headers and content of the answer to GET, or to POST with a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {**self.headers, "Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, str(answer.headers), answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, str(error.headers), error.read().decode(errors="replace")


@pytest.fixture(scope="session")
def login(cluster: Cluster) -> str:
    """Name and password of who may see the pages: they were made by the first run."""
    return f"admin:{cluster.sh(cluster.head, 'cat /etc/ray-proxy/password')}"


@pytest.fixture(scope="session")
def page(cluster: Cluster, login: str) -> Callable[..., Page]:
    return lambda host, known=True: Page(cluster, host, login if known else "")

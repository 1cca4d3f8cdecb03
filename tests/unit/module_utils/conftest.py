# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import threading
import time

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node import difference, live
from tests.unit.module_utils.live_node import Host


@pytest.fixture
def host(tmp_path):
    found = Host(tmp_path)
    yield found
    if found.process:
        found.process.kill()
        found.process.wait()


@pytest.fixture
def older(monkeypatch):
    """Every process is an hour old: none is starting."""
    for module in (live, difference):
        monkeypatch.setattr(module, "started_at", lambda pid: time.time() - 3600 if pid else None)


@pytest.fixture
def agent():
    """The node's agent: a server on a port of this host; its `status` is what it answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status if self.path == "/api/local_raylet_healthz" else 404)
            self.end_headers()

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.status = 200
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()

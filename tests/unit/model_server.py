# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models without weights: servers that answer, refuse, hang, drip and lie. And the program that asks them."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parents[2] / "roles" / "serve" / "files" / "ray_model.py"
KEY = "k" * 40
GOOD = {"choices": [{"text": ""}], "usage": {"completion_tokens": 1}}


class Model(http.server.BaseHTTPRequestHandler):
    """How it behaves is the first part of the path."""

    def do_POST(self):
        kind = self.path.split("/")[1]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        keyed = self.headers["Authorization"] == f"Bearer {KEY}"
        if kind == "hangs":
            return self.server.over.wait(30)
        if kind == "drips":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.server.over.wait(0.1):
                try:
                    self.wfile.write(b"A")
                except OSError:
                    return None
            return None
        status = 200 if keyed or kind == "open" else 401
        answer = {"good": json.dumps(GOOD), "open": json.dumps(GOOD), "empty": "{}", "text": "no JSON",
                  "none": json.dumps({"usage": {"completion_tokens": 0}}), "deep": "[" * 100000,
                  "huge": " " * (2 << 20)}.get(kind, "")
        status = 500 if kind == "broken" else status
        self.send_response(status)
        self.end_headers()
        try:
            self.wfile.write(answer.encode())
        except OSError:
            pass
        return None

    def log_message(self, *_arguments):
        pass


@contextlib.contextmanager
def serving() -> Iterator[Any]:
    """A server of all kinds. asked: what came."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model) as found:
        found.daemon_threads = True
        found.asked, found.over = [], threading.Event()
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.over.set()
        found.shutdown()


def declare(directory: Path, server: Any, *kinds: str, **more: object) -> list[dict[str, Any]]:
    """Write models of these kinds, each under its own name, as role serve does, and return them."""
    (directory / "key").write_text(f"{KEY}\n")
    models = [{"name": kind, "model": kind, "engine": "serve", "replicas": 1, "api_key_file": str(directory / "key"),
               "url": f"http://127.0.0.1:{server.server_port}/{kind}/v1", **more} for kind in kinds]
    (directory / "models.yaml").write_text(json.dumps({"models": models}))
    return models

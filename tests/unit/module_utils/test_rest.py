# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What asks the dashboard: nothing that it answers, or does not, may hang, overflow or show a secret."""

from __future__ import annotations

import http.server
import os
import socket
import threading
import time

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import HelperError
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.jobs import check_places
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.rest import (
    Dashboard,
    differences,
    hidden,
    last_lines,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user


@pytest.fixture
def server():
    """A dashboard; `answer` is what it says to all, as (status, bytes), `asked` what came."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.path, self.headers["Authorization"]))
            status, body = self.server.answer
            self.send_response(status)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass  # It reads no more than it wants.

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.asked = []
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def dashboard(server) -> Dashboard:
    return Dashboard("127.0.0.1:{}".format(server.server_address[1]), {"Authorization": "Bearer x"})


def test_an_answer_is_json_or_a_sentence(server):
    server.answer = (200, b'{"a": 1}')
    assert dashboard(server).wanted("GET", "/a") == {"a": 1}
    assert server.asked == [("/a", "Bearer x")]
    for answer, kind, message in (
        ((200, b"<html>"), "dashboard", r"The dashboard at \S+ answered GET /a with no JSON\."),
        ((400, b"Traceback:\n  File x\nValueError: bad.\n\n"), "refused", r"Ray refused: ValueError: bad\."),
        ((500, b""), "refused", r"Ray refused: it does not say why\."),
        ((401, b"no"), "unauthorized", r"The dashboard at \S+ refused the request\."),
    ):
        server.answer = answer
        with pytest.raises(HelperError, match=f"^{message}$") as caught:
            dashboard(server).wanted("GET", "/a?b")
        assert caught.value.answer["error"] == kind


def test_a_log_is_bounded_and_never_a_reason_to_fail(server):
    server.answer = (200, b"a\n\n" + b"x" * 3000 + b"\n" + b"last\n")
    found = dashboard(server).log(2, node_id="node", filename="serve/a b.log")
    assert found == ["x" * 1000 + "...", "last"]
    assert server.asked[0][0] == "/api/v0/logs/file?node_id=node&filename=serve%2Fa+b.log&lines=2&timeout=5"
    server.answer = (200, b"y" * (20 << 20))
    assert [len(line) for line in dashboard(server).log(5, node_id="node", filename="log")] == [1003]
    server.answer = (500, b"no such file")
    assert dashboard(server).log(5, node_id="node", filename="log") == []
    assert dashboard(server).log(5, node_id=None, filename="log") == []
    server.shutdown()
    server.server_close()
    assert dashboard(server).log(5, node_id="node", filename="log") == []


def test_a_dashboard_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = Dashboard(f"127.0.0.1:{silent.getsockname()[1]}", {})
        began = time.monotonic()
        with pytest.raises(HelperError, match="accepts connections, but gave no answer in 1 s"):
            found.ask("GET", "/", seconds=1)
        assert time.monotonic() - began < 10
    with pytest.raises(HelperError, match="is not reachable: Connection refused"):
        found.ask("GET", "/")


def test_secrets_are_hidden_and_still_differ():
    declared = {
        "runtime_env": {"env_vars": {"A": "one", "N": 1}, "pip": ["--index-url=https://me:pw@host/simple"]},
        "args": {"engine": {"api_key": "k1", "hfToken": ["t"], "max_tokens": 7, "tokenizer": "slow", "keys": None}},
    }
    assert hidden(declared) == {
        "runtime_env": {
            "env_vars": {"A": "<hidden>", "N": "<hidden>"}, "pip": ["--index-url=https://<hidden>@host/simple"],
        },
        "args": {"engine": {
            "api_key": "<hidden>", "hfToken": ["<hidden>"], "max_tokens": 7, "tokenizer": "slow", "keys": None,
        }},
    }
    live = {
        "runtime_env": {"env_vars": {"A": "two", "N": 1}, "pip": ["--index-url=https://me:pw@host/simple"]},
        "args": {"engine": {"api_key": "k2", "hfToken": ["t", "u"], "max_tokens": 8, "keys": None}},
    }
    assert differences(declared, live) == [
        {"option": "args.engine.api_key", "declared": "<hidden> (another)", "live": "<hidden>"},
        {"option": "args.engine.hfToken[1]", "declared": None, "live": "<hidden>"},
        {"option": "args.engine.max_tokens", "declared": 7, "live": 8},
        {"option": "args.engine.tokenizer", "declared": "slow", "live": None},
        {"option": "runtime_env.env_vars.A", "declared": "<hidden> (another)", "live": "<hidden>"},
    ]
    assert differences(declared, declared) == []
    assert last_lines("a\n\n b \n\n", 5) == ["a", " b"] and last_lines("a", 0) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_directory_that_the_user_cannot_read_is_refused(tmp_path):
    place = tmp_path / "job"
    place.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent != parent.parent and not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o11)
    with pytest.raises(GuestError, match="working_dir is .*/job, which user nobody cannot read: chown or chmod it"):
        as_user("nobody", lambda: check_places({"working_dir": str(place)}))
    place.chmod(0o755)
    assert as_user("nobody", lambda: check_places({"working_dir": str(place), "py_modules": ["s3://a/b.zip"]})) is None

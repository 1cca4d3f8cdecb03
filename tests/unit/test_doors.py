# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is let in and who is not is told apart, by gRPC's own servers."""

from __future__ import annotations

import os
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.plugin_utils._tls import make, read, sign
from tests.doors import answers, context_of

# One server that wants a certificate, and one without TLS; their ports on a line.
SERVERS = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
key, certificate, authority = (open(path, "rb").read() for path in sys.argv[1:])
secret = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
server = grpc.server(ThreadPoolExecutor(1))
print(server.add_secure_port("127.0.0.1:0", secret), server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""


class Page(socketserver.BaseRequestHandler):
    """Says what aiohttp says to a wish that it does not know."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def written(place: Path, name: str, authority: tuple[str, str], days: float = 90) -> tuple[str, str]:
    """A certificate of an authority and its key, as files."""
    leaf = sign(read(*authority), ["localhost", "127.0.0.1"], days)
    paths = place / f"{name}.pem", place / f"{name}.key"
    for path, text in zip(paths, (leaf.certificate, leaf.key)):
        path.write_text(text)
    return str(paths[0]), str(paths[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def authority() -> tuple[str, str]:
    return make("demo")


@pytest.fixture(scope="module")
def doors(place: Path, authority: tuple[str, str]) -> Iterator[dict[str, str]]:
    python = os.environ.get("RAYOPS_TEST_RAY_ENVIRONMENT", "") + "/bin/python"
    if not os.path.exists(python):
        pytest.skip("RAYOPS_TEST_RAY_ENVIRONMENT names no environment with Ray")
    (place / "ca.pem").write_text(authority[0])
    certificate, key = written(place, "node", authority)
    with subprocess.Popen(
        [python, "-c", SERVERS, key, certificate, str(place / "ca.pem")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:
        assert child.stdin and child.stdout
        secret, plain = child.stdout.readline().split()
        page = socketserver.TCPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=page.serve_forever, daemon=True).start()
        found = {"secret": secret, "plain": plain, "http": str(page.server_address[1])}
        yield {name: f"127.0.0.1:{port}" for name, port in found.items()}
        page.shutdown()
        page.server_close()
        child.stdin.close()


def kinds(doors: dict[str, str], context: ssl.SSLContext | None) -> dict[str, str]:
    said = answers(list(doors.values()), context)
    return {name: said[door].partition(":")[0] for name, door in doors.items()}


def test_a_certificate_of_the_authority_is_let_in(place, doors, authority):
    files = written(place, "ours", authority)
    assert kinds(doors, context_of(*files)) == {"secret": "grpc", "plain": "refused", "http": "refused"}


@pytest.mark.parametrize("who", ["nobody", "foreign"])
def test_who_has_none_is_not(place, doors, who):
    """With TLS 1.3 the server says so only after it has heard all."""
    files = written(place, who, make("demo")) if who == "foreign" else ()
    assert set(kinds(doors, context_of(*files)).values()) == {"refused"}


def test_who_speaks_plainly_is_let_in_where_that_is_enough(doors):
    assert kinds(doors, None) == {"secret": "refused", "plain": "grpc", "http": "http"}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key that a model's API asks for, as a server calls it."""

from __future__ import annotations

import asyncio
import hashlib
import runpy
from pathlib import Path

import pytest

PROGRAM = runpy.run_path(str(Path(__file__).resolve().parents[3] / "roles" / "serve" / "files" / "rayops_api_key.py"))
RequireKey = PROGRAM["RequireKey"]
KEY = b"k" * 40
DIGEST = hashlib.sha256(KEY).hexdigest()


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a token"})


def asked(scope, **options):
    """What came back."""
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(name.encode(), value) for name, value in scope.pop("headers", {}).items()]
    whole = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers, **scope}
    asyncio.run(RequireKey(app, DIGEST, **options)(whole, None, send))
    return sent


@pytest.mark.parametrize("value", [b"Bearer " + KEY, b"bearer  " + KEY, b"BEARER " + KEY + b" "])
def test_the_key_opens(value):
    assert asked({"headers": {"Authorization": value}})[0]["status"] == 200


@pytest.mark.parametrize("headers", [
    {}, {"authorization": b""}, {"authorization": b"Bearer"}, {"authorization": b"Bearer "}, {"authorization": KEY},
    {"authorization": b"Basic " + KEY}, {"authorization": b"Bearer " + KEY + b"k"},
    {"authorization": b"Bearer " + KEY[1:]},
    {"authorization": b"Bearer " + DIGEST.encode()}, {"x-authorization": b"Bearer " + KEY},
    {"authorization": b"Bearer \xff\x00"},
])
def test_nothing_else_does(headers):
    start, body = asked({"headers": headers})
    assert start["status"] == 401 and b"invalid_api_key" in body["body"] and b"token" not in body["body"].lower()


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/v1/models", 401), ("POST", "/invocations", 401), ("GET", "/docs", 401), ("POST", "/health", 401),
    ("GET", "/health/", 401), ("GET", "/metrics", 200), ("GET", "/health", 200), ("OPTIONS", "/v1/models", 200),
])
def test_what_a_monitor_reads_is_open(method, path, status):
    assert asked({"method": method, "path": path})[0]["status"] == status


def test_with_serve_nothing_is_open():
    assert asked({"method": "GET", "path": "/metrics"}, open_paths=())[0]["status"] == 401


def test_a_websocket_is_closed():
    assert asked({"type": "websocket"}) == [{"type": "websocket.close", "code": 1008}]


def test_a_server_starts_and_ends():
    assert asked({"type": "lifespan"})


@pytest.mark.parametrize("digest", ["", "x", DIGEST[:-1], DIGEST + "\n"])
def test_without_a_key_nothing_is_served(monkeypatch, digest):
    monkeypatch.setenv("RAYOPS_API_KEY_SHA256", digest)
    with pytest.raises(ValueError, match="RAYOPS_API_KEY_SHA256"):
        RequireKey(app)


def test_the_key_of_the_environment(monkeypatch):
    monkeypatch.setenv("RAYOPS_API_KEY_SHA256", DIGEST)
    assert RequireKey(app).digest == DIGEST

# Managed by rayops.cluster
"""The key that an OpenAI API asks for: an ASGI middleware, for vLLM's own server (--middleware) and for Ray Serve.

vLLM's own key (--api-key) is asked for below /v1 alone: /invocations and others answer without it. This one is asked
for everywhere, but for what a monitor reads.
"""
from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

DIGEST_VARIABLE = "RAYOPS_API_KEY_SHA256"
# vLLM's server tells these without a key: whether it lives, and figures.
OPEN = ("/health", "/metrics")
REFUSAL = (b'{"error": {"message": "Send the API key: Authorization: Bearer <key>", "type": "invalid_request_error", '
           b'"code": "invalid_api_key"}}')

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequireKey:
    """Lets through who sends the key as a bearer token.

    digest: SHA-256 of the key, in hexadecimal digits; by default that of the environment. open_paths: what GET reads
    without a key.
    :raises ValueError: there is no digest: an API without a key is not served.
    """

    def __init__(self, app: App, digest: str | None = None, open_paths: tuple[str, ...] = OPEN) -> None:
        self.app = app
        self.open_paths = open_paths
        self.digest = digest if digest is not None else os.environ.get(DIGEST_VARIABLE, "")
        if not re.fullmatch(r"[0-9a-f]{64}", self.digest):
            raise ValueError(f"{DIGEST_VARIABLE} is not the SHA-256 of a key")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self.allowed(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL})

    def allowed(self, scope: Scope) -> bool:
        """Whether a request may pass. A browser asks OPTIONS before it sends a key, and gets no answer of a model's."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            return True
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in self.open_paths:
            return True
        for name, value in scope["headers"]:
            scheme, _blank, key = value.partition(b" ")
            if name.lower() == b"authorization" and scheme.lower() == b"bearer":
                return hmac.compare_digest(hashlib.sha256(key.strip()).hexdigest(), self.digest)
        return False

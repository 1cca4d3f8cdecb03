# Managed by rayops.cluster
"""Ray Serve LLM's ingress with a key: ingress_cls of build_openai_app names it."""
from __future__ import annotations

from typing import Any

from ray.serve.llm.ingress import OpenAiIngress
from rayops_api_key import RequireKey


class KeyedIngress(OpenAiIngress):
    """Nothing of it answers without the key. api_key_sha256: as RequireKey has it."""

    def __init__(self, *arguments: Any, api_key_sha256: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._api_key_sha256 = api_key_sha256

    def __serve_build_asgi_app__(self) -> Any:
        """Serve asks for it after the constructor, before the first request; the middleware added last is outermost.

        Where a Ray does not ask, the app answers without a key: whoever deploys it tries that.
        """
        self.app.add_middleware(RequireKey, digest=self._api_key_sha256, open_paths=())
        return self.app

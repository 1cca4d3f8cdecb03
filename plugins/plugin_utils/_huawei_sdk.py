# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""huaweicloudsdkecs, imported when it is first needed: what of it is used, and mended.

Replies are read as JSON, not as the SDK's models, which cost five times as much and lose a page to one odd field.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import MISSING_SDK, HuaweiError

# A page of 1,000 instances has 3 MB.
LONGEST_REPLY = 64 << 20


def endpoint_variable(name: str) -> str:
    """The environment variable in which the SDK looks for the ECS endpoint of a region."""
    return f"HUAWEICLOUD_SDK_REGION_ECS_{name.replace('-', '_').upper()}"


def region(name: str, endpoints: Mapping[str, str]) -> Any:
    """The SDK's description of a region. Raises HuaweiError where nobody knows its address."""
    if name in endpoints:
        return sdk().Region(name, endpoints[name])
    try:
        return sdk().EcsRegion.value_of(name)
    except KeyError:
        near = difflib.get_close_matches(name, list(sdk().EcsRegion.static_fields), 1)
        hint = f"did you mean {near[0]}? If not, " if near else ""
        raise HuaweiError(
            f"Unknown region '{name}': {hint}give its address in endpoints or in {endpoint_variable(name)}."
        ) from None


@functools.cache
def sdk() -> SimpleNamespace:
    """The SDK, imported when it is first needed: that costs 0.15 s, and a cached inventory does without it."""
    try:
        from huaweicloudsdkcore.auth.credentials import BasicCredentials, GlobalCredentials
        from huaweicloudsdkcore.auth.internal import IamHelper
        from huaweicloudsdkcore.client import ClientBuilder
        from huaweicloudsdkcore.exceptions.exception_handler import DefaultExceptionHandler
        from huaweicloudsdkcore.http.http_config import HttpConfig
        from huaweicloudsdkcore.region.region import Region
        from huaweicloudsdkcore.sdk_stream_response import SdkStreamResponse
        from huaweicloudsdkecs.v2 import EcsClient
        from huaweicloudsdkecs.v2.region.ecs_region import EcsRegion
        from requests.adapters import HTTPAdapter
    except ImportError:
        raise HuaweiError(MISSING_SDK) from None
    return SimpleNamespace(
        Client=_client_class(EcsClient, SdkStreamResponse, HTTPAdapter),
        ClientBuilder=ClientBuilder,
        BasicCredentials=BasicCredentials,
        EcsRegion=EcsRegion,
        ErrorHandler=_error_handler_class(DefaultExceptionHandler),
        GlobalCredentials=GlobalCredentials,
        HttpConfig=HttpConfig,
        Region=Region,
        iam_endpoint=IamHelper.get_iam_endpoint,
    )


def _client_class(ecs_client: Any, stream_response: Any, http_adapter: Any) -> Any:
    """The SDK's client with a list call that returns bytes, and without its habit of hiding rate limits."""

    class Reply(stream_response):  # type: ignore[misc]  # the SDK has no types
        """Takes the body as it is, before the SDK decodes it (and guesses its character set)."""

        def __init__(self, response: Any) -> None:
            super().__init__(response)
            self.body = bytearray()
            for chunk in response.iter_content(1 << 16):
                self.body += chunk
                # What an instance writes on its console is as long as it likes.
                if len(self.body) > LONGEST_REPLY:
                    response.close()
                    raise HuaweiError(f"the reply is longer than {LONGEST_REPLY >> 20} MiB")

    class RayopsEcsClient(ecs_client):  # type: ignore[misc]  # the SDK has no types
        def init_http_client(self) -> None:
            super().init_http_client()
            # The SDK's adapter swallows a 429 with its body and its Retry-After; requests' own one does not.
            session = getattr(self.get_http_client(), "_session", None)
            if session is not None:
                session.mount("https://", http_adapter())
                session.mount("http://", http_adapter())

        def get_body(self, path: str, parameters: list[tuple[str, Any]], posted: Any = None) -> bytes:
            """A GET, or the POST of something, as the SDK's own methods send it, but without the models.

            The SDK fills {project_id} in.
            """
            self.model_package = SimpleNamespace(Reply=Reply)
            body: bytearray = self.do_http_request(
                method="POST" if posted else "GET",
                resource_path=path,
                query_params=parameters,
                header_params={"Content-Type": "application/json"},
                body=posted,
                response_type="Reply",
            ).body
            return bytes(body)

    # Without a handler, the SDK's logger prints its errors to stderr.
    logging.getLogger(f"HuaweiCloud-SDK-{RayopsEcsClient.__name__}").addHandler(logging.NullHandler())
    return RayopsEcsClient


def _error_handler_class(default_handler: Any) -> Any:
    class KeepRetryAfter(default_handler):  # type: ignore[misc]  # the SDK has no types
        """The SDK's errors, with the one header that they forget."""

        def handle_exception(self, request: Any, response: Any) -> None:
            try:
                super().handle_exception(request, response)
            except Exception as exc:
                vars(exc)["retry_after"] = response.headers.get("Retry-After")
                raise

    return KeepRetryAfter

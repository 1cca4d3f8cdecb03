# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the ECS instances of several regions through huaweicloudsdkecs.

Regions run side by side, the pages of a region one after another by ``marker``. Replies are read as JSON, not as the
SDK's models, which cost five times as much and lose a page to one odd field.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import logging
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any, Callable, Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import (
    MISSING_SDK,
    Credentials,
    HuaweiError,
)
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_errors import explain, retry_after
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import Filters

SCHEMA = 1  # of the cached data: raise it when the host variables change
PARALLEL_REGIONS = 6
CONNECT_TIMEOUT = 5
LONGEST_WAIT = 60
USER_AGENT = "rayops.cluster/1.0.0"


@dataclass(frozen=True)
class Query:
    """What to ask for. status and tags are what the server filters by; the caller checks every row again.

    timeout is in seconds, for one answer; retries counts the attempts after the first one.
    """

    regions: tuple[str, ...]
    project_ids: dict[str, str] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    iam_endpoint: Optional[str] = None
    status: Optional[str] = None
    tag: Optional[str] = None
    enterprise_project_id: Optional[str] = None
    page_size: int = 200
    timeout: float = 30
    retries: int = 4

    def digest(self, identity: str, filters: Filters) -> str:
        """A short hash of all that decides the answer, for the cache key: another account never gets these hosts."""
        variables = [endpoint_variable(region) for region in self.regions]
        variables += ["HUAWEICLOUD_SDK_REGIONS_FILE", "HUAWEICLOUD_SDK_IAM_ENDPOINT"]
        parts = asdict(self)
        for key in ("timeout", "retries", "page_size"):
            del parts[key]
        parts.update(schema=SCHEMA, filters=asdict(filters), env=[os.environ.get(name) for name in variables])
        parts["identity"] = hashlib.sha256(identity.encode()).hexdigest()
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RegionResult:
    """The rows of one region as the API gives them, or the sentence that says why there are none."""

    region: str
    project_id: str = ""
    servers: tuple[dict[str, Any], ...] = ()
    error: str = ""


def endpoint_variable(region: str) -> str:
    """The environment variable in which the SDK looks for the ECS endpoint of a region."""
    return f"HUAWEICLOUD_SDK_REGION_ECS_{region.replace('-', '_').upper()}"


@functools.cache
def _sdk() -> SimpleNamespace:
    """The SDK, imported when it is first needed: that costs 0.15 s, and a cached inventory does without it."""
    try:
        from huaweicloudsdkcore.auth.credentials import BasicCredentials
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
        Credentials=BasicCredentials,
        EcsRegion=EcsRegion,
        ErrorHandler=_error_handler_class(DefaultExceptionHandler),
        HttpConfig=HttpConfig,
        Region=Region,
    )


def _client_class(ecs_client: Any, stream_response: Any, http_adapter: Any) -> Any:
    """The SDK's client with a list call that returns bytes, and without its habit of hiding rate limits."""

    class Reply(stream_response):
        """Takes the body as it is, before the SDK decodes it (and guesses its character set)."""

        def __init__(self, response: Any) -> None:
            super().__init__(response)
            self.body = response.content

    class RayopsEcsClient(ecs_client):
        def init_http_client(self) -> None:
            super().init_http_client()
            # The SDK's adapter swallows a 429 with its body and its Retry-After; requests' own one does not.
            session = getattr(self.get_http_client(), "_session", None)
            if session is not None:
                session.mount("https://", http_adapter())
                session.mount("http://", http_adapter())

        def list_servers_body(self, parameters: list[tuple[str, Any]]) -> bytes:
            """ListServersDetails, as the SDK's own method sends it, but without the models."""
            self.model_package = SimpleNamespace(Reply=Reply)
            return self.do_http_request(
                method="GET",
                resource_path="/v1/{project_id}/cloudservers/detail",
                query_params=parameters,
                header_params={"Content-Type": "application/json"},
                response_type="Reply",
            ).body

    # Without a handler, the SDK's logger prints its errors to stderr.
    logging.getLogger(f"HuaweiCloud-SDK-{RayopsEcsClient.__name__}").addHandler(logging.NullHandler())
    return RayopsEcsClient


def _error_handler_class(default_handler: Any) -> Any:
    class KeepRetryAfter(default_handler):
        """The SDK's errors, with the one header that they forget."""

        def handle_exception(self, request: Any, response: Any) -> None:
            try:
                super().handle_exception(request, response)
            except Exception as exc:
                exc.retry_after = response.headers.get("Retry-After")
                raise

    return KeepRetryAfter


def list_servers(query: Query, credentials: Credentials) -> list[RegionResult]:
    """Ask every region of the query, in parallel. One result per region, in the query's order.

    Raises HuaweiError for what no region can mend: a missing SDK or an unknown region.
    """
    sdk = _sdk()
    regions = [_region(sdk, query, name) for name in query.regions]
    with ThreadPoolExecutor(max_workers=min(PARALLEL_REGIONS, len(regions))) as pool:
        return list(pool.map(lambda region: _RegionLister(sdk, query, credentials, region).run(), regions))


def _region(sdk: SimpleNamespace, query: Query, name: str) -> Any:
    if name in query.endpoints:
        return sdk.Region(name, query.endpoints[name])
    try:
        return sdk.EcsRegion.value_of(name)
    except KeyError:
        near = difflib.get_close_matches(name, list(sdk.EcsRegion.static_fields), 1)
        hint = f"did you mean {near[0]}? If not, " if near else ""
        raise HuaweiError(
            f"Unknown region '{name}': {hint}give its address in endpoints or in {endpoint_variable(name)}."
        ) from None


class _RegionLister:
    """Lists one region: finds the project, walks the pages, retries what may pass."""

    def __init__(self, sdk: SimpleNamespace, query: Query, credentials: Credentials, region: Any) -> None:
        self.sdk = sdk
        self.query = query
        self.credentials = credentials
        self.region = region
        self.client: Any = None
        self.keys = sdk.Credentials(
            credentials.access_key, credentials.secret_key, query.project_ids.get(region.id)
        ).with_security_token(credentials.security_token)
        if query.iam_endpoint:
            self.keys.with_iam_endpoint(query.iam_endpoint)

    def run(self) -> RegionResult:
        address = ""
        try:
            # Building the client asks IAM for the project, so that is tried again as well.
            self.client = self._retry(self._build)
            address = self.region.endpoints[0]
            servers = self._pages()
            return RegionResult(self.region.id, self.keys.project_id or "", tuple(servers))
        except Exception as exc:
            service = "ECS" if self.client else "IAM"
            sentence = explain(exc, service, address or self.keys.iam_endpoint or "", self.credentials.secrets)
            return RegionResult(self.region.id, error=sentence)
        finally:
            if self.client:
                self.client.get_http_client().close()
                # The SDK leaves its threads behind, and Ansible forks after this.
                self.client.get_http_client().executor.shutdown(wait=False)

    def _build(self) -> Any:
        config = self.sdk.HttpConfig(timeout=(CONNECT_TIMEOUT, self.query.timeout), user_agent=USER_AGENT)
        builder = self.sdk.ClientBuilder(self.sdk.Client)
        builder = builder.with_http_config(config).with_credentials(self.keys).with_region(self.region)
        return builder.with_exception_handler(self.sdk.ErrorHandler()).build()

    def _pages(self) -> list[dict[str, Any]]:
        """All rows. Stops on a short page only when the server's count agrees: some regions cap the page size."""
        servers: dict[str, dict[str, Any]] = {}
        marker: Optional[str] = None
        while True:
            reply = self._page(marker, list(servers))
            rows = [row for row in reply["servers"] if isinstance(row, dict) and row.get("id")]
            known = len(servers)
            servers.update((row["id"], row) for row in rows)
            count = reply.get("count")
            complete = not isinstance(count, int) or len(servers) >= count
            if not rows or (len(rows) < self.query.page_size and complete):
                return list(servers.values())
            if len(servers) == known:
                raise HuaweiError("the pages of the list do not advance: the endpoint ignores marker")
            marker = rows[-1]["id"]

    def _page(self, marker: Optional[str], seen: list[str]) -> dict[str, Any]:
        """One page. An instance deleted meanwhile is no valid marker any more: then the one before it is tried."""
        for candidate in [marker, *reversed(seen[-4:-1])] if marker else [None]:
            try:
                return self._retry(functools.partial(self._ask, candidate))
            except Exception as exc:
                if marker is None or getattr(exc, "status_code", None) not in (400, 404):
                    raise
                failure = exc
        raise failure

    def _ask(self, marker: Optional[str]) -> dict[str, Any]:
        parameters = {
            "limit": self.query.page_size,
            "marker": marker,
            "status": self.query.status,
            "tags": self.query.tag,
            "enterprise_project_id": self.query.enterprise_project_id,
        }
        body = self.client.list_servers_body([(name, value) for name, value in parameters.items() if value is not None])
        reply = json.loads(body)
        if not isinstance(reply, dict) or not isinstance(reply.get("servers"), list):
            raise ValueError("no list of servers")
        return reply

    def _retry(self, call: Callable[[], Any]) -> Any:
        """Call until it works; wait longer each time, or as long as the server says."""
        for attempt in range(self.query.retries):
            try:
                return call()
            except Exception as exc:
                wait = retry_after(exc)
                if wait is None:
                    raise
                backoff = min(2**attempt * 0.5, 20) * random.uniform(0.5, 1)
                time.sleep(min(max(wait, backoff), LONGEST_WAIT))
        return call()

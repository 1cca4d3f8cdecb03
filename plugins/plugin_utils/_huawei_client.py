# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One conversation with the cloud: its requests, signed, tried again, ended at the deadline, and explained."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any, Optional, TypeVar

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_errors import explain, retry_after
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import Query
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_sdk import sdk

CONNECT_TIMEOUT = 5
LONGEST_WAIT = 60
USER_AGENT = "rayops.cluster/1.0.0"

Answer = TypeVar("Answer")


class Client:
    """Requests by one identity, with the patience of a query. service: whichever is asked, for the messages."""

    def __init__(self, query: Query, credentials: Credentials, until: float, iam_endpoint: Optional[str]) -> None:
        """until: when, by time.monotonic, nobody waits for an answer any more. iam_endpoint: None for the SDK's."""
        self.service = "IAM"
        self._query = query
        self._credentials = credentials
        self._until = until
        self._iam_endpoint = iam_endpoint
        self._region: Any = None
        self._keys: Any = None
        self._client: Any = None

    def connect(self, kind: str, region: Any, scope: Optional[str] = None) -> str:
        """Be ready to ask a region. Asks IAM for the scope where none is given; the answer is the scope.

        kind: BasicCredentials, whose scope is a project, or GlobalCredentials, whose scope is an account.
        """
        keys = getattr(sdk(), kind)(self._credentials.access_key, self._credentials.secret_key, scope)
        self._keys = keys.with_security_token(self._credentials.security_token)
        if self._iam_endpoint:
            self._keys.with_iam_endpoint(self._iam_endpoint)
        self._region = region
        self._client = self.retry(self._build)
        return str(getattr(self._keys, "project_id", None) or "")

    def ask(self, path: str, parameters: dict[str, Any], body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """The object that the cloud answers to a GET, or to the POST of a body."""
        given = [(name, value) for name, value in parameters.items() if value is not None]

        def call() -> dict[str, Any]:
            # Nobody waits for the answer any more.
            if time.monotonic() > self._until:
                raise HuaweiError("the list was not complete in time: raise deadline, or list less")
            answer = self._client.get_body(path, given, body)
            try:
                reply = json.loads(answer)
            except RecursionError:
                raise ValueError("nested too deeply") from None
            if not isinstance(reply, dict):
                raise ValueError("not an object")
            return reply

        return self.retry(call)

    def retry(self, call: Callable[[], Answer]) -> Answer:
        """Call until it works; wait longer each time, or as long as the server says."""
        for attempt in range(self._query.retries):
            try:
                return call()
            except Exception as exc:
                wait = retry_after(exc)
                if wait is None:
                    raise
                backoff = min(2**attempt * 0.5, 20) * random.uniform(0.5, 1)
                wait = min(max(wait, backoff), LONGEST_WAIT)
                if time.monotonic() + wait > self._until:
                    raise
                time.sleep(wait)
        return call()

    def explain(self, exc: BaseException) -> str:
        """One sentence for a failure of this conversation."""
        address = self._region.endpoints[0] if self._client else getattr(self._keys, "iam_endpoint", None)
        return explain(exc, self.service, address or "", self._credentials)

    def close(self) -> None:
        if self._client:
            self._client.get_http_client().close()
            # The SDK leaves its threads behind, and Ansible forks after this.
            self._client.get_http_client().executor.shutdown(wait=False)

    def _build(self) -> Any:
        config = sdk().HttpConfig(timeout=(CONNECT_TIMEOUT, self._query.timeout), user_agent=USER_AGENT)
        builder = sdk().ClientBuilder(sdk().Client, type(self._keys).__name__)
        builder = builder.with_http_config(config).with_credentials(self._keys).with_region(self._region)
        return builder.with_exception_handler(sdk().ErrorHandler()).build()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the ECS instances of several accounts and regions: projects side by side, the pages of one in order."""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Callable, Iterable
from multiprocessing import TimeoutError as LateError
from multiprocessing.pool import ThreadPool
from typing import Any, Optional, TypeVar
from urllib.parse import quote

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_variables as rows_of
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_errors import explain, retry_after
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import TAG_NODE_TYPE
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import (
    Account,
    Job,
    Query,
    RegionResult,
    group_key,
    jobs,
)
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_sdk import region as sdk_region
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_sdk import sdk

# ECS limits the requests of an account; its limit is not published.
PARALLEL = 6
CONNECT_TIMEOUT = 5
LONGEST_WAIT = 60
USER_AGENT = "rayops.cluster/1.0.0"
SERVERS = "/v1/{project_id}/cloudservers/detail"
FLAVORS = "/v1/{project_id}/cloudservers/flavors"
# The only list that knows when an instance ends, in pages of at most 100.
SERVERS_WITH_MARKET = "/v1.1/{project_id}/cloudservers/detail"
MARKET_PAGE = 100
FLAVOR_PAGE = 1000
SECURITY_GROUPS = "/v2.1/{project_id}/servers/%s/os-security-groups"

Pages = tuple[dict[str, dict[str, Any]], int]
Answer = TypeVar("Answer")


class MarkerGone(HuaweiError):
    """No instance at which the list can be continued exists any more."""


def list_servers(query: Query) -> list[RegionResult]:
    """Ask for all that the query wants, in parallel. One result per project, in the query's order.

    Raises HuaweiError for what no region can mend: a missing SDK or an unknown region.
    """
    until = time.monotonic() + query.deadline
    wanted = jobs(query)
    regions = {(job.account.name, job.region): sdk_region(job.region, job.account.endpoints) for job in wanted}
    accounts = {account.name: _with_credentials(account) for account in query.accounts}
    # Its threads do not hold up the end of Ansible, whatever a server does to them.
    with ThreadPool(min(PARALLEL, len(wanted))) as pool:
        running = []
        for job in wanted:
            arguments = (query, job, accounts[job.account.name], regions[job.account.name, job.region], until)
            running.append((job, pool.apply_async(_list, arguments)))
        return [_result(job, each, until, query.deadline) for job, each in running]


def _with_credentials(account: Account) -> Any:
    """The account, or the error that each of its regions has."""
    try:
        return account.with_credentials()
    except HuaweiError as exc:
        return exc


def _list(query: Query, job: Job, account: Any, region: Any, until: float) -> RegionResult:
    if isinstance(account, HuaweiError):
        return RegionResult(job, error=str(account).rstrip("."))
    return _Lister(query, job, account, account.credentials, region, until).run()


def _result(job: Job, running: Any, until: float, deadline: float) -> RegionResult:
    try:
        result: RegionResult = running.get(max(0, until - time.monotonic()))
        return result
    except LateError:
        return RegionResult(job, error=f"the list was not complete after {deadline:g} s: raise deadline, or list less")


class _Lister:
    """Lists one project: finds its id, walks the pages, retries what may pass."""

    def __init__(
        self, query: Query, job: Job, account: Account, credentials: Credentials, region: Any, until: float
    ) -> None:
        self.query = query
        self.job = job
        self.account = account
        self.region = region
        self.until = until
        self.client: Any = None
        self.service = "IAM"
        self.credentials = credentials
        self.keys = (
            sdk()
            .Credentials(credentials.access_key, credentials.secret_key, job.project)
            .with_security_token(credentials.security_token)
        )
        if account.iam_endpoint:
            self.keys.with_iam_endpoint(account.iam_endpoint)

    def run(self) -> RegionResult:
        result = RegionResult(self.job)
        try:
            # Building the client asks IAM for the project, so that is tried again as well.
            self.client = self._retry(self._build)
            self.service, result.project_id = "ECS", self.keys.project_id or ""
            self._fill(result)
            return result
        except Exception as exc:
            return RegionResult(self.job, error=self._explain(exc))
        finally:
            if self.client:
                self.client.get_http_client().close()
                # The SDK leaves its threads behind, and Ansible forks after this.
                self.client.get_http_client().executor.shutdown(wait=False)

    def _fill(self, result: RegionResult) -> None:
        servers: dict[str, dict[str, Any]] = {}
        for project in self.account.enterprise_projects or (None,):
            filters = {**self.query.server_filters, "enterprise_project_id": project}
            found, unusable = self._pages(SERVERS, "servers", self.query.page_size, filters)
            servers.update(found)
            result.unusable += unusable
        result.servers = list(servers.values())
        if servers and self.query.flavor_details:
            self.service = "ECS (flavors)"
            result.flavors = self._pages(FLAVORS, "flavors", FLAVOR_PAGE, {})[0]
        if self.query.expiry and any(rows_of.charging_mode(server) == "prepaid" for server in result.servers):
            self.service = "ECS (expiry)"
            result.expires = self._expires()
        if self.query.security_groups:
            self.service = "ECS (security groups)"
            try:
                result.rules = self._rules(result.servers)
            except Exception as exc:
                result.rules_error = self._explain(exc)

    def _expires(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for project in self.account.enterprise_projects or (None,):
            parameters = {"expect-fields": "market_info", "enterprise_project_id": project}
            servers, _unusable = self._pages(SERVERS_WITH_MARKET, "servers", MARKET_PAGE, parameters)
            for server_id, server in servers.items():
                prepaid = rows_of.mapping(rows_of.mapping(server.get("market_info")).get("prepaid_info"))
                found[server_id] = rows_of.text(prepaid.get("expired_time"))
        return found

    def _rules(self, servers: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
        """The security groups of the Ray nodes, asked once for all that have the same ones."""
        found: dict[str, list[Any]] = {}
        for server in servers:
            tags = rows_of.as_list(server.get("tags"))
            if not any(isinstance(tag, str) and tag.startswith(f"{TAG_NODE_TYPE}=") for tag in tags):
                continue
            ids, names = rows_of.security_groups(server)
            key = group_key(ids, names)
            if key not in found:
                reply = self._retry(functools.partial(self._ask, SECURITY_GROUPS % quote(server["id"], safe=""), {}))
                found[key] = rows_of.as_list(reply.get("security_groups"))
        return found

    def _explain(self, exc: BaseException) -> str:
        address = self.region.endpoints[0] if self.client else self.keys.iam_endpoint or ""
        return explain(exc, self.service, address, self.credentials)

    def _build(self) -> Any:
        config = sdk().HttpConfig(timeout=(CONNECT_TIMEOUT, self.query.timeout), user_agent=USER_AGENT)
        builder = sdk().ClientBuilder(sdk().Client)
        builder = builder.with_http_config(config).with_credentials(self.keys).with_region(self.region)
        return builder.with_exception_handler(sdk().ErrorHandler()).build()

    def _pages(self, path: str, key: str, page_size: int, parameters: dict[str, Any]) -> Pages:
        """All rows of a list. It is read anew, once, when so much was deleted meanwhile that the place is lost."""
        walk = functools.partial(self._walk, path, key, page_size, parameters)
        try:
            return walk()
        except MarkerGone:
            return walk()

    def _walk(self, path: str, key: str, page_size: int, parameters: dict[str, Any]) -> Pages:
        """All rows by their ids, and how many had none.

        Stops on a short page only when the server's count agrees: some regions cap the page size. A row that is seen
        twice, because the list grew meanwhile, counts once.
        """
        found: dict[str, dict[str, Any]] = {}
        unusable = 0
        marker: Optional[str] = None
        while True:
            reply = self._page(path, {**parameters, "limit": page_size}, marker, list(found)[-4:-1])
            rows = reply.get(key)
            if not isinstance(rows, list):
                raise ValueError(f"no list of {key}")
            usable = [row for row in rows if isinstance(row, dict) and _is_id(row.get("id"))]
            unusable += len(rows) - len(usable)
            known = len(found)
            found.update((row["id"], row) for row in usable)
            count = reply.get("count")
            complete = not isinstance(count, int) or len(found) + unusable >= count
            if not rows or (len(rows) < page_size and complete):
                return found, unusable
            if len(found) == known:
                raise HuaweiError("the pages of the list do not advance: the endpoint ignores marker")
            marker = usable[-1]["id"]

    def _page(self, path: str, parameters: dict[str, Any], marker: Optional[str], before: list[str]) -> dict[str, Any]:
        """One page. An instance deleted meanwhile is no valid marker any more: then one of those before it is."""
        if marker is None:
            return self._retry(functools.partial(self._ask, path, parameters))
        for candidate in [marker, *reversed(before)]:
            try:
                return self._retry(functools.partial(self._ask, path, {**parameters, "marker": candidate}))
            except Exception as exc:
                if getattr(exc, "status_code", None) not in (400, 404):
                    raise
        raise MarkerGone("the list changes faster than it can be read: try again")

    def _ask(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        # Nobody waits for the answer any more.
        if time.monotonic() > self.until:
            raise HuaweiError("the list was not complete in time: raise deadline, or list less")
        given = [(name, value) for name, value in parameters.items() if value is not None]
        body = self.client.get_body(path, given)
        try:
            reply = json.loads(body)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(reply, dict):
            raise ValueError("not an object")
        return reply

    def _retry(self, call: Callable[[], Answer]) -> Answer:
        """Call until it works; wait longer each time, or as long as the server says."""
        for attempt in range(self.query.retries):
            try:
                return call()
            except Exception as exc:
                wait = retry_after(exc)
                if wait is None:
                    raise
                backoff = min(2**attempt * 0.5, 20) * random.uniform(0.5, 1)
                wait = min(max(wait, backoff), LONGEST_WAIT)
                if time.monotonic() + wait > self.until:
                    raise
                time.sleep(wait)
        return call()


def _is_id(value: Any) -> bool:
    """Whether it can be sent back to continue after it."""
    return isinstance(value, str) and value != "" and rows_of.text(value) == value

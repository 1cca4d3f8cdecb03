# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the ECS instances of several accounts and regions: projects side by side, the pages of one in order."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from multiprocessing import TimeoutError as LateError
from multiprocessing.pool import ThreadPool
from typing import Any
from urllib.parse import quote

from ansible_collections.rayops.cluster.plugins.module_utils._host_keys.keys import KeysDiffer, printed
from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_variables as rows_of
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_client import Client
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_errors import is_closed_region
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import TAG_NODE_TYPE
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_iam import resolve
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_pages import Pages, all_pages
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import (
    Account,
    Job,
    Query,
    RegionResult,
    group_key,
    jobs,
)
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_sdk import region as sdk_region

# ECS limits the requests of an account; its limit is not published.
PARALLEL = 6
SERVERS = "/v1/{project_id}/cloudservers/detail"
FLAVORS = "/v1/{project_id}/cloudservers/flavors"
# The only list that knows when an instance ends, in pages of at most 100.
SERVERS_WITH_MARKET = "/v1.1/{project_id}/cloudservers/detail"
MARKET_PAGE = 100
FLAVOR_PAGE = 1000
# What an instance wrote on its serial console. -1 stands for all lines; without it the last 50 come.
CONSOLE = "/v1/{project_id}/cloudservers/%s/console-output"
ALL_LINES = -1
NOT_PRINTED = "the console does not show them (any more): cloud-init prints them once, when an instance starts first"
SECURITY_GROUPS = "/v2.1/{project_id}/servers/%s/os-security-groups"


def list_servers(query: Query) -> list[RegionResult]:
    """Ask for all that the query wants, in parallel. One result per project, in the query's order.

    Raises HuaweiError for what no region can mend: a missing SDK or an unknown region.
    """
    until = time.monotonic() + query.deadline
    for account in query.accounts:
        for region in account.named_regions:
            sdk_region(region, account.endpoints)
    late = f"the list was not complete after {query.deadline:g} s: raise deadline, or list less"
    # Its threads do not hold up the end of Ansible, whatever a server does to them.
    with ThreadPool(PARALLEL) as pool:
        asked = [(each, pool.apply_async(_resolve, (query, each, until))) for each in query.accounts]
        accounts = [_wait(running, until) or (account, late) for account, running in asked]
        errors = {account.name: error for account, error in accounts}
        listed = []
        for job in jobs([account for account, _error in accounts]):
            listed.append((job, pool.apply_async(_list, (query, job, errors[job.account.name], until))))
        return [_wait(running, until) or RegionResult(job, error=late) for job, running in listed]


def _resolve(query: Query, account: Account, until: float) -> tuple[Account, str]:
    """The account with all that must be known before its regions are asked, or the error that each of these has."""
    try:
        return resolve(query, account, until), ""
    except HuaweiError as exc:
        return account, str(exc).rstrip(".")


def _wait(running: Any, until: float) -> Any:
    """What a thread gives, or None when it is late."""
    try:
        return running.get(max(0, until - time.monotonic()))
    except LateError:
        return None


def _list(query: Query, job: Job, error: str, until: float) -> RegionResult:
    """What a project has. error: why its account cannot be asked."""
    credentials = job.account.credentials
    if error or not credentials:
        return RegionResult(job, error=error)
    return _Lister(query, job, Client(query, credentials, until, job.account.iam_endpoint)).run()


class _Lister:
    """Lists one project: finds its id, walks the pages of each list."""

    def __init__(self, query: Query, job: Job, client: Client) -> None:
        self.query = query
        self.job = job
        self.account = job.account
        self.client = client

    def run(self) -> RegionResult:
        result = RegionResult(self.job)
        try:
            region = sdk_region(self.job.region, self.account.endpoints)
            result.project_id = self.client.connect("BasicCredentials", region, self.job.project)
            self.client.service = "ECS"
            self._fill(result)
            return result
        except Exception as exc:
            closed = self.account.all_regions and is_closed_region(exc)
            return RegionResult(self.job, error=self.client.explain(exc), closed=closed)
        finally:
            self.client.close()

    def _fill(self, result: RegionResult) -> None:
        servers: dict[str, dict[str, Any]] = {}
        for project in self.account.enterprise_projects or (None,):
            filters = {**self.query.server_filters, "enterprise_project_id": project}
            found, unusable = self._pages(SERVERS, "servers", self.query.page_size, filters)
            servers.update(found)
            result.unusable += unusable
        # An id that was asked for and is none comes back as a row that says only why.
        result.missing = {each: _fault(row) for each, row in servers.items() if not _is_server(row)}
        result.servers = [row for each, row in servers.items() if each not in result.missing]
        if servers and self.query.flavor_details:
            self.client.service = "ECS (flavors)"
            result.flavors = self._pages(FLAVORS, "flavors", FLAVOR_PAGE, {})[0]
        if self.query.expiry and any(rows_of.charging_mode(server) == "prepaid" for server in result.servers):
            self.client.service = "ECS (expiry)"
            result.expires = self._expires()
        if self.query.security_groups:
            self.client.service = "ECS (security groups)"
            try:
                result.rules = self._rules(result.servers)
            except Exception as exc:
                result.rules_error = self.client.explain(exc)
        if self.query.host_keys:
            self.client.service = "ECS (host keys)"
            self._host_keys(result)

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
        for server in filter(_is_node, servers):
            ids, names = rows_of.security_groups(server)
            key = group_key(ids, names)
            if key not in found:
                reply = self.client.ask(SECURITY_GROUPS % quote(server["id"], safe=""), {})
                found[key] = rows_of.as_list(reply.get("security_groups"))
        return found

    def _host_keys(self, result: RegionResult) -> None:
        """The host keys of the Ray nodes. That one instance has none costs no other one anything."""
        for server in filter(_is_node, result.servers):
            try:
                reply = self.client.ask(CONSOLE % quote(server["id"], safe=""), {"length": ALL_LINES})
                keys = printed(rows_of.text(reply.get("output")))
            except KeysDiffer as exc:
                result.no_host_keys[server["id"]] = f"the console shows two ({exc}), of which one may be forged"
            except Exception as exc:
                result.no_host_keys[server["id"]] = self.client.explain(exc)
            else:
                result.host_keys[server["id"]] = list(map(str, keys))
                if not keys:
                    result.no_host_keys[server["id"]] = NOT_PRINTED

    def _pages(self, path: str, key: str, page_size: int, parameters: dict[str, Any]) -> Pages:
        return all_pages(functools.partial(self.client.ask, path), key, page_size, parameters)


def _is_node(server: dict[str, Any]) -> bool:
    tags = rows_of.as_list(server.get("tags"))
    return any(isinstance(tag, str) and tag.startswith(f"{TAG_NODE_TYPE}=") for tag in tags)


def _is_server(row: dict[str, Any]) -> bool:
    """Whether a row says anything beside its id and a fault."""
    return not _fault(row) or any(value for key, value in row.items() if key not in ("id", "fault"))


def _fault(row: dict[str, Any]) -> str:
    return rows_of.text(rows_of.mapping(row.get("fault")).get("message"))

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the plugin's options: renders their templates, checks them, and makes a query and filters of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_access import ACCOUNT_OPTIONS, Access, account
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_checks import CHECKS, DEFAULT_PORTS, Checks
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_filters import (
    Filter,
    Filters,
    as_items,
    comparable,
)
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import (
    GROUP_ALL,
    GROUPED_BY,
    TAG_CLUSTER,
    TAKEN_NAMES,
)
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import Account, Query
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import SYSTEM_TAG, filter_fields

STATUSES = [
    "ACTIVE",
    "BUILD",
    "DELETED",
    "ERROR",
    "HARD_REBOOT",
    "MIGRATING",
    "PAUSED",
    "REBOOT",
    "REBUILD",
    "RESIZE",
    "REVERT_RESIZE",
    "SHELVED",
    "SHELVED_OFFLOADED",
    "SHUTOFF",
    "SUSPENDED",
    "UNKNOWN",
    "VERIFY_RESIZE",
]
ADDRESSES = ("private_ip", "public_ip", "ipv6")
HOSTNAMES = ("name", "id", "hostname", *ADDRESSES)
# Parameters of the list call, by the names that they have here.
SERVER_FILTERS = {
    "flavor": "flavor",
    "ip": "ip",
    "ip_eq": "ip_eq",
    "name": "name",
    "not_tags": "not-tags",
    "reservation_id": "reservation_id",
    "server_id": "server_id",
}


class Options:
    """The options of one configuration file. Every method raises HuaweiError for a value that cannot work."""

    def __init__(self, plugin: Any, config: Mapping[str, Any]) -> None:
        """plugin: the inventory plugin, after its options were set and its templar got the extra variables."""
        self._plugin = plugin
        self._access = Access(plugin)
        # What filters although this file does not say so, a sentence each.
        self.notes: list[str] = []
        self._reject_unknown(config)

    def _reject_unknown(self, config: Mapping[str, Any]) -> None:
        """Refuse keys that are no options: Ansible itself ignores them."""
        known = sorted(self._plugin.option_definitions)
        for key in config:
            if key not in known:
                reference = "see ansible-doc -t inventory rayops.cluster.huawei_ecs."
                raise HuaweiError(f"Unknown option '{key}': {_hint(str(key), known, reference)}")

    def query(self, filters: Filters, checks: Collection[str]) -> Query:
        """What to ask the cloud. checks: the names of those that are wanted."""
        # The server takes one status and one tag; the answer is filtered again in any case. Not all of the system's own
        # tags are among those that it looks at.
        own = {key: values for key, values in filters.tags.items() if not key.startswith(SYSTEM_TAG)}
        tags = [f"{key}={values[0]}" for key, values in own.items() if len(values) == 1]
        parameters = {SERVER_FILTERS[name]: value for name, value in self._server_filters().items()}
        # That check is about the instances with another status.
        if len(filters.statuses) == 1 and "not_active" not in checks:
            parameters["status"] = filters.statuses[0]
        if tags:
            parameters["tags"] = tags[0]
        return Query(
            accounts=self._accounts(),
            server_filters=parameters,
            page_size=self._number("page_size", 1, 1000),
            timeout=self._number("timeout", 1, 3600),
            retries=self._number("retries", 0, 100),
            deadline=self._number("deadline", 1, 86400),
            expiry=self._plugin.get_option("expiry"),
            flavor_details=self._plugin.get_option("flavor_details"),
            security_groups="security_groups" in checks,
            host_keys=self._plugin.get_option("host_keys"),
        )

    def filters(self) -> Filters:
        """What every instance must match. The cluster's tag comes first, because it selects most."""
        statuses = [status.upper() for status in self._access.words("status")]
        self._check("status", statuses, STATUSES)
        tags: dict[str, list[str]] = {}
        cluster = self._access.text("cluster_name")
        if cluster:
            tags[TAG_CLUSTER] = [cluster]
            self._note(self._access, "cluster_name", "instances of the Ray cluster", [cluster])
        for key, value in self._access.mapping("tags").items():
            values = value if isinstance(value, list) else [] if value is None or value == "" else [value]
            tags.setdefault(str(key), [str(each) for each in values])
        include, exclude = (self._client_filters(f"{kind}_filters") for kind in ("include", "exclude"))
        return Filters(statuses, tags, include, exclude, self._plugin.get_option("bare_metal"))

    def hostnames(self) -> list[str]:
        """What a host may be called, in order of preference. Those with a template are for each host to render."""
        names = [str(each) for each in self._plugin.get_option("hostnames")]
        plain = [name for name in names if not name.startswith("tag:") and "{{" not in name]
        self._check("hostnames", plain, [*HOSTNAMES, "tag:KEY", "a template"])
        # A string made anew has lost Ansible's trust in the file that it is from.
        return list(self._plugin.get_option("hostnames"))

    def connect_with(self) -> list[str]:
        """The kinds of address for ansible_host, in order of preference."""
        kinds = self._access.words("connect_with")
        self._check("connect_with", kinds, ADDRESSES)
        return kinds

    def group_by(self) -> list[str]:
        """What to group by without a template."""
        kinds = self._access.words("group_by")
        self._check("group_by", [kind for kind in kinds if not kind.startswith("tag:")], [*GROUPED_BY, "tag:KEY"])
        return kinds

    def group(self) -> str:
        """The group of all hosts."""
        group = self._access.text("group") or ""
        if not re.fullmatch(r"[^\W\d]\w*", group) or (group in TAKEN_NAMES and group != GROUP_ALL):
            raise HuaweiError(f"group is '{group}': use letters, digits and _, and no name that Ansible or Ray's use.")
        return group

    def hostvars_prefix(self) -> str:
        """How the names of the host variables begin."""
        prefix = str(self._access.render("hostvars_prefix"))
        if not re.fullmatch(r"(?!ansible_|inventory_|ray_)[a-z][a-z0-9_]*", prefix):
            raise HuaweiError(
                f"hostvars_prefix is '{prefix}': use small letters, digits and _, such as huawei_, "
                "and not ansible_, inventory_ or ray_."
            )
        return prefix

    def checks(self) -> Checks:
        """What to look for in the Ray clusters."""
        levels = {str(name): str(level) for name, level in self._access.mapping("ray_checks").items()}
        self._check("ray_checks", list(levels), CHECKS)
        for name, level in levels.items():
            self._check(f"ray_checks ({name})", [level], ("warn", "fail"))
        changed = {str(name): str(value) for name, value in self._access.mapping("ray_ports").items()}
        self._check("ray_ports", list(changed), DEFAULT_PORTS)
        for name, value in changed.items():
            if not value.isdecimal() or not 1 <= int(value) <= 65535:
                raise HuaweiError(f"ray_ports ({name}) is {value}: use a number from 1 to 65535.")
        return Checks(levels, {**DEFAULT_PORTS, **{name: int(value) for name, value in changed.items()}})

    def _accounts(self) -> tuple[Account, ...]:
        found: list[Account] = []
        for entry in self._access.mappings("accounts", "{name: prod, profile: prod}"):
            for key in entry:
                self._check("accounts", [str(key)], ACCOUNT_OPTIONS)
            found.append(self._account(Access(self._plugin, entry)))
            if not found[-1].name or found[-1].name in [each.name for each in found[:-1]]:
                raise HuaweiError("Each of the accounts needs a name of its own: set name, or different profiles.")
        return tuple(found) or (self._account(self._access),)

    def _account(self, access: Access) -> Account:
        found = account(access)
        self._note(access, "enterprise_project_ids", "instances of the enterprise projects", found.enterprise_projects)
        return found

    def _note(self, access: Access, option: str, what: str, values: Sequence[str]) -> None:
        variable = access.variable(option)
        if variable and values:
            self.notes.append(f"Only {what} {', '.join(values)} are asked for, as the variable {variable} says.")

    def _server_filters(self) -> dict[str, str]:
        found = {}
        for name, value in self._access.mapping("server_filters").items():
            self._check("server_filters", [str(name)], list(SERVER_FILTERS))
            found[str(name)] = ",".join(str(each) for each in as_items(value))
        return found

    def _client_filters(self, option: str) -> list[Filter]:
        given = self._access.mappings(option, "{flavor: 'p2s.*'}")
        fields = filter_fields()
        found = []
        for each in given:
            names = [str(name) for name in each if not str(name).startswith("tag:")]
            self._check(option, names, [*fields, "tag:KEY"])
            found.append({str(name): list(map(comparable, as_items(value))) for name, value in each.items()})
        return found

    def _number(self, option: str, least: int, most: int) -> int:
        value: int = self._plugin.get_option(option)
        if not least <= value <= most:
            raise HuaweiError(f"{option} is {value}: use {least} to {most}.")
        return value

    @staticmethod
    def _check(option: str, values: Collection[str], known: Collection[str]) -> None:
        for value in values:
            if value not in known:
                hint = _hint(value, known, f"use {', '.join(known)}.")
                raise HuaweiError(f"Unknown value '{value}' in {option}: {hint}")


def _hint(value: str, known: Collection[str], otherwise: str) -> str:
    if "tag:KEY" in known and value.partition(":")[0] in ("tag", "tags"):
        return "did you mean tag:KEY, such as tag:env?"
    near = difflib.get_close_matches(value, known, 1)
    return f"did you mean {near[0]}?" if near else otherwise

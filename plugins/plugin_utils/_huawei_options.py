# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the plugin's options: renders their templates, checks them, and makes credentials and a query of them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_credentials as huawei_credentials
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_ecs import Query
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import TAG_CLUSTER, Filters

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
HOSTNAMES = ("name", "id", "hostname", "private_ip", "public_ip")


class Options:
    """The options of one configuration file. Every method raises HuaweiError for a value that cannot work."""

    def __init__(self, plugin: Any) -> None:
        """plugin: the inventory plugin, after its options were set and its templar got the extra variables."""
        self._plugin = plugin

    def reject_unknown(self, config: Mapping[str, Any]) -> None:
        """Refuse keys that are no options: Ansible itself ignores them."""
        known = sorted(self._plugin.option_definitions)
        for key in config:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"did you mean {near[0]}?" if near else "see ansible-doc -t inventory rayops.cluster.huawei_ecs."
                raise HuaweiError(f"Unknown option '{key}': {hint}")

    def credentials(self) -> Optional[Credentials]:
        """The credentials, or None when the metadata service is to be asked (a cache hit then asks nobody)."""
        token = self._text("security_token")
        if self._from_environment("security_token") and not self._from_environment("access_key"):
            token = None
        found = huawei_credentials.from_options(self._text("access_key"), self._text("secret_key"), token)
        found = found or huawei_credentials.from_file(self._text("credentials_file"))
        if not found and not self._plugin.get_option("use_instance_metadata"):
            raise HuaweiError(huawei_credentials.NO_CREDENTIALS)
        return found

    def query(self, credentials: Optional[Credentials]) -> Query:
        """What to ask the cloud. The credentials file may know the project and IAM's endpoint; options go before it."""
        regions = tuple(dict.fromkeys(self._list("regions")))
        if not regions:
            raise HuaweiError(
                "No region: set regions, or the variable HUAWEICLOUD_SDK_REGION, for example to cn-north-4."
            )
        filters = self.filters()
        # The server takes one status and one tag; the answer is filtered again in any case.
        tags = [f"{key}={values[0]}" for key, values in filters.tags.items() if len(values) == 1]
        return Query(
            regions=regions,
            project_ids=self._project_ids(regions, credentials),
            endpoints=self._by_region("endpoints", regions),
            iam_endpoint=self._text("iam_endpoint") or (credentials.iam_endpoint if credentials else None),
            status=filters.statuses[0] if len(filters.statuses) == 1 else None,
            tag=tags[0] if tags else None,
            enterprise_project_id=self._text("enterprise_project_id"),
            page_size=self._number("page_size", 1, 1000),
            timeout=self._number("timeout", 1, 3600),
            retries=self._number("retries", 0, 100),
        )

    def filters(self) -> Filters:
        """What every instance must match. The cluster's tag comes first, because it selects most."""
        statuses = [status.upper() for status in self._list("status")]
        self._check("status", statuses, STATUSES)
        given = self._render("tags") or {}
        if not isinstance(given, Mapping):
            raise HuaweiError("tags must be a mapping of tag keys to values.")
        tags: dict[str, list[str]] = {}
        cluster = self._text("cluster_name")
        if cluster:
            tags[TAG_CLUSTER] = [cluster]
        for key, value in given.items():
            values = value if isinstance(value, list) else [] if value is None or value == "" else [value]
            tags.setdefault(str(key), [str(each) for each in values])
        return Filters(statuses, tags)

    def hostnames(self) -> list[str]:
        """What a host may be called, in order of preference."""
        names = self._list("hostnames")
        self._check("hostnames", [name for name in names if not name.startswith("tag:")], HOSTNAMES)
        return names

    def connect_with(self) -> list[str]:
        """The kinds of address for ansible_host, in order of preference."""
        kinds = self._list("connect_with")
        self._check("connect_with", kinds, ADDRESSES)
        return kinds

    def _project_ids(self, regions: tuple[str, ...], credentials: Optional[Credentials]) -> dict[str, str]:
        project_ids = self._by_region("project_ids", regions)
        project_id = self._text("project_id") or (credentials.project_id if credentials else None)
        if project_id and set(regions) - set(project_ids):
            if len(regions) > 1:
                raise HuaweiError(
                    "project_id is set for several regions, but a project belongs to one: use project_ids, or neither."
                )
            project_ids[regions[0]] = project_id
        return project_ids

    def _by_region(self, option: str, regions: tuple[str, ...]) -> dict[str, str]:
        """An option with one string for each region."""
        value = self._render(option) or {}
        if not isinstance(value, Mapping):
            raise HuaweiError(f"{option} must be a mapping of regions to strings.")
        for region in value:
            if region not in regions:
                raise HuaweiError(
                    f"{option} names the region '{region}', which is not in regions ({', '.join(regions)})."
                )
        return {str(region): str(each) for region, each in value.items()}

    def _list(self, option: str) -> list[str]:
        """A list, flat: a template in it may give a list or words with commas."""
        found: list[str] = []
        for value in self._render(option) or []:
            found += [str(each).strip() for each in (value if isinstance(value, list) else str(value).split(","))]
        return [each for each in found if each]

    def _number(self, option: str, least: int, most: int) -> int:
        value = self._plugin.get_option(option)
        if not least <= value <= most:
            raise HuaweiError(f"{option} is {value}: use {least} to {most}.")
        return value

    def _text(self, option: str) -> Optional[str]:
        value = self._render(option)
        if isinstance(value, (Mapping, list)):
            raise HuaweiError(f"{option} must be a string.")
        return None if value is None else str(value).strip() or None

    def _render(self, option: str) -> Any:
        try:
            return self._plugin.templar.template(self._plugin.get_option(option))
        except Exception:  # its text shows the lines around, which may hold a key
            raise HuaweiError(
                f"The template in {option} cannot be rendered: check the variables that it uses."
            ) from None

    def _from_environment(self, option: str) -> bool:
        return str(self._plugin.get_option_and_origin(option)[1]).startswith("env")

    @staticmethod
    def _check(option: str, values: Sequence[str], known: Sequence[str]) -> None:
        for value in values:
            if value not in known:
                near = difflib.get_close_matches(value, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"use {', '.join(known)}."
                raise HuaweiError(f"Unknown value '{value}' in {option}: {hint}")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to ask the cloud for, and what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, from_metadata
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_errors import quoted
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_sdk import endpoint_variable

SCHEMA = 4  # of the cached data: raise it when that changes

# In the place of regions: all that the credentials have a project in.
ALL_REGIONS = "all"


@dataclass(frozen=True)
class Account:
    """One identity, and where it is to look.

    credentials: None where the instance metadata service is to be asked for them.
    projects: project ids by region; for a region without any, IAM is asked for the project that is called like it.
    enterprise_projects: ids, each a query of its own; empty for what the credentials show without.
    agency: one of another account, whose keys are to be used; agency_domain: that account, by domain_name or domain_id.
    all_regions: the regions are what IAM made of ALL_REGIONS.
    """

    name: str
    credentials: Optional[Credentials]
    regions: tuple[str, ...]
    projects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    iam_endpoint: Optional[str] = None
    enterprise_projects: tuple[str, ...] = ()
    metadata_endpoint: str = ""
    agency: str = ""
    agency_domain: Mapping[str, str] = field(default_factory=dict)
    all_regions: bool = False

    @property
    def named_regions(self) -> tuple[str, ...]:
        """The regions that the user named."""
        return () if self.regions == (ALL_REGIONS,) else self.regions

    def with_credentials(self) -> Account:
        """The account with its credentials, fetched if need be. Raises HuaweiError."""
        return self if self.credentials else replace(self, credentials=from_metadata(self.metadata_endpoint))

    def identity(self) -> dict[str, Any]:
        """All that decides whose instances are seen, without a secret."""
        # Who an agency is cannot be known without asking; it belongs to this machine.
        key = self.credentials.access_key if self.credentials else f"{self.metadata_endpoint} {platform.node()}"
        parts = asdict(replace(self, credentials=None))
        variables = [endpoint_variable(region) for region in self.regions]
        if not self.named_regions:
            variables = sorted(name for name in os.environ if name.startswith(endpoint_variable("")))
        variables += ["HUAWEICLOUD_SDK_REGIONS_FILE", "HUAWEICLOUD_SDK_IAM_ENDPOINT"]
        return {**parts, "key": sha256(key), "env": {name: os.environ.get(name) for name in variables}}


@dataclass(frozen=True)
class Query:
    """What to ask every region of every account.

    server_filters: parameters of the list call; the caller checks every row again. timeout: seconds for one answer;
    retries: attempts after the first one; deadline: seconds for all of it.
    expiry, flavor_details, security_groups, host_keys: whether to ask the further calls that know these.
    """

    accounts: tuple[Account, ...]
    server_filters: Mapping[str, str] = field(default_factory=dict)
    page_size: int = 200
    timeout: float = 30
    retries: int = 4
    deadline: float = 300
    expiry: bool = False
    flavor_details: bool = False
    security_groups: bool = False
    host_keys: bool = False

    def digest(self, *more: Any) -> str:
        """A short hash of all that decides the answer, for the cache key: another account never gets these hosts."""
        parts = {
            "schema": SCHEMA,
            "accounts": [account.identity() for account in self.accounts],
            "filters": dict(self.server_filters),
            "calls": [self.expiry, self.flavor_details, self.security_groups, self.host_keys],
            "more": more,
        }
        return sha256(json.dumps(parts, sort_keys=True, default=asdict))[:16]


@dataclass(frozen=True)
class Job:
    """A project of a region of an account; project None is the one that is called like the region."""

    account: Account
    region: str
    project: Optional[str] = None
    name: str = ""


@dataclass
class RegionResult:
    """What a project has, as the API gives it, or the sentence that says why there is nothing.

    unusable: rows without an id. flavors: by their ids; expires: times by instance id; rules: the security groups
    with their rules, by the key of group_key, and rules_error: why there are none. host_keys: what cloud-init printed
    on the consoles, by instance id, and no_host_keys: why others have none. missing: ids that were asked for and are
    none, with what the API says of them. closed: of all regions, one that this account has not opened.
    """

    job: Job
    project_id: str = ""
    servers: list[dict[str, Any]] = field(default_factory=list)
    unusable: int = 0
    flavors: dict[str, Any] = field(default_factory=dict)
    expires: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[Any]] = field(default_factory=dict)
    rules_error: str = ""
    host_keys: dict[str, list[str]] = field(default_factory=dict)
    no_host_keys: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    error: str = ""
    closed: bool = False


def jobs(accounts: Sequence[Account]) -> list[Job]:
    """One job for each project, with a name that tells it from the others in a message."""
    found = []
    for account in accounts:
        for region in account.regions:
            projects = account.projects.get(region) or (None,)
            for project in projects:
                name = region + (f" project {project}" if len(projects) > 1 else "")
                name += f" of account {account.name}" if len(accounts) > 1 else ""
                found.append(Job(account, region, project, name))
    return found


def remarks(results: Iterable[RegionResult]) -> list[str]:
    """What to say of answers that are not as they were asked for, a sentence each."""
    found = []
    for result in results:
        if result.unusable:
            found.append(f"Region {result.job.name} lists {result.unusable} instances without an id.")
        for server, fault in result.missing.items():
            found.append(f"Region {result.job.name} has no instance {server}: {quoted(fault)}")
        for reason in dict.fromkeys(result.no_host_keys.values()):
            servers = [server for server, each in result.no_host_keys.items() if each == reason]
            found.append(f"Region {result.job.name} gives no host keys of {', '.join(servers)}: {reason}.")
    return found


def group_key(ids: list[str], names: list[str]) -> str:
    """What two instances with the same security groups have in common. Not every region gives the ids."""
    return ",".join(sorted(ids or names))


def sha256(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What IAM is asked before any region: temporary keys of another account's agency, and the regions that there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_variables as rows_of
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_client import Client
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import ALL_REGIONS, Account, Query
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_sdk import region as sdk_region
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_sdk import sdk

AGENCIES = "/v3.0/OS-CREDENTIAL/securitytokens"
# Those that the keys may use, which needs no right. The list of all projects of the account does.
PROJECTS = "/v3/auth/projects"
SHORTEST, LONGEST = 900, 86400  # seconds for which IAM gives temporary keys


def resolve(query: Query, account: Account, until: float) -> Account:
    """The account with the credentials that open it, and with its regions by their names.

    until: when nobody waits any more, by time.monotonic. Raises HuaweiError.
    """
    account = account.with_credentials()
    if account.agency:
        account = replace(account, credentials=_assume_role(query, account, until))
    if account.regions == (ALL_REGIONS,):
        account = _with_all_regions(query, account, until)
    return account


def _assume_role(query: Query, account: Account, until: float) -> Credentials:
    """Temporary keys of the agency, for as long as they are needed."""
    agency, domain = account.agency, account.agency_domain
    role = {"agency_name": agency, **domain, "duration_seconds": int(min(max(query.deadline, SHORTEST), LONGEST))}
    body = {"auth": {"identity": {"methods": ["assume_role"], "assume_role": role}}}
    reply = _ask(query, account, until, "IAM (agency)", AGENCIES, body)
    found = rows_of.mapping(reply.get("credential"))
    access, secret, token = (rows_of.text(found.get(name)) for name in ("access", "secret", "securitytoken"))
    if not (access and secret and token):
        raise HuaweiError(f"IAM gave no keys of the agency {agency}: check iam_endpoint.")
    source = f"the agency {agency} of {', '.join(domain.values())}"
    return Credentials(access, secret, token, source=source)


def _with_all_regions(query: Query, account: Account, until: float) -> Account:
    """The regions of which the keys have a project, with the ids of these: the region's own and those below it."""
    reply = _ask(query, account, until, "IAM", PROJECTS)
    projects: dict[str, tuple[str, ...]] = {}
    for row in map(rows_of.mapping, rows_of.as_list(reply.get("projects"))):
        # One below a region's is called region_name.
        name, project = rows_of.text(row.get("name")).partition("_")[0], rows_of.text(row.get("id"))
        if project and row.get("enabled") is not False and _is_region(name, account):
            projects[name] = (*projects.get(name, ()), project)
    if not projects:
        raise HuaweiError("IAM shows these credentials no project of a region: name the regions, or add endpoints.")
    return replace(account, regions=tuple(projects), projects={**projects, **account.projects}, all_regions=True)


def _is_region(name: str, account: Account) -> bool:
    try:
        return bool(name and sdk_region(name, account.endpoints))
    except HuaweiError:
        return False


def _ask(query: Query, account: Account, until: float, service: str, path: str, body: Any = None) -> dict[str, Any]:
    """A question that is about the account as a whole."""
    if account.credentials is None:
        raise HuaweiError("No credentials to ask IAM with.")
    first = None if account.regions[0] == ALL_REGIONS else account.regions[0]
    endpoint = account.iam_endpoint or sdk().iam_endpoint(first)
    client = Client(query, account.credentials, until, endpoint)
    try:
        client.connect("GlobalCredentials", sdk().Region("iam", endpoint))
        client.service = service
        return client.ask(path, {}, body)
    except HuaweiError:
        raise
    except Exception as exc:
        raise HuaweiError(client.explain(exc)) from None
    finally:
        client.close()

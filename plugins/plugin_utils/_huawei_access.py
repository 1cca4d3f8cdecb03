# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say who asks and where: those of the file, or those of one of its accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_credentials as huawei_credentials
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_filters import as_items
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import ALL_REGIONS, Account

CREDENTIAL_OPTIONS = (
    "access_key",
    "secret_key",
    "security_token",
    "credentials_file",
    "profile",
    "use_instance_metadata",
)
AGENCY_OPTIONS = ("assume_role_agency_name", "assume_role_domain_name", "assume_role_domain_id")
PROJECT_OPTIONS = ("project_id", "project_ids")
PLACE_OPTIONS = ("regions", *PROJECT_OPTIONS, "endpoints", "iam_endpoint", "enterprise_project_ids")
# What an account with credentials of its own does not take from the file or the environment.
NOT_SHARED = (*CREDENTIAL_OPTIONS, *AGENCY_OPTIONS, *PROJECT_OPTIONS)
ACCOUNT_OPTIONS = ("name", *CREDENTIAL_OPTIONS, "metadata_endpoint", *AGENCY_OPTIONS, *PLACE_OPTIONS)


class Access:
    """Rendered values of options. An account's own go before the file's; its credentials are never mixed with those."""

    def __init__(self, plugin: Any, own: Optional[Mapping[str, Any]] = None) -> None:
        self._plugin = plugin
        self.own = own or {}
        self._not_shared: tuple[str, ...] = ("name",)
        if any(option in self.own for option in AGENCY_OPTIONS):
            self._not_shared += (*AGENCY_OPTIONS, *PROJECT_OPTIONS)
        if any(option in self.own for option in CREDENTIAL_OPTIONS):
            self._not_shared += NOT_SHARED

    def render(self, option: str) -> Any:
        """The value with its templates rendered. Raises HuaweiError without the value in it."""
        value = self._value(option)
        try:
            return self._plugin.templar.template(value)
        except Exception:  # its text shows the lines around, which may hold a key
            raise HuaweiError(
                f"The template in {option} cannot be rendered: check the variables that it uses."
            ) from None

    def text(self, option: str) -> Optional[str]:
        """A string without the space around it, or None."""
        value = self.render(option)
        if isinstance(value, (Mapping, list)):
            raise HuaweiError(f"{option} must be a string.")
        return None if value is None else str(value).strip() or None

    def words(self, option: str) -> list[str]:
        """A list, flat: a template in it may give a list or words with commas."""
        value = self.render(option)
        found: list[str] = []
        for each in value if isinstance(value, list) else [value]:
            found += [str(word).strip() for word in (each if isinstance(each, list) else str(each or "").split(","))]
        return [each for each in found if each]

    def mapping(self, option: str) -> dict[Any, Any]:
        """A mapping, empty where nothing is set."""
        value = self.render(option)
        if value is not None and value != "" and not isinstance(value, Mapping):
            raise HuaweiError(f"{option} must be a mapping of keys to values.")
        return dict(value or {})

    def mappings(self, option: str, example: str) -> list[Mapping[str, Any]]:
        """A list of mappings, empty where nothing is set. example: one of them, for whoever wrote something else."""
        value = self.render(option) or []
        if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
            raise HuaweiError(f"{option} must be a list of mappings, such as - {example}.")
        return value

    def variable(self, option: str) -> str:
        """The environment variable that the option's value is from, or "" when it is from the configuration."""
        if option in self.own:
            return ""
        origin = str(self._plugin.get_option_and_origin(option)[1])
        return origin.partition(":")[2].strip() if origin.startswith("env") else ""

    def flag(self, option: str) -> bool:
        """A switch; an account's own one was not read by Ansible."""
        return str(self._value(option)).lower() in ("true", "yes", "on", "1")

    def _value(self, option: str) -> Any:
        if option in self.own:
            return self.own[option]
        if option in self._not_shared:
            return None
        return self._plugin.get_option(option)


def account(access: Access) -> Account:
    """The account that some options describe. The credentials file may know its project and IAM's endpoint, too.

    Raises HuaweiError for what cannot work.
    """
    regions = tuple(dict.fromkeys(access.words("regions")))
    if not regions:
        raise HuaweiError("No region: set regions, or the variable HUAWEICLOUD_SDK_REGION, for example to cn-north-4.")
    if ALL_REGIONS in regions and len(regions) > 1:
        raise HuaweiError(f"regions has '{ALL_REGIONS}' and others: leave the others away, or '{ALL_REGIONS}'.")
    credentials = _credentials(access)
    agency, domain = _agency(access)
    # A project of the profile is one of its own account.
    own = credentials if credentials and not agency else None
    return Account(
        name=access.text("name") or access.text("profile") or ("" if access.own else "default"),
        credentials=credentials,
        regions=regions,
        projects=_projects(access, regions, own),
        endpoints={region: str(value) for region, value in _by_region(access, "endpoints", regions).items()},
        iam_endpoint=access.text("iam_endpoint") or (credentials.iam_endpoint if credentials else None),
        enterprise_projects=tuple(dict.fromkeys(access.words("enterprise_project_ids"))),
        metadata_endpoint=access.text("metadata_endpoint") or "",
        agency=agency,
        agency_domain=domain,
    )


def _agency(access: Access) -> tuple[str, dict[str, str]]:
    """The agency whose keys are to be used, or "", and the account that it is of, as IAM wants to be told."""
    agency, *domain = (access.text(option) or "" for option in AGENCY_OPTIONS)
    given = {name: value for name, value in zip(("domain_name", "domain_id"), domain) if value}
    if (1 if agency else 0) != len(given):
        raise HuaweiError(
            "An agency takes assume_role_agency_name and one of assume_role_domain_name and assume_role_domain_id: "
            "set both of these two, or none."
        )
    return agency, given


def _credentials(access: Access) -> Optional[Credentials]:
    """The credentials, or None when the metadata service is to be asked (a cache hit then asks nobody).

    What stands in the configuration goes before the environment: it was written for this inventory.
    """
    keys = [option for option in ("access_key", "secret_key") if access.text(option)]
    file_options = [option for option in ("profile", "credentials_file") if access.text(option)]
    written = [option for option in keys if not access.variable(option)]
    files_written = [option for option in file_options if not access.variable(option)]
    if written and files_written:
        raise HuaweiError(f"{written[0]} and {files_written[0]} are both set: leave one of them away.")
    found = None
    variables = [access.variable(option) for option in keys]
    if all(variables) and len({_family(variable) for variable in variables}) > 1:
        raise HuaweiError(f"{' and '.join(variables)} are not a pair: set both by the names of one kind.")
    if not files_written:
        source = " and ".join(access.variable(option) or option for option in keys)
        found = huawei_credentials.from_options(
            access.text("access_key"), access.text("secret_key"), _security_token(access), source
        )
    asks_metadata = access.flag("use_instance_metadata")
    if not found and (files_written or "use_instance_metadata" not in access.own):
        try:
            found = huawei_credentials.from_file(access.text("credentials_file"), access.text("profile"))
        except HuaweiError:
            # Only a file or a profile that somebody named must be of use.
            if file_options or not asks_metadata:
                raise
    if not found and not asks_metadata:
        raise HuaweiError(huawei_credentials.NO_CREDENTIALS)
    return found


def _family(variable: str) -> str:
    """HUAWEICLOUD, the SDK's, or HW, Terraform's."""
    return variable.partition("_")[0]


def _security_token(access: Access) -> Optional[str]:
    """The token, unless it is from another place than the key: it would spoil that one."""
    token, key = access.variable("security_token"), access.variable("access_key")
    strange = token and _family(token) != _family(key)
    return None if strange else access.text("security_token")


def _projects(
    access: Access, regions: tuple[str, ...], credentials: Optional[Credentials]
) -> dict[str, tuple[str, ...]]:
    projects = {}
    for region, value in _by_region(access, "project_ids", regions).items():
        projects[region] = tuple(str(each) for each in as_items(value) if each)
    project_id = access.text("project_id") or (credentials.project_id if credentials else None)
    if project_id and set(regions) - set(projects):
        if len(regions) > 1 or regions == (ALL_REGIONS,):
            raise HuaweiError(
                "project_id is set for several regions, but a project belongs to one: use project_ids, or neither."
            )
        projects[regions[0]] = (project_id,)
    return projects


def _by_region(access: Access, option: str, regions: tuple[str, ...]) -> dict[str, Any]:
    value = access.mapping(option)
    # Those of the file are for all accounts, each of which may have regions of its own.
    if option not in access.own and access.own and regions != (ALL_REGIONS,):
        return {str(region): each for region, each in value.items() if region in regions}
    for region in value:
        if region not in regions and regions != (ALL_REGIONS,):
            raise HuaweiError(f"{option} names the region '{region}', which is not in regions ({', '.join(regions)}).")
    return {str(region): each for region, each in value.items()}

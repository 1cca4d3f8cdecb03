# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the access key comes from: the plugin's options, the SDK's credentials file, or the instance metadata service.

The SDK's own chain is not used: without keys it asks 169.254.169.254 on any machine, and it cannot say what is missing.
"""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from ansible.module_utils.urls import open_url

DEFAULT_FILE = os.path.join("~", ".huaweicloud", "credentials")
# The one that the SDK knows; the others are named profiles.
DEFAULT_PROFILE = "basic"
METADATA_TIMEOUT = 3  # seconds
TOKEN_SECONDS = 60
MISSING_SDK = (
    "The Python library huaweicloudsdkecs is missing: install it for Ansible's Python "
    "(python3 -m pip install huaweicloudsdkecs)."
)
NO_CREDENTIALS = (
    "No Huawei Cloud credentials: set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or access_key and secret_key, "
    f"or write ~/.huaweicloud/credentials with ak and sk in section [{DEFAULT_PROFILE}]."
)


class HuaweiError(Exception):
    """A failure that one sentence explains to the user; its text holds no secret."""


@dataclass(frozen=True)
class Credentials:
    """One access key and what belongs to it. The repr shows no secret; source says in words where it was found."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    security_token: Optional[str] = field(default=None, repr=False)
    project_id: Optional[str] = None
    iam_endpoint: Optional[str] = None
    source: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may contain, longest first, so that a part is never left standing."""
        values = (self.access_key, self.secret_key, self.security_token)
        return tuple(sorted((value for value in values if value), key=len, reverse=True))


def from_options(
    access_key: Optional[str], secret_key: Optional[str], security_token: Optional[str], source: str
) -> Optional[Credentials]:
    """The credentials that the options give, or None when they give none.

    Raises HuaweiError when only one half of the key pair is set.
    """
    if access_key and secret_key:
        return Credentials(access_key, secret_key, security_token, source=source)
    if access_key or secret_key:
        have, lack = ("access_key", "secret_key") if access_key else ("secret_key", "access_key")
        variable = {"access_key": "HUAWEICLOUD_SDK_AK", "secret_key": "HUAWEICLOUD_SDK_SK"}[lack]
        raise HuaweiError(f"{have} is set but {lack} is not: set {lack} or {variable} too.")
    return None


def from_file(path: Optional[str], profile: Optional[str] = None) -> Optional[Credentials]:
    """The credentials of a profile of the SDK's credentials file.

    path: a file that must exist, or None for the SDK's default one.
    profile: a section that must exist, or None for the SDK's own. Where both are None the answer may be None.
    Raises HuaweiError when the file cannot be used.
    """
    name = os.path.expanduser(path or DEFAULT_FILE)
    if path is None and profile is None and not os.path.exists(name):
        return None
    profiles, profile = _profiles(name), profile or DEFAULT_PROFILE
    if profile not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise HuaweiError(f"The credentials file {name} has no section [{profile}]: set profile to one of its {known}.")
    values = {key: value.strip() for key, value in profiles[profile].items() if value and value.strip()}
    missing = [key for key in ("ak", "sk") if key not in values]
    if missing:
        raise HuaweiError(f"The credentials file {name} has no {' and no '.join(missing)} in section [{profile}].")
    return Credentials(
        values["ak"],
        values["sk"],
        values.get("security_token"),
        values.get("project_id"),
        values.get("iam_endpoint"),
        f"section [{profile}] of {name}",
    )


def _profiles(name: str) -> dict[str, Mapping[str, str]]:
    # The SDK's parser would read a "%" in a key as interpolation.
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(name, encoding="utf-8") as handle:
            parser.read_file(handle)
    except OSError as exc:
        raise HuaweiError(f"The credentials file {name} cannot be read: {exc.strerror}.") from None
    except (configparser.Error, UnicodeDecodeError):
        # The parser's own text quotes the line, which may be a key.
        raise HuaweiError(
            f"The credentials file {name} is not an INI file: "
            f"write [{DEFAULT_PROFILE}], then ak = ... and sk = ... below it."
        ) from None
    return {section: parser[section] for section in parser.sections()}


def from_metadata(endpoint: str) -> Credentials:
    """Temporary credentials of the agency of the ECS instance that Ansible runs on. Call only when the user opted in.

    endpoint: the URL of the instance metadata service. Raises HuaweiError when it gives no credentials.
    """
    try:
        answer = json.loads(_metadata(endpoint, "GET", "/openstack/latest/securitykey", _session_token(endpoint)))
        found = answer["credential"]
        access_key, secret_key, token = found["access"], found["secret"], found["securitytoken"]
        if not all(isinstance(key, str) and key for key in (access_key, secret_key, token)):
            raise ValueError("no keys")
    except Exception:  # an address that is no service can answer anything
        raise HuaweiError(
            f"The instance metadata service at {endpoint} gave no credentials: run on an ECS instance that has an "
            "agency, or set access_key and secret_key."
        ) from None
    return Credentials(access_key, secret_key, token, source="the agency of this ECS instance")


def _session_token(endpoint: str) -> dict[str, str]:
    """The header that instances with protected metadata want; others do not know the call."""
    wanted = {"X-Metadata-Token-Ttl-Seconds": str(TOKEN_SECONDS)}
    try:
        return {"X-Metadata-Token": _metadata(endpoint, "PUT", "/meta-data/latest/api/token", wanted)}
    except Exception as exc:
        if getattr(exc, "code", None) in (404, 405, 503):
            return {}
        raise


def _metadata(endpoint: str, method: str, path: str, headers: Mapping[str, str]) -> str:
    # A proxy would ask its own machine's service, and get the keys.
    reply = open_url(
        endpoint.rstrip("/") + path,
        method=method,
        headers=dict(headers),
        timeout=METADATA_TIMEOUT,
        use_proxy=False,
        follow_redirects="none",
    )
    return str(reply.read(), "utf-8")

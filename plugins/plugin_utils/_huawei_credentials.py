# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the access key comes from: the plugin's options, the SDK's credentials file, or the instance metadata service.

The SDK's own chain is not used: without keys it asks 169.254.169.254 on any machine, and it cannot say what is missing.
"""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass, field
from typing import Optional

DEFAULT_FILE = os.path.join("~", ".huaweicloud", "credentials")
SECTION = "basic"
MISSING_SDK = (
    "The Python library huaweicloudsdkecs is missing: install it for Ansible's Python "
    "(python3 -m pip install huaweicloudsdkecs)."
)
NO_CREDENTIALS = (
    "No Huawei Cloud credentials: set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or access_key and secret_key, "
    f"or write ~/.huaweicloud/credentials with ak and sk in section [{SECTION}]."
)


class HuaweiError(Exception):
    """A failure that one sentence explains to the user; its text holds no secret."""


@dataclass(frozen=True)
class Credentials:
    """One access key and what belongs to it. The repr shows no secret."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    security_token: Optional[str] = field(default=None, repr=False)
    project_id: Optional[str] = None
    iam_endpoint: Optional[str] = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may contain, longest first, so that a part is never left standing."""
        values = (self.access_key, self.secret_key, self.security_token)
        return tuple(sorted((value for value in values if value), key=len, reverse=True))


def from_options(
    access_key: Optional[str], secret_key: Optional[str], security_token: Optional[str]
) -> Optional[Credentials]:
    """The credentials that the options give, or None when they give none.

    Raises HuaweiError when only one half of the key pair is set.
    """
    if access_key and secret_key:
        return Credentials(access_key, secret_key, security_token)
    if access_key or secret_key:
        have, lack = ("access_key", "secret_key") if access_key else ("secret_key", "access_key")
        variable = {"access_key": "HUAWEICLOUD_SDK_AK", "secret_key": "HUAWEICLOUD_SDK_SK"}[lack]
        raise HuaweiError(f"{have} is set but {lack} is not: set {lack} or {variable} too.")
    return None


def from_file(path: Optional[str]) -> Optional[Credentials]:
    """The credentials of the SDK's profile file.

    path: a file that must exist, or None for the SDK's default one, which may be absent (the answer is then None).
    Raises HuaweiError when the file cannot be used.
    """
    name = os.path.expanduser(path or DEFAULT_FILE)
    if path is None and not os.path.exists(name):
        return None
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
            f"The credentials file {name} is not an INI file: write [{SECTION}], then ak = ... and sk = ... below it."
        ) from None
    if not parser.has_section(SECTION):
        raise HuaweiError(f"The credentials file {name} has no section [{SECTION}].")
    profile = {key: value.strip() for key, value in parser.items(SECTION) if value and value.strip()}
    missing = [key for key in ("ak", "sk") if key not in profile]
    if missing:
        raise HuaweiError(f"The credentials file {name} has no {' and no '.join(missing)} in section [{SECTION}].")
    return Credentials(
        profile["ak"],
        profile["sk"],
        profile.get("security_token"),
        profile.get("project_id"),
        profile.get("iam_endpoint"),
    )


def from_metadata() -> Credentials:
    """Temporary credentials of the agency of the ECS instance that Ansible runs on. Call only when the user opted in.

    Raises HuaweiError when the metadata service gives none.
    """
    try:
        from huaweicloudsdkcore.auth.provider import MetadataCredentialProvider

        found = MetadataCredentialProvider.get_basic_credential_metadata_provider().get_credentials()
    except ImportError:
        raise HuaweiError(MISSING_SDK) from None
    except Exception:  # requests' own errors leave the SDK unwrapped
        raise HuaweiError(
            "The instance metadata service gave no credentials: run on an ECS instance that has an agency, "
            "or set access_key and secret_key."
        ) from None
    return Credentials(found.ak, found.sk, found.security_token)

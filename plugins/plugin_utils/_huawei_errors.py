# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sentence for each way in which a call to Huawei Cloud can fail, and which of them are worth another try."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Optional

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials, HuaweiError

RETRIED_STATUS = (429, 500, 502, 503, 504)
LONGEST_QUOTE = 160
CHECK_KEYS = "check the access key, the secret key, and this machine's clock"
CHECK_TOKEN = "their security token has perhaps expired: get new ones, and check this machine's clock"
RIGHTS = {
    "IAM": "iam:projects:listProjects, or set project_id",
    "IAM (agency)": "the right to assume it (the role Agent Operator), or check that it delegates to their account",
    "ECS": "ecs:cloudServers:listServersDetails, or set enterprise_project_ids if they cover only some such projects",
    "ECS (flavors)": "ecs:cloudServerFlavors:get, or set flavor_details to false",
    "ECS (expiry)": "the right to list instances by API version 1.1, or set expiry to false",
    "ECS (host keys)": "ecs:cloudServers:getConsoleOutput, or set host_keys to false",
    "ECS (security groups)": "the right to list the security groups of an instance, or leave that check away",
}
REGION_CLOSED = "APIGW.0802"
NO_SUCH_AGENCY = "check assume_role_agency_name, and assume_role_domain_name or assume_role_domain_id"
BAD_URL = frozenset(("InvalidURL", "InvalidSchema", "MissingSchema", "LocationParseError"))
NOT_THERE = frozenset(("NewConnectionError", "NameResolutionError", "ConnectTimeout", "SSLError", "ProxyError"))


def one_line(text: str) -> str:
    """Text of others on one line, and without what would tell a terminal to do something."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def retry_after(exc: BaseException) -> Optional[float]:
    """Seconds that the server asks to wait (0 when it does not say), or None when a new try cannot help."""
    status = _status(exc)
    if status:
        if status not in RETRIED_STATUS:
            return None
        given = next((getattr(each, "retry_after", None) for each in _chain(exc) if _status_of(each)), None)
        return _seconds(str(given or ""))
    names = _names(exc)
    if names & (BAD_URL | NOT_THERE):
        return None
    return 0.0 if names & {"ConnectionException", "RequestException", "RequestTimeoutException"} else None


def is_closed_region(exc: BaseException) -> bool:
    """Whether the account has not opened the region, which IAM lists all the same."""
    return any(getattr(each, "error_code", None) == REGION_CLOSED for each in _chain(exc))


def _seconds(text: str) -> float:
    """The header Retry-After, which is a number of seconds or a date."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0


def explain(exc: BaseException, service: str, address: str, credentials: Credentials) -> str:
    """What went wrong and how to mend it, in one sentence without a secret.

    service: whichever was asked, a key of RIGHTS. address: its URL, if known.
    """
    sentence = _sentence(exc, service, f"{service} at {address}" if address else service, credentials)
    for secret in credentials.secrets:
        sentence = sentence.replace(secret, "***")
    return sentence


def _sentence(exc: BaseException, service: str, where: str, credentials: Credentials) -> str:
    if isinstance(exc, HuaweiError):
        return str(exc).rstrip(".")
    status = _status(exc)
    if status:
        return _status_sentence(exc, status, service, where, credentials)
    names = _names(exc)
    if names & BAD_URL:
        return f"{where} is not a URL: write the endpoint as https://host"
    if "SSLError" in names:
        return f"{where} has no valid TLS certificate: set REQUESTS_CA_BUNDLE for a private CA"
    if names & {"Timeout", "RequestTimeoutException"} and "ConnectTimeout" not in names:
        return f"{where} did not answer in time: try again, or raise timeout"
    if names & {"ConnectionException", "RequestException"}:
        reason = _connection_reason(exc, names)
        return f"{where} cannot be reached ({reason}): check the network, the proxy and the endpoint"
    if "ValueError" in names:
        return f"{where} did not answer with JSON: check that the endpoint is right and that no proxy answers for it"
    text = quoted(str(getattr(exc, "error_msg", None) or ""))
    if text.startswith("Failed to get project id"):
        return "IAM knows no project of this name: check the region, or set project_id"
    if text.startswith("Multiple project ids"):
        return "IAM knows several projects of this name: set project_ids for this region"
    return f"{where} failed ({text or type(exc).__name__})"


def _status_sentence(exc: BaseException, status: int, service: str, where: str, credentials: Credentials) -> str:
    error = next(each for each in _chain(exc) if _status_of(each))
    code = quoted(str(getattr(error, "error_code", None) or ""))
    text = quoted(str(getattr(error, "error_msg", None) or ""))
    request_id = getattr(error, "request_id", None)
    detail = f"{status} {code}" if code and code != str(status) else str(status)
    detail += f": {text}" if text else ""
    detail += f", request {quoted(str(request_id))}" if request_id else ""
    if status == 401:
        advice = CHECK_TOKEN if credentials.security_token else CHECK_KEYS
        return f"{service} refused the credentials from {credentials.source} ({detail}): {advice}"
    if code == REGION_CLOSED:
        return (
            f"{service} is closed in this region to the user of the credentials from {credentials.source} ({detail}): "
            "leave the region out of regions, or have it opened for the user in IAM"
        )
    if status == 404 and service == "IAM (agency)":
        return f"IAM knows no such agency ({detail}): {NO_SUCH_AGENCY}"
    if status == 403:
        right = RIGHTS[service]
        return f"{service} does not allow this ({detail}): grant the credentials from {credentials.source} {right}"
    if status == 404:
        return f"{where} does not know this API ({detail}): check the endpoint"
    if status == 429:
        return f"{service} limits the rate ({detail}): try again later, or raise retries and deadline"
    if status >= 500:
        return f"{where} failed on its side ({detail}): try again later"
    return f"{where} refused the request ({detail})"


def _connection_reason(exc: BaseException, names: set[str]) -> str:
    text = " ".join(str(getattr(each, "error_msg", None) or each) for each in _chain(exc))
    if "NameResolutionError" in names or re.search("getaddrinfo|resolve|Name or service", text):
        return "its name does not resolve"
    if "ConnectTimeout" in names:
        return "no answer to the connection"
    if "ProxyError" in names:
        return "the proxy refused"
    found = re.search(r"\[Errno -?\d+\] ([A-Z][a-z ]+)", text)
    return found.group(1).strip().lower() if found else "the connection was dropped"


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The exception, what caused it, and what urllib3 wraps in them: the SDK keeps the cause only there."""
    todo: list[Any] = [exc]
    seen: set[int] = set()
    while todo:
        each = todo.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]


def _names(exc: BaseException) -> set[str]:
    """The class names in the chain, bases included: so nothing of the SDK or requests is imported here."""
    return {base.__name__ for each in _chain(exc) for base in type(each).__mro__}


def _status_of(exc: BaseException) -> int:
    status = getattr(exc, "status_code", None)
    return status if isinstance(status, int) and status >= 300 else 0


def _status(exc: BaseException) -> int:
    return next((_status_of(each) for each in _chain(exc) if _status_of(each)), 0)


def quoted(text: str) -> str:
    """Words of the server for our sentence: one line, no markup, not long."""
    plain = one_line(re.sub(r"<[^>]*>", " ", text))
    return plain if len(plain) <= LONGEST_QUOTE else plain[: LONGEST_QUOTE - 3] + "..."

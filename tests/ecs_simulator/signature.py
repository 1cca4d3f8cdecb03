# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks SDK-HMAC-SHA256 signatures of requests, as Huawei's API gateway does."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Optional
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ALGORITHM = "SDK-HMAC-SHA256"
LARGEST_SKEW = timedelta(minutes=15)
_HEADER = re.compile(rf"{ALGORITHM} Access=([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]+)$")


def check(
    method: str, target: str, headers: Mapping[str, str], body: bytes, access_key: str, secret_key: str
) -> Optional[tuple[str, str]]:
    """None when the signature is right, else the gateway's (error_code, error_msg).

    target: path and query as they came; headers: names in lower case.
    """
    parts = _HEADER.match(headers.get("authorization", ""))
    if not parts:
        return "APIGW.0301", "Incorrect IAM authentication information: Unauthorized"
    access, signed, signature = parts.groups()
    if access != access_key:
        return "APIGW.0301", f"Incorrect IAM authentication information: ak {access} not exist"
    date = headers.get("x-sdk-date", "")
    if not _is_recent(date):
        return "APIGW.0303", "Incorrect app authentication information: signature expired"
    names = signed.split(";")
    if not {"host", "x-sdk-date"} <= set(names) or not set(names) <= set(headers):
        return "APIGW.0301", "Incorrect IAM authentication information: signed headers are incomplete"
    canonical = "\n".join(
        [
            method,
            _canonical_path(target),
            _canonical_query(target),
            # Headers arrive as Latin-1; the signature is over UTF-8.
            "".join(f"{name}:{_utf8(headers[name]).strip()}\n" for name in names),
            signed,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    expected = hmac.new(secret_key.encode(), f"{ALGORITHM}\n{date}\n{digest}".encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature):
        return "APIGW.0301", "Incorrect IAM authentication information: verify aksk signature fail"
    return None


def _is_recent(date: str) -> bool:
    try:
        sent = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return False
    return abs(datetime.now(timezone.utc) - sent) <= LARGEST_SKEW


def _canonical_path(target: str) -> str:
    segments = unquote(urlsplit(target).path).split("/")
    path = "/".join(quote(segment, safe="~") for segment in segments)
    return path if path.endswith("/") else path + "/"


def _canonical_query(target: str) -> str:
    pairs = sorted(parse_qsl(urlsplit(target).query, keep_blank_values=True))
    return "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in pairs)


def _utf8(value: str) -> str:
    return value.encode("latin-1").decode("utf-8", "replace")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator must refuse what the real gateway refuses, or the other tests prove nothing."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta, timezone

import pytest

from tests.ecs_simulator import signature

TARGET = "/v1/p/cloudservers/detail?limit=2&tags=%E7%8E%AF%E5%A2%83%3Da%20b"
# By hand after the published algorithm, with neither the SDK's signer nor the simulator's code.
CANONICAL = (
    "GET\n/v1/p/cloudservers/detail/\nlimit=2&tags=%E7%8E%AF%E5%A2%83%3Da%20b\n"
    "host:h\nx-sdk-date:{date}\n\nhost;x-sdk-date\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)


def signed(age: timedelta = timedelta(0)) -> dict[str, str]:
    date = (datetime.now(timezone.utc) - age).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(CANONICAL.format(date=date).encode()).hexdigest()
    value = hmac.new(b"SK", f"SDK-HMAC-SHA256\n{date}\n{digest}".encode(), hashlib.sha256).hexdigest()
    authorization = f"SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature={value}"
    return {"host": "h", "x-sdk-date": date, "authorization": authorization}


def code(headers: dict[str, str], target: str = TARGET, key: str = "SK", method: str = "GET") -> str:
    problem = signature.check(method, target, headers, b"", "AK", key)
    return problem[0] if problem else ""


def test_right_signature() -> None:
    assert code(signed()) == ""


def test_every_part_is_covered() -> None:
    assert code(signed(), target=TARGET.replace("limit=2", "limit=3")) == "APIGW.0301"
    assert code(signed(), target=TARGET.replace("/p/", "/q/")) == "APIGW.0301"
    assert code(signed(), method="POST") == "APIGW.0301"
    assert code(signed(), key="other") == "APIGW.0301"
    assert code({**signed(), "host": "other"}) == "APIGW.0301"
    assert (
        code({**signed(), "authorization": signed()["authorization"].replace("Access=AK", "Access=XX")}) == "APIGW.0301"
    )
    assert code({"host": "h"}) == "APIGW.0301"


@pytest.mark.parametrize("minutes", [16, -16])
def test_clock_that_is_wrong(minutes: int) -> None:
    assert code(signed(timedelta(minutes=minutes))) == "APIGW.0303"

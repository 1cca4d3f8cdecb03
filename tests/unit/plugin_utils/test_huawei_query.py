# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides an answer, and so the key of the cache."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import Credentials
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_filters import Filters
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import Account, Query

A, B = "cn-north-4", "cn-east-3"


def test_digest_knows_all_that_decides_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account("default", Credentials("ak", "sk"), (A,))
    base, filters = Query((account,)), Filters(["ACTIVE"], {})
    digests = [base.digest(filters), base.digest(Filters([], {}))]
    digests.append(base.digest(Filters(["ACTIVE"], {"ray-cluster-name": ["x"]})))
    digests.append(base.digest(Filters(["ACTIVE"], {}, include=[{"flavor": ["p*"]}])))
    digests.append(base.digest(Filters(["ACTIVE"], {}, exclude=[{"flavor": ["p*"]}])))
    digests.append(base.digest(Filters(["ACTIVE"], {}, bare_metal=False)))
    digests.append(Query((account, replace(account, name="b"))).digest(filters))
    for query in ({"server_filters": {"name": "x"}}, {"expiry": True}, {"flavor_details": True}):
        digests.append(replace(base, **query).digest(filters))
    for change in (
        {"credentials": Credentials("ak2", "sk")},
        {"credentials": None, "metadata_endpoint": "http://127.0.0.1:1"},
        {"regions": (A, B)},
        {"projects": {A: ("p",)}},
        {"endpoints": {A: "https://x"}},
        {"iam_endpoint": "https://x"},
        {"enterprise_projects": ("0",)},
        {"regions": ("all",)},
        {"agency": "a", "agency_domain": {"domain_name": "b"}},
        {"agency": "a", "agency_domain": {"domain_id": "b"}},
    ):
        digests.append(Query((replace(account, **change),)).digest(filters))
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_ECS_CN_NORTH_4", "https://other")
    digests.append(base.digest(filters))
    assert len(set(digests)) == len(digests)
    assert replace(base, timeout=1, retries=1, page_size=1, deadline=9).digest(filters) == digests[-1]
    # An endpoint in the environment may be one of all regions.
    everywhere = Query((replace(account, regions=("all",)),))
    before = everywhere.digest(filters)
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_ECS_MY_REGION_1", "https://mine")
    assert everywhere.digest(filters) != before
    assert "sk" not in json.dumps(account.identity())

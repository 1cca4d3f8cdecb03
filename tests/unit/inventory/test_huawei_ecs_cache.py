# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache, and the time for a large account."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huaweicloudsdkecs")

from tests.ecs_simulator.instances import USER_DATA
from tests.ecs_simulator.server import Simulator
from tests.ecs_simulator.testing import ACCESS_KEY, SECRET_KEY
from tests.unit.inventory.bed import DEMO, ROOT, A, B, Bed


def cached(bed: Bed, **options: Any) -> dict[str, Any]:
    return {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(bed.folder / "cache"),
        **options,
    }


def test_cache_saves_the_requests_and_holds_no_secret(bed: Bed, simulator: Simulator) -> None:
    first = bed.inventory(**cached(bed))
    (file,) = (bed.folder / "cache").iterdir()
    content = file.read_text(encoding="utf-8")
    assert "10.0.0.2" in content
    assert not any(secret in content for secret in (SECRET_KEY, ACCESS_KEY, USER_DATA, "chpasswd"))
    requests = len(simulator.requests)
    assert bed.inventory(**cached(bed)) == first
    assert len(simulator.requests) == requests
    simulator.source.shorts.append({"name": "new"})
    assert "new" in bed.inventory("--flush-cache", **cached(bed))["_meta"]["hostvars"]


def test_cache_key_knows_the_query(bed: Bed, simulator: Simulator) -> None:
    same = [
        cached(bed),
        cached(bed),
        cached(bed, regions=[B]),
        cached(bed, status=["SHUTOFF"]),
        cached(bed, cluster_name="demo"),
    ]
    counts = []
    for options in same:  # one path for all of them: the path is in the key anyway
        (found,) = bed.parse(options)
        counts.append((len(found["hosts"]), len(simulator.requests)))
        simulator.requests.clear()
    assert counts == [(4, 4), (4, 0), (1, 2), (1, 4), (3, 4)]
    (found,) = bed.parse(cached(bed, access_key="AKOTHERACCOUNT", secret_key="sk-wrong"))
    assert "refused the credentials" in found["error"] and found["hosts"] == {}
    simulator.requests.clear()
    (found,) = bed.parse(cached(bed, connect_with=["public_ip"]))
    assert found["hosts"]["head"] == "1.2.3.4" and simulator.requests == []


def test_half_an_answer_is_not_cached(bed: Bed, simulator: Simulator) -> None:
    simulator.add_failure({"status": 403, "region": B, "times": 1})
    for expected in (3, 4):
        (found,) = bed.parse(cached(bed, on_region_error="ignore"))
        assert len(found["hosts"]) == expected


def test_ten_thousand_instances_in_four_regions(tmp_path: Path, simulator: Simulator) -> None:
    """Against a simulator in a process of its own, as the cloud is; its time counts here."""
    regions = (A, B, "cn-south-1", "ap-southeast-1")
    shorts = [
        {
            "name": f"node-{number:05}",
            "region": regions[number % 4],
            "flavor": "p2s.2xlarge.8",
            "tags": {
                **DEMO,
                "ray-node-type": "worker" if number else "head",
                "ray-user-node-type": f"pool-{number % 3}",
            },
        }
        for number in range(10_000)
    ]
    (tmp_path / "instances.json").write_text(json.dumps(shorts), encoding="utf-8")
    ready = tmp_path / "env"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.ecs_simulator",
            "--instances",
            str(tmp_path / "instances.json"),
            "--regions",
            ",".join(regions),
            "--env-file",
            str(ready),
            "--access-key",
            ACCESS_KEY,
            "--secret-key",
            SECRET_KEY,
        ],
        cwd=ROOT,
    )
    try:
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        assert stat.S_IMODE(ready.stat().st_mode) == 0o600
        bed = Bed(tmp_path, simulator)
        bed.env.update(re.findall(r"export (\w+)=(.*)", ready.read_text(encoding="utf-8")))
        (result,) = bed.parse({})
    finally:
        process.terminate()
        process.wait(10)
    wall, cpu = result["wall"], result["cpu"]
    print(f"10,000 instances in 4 regions: {wall:.2f} s, of which {cpu:.2f} s are the plugin's CPU time")
    assert (len(result["hosts"]), result["error"]) == (10_000, "")
    assert cpu < 6

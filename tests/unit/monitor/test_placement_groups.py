# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Placement groups that wait: on a real Ray cluster, and on clusters that are larger than that."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.monitor.exporter import of, until

FILE = Path(__file__).resolve().parents[3] / "roles/monitor/files/ray_monitor_groups.py"
SPEC = importlib.util.spec_from_file_location("ray_monitor_groups", FILE)
groups = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(groups)

# The only GPU is taken. The last two are vLLM's own way to pin a bundle to a node, and a group that is placed.
WAITING = """
import time
pg = ray.util.placement_group
taken = pg([{"GPU": 1}])
ray.get(taken.ready())
kept = [
    pg([{"GPU": 1}] * 4, name="four"),
    pg([{"CPU": 0.1}] * 2, strategy="STRICT_SPREAD"),
    pg([{"CPU": 0.1}], bundle_label_selector=[{"rack": "17"}]),
    pg([{"GPU": 1, "node:ADDRESS": 0.001}], strategy="STRICT_PACK"),
]
print("waiting", flush=True)
input_ended = time.sleep(60)
"""


def test_groups_that_wait_for_nothing_and_one_that_waits_its_turn(local_ray, start):
    exporter = start(of(local_ray))
    exporter.until_up(1)
    worker = next(node for node in local_ray.cluster().status()["nodes"] if node["node_name"] == "worker-1")
    pinned = f"1 x GPU:1,node:{worker['ip']}:0.001", "STRICT_PACK"
    began = time.time()
    with local_ray.run_driver(WAITING.replace("ADDRESS", worker["ip"])) as driver:
        try:
            assert driver.stdout.readline() == "waiting\n"
            until(lambda: len(exporter.samples("ray_placement_groups_unplaceable")) == 4)
            assert exporter.samples("ray_placement_groups_unplaceable") == {
                ("4 x GPU:1", "PACK"): 1, ("2 x CPU:0.1", "STRICT_SPREAD"): 1, ("1 x CPU:0.1", "PACK"): 1, pinned: 0,
            }
            # One by one, each bundle fits, which is all that the demands tell.
            assert exporter.samples("ray_cluster_infeasible_demands") == {}
            until(lambda: exporter.samples("ray_placement_group_pending_seconds_max")[pinned] > 3)
            waited = exporter.samples("ray_placement_group_pending_seconds_max")
            assert len(waited) == 4 and max(waited.values()) <= time.time() - began
            # An exporter that begins now knows as well since when.
            exporter.close()
            stranger = start(of(local_ray))
            stranger.until_up(1)
            assert stranger.samples("ray_placement_group_pending_seconds_max")[pinned] > 3
        finally:
            driver.kill()
    until(lambda: stranger.samples("ray_placement_group_pending_seconds_max") == {})
    assert stranger.samples("ray_placement_groups_unplaceable") == {} and stranger.value("ray_up") == 1


def test_a_group_that_loses_a_node_waits_since_then(local_ray, start):
    exporter = start(of(local_ray))
    exporter.until_up(1)
    process = local_ray.start_worker("shelf", 70, "--num-cpus=1", '--resources={"shelf":1}')
    source = (
        "import time\n"
        "group = ray.util.placement_group([{'CPU': 0.1}, {'shelf': 1}])\n"
        "ray.get(group.ready())\n"
        "time.sleep(8)\n"
        "print('placed', flush=True)\n"
        "time.sleep(90)\n"
    )
    key = "1 x CPU:0.1 + 1 x shelf:1", "PACK"
    try:
        local_ray.wait_for("shelf")
        with local_ray.run_driver(source) as driver:
            try:
                assert driver.stdout.readline() == "placed\n"
                assert exporter.samples("ray_placement_group_pending_seconds_max") == {}
                local_ray.stop_worker("shelf", process)
                until(lambda: exporter.samples("ray_placement_groups_unplaceable").get(key) == 1)
                # It was made longer ago than that.
                assert exporter.samples("ray_placement_group_pending_seconds_max")[key] < 8
            finally:
                driver.kill()
    finally:
        local_ray.stop_worker("shelf", process)


def node(number: int, labels: dict[str, str] | None = None, **resources: float) -> dict[str, Any]:
    return {"node_id": str(number), "ip": f"10.0.0.{number}", "is_head": not number, "labels": labels or {},
            "resources": {"total": resources}}


def bundle(*labels: Any, **resources: float) -> dict[str, Any]:
    return {"resources": resources, "labels": [list(label) for label in labels]}


H20 = [node(0), *(node(number, {"gpu": "H20"}, GPU=8, CPU=96) for number in (1, 2))]


@pytest.mark.parametrize(
    ("strategy", "waiting", "placed", "fits"),
    [
        ("PACK", [bundle(GPU=1)] * 16, [], True),
        ("PACK", [bundle(GPU=1)] * 17, [], False),
        # 16 in all, and 7 of each node: two bundles of 4 and a half do not fit beside each other.
        ("SPREAD", [bundle(GPU=4)] * 4, [], True),
        ("SPREAD", [bundle(GPU=5)] * 3, [], False),
        ("PACK", [bundle(GPU=5), bundle(GPU=6), bundle(GPU=5)], [], False),
        ("PACK", [bundle(GPU=1, CPU=100)], [], False),
        # Of the head and as if of a node that is not there.
        ("PACK", [bundle(**{"node:10.0.0.2": 0.001, "GPU": 1}), bundle(GPU=1)], [], True),
        ("PACK", [bundle(**{"node:10.0.0.9": 0.001, "GPU": 1}), bundle(GPU=1)], [], False),
        ("PACK", [bundle(**{"node:__internal_head__": 0.001})], [], True),
        ("STRICT_PACK", [bundle(GPU=1)] * 8, [], True),
        ("STRICT_PACK", [bundle(GPU=1)] * 9, [], False),
        ("STRICT_SPREAD", [bundle(GPU=8)] * 2, [], True),
        ("STRICT_SPREAD", [bundle(GPU=1)] * 3, [], False),
        # Three nodes, and two of them have GPUs.
        ("STRICT_SPREAD", [bundle(GPU=1), bundle(GPU=1), bundle()], [], True),
        # A group that has lost a node: what it still has counts.
        ("STRICT_SPREAD", [bundle(GPU=1)], [["1", {"GPU": 1}]], True),
        ("STRICT_SPREAD", [bundle(GPU=1)], [["1", {"GPU": 1}], ["2", {"GPU": 1}]], False),
        ("PACK", [bundle(GPU=8)], [["1", {"GPU": 1}]], True),
        ("PACK", [bundle(GPU=8)], [["1", {"GPU": 1}], ["2", {"GPU": 1}]], False),
        # Labels, as one of them and as none of them; a node without the label is none of them.
        ("PACK", [bundle(("gpu", True, ["H20", "A100"]), GPU=1)], [], True),
        ("PACK", [bundle(("gpu", True, ["A100"]), GPU=1)], [], False),
        ("PACK", [bundle(("gpu", False, ["H20"]), GPU=1)], [], False),
        ("PACK", [bundle(("gpu", False, ["H20"]))], [], True),
        ("STRICT_PACK", [bundle(("gpu", True, ["H20"])), bundle(("gpu", False, ["H20"]))], [], False),
    ],
)
def test_a_group_on_two_nodes_of_eight_gpus(strategy, waiting, placed, fits):
    assert groups.placeable({"strategy": strategy, "waiting": [waiting], "placed": placed}, H20) is fits


def test_one_of_several_alternatives_is_enough():
    alternatives = [[bundle(GPU=99)], [bundle(GPU=1)]]
    assert groups.placeable({"strategy": "PACK", "waiting": alternatives, "placed": []}, H20)
    assert not groups.placeable({"strategy": "PACK", "waiting": alternatives, "placed": []}, [])


def test_a_group_of_a_thousand_sizes_costs_little():
    """Whoever may run a job may ask for this, and all scrapes wait for the same interpreter."""
    waiting = [bundle(GPU=number / 1e6, **{f"r{number}": 1}) for number in range(1, 1001)]
    nodes = [node(number, GPU=8, **{f"r{number}": 1}) for number in range(1, 1001)]
    began = time.process_time()
    assert groups.placeable({"strategy": "PACK", "waiting": [waiting], "placed": []}, nodes)
    assert time.process_time() - began < 2


def test_the_name_of_a_group_is_short(in_ray):
    assert in_ray(
        "import ray_monitor_metrics as m\n"
        "print(json.dumps([m.bundles([{'GPU': 1}] * 4), m.bundles([{'CPU': n} for n in range(1, 9)])]))"
    ) == ["4 x GPU:1", "1 x CPU:1 + 1 x CPU:2 + 1 x CPU:3 + 1 x CPU:4 + other"]

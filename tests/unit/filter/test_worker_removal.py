# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.worker_removal import FilterModule

worker_removal = FilterModule().filters()["worker_removal"]
GROUPS = {"ray_workers": ["w1", "w2", "w3"], "ray_pool_cpu": ["w1", "w2"], "ray_pool_gpu": ["w3"]}
ALIVE = ["head", "w1", "w2", "w3"]
NAME_EACH = ": name each by its name in the inventory, -e remove_worker_hosts=worker-3,worker-4."
FIX = (": add workers first, lower head_config.worker_nodes.worker_node_types, or remove them all the same with "
       "-e remove_worker_force=true.")


def config(**pools: object) -> dict:
    return {"worker_nodes": {"worker_node_types": pools}}


@pytest.mark.parametrize("declared, alive, removed, problems", [
    ({}, ALIVE, ["w1"], []),
    ({"worker_nodes": None}, ALIVE, ["w1"], []),
    ({}, ALIVE, ["w1", "w2", "w3"], ["no worker would be left"]),
    ({}, ["head", "w1"], ["w1"], ["no worker would be left"]),
    (config(cpu={"min_workers": 2}), ALIVE, ["w1"], ["pool cpu would have 1 of 2 (min_workers)"]),
    (config(cpu={"min_workers": "1"}), ALIVE, ["w1"], []),
    # One that is not ALIVE does not count.
    (config(cpu={"min_workers": 1}), ["head", "w1", "w3"], ["w1"], ["pool cpu would have 0 of 1 (min_workers)"]),
    # A pool that loses none is none of this run's business.
    (config(gpu={"min_workers": 9}, cpu=None, other={}), ALIVE, ["w1"], []),
])
def test_what_would_be_amiss(declared, alive, removed, problems):
    nodes = [{"node_name": name, "state": "ALIVE" if name in alive else "DRAINING"} for name in ALIVE]
    refusal = f"Without {', '.join(removed)} {', '.join(problems)}{FIX}" if problems else ""
    assert worker_removal(removed, GROUPS, nodes, declared) == {"names": removed, "refusal": refusal}


@pytest.mark.parametrize("named, names, refusal", [
    ("", [], f"No worker is named{NAME_EACH}"),
    ([], [], f"No worker is named{NAME_EACH}"),
    (" , ", [], f"No worker is named{NAME_EACH}"),
    ("w1, w2,w3", ["w1", "w2", "w3"], ""),
    (["w1", "w2,w3"], ["w1", "w2", "w3"], ""),
    ("w1,ray_workers,w9,w9", ["w1", "ray_workers", "w9", "w9"], f"There is no worker ray_workers, w9{NAME_EACH}"),
    (7, ["7"], f"There is no worker 7{NAME_EACH}"),
    (["head", 7], ["head", "7"], f"There is no worker head, 7{NAME_EACH}"),
])
def test_who_is_named(named, names, refusal):
    """Before the cluster is asked; nothing else is of use then."""
    assert worker_removal(named, GROUPS) == {"names": names, "refusal": refusal}


def test_an_inventory_without_workers():
    assert worker_removal("w1", {}, [], {})["refusal"] == f"There is no worker w1{NAME_EACH}"

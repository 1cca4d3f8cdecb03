# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.removal_problems import removal_problems

GROUPS = {"ray_workers": ["w1", "w2", "w3"], "ray_pool_cpu": ["w1", "w2"], "ray_pool_gpu": ["w3"]}
ALIVE = ["head", "w1", "w2", "w3"]


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
    assert removal_problems(declared, GROUPS, alive, removed) == problems

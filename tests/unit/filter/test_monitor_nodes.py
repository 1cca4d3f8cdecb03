# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pools from the groups, accelerators from what is declared, else from the cloud."""

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.monitor_nodes import monitor_nodes

WORKER = {"inventory_hostname": "w", "group_names": ["all", "ray_workers"]}


@pytest.mark.parametrize(
    "variables, node",
    [
        ({}, {"pool": "worker"}),
        ({"group_names": ["ray_pool_b", "ray_pool_a", "x"]}, {"pool": "a"}),
        ({"ecs_gpu_count": 8, "ecs_npu_count": 0}, {"pool": "worker", "gpus": 8}),
        ({"ecs_gpu_count": 8, "worker_config": {"resources": {"GPU": 2, "CPU": 1}}}, {"pool": "worker", "gpus": 2}),
        ({"ecs_gpu_count": 8, "worker_config": {"resources": {"GPU": 0}}}, {"pool": "worker"}),
        ({"worker_config": {"resources": {"NPU": 4}}}, {"pool": "worker", "npus": 4}),
        ({"worker_config": {}}, {"pool": "worker"}),
    ],
)
def test_a_worker(variables, node):
    assert monitor_nodes([{**WORKER, **variables}], "head") == {"w": node}


def test_the_head_has_the_accelerators_that_it_declares_alone():
    head = {"inventory_hostname": "head", "group_names": ["ray_pool_gpu"], "ecs_gpu_count": 8}
    declared = {"head_config": {"head_node": {"resources": {"GPU": 1}}}}
    assert monitor_nodes([head], "head") == {"head": {"pool": "head"}}
    assert monitor_nodes([{**head, **declared}], "head") == {"head": {"pool": "head", "gpus": 1}}


def test_where_a_node_shows_its_certificate():
    other = {"inventory_hostname": "v6", "ansible_host": "fd00::7"}
    hosts = [{**WORKER, "ecs_private_ip": "10.0.0.7"}, {**WORKER, **other}]
    found = monitor_nodes(hosts, "head", tls_port="6381")
    assert {name: node["tls"] for name, node in found.items()} == {"w": "10.0.0.7:6381", "v6": "[fd00::7]:6381"}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rayops.cluster.plugins.filter.ray_known import FilterModule

ray_known = FilterModule().filters()["ray_known"]
CONFIG = {"ray": {"node_name": "worker-1"}, "network": {"node_ip_address": "10.0.0.11"}}


def node(node_id: str, name: str, ip: str, **more) -> dict:
    return {"node_id": node_id, "node_name": name, "ip": ip, "state": "ALIVE", "labels": {"x": "y"}, **more}


def test_a_host_gets_what_has_its_name_or_its_address():
    nodes = [node("a", "head", "10.0.0.10"), node("b", "worker-1", "10.0.0.99"), node("c", "twin", "10.0.0.11")]
    known = ray_known({"ray_version": "2.60.0", "python_version": "3.11.2", "nodes": nodes, "demands": []}, CONFIG)
    assert [found["node_id"] for found in known.pop("nodes")] == ["b", "c"]
    assert known == {"answers": True, "msg": "", "ray_version": "2.60.0", "python_version": "3.11.2"}


def test_a_thousand_nodes_are_not_sent_to_each():
    nodes = [node(str(number), f"worker-{number}", f"10.1.0.{number}") for number in range(1000)]
    assert len(str(ray_known({"nodes": nodes}, CONFIG))) < 500


def test_a_gcs_that_does_not_answer():
    for more in ({"failed": True}, {"nodes": []}):
        known = ray_known({"msg": "The GCS is not reachable.", **more}, CONFIG)
        assert (known["answers"], known["msg"], known["nodes"]) == (False, "The GCS is not reachable.", [])
    assert ray_known({}, CONFIG)["answers"] is False

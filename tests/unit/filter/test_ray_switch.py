# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.ray_switch import FilterModule

ray_switch = FilterModule().filters()["ray_switch"]
SKIPPED = {"skipped": True, "changed": False}


def started(stopped: float | None = None, uptime: float = 1.0) -> dict:
    return {"stopped_seconds": stopped, "node": {"uptime": uptime}}


def head(answer: dict) -> dict:
    return {"switch_head": answer, "switch_worker": SKIPPED, "switch_drained": SKIPPED}


def worker(answer: dict, drained: object = 0.5) -> dict:
    return {"switch_head": SKIPPED, "switch_worker": answer, "switch_drained": {"seconds": drained}}


REDIS = {"switch_head": SKIPPED, "switch_worker": SKIPPED, "switch_drained": SKIPPED}


@pytest.mark.parametrize("workers, said", [
    # The last to stop was down for the shortest time.
    ({"w1": worker(started(9.5, 2.5), 3.5), "w2": worker(started(8.0, 4.0), 5.0)},
     "The workers finished and stopped within 5.0 s. From then on the cluster was down for 8.0 s, of which Ray itself "
     "needed 3.0 s on the head and then 4.0 s on the workers."),
    # One that was not started again has no stop of its own, and one that did not drain no time of it.
    ({"w1": worker(started(None, 2.5), None), "w2": worker(started(7.0), "x")},
     "The workers finished and stopped within 0 s. From then on the cluster was down for 7.0 s, of which Ray itself "
     "needed 3.0 s on the head and then 2.5 s on the workers."),
    ({},
     "The workers finished and stopped within 0 s. From then on the cluster was down for 6.0 s, of which Ray itself "
     "needed 3.0 s on the head and then 0 s on the workers."),
])
def test_how_long_the_cluster_was_down(workers, said):
    hostvars = {"head": head(started(6.0, 3.0)), "redis": REDIS, **workers}
    assert ray_switch(list(hostvars), hostvars) == {"problem": "", "stop": said}


def test_a_head_that_did_not_come_up():
    """The workers were not started then."""
    broken = {"failed": True, "msg": "It does not start."}
    hostvars = {"w1": worker(SKIPPED), "head": head(broken)}
    assert ray_switch(["w1", "head"], hostvars)["problem"] == "head: It does not start."


def test_workers_that_did_not_come_up():
    """The same reason is told once; who left the play is not asked."""
    hostvars = {
        "w1": worker({"failed": True, "msg": "No port."}), "w2": worker({"failed": True, "msg": "No port."}),
        "head": head(started()), "w3": worker({"failed": True, "msg": "No disk.", "node": "x"}),
        "w4": worker(started()),
        "gone": {"switch_worker": {"failed": True, "msg": "Gone."}},
    }
    problem = ray_switch([host for host in hostvars if host != "gone"], hostvars)["problem"]
    assert problem == "w1, w2, w3: No port.\nNo disk."


def test_hosts_that_say_nothing():
    found = ray_switch(["head", "w1"], {"head": {}, "w1": {"switch_worker": {"failed": True}, "switch_head": "x"}})
    assert found["problem"] == "w1: " and "down for 0 s" in found["stop"]

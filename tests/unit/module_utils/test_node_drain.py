# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps a node from being stopped, in words; and that a drained raylet is ended and waited for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from threading import Thread
from types import SimpleNamespace

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import RayClusterError
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import drain as _ray_drain
from ansible_collections.rayops.cluster.plugins.module_utils._node.drain import (
    drain,
    drain_if_possible,
    end,
    losses,
    unfinished,
)

MOVES = {"name": "counter", "restarts": True}
STAYS = {"name": "engine", "restarts": False}


def held(**what):
    return {**_ray_drain.nothing(), **what}


@pytest.mark.parametrize("what, said", [
    ({}, []),
    ({"actors": [MOVES], "tasks": 3}, []),
    ({"actors": [MOVES, STAYS]}, ["1 actor that Ray does not restart (engine)"]),
    ({"actors": [STAYS] * 7}, [f"7 actors that Ray does not restart ({', '.join(['engine'] * 5)} and 2 more)"]),
    ({"drivers": 1}, ["1 driver"]),
    ({"objects": 2, "object_bytes": 500}, ["2 objects (500 bytes) that no other node has"]),
])
def test_what_would_be_lost(what, said):
    assert losses(held(**what)) == said


@pytest.mark.parametrize("what, said", [
    (held(tasks=1), "1 running task"),
    (held(tasks=2, actors=[STAYS]), "2 running tasks, 1 actor that Ray does not restart (engine)"),
    (held(), "work"),
    # The raylet gave no answer at all.
    ({}, "work"),
])
def test_what_did_not_end(what, said):
    assert unfinished(what) == said


@pytest.mark.parametrize("what, lose, idle", [
    # Ray ends a drained raylet that holds nothing: it is waited for.
    ({}, False, False),
    ({"actors": [MOVES]}, False, True),
    ({"actors": [MOVES], "tasks": 1}, False, False),
    ({"actors": [MOVES, STAYS]}, False, False),
    ({"actors": [MOVES, STAYS], "objects": 4}, True, True),
    ({"actors": [STAYS], "tasks": 1}, True, False),
], ids=["nothing", "moves", "busy", "stays", "given up", "given up, busy"])
def test_when_a_node_is_idle(what, lose, idle):
    assert _ray_drain.is_idle(held(**what), lose) is idle


@pytest.fixture
def raylet() -> Iterator[subprocess.Popen]:
    """A process that its parent reaps, as `ray start` does."""
    command = ["raylet", "-c", "import time; print(1, flush=True); time.sleep(60)"]
    with subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        reaper = Thread(target=process.wait)
        reaper.start()
        yield process
        process.kill()
        reaper.join()


def live(raylet: subprocess.Popen, name: str = "") -> SimpleNamespace:
    """What a drain asks of a LiveNode."""
    return SimpleNamespace(
        raylet=SimpleNamespace(pid=raylet.pid, options={"--node_id": "ab"}),
        # These tests are no service's.
        unit=SimpleNamespace(name=name, stop_timers=lambda: None),
        health=lambda timeout: "alive",
    )


def answering(drained: bool) -> SimpleNamespace:
    """A cluster that says so after the drain."""
    return SimpleNamespace(drain=lambda *_arguments, **_options: {"drained": drained})


def ended(raylet: subprocess.Popen) -> bool:
    try:
        return raylet.wait(1) == -15
    except subprocess.TimeoutExpired:
        return False


def test_a_raylet_is_ended(raylet):
    end(live(raylet, "ray-worker.service"), raylet.pid)
    assert not ended(raylet), "one that is not the unit's, such as another process that has its number by now"
    end(live(raylet), raylet.pid)
    assert ended(raylet)
    end(live(raylet), raylet.pid)


@pytest.mark.parametrize("drained", [True, False])
def test_a_drain_ends_the_raylet_whose_work_has_ended(raylet, drained):
    drain(answering(drained), live(raylet), 1, lose=False)
    assert ended(raylet) is drained


@pytest.mark.parametrize("drained", [True, False])
def test_before_a_stop_work_that_does_not_end_gets_its_time_once(raylet, drained):
    drain_if_possible(answering(drained), live(raylet), 1)
    assert ended(raylet)


def test_before_a_stop_a_gcs_that_does_not_answer_leaves_the_drain_to_the_stop(raylet):
    def silent(*_arguments, **_options):
        raise RayClusterError("unreachable", "The GCS does not answer.")

    drain_if_possible(SimpleNamespace(drain=silent), live(raylet), 1)
    assert not ended(raylet)

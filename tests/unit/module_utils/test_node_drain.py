# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps a node from being stopped, in words; and that a drained raylet is ended and waited for."""

from __future__ import annotations

import subprocess
import sys
from threading import Thread

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils import _ray_drain
from ansible_collections.rayops.cluster.plugins.module_utils._node_drain import end, losses, unfinished

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


def test_a_raylet_is_ended():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        # Its parent reaps it, as `ray start` does.
        reaper = Thread(target=process.wait)
        reaper.start()
        end(process.pid)
        reaper.join(5)
        assert process.returncode == -15
    end(process.pid)

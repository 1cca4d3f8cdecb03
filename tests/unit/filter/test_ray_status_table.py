# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest

from ansible_collections.rayops.cluster.plugins.filter.ray_status_table import FilterModule, age, cut, width

GIB = 1 << 30
GROUPS = {"all": ["head", "w1", "w2", "w3"], "ray_head": ["head"], "ray_workers": ["w1", "w2", "w3"],
          "ray_pool_gpu": ["w1"]}


def table(status, groups=None):
    return FilterModule().filters()["ray_status_table"](status, GROUPS if groups is None else groups)


def node(name, state="ALIVE", total=None, available=None, **more):
    resources = {"total": total or {}, "available": available or {}}
    return {"node_name": name, "state": state, "ip": "10.0.0.1", "uptime": 90.0, "is_head": False, "state_message": "",
            "resources": resources, **more}


def test_a_cluster():
    status = {
        "summary": "2 ALIVE, 1 DRAINING, 3 pending",
        "nodes": [
            node("head", "ALIVE", {"CPU": 0, "memory": 4 * GIB}, {"memory": 4 * GIB}, is_head=True, uptime=200000),
            node("w1", total={"CPU": 8, "GPU": 4, "memory": 64 * GIB, "object_store_memory": 16 * GIB, "team_a": 1},
                 available={"CPU": 5.5, "GPU": 4, "memory": 32 * GIB, "object_store_memory": 16 * GIB}),
            node("w2", "DRAINING", {"CPU": 8}, {"CPU": 8}, uptime=7300),
            node("stranger", "DEAD", uptime=None, state_message="Health check\nfailed."),
        ],
        "demands": [{"kind": "placement_group", "resources": {"GPU": 8, "CPU": 0.5}, "count": 3}],
    }
    assert table(status) == [
        "2 ALIVE, 1 DRAINING, 3 pending",
        "node      pool    state       CPU  GPU         memory  object store   age  address",
        "head      head    ALIVE         -    -    0.0/4.0 GiB             -   2 d  10.0.0.1",
        "w1        gpu     ALIVE     2.5/8  0/4  32.0/64.0 GiB  0.0/16.0 GiB  90 s  10.0.0.1",
        "w2        worker  DRAINING    0/8    -              -             -   2 h  10.0.0.1",
        "stranger  ?       DEAD          -    -              -             -     -  10.0.0.1",
        "w3        worker  MISSING       -    -              -             -     -  -",
        "stranger is dead: Health check failed.",
        "Waiting for resources:",
        "  3 x placement group that needs GPU: 8, CPU: 0.5",
    ]


def test_of_the_dead_only_those_that_do_not_live_again():
    nodes = [node("w1"), node("w1", "DEAD", state_message="older"), node("w2", "DEAD", state_message="last"),
             node("w2", "DEAD", state_message="first")]
    lines = table({"summary": "1 ALIVE", "nodes": nodes, "demands": []}, {})
    assert [line.split()[0] for line in lines[2:]] == ["w1", "w2", "w2"] and lines[-1] == "w2 is dead: last"


def test_a_check_on_bare_hosts_says_why_there_is_nothing():
    assert table({"skipped": True, "msg": "Check mode does not wait. There is no Python."}) == [
        "Check mode does not wait. There is no Python."]


HOSTILE = {
    "summary": "1 ALIVE\x1b[2J", "demands": [
        {"kind": "x\ny", "resources": {"\u202egpj": "many", "b\r": float("inf")}, "count": None}, 7, {"resources": [1]},
    ],
    "nodes": [
        node("\x1b]0;owned\x07\u202e", state_message=None), node("模型" * 40),
        node("x" * 5000, "DEAD", state_message="y\n" * 5000), node(None, uptime="soon", ip=["{{ 7 * 7 }}"]),
        node("b", total={"CPU": "x", "GPU": 1e300}, available=[]), {"node_name": "c", "resources": 7},
        "none", None,
    ],
}


def test_what_nodes_and_jobs_choose_is_harmless():
    lines = table(HOSTILE)
    assert all(line.isprintable() for line in lines)
    heading, _first, wide = lines[1:4]
    # A wide character takes two cells, and the next column begins in the same one all the same.
    assert heading.index("pool") == 42 and wide.startswith("模型" * 9 + "模…")
    assert width(wide[:wide.index("?")]) == 42 and max(map(width, lines)) < 250


@pytest.mark.parametrize("status", [{"nodes": None}, {"nodes": [], "demands": "x"}, {"nodes": [], "demands": {"a": 1}}])
def test_an_answer_without_its_parts(status):
    assert table(status, {})[1].startswith("node")


def test_a_thousand_nodes():
    nodes = [node(f"w{number}", total={"CPU": 64}, available={"CPU": 1}) for number in range(1000)]
    began = time.process_time()
    lines = table({"summary": "1000 ALIVE", "nodes": nodes, "demands": []},
                  {"ray_workers": [f"w{number}" for number in range(1001)]})
    assert len(lines) == 1003 and lines[-1].split()[:3] == ["w1000", "worker", "MISSING"]
    assert len({len(line) for line in lines[2:-1]}) == 1
    assert time.process_time() - began < 2


@pytest.mark.parametrize(("seconds", "expected"), [
    (None, "-"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d"),
    ("x", "0 s"),
])
def test_an_age(seconds, expected):
    assert age(seconds) == expected


def test_what_is_too_wide_is_cut():
    assert cut("a" * 40) == "a" * 40 and cut("a" * 41) == "a" * 39 + "…" and width(cut("模" * 30)) <= 40

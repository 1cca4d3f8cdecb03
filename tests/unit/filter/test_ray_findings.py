# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.filter.ray_findings import FilterModule

filter_of_hosts = FilterModule().filters()["ray_findings"]
STOPPED = {"problem": "unit_stopped", "detail": "It is stopped.", "mend": "it is started.", "person": "see its log.",
           "step": "start"}
MENDED = {**STOPPED, "person": ""}
STALE = {"problem": "stale_files", "detail": "Files.", "mend": "they are removed.", "person": "x.", "step": "remove"}
FULL = {"problem": "disk_full", "detail": "It is.", "mend": "", "person": "make room.", "step": ""}


def look(*findings, asked=100.0, offset=0.0, took=1.0) -> dict:
    return {"findings": list(findings), "clock": {"asked": asked, "host": asked + took + offset}}


def ray_findings(looks: dict, now: float, **options) -> dict:
    """What each host was looked at as, all of them nodes."""
    hostvars = {host: {"node_look": looks[host], "redis_look": {"skipped": True}} for host in looks}
    return filter_of_hosts(list(looks), hostvars, now, **options)


def test_nothing_is_wrong():
    assert ray_findings({"head": look(), "worker-1": look()}, 105.0, head="head") == {
        "findings": [], "lines": ["Nothing is wrong."], "left": ["Nothing is wrong any more."], "refusal": "",
    }


def test_the_table_is_aligned():
    found = ray_findings({"head": look(FULL), "worker-1": look(STOPPED)}, 105.0, head="head")
    assert found["lines"] == [
        "head     | disk_full    | It is.         | a person: make room.",
        "worker-1 | unit_stopped | It is stopped. | it is started.",
    ]
    assert found["left"][1].endswith(" | see its log.")
    assert [row["host"] for row in found["findings"]] == ["head", "worker-1"]


@pytest.mark.parametrize("looks, cluster, refusal", [
    ({"head": look(FULL)}, {"summary": "2 ALIVE"}, "head needs a person: {do} 2 ALIVE."),
    ({"head": look(FULL), "w1": look(STOPPED, FULL)}, {"failed": True, "msg": "Nobody listens."},
     "head, w1 need a person: {do} The cluster does not answer: Nobody listens."),
    ({"head": look(), "w1": look(STOPPED)}, {},
     "w1 needs a person: {do} The cluster does not answer: no reason is known"),
    ({"head": look(), "w1": look(MENDED)}, {"summary": "2 ALIVE"}, ""),
    # Removed while it was looked at.
    ({"head": look(), "w1": look(STALE)}, {}, ""),
])
def test_who_needs_a_person(looks, cluster, refusal):
    found = ray_findings(looks, 105.0, head="head", cluster=cluster)
    assert found["refusal"] == refusal.format(do="do what the table above says, then run recover again.")


def test_what_was_removed_on_the_way_is_not_left():
    found = ray_findings({"head": look(), "w1": look(STALE)}, 105.0, head="head")
    assert found["lines"] == ["w1 | stale_files | Files. | they are removed."]
    assert found["left"] == ["Nothing is wrong any more."]


def test_hosts_that_say_nothing():
    looks = {"gone": {"unreachable": True, "msg": "Failed to connect:\n  timed out"}, "odd": {"msg": "boom"}, "no": {}}
    rows = ray_findings(looks, 105.0)["findings"]
    assert [(row["problem"], row["detail"]) for row in rows] == [
        ("unreachable", "Failed to connect: timed out"),
        ("not_looked_at", "boom"),
        ("not_looked_at", "it gave no answer"),
    ]


@pytest.mark.parametrize(
    ("offset", "detail"),
    [
        (0, None),
        # What the asking itself may have taken is no skew.
        (8, None),
        (-8, None),
        (3600, "its clock is at least 3595 s ahead of the head's."),
        (-3600, "its clock is at least 3595 s behind the head's."),
    ],
)
def test_clocks(offset, detail):
    rows = ray_findings({"head": look(), "worker-1": look(offset=offset)}, 105.0, head="head")["findings"]
    assert [row["detail"] for row in rows] == ([detail] if detail else [])


def test_slow_hosts_are_not_skewed():
    """One was asked first and answered last, behind a slow connection."""
    looks = {"head": look(), "slow": look(took=29.0), "later": look(asked=125.0)}
    assert ray_findings(looks, 130.0, head="head")["findings"] == []


def test_a_controller_with_a_wrong_clock_blames_nobody():
    looks = {"head": look(offset=7200), "worker-1": look(offset=7200)}
    assert ray_findings(looks, 105.0, head="head")["findings"] == []
    looks["head"] = {"unreachable": True, "msg": "x"}
    rows = ray_findings(looks, 105.0, head="head")["findings"]
    assert rows[1]["detail"].endswith(" s ahead of this machine's.")


def test_whom_a_host_cannot_reach():
    problem = {"detail": "it cannot reach worker-2 on 6382.", "person": "open it in the security group."}
    hostvars = {"head": {"node_look": look(), "network_test": {"problems": [problem]}},
                "worker-1": {"node_look": look(), "network_test": {"skipped": True}}}
    (said,) = filter_of_hosts(["head", "worker-1"], hostvars, 105.0)["lines"]
    assert said.startswith("head | network | it cannot reach worker-2 on 6382. | a person: open it in")


def test_what_is_not_registered_is_refused():
    with pytest.raises(AnsibleFilterError, match="not list"):
        filter_of_hosts([], [], 1.0)


def test_a_host_that_is_looked_at_twice_and_one_that_is_not():
    looks = {"node_look": look(FULL), "redis_look": look(FULL, STOPPED)}
    rows = filter_of_hosts(["both", "none"], {"both": looks, "none": {}}, 105.0)["findings"]
    assert [(row["host"], row["problem"]) for row in rows] == [
        ("both", "disk_full"), ("both", "unit_stopped"), ("none", "not_looked_at"),
    ]


@pytest.mark.parametrize("taken", [
    {"findings": "x"}, {"findings": ["x", None]}, {"findings": [], "clock": {"asked": "x", "host": []}}, {"clock": 7},
    {"findings": [], "clock": {"asked": 1.0}}, {"findings": [], "clock": {"asked": 1.0, "host": None}},
])
def test_a_host_that_was_taken_does_not_hide_the_others(taken):
    rows = ray_findings({"head": look(), "taken": taken, "worker-1": look(STOPPED)}, 105.0, head="head")["findings"]
    assert [row["problem"] for row in rows if row["host"] == "worker-1"] == ["unit_stopped"]


def test_a_finding_is_about_its_own_host_and_holds_text():
    forged = {"host": "worker-1", "problem": ["x"], "detail": "a\x1b[2J" * 1000, "mend": None, "_ansible_x": 1}
    found = ray_findings({"taken": look(forged)}, 105.0)
    (row,), (said,) = found["findings"], found["lines"]
    assert set(row) == {"host", "problem", "detail", "mend", "person", "step"}
    assert row["host"] == "taken" and "\x1b" not in said and len(row["detail"]) == 1000

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences


def test_only_what_differs_is_kept_in_the_order_found():
    found = Differences()
    assert not found and len(found) == 0
    found.compare("--port", "6379", "6379")
    assert not found
    found.compare("--num-cpus", "0", "32")
    found.add("--block", "set", None)
    assert found and len(found) == 2
    assert found.to_list() == [
        {"kind": "option", "option": "--num-cpus", "declared": "0", "live": "32"},
        {"kind": "option", "option": "--block", "declared": "set", "live": None},
    ]


def test_the_list_is_a_copy():
    found = Differences()
    found.add("--port", "1", "2")
    found.to_list().clear()
    assert len(found) == 1


def test_zero_and_false_are_values_and_none_is_not():
    found = Differences()
    found.compare("timers", False, None)
    found.compare("--num-cpus", 0, None)
    assert found.diff("Ray head node") == {
        "before_header": "Ray head node (live)",
        "after_header": "Ray head node (declared)",
        "before": "",
        "after": "timers: False\n--num-cpus: 0\n",
    }


def test_the_diff_shows_each_side():
    found = Differences()
    found.add("--num-cpus", "8", "4")
    found.add("other Ray on this host, raylet 7", None, "10.0.0.9:6379", "foreign")
    diff = found.diff("Ray worker node")
    assert diff["before"] == "--num-cpus: 4\nother Ray on this host, raylet 7: 10.0.0.9:6379\n"
    assert diff["after"] == "--num-cpus: 8\n"

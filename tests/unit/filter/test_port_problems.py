# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each sentence names the variable, its value, and who has the port."""

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.port_problems import port_problems

RAY = {"gcs": 6379, "worker_min": 10002, "worker_max": "19999", "ray_redis_port": 6380}


@pytest.mark.parametrize(
    "ports, problems",
    [
        ({"a": 6386, "b": "6387"}, []),
        ({"a": 9090, "b": "9090"}, ["a and b are both 9090: give each a port of its own."]),
        ({"a": 6379}, ["a is 6379, which ray_ports.gcs has on this host: choose another."]),
        ({"a": 6380}, ["a is 6380, which ray_redis_port has on this host: choose another."]),
        ({"a": 10001, "b": 20000}, []),
        *(({"a": port}, [f"a is {port}, and Ray's workers take 10002 to 19999 on this host: choose another."])
          for port in (10002, 19999)),
    ],
)
def test_a_clash_is_told(ports, problems):
    assert port_problems(ports, RAY) == problems


def test_where_ray_does_not_run_its_ports_are_free():
    assert port_problems({"a": 6379, "b": 10002}) == []

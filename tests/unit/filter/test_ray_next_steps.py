# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.ray_next_steps import FilterModule

NETWORK = {"node_ip_address": "10.0.0.5", "dashboard_host": "10.0.0.5", "ports": {"dashboard": 8265}}
TOKEN = "Its token: in /etc/ray/auth_token on every node, for root and the group of Ray's user"


def steps(inventory=(), auth=None, **network):
    head = {"network": {**NETWORK, **network}, "auth": {"token_path": "/etc/ray/auth_token"} if auth is None else auth}
    return FilterModule().filters()["ray_next_steps"](head, inventory)


def test_a_cluster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert steps([f"{tmp_path}/huawei_ecs.yml", "/etc/my hosts"]) == [
        "Dashboard: http://10.0.0.5:8265", TOKEN,
        "Next: ansible-playbook rayops.cluster.status -i huawei_ecs.yml -i '/etc/my hosts'",
    ]
    assert steps()[-1] == "Next: ansible-playbook rayops.cluster.status"
    assert steps(["head,worker,"])[-1].endswith(" -i head,worker,")


@pytest.mark.parametrize(("network", "expected"), [
    ({"dashboard_host": "0.0.0.0"}, "Dashboard: http://10.0.0.5:8265"),
    ({"dashboard_host": "10.9.9.9", "ports": {"dashboard": 80}}, "Dashboard: http://10.9.9.9:80"),
    ({"dashboard_host": "fd00::5"}, "Dashboard: http://[fd00::5]:8265"),
    ({"dashboard_host": "127.0.0.1"},
     "Dashboard: http://127.0.0.1:8265 (on the head alone: ssh -L 8265:127.0.0.1:8265 to it first)"),
])
def test_the_address(network, expected):
    assert steps(**network)[0] == expected


def test_a_cluster_without_a_token():
    assert steps(auth={"token_path": None})[1].startswith("Its token: none is asked for, so whoever reaches it")


def test_a_cluster_behind_a_proxy():
    proxy = {"url": "https://ray.example.com", "password": "/etc/ray-proxy/password", "shut": False}
    found = FilterModule().filters()["ray_next_steps"]({"network": NETWORK}, [], proxy)
    assert found[:2] == ["Dashboard: https://ray.example.com",
                         "Its login: admin, with the password in /etc/ray-proxy/password on the head"]
    assert found[2].startswith("Beside the proxy stay open, without TLS: the dashboard's own port 8265")
    assert found[3:] == ["Next: ansible-playbook rayops.cluster.status"]
    given = {**proxy, "password": "", "shut": True}
    found = FilterModule().filters()["ray_next_steps"]({"network": NETWORK}, [], given)
    assert found[1:] == ["Its login: a name and the password of ray_proxy_users",
                         "Next: ansible-playbook rayops.cluster.status"]

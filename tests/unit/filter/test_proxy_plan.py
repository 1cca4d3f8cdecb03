# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.proxy_hosts import proxy_hosts
from ansible_collections.rayops.cluster.plugins.filter.proxy_plan import GLANCE, proxy_plan

PORTS = {"gcs": 6379, "worker_min": 10002, "worker_max": 19999, "ray_serve_port": 8000}
HOSTS = [{"inventory_hostname": name, "ansible_host": address, "group_names": groups} for name, address, groups in (
    ("head", "10.0.0.1", ["ray_head"]), ("w-1", "10.0.0.2", ["ray_workers"]), ("w-2", "10.0.0.3", ["ray_workers"]))]
CLUSTER = {"head": "head", "hosts": HOSTS, "monitors": [], "port": 8000, "environment": "/e", "config_dir": "/c",
           "modules": "/m", "ray_version": "2.60.0"}
DASHBOARD = {"dashboard_host": "10.0.0.1", "node_ip_address": "10.0.0.1", "ports": {"dashboard": 8265}}
DECLARED = {
    "port": 443, "address": "10.0.0.1", "names": ["ray.example.com", "0.0.0.0", "10.0.0.1", "10.0.0.1"],
    "users": {}, "token": "",
    "dashboard": DASHBOARD, "monitor": {}, "models": [], "cluster": CLUSTER, "ports": PORTS,
    "monitor_ports": {"monitor_port": 6386},
}


def plan(**changed):
    return proxy_plan({**DECLARED, **changed})


def test_a_head():
    assert plan() == {
        "problems": [], "listen": "10.0.0.1:443", "names": ["ray.example.com", "10.0.0.1"], "home": "", "models": [],
        "pages": [{"path": "/", "url": "http://10.0.0.1:8265", "token": True}],
    }


def test_a_monitor():
    found = plan(dashboard={}, monitor={"address": "127.0.0.1", "prometheus": 9090, "alertmanager": "9093"})
    assert found["home"] == GLANCE and found["pages"] == [
        {"path": "/prometheus/", "url": "http://127.0.0.1:9090/", "token": False},
        {"path": "/alertmanager/", "url": "http://127.0.0.1:9093/", "token": False},
    ]


@pytest.mark.parametrize(("host", "url"), [
    ("0.0.0.0", "http://10.0.0.1:8265"), ("", "http://10.0.0.1:8265"), ("127.0.0.1", "http://127.0.0.1:8265"),
    ("fd00::1", "http://[fd00::1]:8265"),
])
def test_where_the_dashboard_is_asked(host, url):
    assert plan(dashboard={**DASHBOARD, "dashboard_host": host})["pages"][0]["url"] == url
    assert plan(address="fd00::1")["listen"] == "[fd00::1]:443"


def test_models():
    declared = [
        {"name": "r1", "repository": "o/r"}, {"name": "root", "repository": "o/r", "route_prefix": "/"},
        {"name": "v3", "repository": "o/r", "engine": "vllm", "replicas": 2, "port": 8002},
        {"name": "wide", "repository": "o/r", "engine": "vllm", "data_parallel_size": 2, "port": 8003},
        {"name": "no worker", "repository": "o/r"},
    ]
    assert plan(models=declared)["models"] == [
        {"name": "r1", "servers": ["10.0.0.1:8000"], "route": "/r1"},
        {"name": "root", "servers": ["10.0.0.1:8000"], "route": ""},
        {"name": "v3", "servers": ["10.0.0.2:8002", "10.0.0.3:8002"], "route": ""},
        {"name": "wide", "servers": ["10.0.0.2:8003"], "route": ""},
    ]


@pytest.mark.parametrize(("changed", "said"), [
    ({"port": 70000}, "ray_proxy_port is 70000: use 1 to 65535, such as 443."),
    ({"port": 40000}, "ray_proxy_port is 40000, and from 32768 to 60999 are the ports of connections: choose another, "
     "such as 443 or 8443."),
    ({"port": "6379"}, "ray_proxy_port is 6379, which ray_ports.gcs has on this host: choose another."),
    ({"port": 8000}, "ray_proxy_port is 8000, which ray_serve_port has on this host: choose another."),
    ({"port": 6386}, "monitor_port and ray_proxy_port are both 6386: give each a port of its own."),
    ({"port": 12000}, "ray_proxy_port is 12000, and Ray's workers take 10002 to 19999 on this host: choose another."),
    ({"names": ["https://ray.example.com"]}, "ray_proxy_name is https://ray.example.com, which is no name or address "
     "of a host: write it without https:// and port, such as ray.example.com."),
    ({"users": ["alice"]}, "ray_proxy_users is no dictionary: write a password for each name, such as {alice: "
     '"{{ vault_alice }}"}.'),
    ({"users": {"a:b": "x" * 12}}, "ray_proxy_users has 'a:b', which is no name: use letters, digits and . _ @ -, 64 "
     "at most."),
    ({"users": {"a": "hunter2"}}, "ray_proxy_users: the password of a is shorter than 12 characters, or has control "
     "characters: use a longer one, or leave ray_proxy_users out, and one is made on the head."),
    ({"users": {"a": "long enough\nb:x"}}, "ray_proxy_users: the password of a is shorter than 12 characters, or has "
     "control characters: use a longer one, or leave ray_proxy_users out, and one is made on the head."),
    ({"users": {"a": None}}, "ray_proxy_users: the password of a is not text: write it in quotes."),
    ({"token": 'x";}'}, "ray_auth_token has a character that no token in a request may have: use letters, digits and "
     ". _ ~ + / -, or set ray_proxy to false."),
])
def test_what_cannot_work_is_told_in_one_sentence(changed, said):
    assert plan(**changed)["problems"] == [said]


def test_what_can():
    assert plan(port=8443, users={"alice": "x" * 12, "b@c": 123456789012}, token="aZ09.-_~+/==")["problems"] == []


HOST = {"inventory_hostname": "head"}


@pytest.mark.parametrize(("host", "wanted", "found"), [
    (HOST, False, []), (HOST, True, ["head"]),
    ({**HOST, "ray_files": {"kept": ["/etc/ray-proxy"]}}, False, ["head"]),
    ({**HOST, "monitor_files": {"kept": ["/x", "/etc/ray-proxy"]}}, False, ["head"]),
    ({**HOST, "ray_files": {"kept": ["/etc/other"]}, "monitor_files": {}}, False, []),
    # What a host answers is data.
    ({**HOST, "ray_files": "x", "monitor_files": {"kept": 7}}, False, []),
])
def test_the_hosts_with_something_to_do(host, wanted, found):
    assert proxy_hosts([host], wanted, "/etc/ray-proxy") == found

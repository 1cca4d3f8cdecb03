# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the node, people and programs on a host share: the interfaces, and how a command finds the cluster."""

from __future__ import annotations

import json
import shlex

import pytest

testinfra_hosts = ["ansible://ray_head", "ansible://ray_workers"]

FILE = "/etc/ray/environment"
DRIVER = """
import os, ray
ray.init(log_to_driver=False)
print(os.getuid(), sum(node["Alive"] for node in ray.nodes()), ray.get(ray.put(40)) + 2)
"""


@pytest.fixture
def shared(host):
    words = shlex.split(host.file(FILE).content_string, comments=True)
    return dict(word.partition("=")[::2] for word in words)


@pytest.fixture
def own(host):
    """The node's address, and the interface that carries it by iproute2's word."""
    address = host.backend.ansible_runner.get_variables(host.backend.host)["ansible_host"]
    links = json.loads(host.check_output("ip -json address"))
    return address, next(link["ifname"] for link in links for each in link["addr_info"] if each["local"] == address)


@pytest.fixture
def people(host):
    """A user in group ray, and one who is not."""
    host.check_output("useradd --groups ray member; useradd stranger")
    yield
    host.check_output("userdel member; userdel stranger")


def test_the_interfaces_are_those_of_the_nodes_address(host, shared, own):
    address, interface = own
    units = "systemctl show --property MainPID --value ray-head ray-worker | grep -vx -e 0 -e ''"
    live = host.check_output(f"tr '\\0' '\\n' < /proc/$({units})/environ").splitlines()
    for variable, value in (
        ("GLOO_SOCKET_IFNAME", interface), ("TP_SOCKET_IFNAME", interface), ("NCCL_SOCKET_IFNAME", f"={interface}"),
        ("VLLM_HOST_IP", address),
    ):
        assert f"{variable}={value}" in live and shared[variable] == value


def test_the_file_is_for_members_alone(host):
    file = host.file(FILE)
    assert (file.user, file.group, file.mode) == ("root", "ray", 0o640)


def test_roots_command_finds_the_cluster_as_rays_user(host):
    nodes = host.check_output("timeout 120 ray-env ray list nodes --format json")
    assert len([node for node in json.loads(nodes) if node["state"] == "ALIVE"]) == 3
    uid = host.user("ray").uid
    assert host.check_output("cd / && timeout 120 ray-env python -c %s", DRIVER).endswith(f"{uid} 3 42")


def test_a_member_may_and_a_stranger_is_told_why_not(host, people):
    nodes = host.check_output("timeout 120 runuser -u member -- ray-env ray list nodes --format json")
    assert len([node for node in json.loads(nodes) if node["state"] == "ALIVE"]) == 3
    done = host.run("runuser -u stranger -- ray-env ray status")
    assert done.rc == 126 and done.stdout == ""
    assert done.stderr.strip() == (
        "ray-env: the cluster's token is for root and members of group ray: let root run 'usermod -aG ray stranger', "
        "then log in again."
    )

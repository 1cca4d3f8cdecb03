# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller makes of hosts and their answers, and when a table is kept. The hosts' side is a stand-in."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.rayops.cluster.plugins.action.node_firewall import ActionModule
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.hosts import firewall_hosts, firewall_sources

ON = {"ray_firewall": True}
HOSTVARS = {
    "head": {**ON, "inventory_hostname": "head", "ansible_host": "10.0.0.5",
             "ray_firewall_found": {"addresses": ["10.0.0.5", "10.9.0.5", "8.8.8.8", "fe80::1%eth0", 7]}},
    "worker-1": {**ON, "inventory_hostname": "worker-1", "ecs_private_ip": "10.0.0.6"},
    "monitor": {**ON, "inventory_hostname": "monitor", "ansible_host": "monitor.example"},
    "off": {"inventory_hostname": "off", "ansible_host": "10.0.0.9"},
}


class Ssh:
    """A connection that answers, or does not, when it is made anew."""

    transport = "ssh"

    def __init__(self, anew):
        self.anew, self.options, self.used = anew, {"ssh_extra_args": "-o Some=thing"}, []

    def get_option(self, name):
        return self.options[name]

    def set_option(self, name, value):
        self.options[name] = value

    def exec_command(self, command, in_data=None, sudoable=True):
        self.used.append((command, self.options["ssh_extra_args"], sudoable))
        if isinstance(self.anew, Exception):
            raise self.anew
        return self.anew


def action(answers=(), connection=None, **variables):
    made = ActionModule.__new__(ActionModule)
    made.variables = {"hostvars": HOSTVARS, "inventory_hostname": "head", **variables}
    made._connection = connection
    made.asked = []
    left = list(answers)

    def module(options):
        made.asked.append(options)
        return left.pop(0) if left else {"changed": True}

    made._module = module
    return made


def test_a_host_is_what_the_inventory_says_and_private_addresses_of_its_own():
    assert firewall_sources(["head", "worker-1", "monitor", "gone"], HOSTVARS) == [
        {"name": "head", "addresses": ["10.0.0.5"], "found": ["10.0.0.5", "10.9.0.5"]},
        {"name": "worker-1", "addresses": ["10.0.0.6"], "found": None},
        {"name": "monitor", "addresses": [], "found": None},
    ]


@pytest.mark.parametrize("own, here, refused", [
    (["10.0.0.6"], ["head", "worker-1"], False),
    ([], ["head", "worker-1", "monitor"], False),
    ([], ["head", "worker-1"], True),
    (["10.0.0.7"], ["worker-1"], True),
    ("10.0.0.6", ["worker-1"], True),
])
def test_a_new_host_is_refused_where_others_would_not_know_of_it(own, here, refused):
    made = action(ansible_play_hosts_all=here)
    found = made.looked({"own": own, "addresses": [], "nft": True}, list(HOSTVARS), "worker-1")
    assert found.get("failed", False) == refused
    if refused:
        left = ", ".join(name for name in ("head", "worker-1", "monitor") if name not in here)
        assert found["msg"] == (
            f"worker-1 (10.0.0.6) is new to the cluster's firewalls, and --limit leaves out {left}, which do not let "
            "it in yet: run rayops.cluster.firewall once without --limit, then this again.")


def test_of_a_hosts_answer_known_words_are_left():
    found = {"addresses": ["10.0.0.5", "1.1.1.1"], "nft": "yes", "own": [], "ansible_facts": {"x": 1}, "changed": True}
    assert action().looked(found, [], "head") == {"changed": False, "addresses": ["10.0.0.5"], "nft": False}
    failed = {"failed": True, "msg": "no", "ansible_facts": {"x": 1}}
    assert action().looked(failed, [], "head") == {"failed": True, "msg": "no"}


def test_a_table_is_kept_when_a_new_connection_was_made_on_a_way_of_its_own():
    ssh = Ssh((0, b"", b""))
    made = action(connection=ssh)
    assert made.tried({"changed": True, "trial": True}) == {"changed": True, "trial": False}
    assert made.asked == [{"state": "kept"}]
    assert ssh.used == [("true", "-o Some=thing -S none -a -x", False)]
    assert ssh.options == {"ssh_extra_args": "-o Some=thing"}


@pytest.mark.parametrize("anew", [AnsibleConnectionFailure("timed out"), (255, b"", b"Host key verification failed.")])
def test_a_table_is_withdrawn_where_no_new_connection_can_be_made(anew):
    ssh = Ssh(anew)
    made = action(connection=ssh)
    found = made.tried({"changed": True, "trial": True})
    assert found["failed"] and "so the firewall is withdrawn" in found["msg"]
    assert found["msg"].endswith(("timed out", "Host key verification failed."))
    assert made.asked == [{"state": "withdrawn"}]
    assert ssh.options == {"ssh_extra_args": "-o Some=thing"}


def test_a_table_that_went_meanwhile_is_no_success():
    made = action([{"failed": True, "msg": "The rules were withdrawn"}], Ssh((0, b"", b"")))
    assert made.tried({"changed": True, "trial": True}) == {"failed": True, "msg": "The rules were withdrawn"}


def test_the_hosts_of_the_plays():
    assert firewall_hosts([*HOSTVARS, "gone"], HOSTVARS) == ["head", "worker-1", "monitor"]
    assert firewall_hosts(["a", "b", "c"], {name: {"ray_firewall": value} for name, value in
                                            (("a", "false"), ("b", "true"), ("c", "no"))}) == ["b"]
    hosts = {"on": {**ON, "ray_firewall_table": {"surplus": True}}, "same": {**ON, "ray_firewall_table": {}},
             "down": {}, "left": {"ray_node_plan": {"firewall": True}}}
    assert firewall_hosts(hosts, hosts, "surplus") == ["on"]
    # One that is down, or that nobody asked, is looked at when another has something left.
    assert firewall_hosts(hosts, hosts, "left") == ["down", "left"]
    assert firewall_hosts(["on", "down"], hosts, "left") == []
    assert firewall_hosts(["a"], {"a": {"ray_node_plan": {"firewall": "yes"}}}, "left") == []

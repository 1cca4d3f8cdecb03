#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_firewall
short_description: Shut the cluster's ports of a host to strangers, with a table of nftables
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Keeps the table C(inet rayops), whose only rule drops what asks for a TCP connection to a port of the cluster's and
    comes from nobody who may use it. All other ports, connections that are there, loopback, and the tables of others
    stay as they are.
  - The table is checked, and loaded in one transaction. Then the controller connects anew, on a way of its own. If that
    fails the host goes back to what it had, by itself after O(seconds), whatever becomes of the controller.
  - What is kept is loaded at boot by C(ray-firewall.service), before there is a network.
options:
  state:
    description:
      - V(looked) reads this host's addresses, and refuses one that another firewall rules, or whose table C(inet
        rayops) is somebody else's. Its result must be registered as C(ray_firewall_found).
      - V(present) loads the table, and V(absent) removes all of it. V(shut_out) lets O(nodes) in no longer, and leaves
        the rest as this host knows it.
      - V(kept) and V(withdrawn) are what the controller says after V(present).
    type: str
    choices: [looked, present, shut_out, kept, withdrawn, absent]
    default: present
  nodes:
    description: The names of all hosts of the cluster in the inventory, or those that O(state=shut_out) names.
    type: list
    elements: str
    default: []
  ports:
    description: Ports and ranges of this host that are the cluster's, beside its hosts by who may use them.
    type: dict
    default: {}
    suboptions:
      cluster: {description: Nobody else., type: list, elements: str, default: []}
      clients: {description: Those of O(clients)., type: list, elements: str, default: []}
      monitors: {description: Those of O(monitors)., type: list, elements: str, default: []}
      open: {description: "Whoever could before: they are never shut.", type: list, elements: str, default: []}
      shared: {description: "As C(cluster), but for those on which only other users than O(user) listen now.",
        type: list, elements: str, default: []}
  workload: {description: "Whether the ports that this host gives to who asks for none are C(shared), too.",
      type: bool, default: false}
  user: {description: The user of the cluster's nodes., type: str, default: ray}
  clients: {description: Networks of those who use the cluster., type: list, elements: str, default: []}
  monitors: {description: Networks of those who read its figures., type: list, elements: str, default: []}
  keep: {description: "Whether what was shut or let in before, and is not declared any more, stays so for now.",
      type: bool, default: false}
  seconds: {description: "After how long a table that the controller has not kept goes.", type: float, default: 30}
  name: {description: "The host's name, which the controller says.", type: str, default: ""}
  hosts:
    description: "Who is let in, for O(state=present): all hosts of the cluster, as the filter
      P(rayops.cluster.firewall_sources#filter) knows them."
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Its name., type: str, required: true}
      addresses: {description: What the inventory says., type: list, elements: str, default: []}
      found: {description: "What it says itself, none where it was not asked.", type: list, elements: str}
extends_documentation_fragment: [rayops.cluster.attributes]
seealso: [{module: rayops.cluster.ray_network_test}]
"""

EXAMPLES = r"""
- name: Look at the host's firewall
  rayops.cluster.node_firewall:
    state: looked
    nodes: "{{ groups['ray_head'] + groups['ray_workers'] }}"
  register: ray_firewall_found

- name: Shut the cluster's ports to strangers
  rayops.cluster.node_firewall:
    hosts: "{{ (groups['ray_head'] + groups['ray_workers']) | rayops.cluster.firewall_sources(hostvars) }}"
    ports: {cluster: ["6379"], clients: ["8265"], monitors: ["6385"], shared: [10002-19999]}
    workload: true
    clients: [10.20.0.0/16]
"""

RETURN = r"""
addresses: {description: "This host's private addresses.", returned: with state=looked, type: list, elements: str}
nft: {description: Whether nftables is installed., returned: with state=looked, type: bool}
surplus: {description: "With O(keep), whether anything is shut or let in that is not declared any more, or that may
  not be others' any more when all is started.", returned: with state=present, type: bool}
trial: {description: "Whether the table goes if nobody keeps it.", returned: with state=present, type: bool}
"""

import json
import os
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.host import (
    Nft,
    NftError,
    is_ours,
    others_ports,
    ruler,
    ssh_ports,
)
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.ports import Ports, numbers, spans
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.rules import TABLE
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.sources import private
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.table import Record, Table, merged, rules_file
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import interfaces
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import (
    LOCAL_PORTS,
    listening_on,
    local_ports,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import SystemdError


class NodeFirewall:
    """What is declared for this host, and what it has."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.params = module.params
        self.nft = Nft()
        self.left: frozenset[int] = frozenset()
        self.others: frozenset[int] = frozenset()

    def look(self) -> dict:
        """What this host is to say of itself, before anything is touched."""
        self.refuse()
        known = Record.read()
        own = known.hosts.get(self.params["name"], []) if known else []
        return {"changed": False, "addresses": private(list(interfaces())), "nft": bool(self.nft.path), "own": own}

    def refuse(self) -> None:
        """End the module where another firewall rules the host, or has a table of the name of ours."""
        problem = ruler(self.params["name"] or os.uname().nodename)
        if problem:
            self.module.fail_json(msg=f"{problem}.")
        listing = self.nft.listing() if self.nft.path else ""
        if listing and not is_ours(listing):
            self.module.fail_json(msg=(
                f"The table {TABLE} of this host is somebody else's: it is not touched. Remove it (nft delete table "
                f"{TABLE}), or set ray_firewall to false for this host."
            ))

    def declared(self, keep: bool) -> Record:
        """What this host is to have."""
        known = Record.read()
        ports = Ports.of(self.params["ports"])
        shared = numbers(self.params["ports"].get("shared") or [])
        if self.params["workload"]:
            first, last = local_ports()
            shared |= frozenset(range(first, last + 1))
        self.others = (shared - ports.named) & others_ports([self.params["user"]])
        ports = ports.sharing(shared, self.others)
        if keep and known:
            ports = ports.keeping(known.ports)
        elif known:
            self.left = ports.listening(known.ports, listening_on("0.0.0.0"))
            ports = replace(ports, cluster=ports.cluster | self.left)
        closed = ports.closed
        # How the host is reached lies among them where a range is wide. It is never shut, whatever else stays so.
        ssh = ssh_ports(min(closed), max(closed)) if closed else set()
        hosts = merged(known, self.params["hosts"], keep)
        return Record(hosts, replace(ports, open=ports.open | ssh), self.params["clients"], self.params["monitors"])

    def present(self) -> dict:
        """Load the table on trial, if it is not there."""
        self.refuse()
        record = self.declared(self.params["keep"])
        differs = self.params["keep"] and record.rules != self.declared(False).rules
        if self.left and not self.params["keep"]:
            self.module.warn(
                f"{', '.join(spans(self.left))} stays shut on {self.params['name']}: it was the cluster's, and "
                "somebody listens there still. The first run after they have stopped opens it."
            )
        brought = self.brought(record)
        first, last = local_ports()
        if self.params["workload"] and brought["changed"] and first < LOCAL_PORTS[0]:
            self.module.warn(
                f"net.ipv4.ip_local_port_range of {self.params['name']} is {first}-{last}, and the workload may listen "
                f"anywhere in it: all of it is shut to strangers, but for what other services listen on now. Set it to "
                f"{LOCAL_PORTS[0]}-{LOCAL_PORTS[1]} to leave open what starts later, too."
            )
        # What is stopped now for the cluster's sake, such as a Ray of somebody else's, lets go of its ports.
        passing = self.params["keep"] and brought["changed"] and bool(self.others)
        return {**brought, "surplus": differs or passing}

    def shut_out(self) -> dict:
        """Let hosts in no longer; all else stays as it is known here. Without a table there is nothing to do."""
        known = Record.read()
        if not known or not set(self.params["nodes"]) & set(known.hosts):
            return {"changed": False}
        self.refuse()
        hosts = {name: own for name, own in known.hosts.items() if name not in self.params["nodes"]}
        return self.brought(replace(known, hosts=hosts))

    def brought(self, record: Record) -> dict:
        """Bring about what a record says."""
        table = Table(self.nft)
        if self.nft.path and table.is_kept(record):
            return {"changed": False, "trial": False}
        before, after = rules_file(), record.rules
        if not self.module.check_mode:
            table.try_out(record, self.params["seconds"])
        if before == after:
            before, after = "", f"table {TABLE} as in its file, now and after a boot\n"
        diff = {"before_header": "firewall (live)", "after_header": "firewall (declared)", "before": before,
                "after": after}
        return {"changed": True, "trial": not self.module.check_mode, "diff": diff}

    def absent(self) -> dict:
        """Remove all that is ours."""
        table = Table(self.nft)
        remains = table.remains()
        if remains and not self.module.check_mode:
            left = table.remove()
            if left:
                self.module.warn(left)
        return {"changed": bool(remains), "diff": {"before": "".join(f"{name}\n" for name in remains), "after": ""}}

    def run(self) -> dict:
        """Bring the state about."""
        state = self.params["state"]
        if state == "kept":
            Table(self.nft).keep()
        if state == "withdrawn":
            Table(self.nft).withdraw()
        steps = {"looked": self.look, "present": self.present, "shut_out": self.shut_out, "absent": self.absent}
        return steps[state]() if state in steps else {"changed": True}


def define_module() -> AnsibleModule:
    texts = {"type": "list", "elements": "str", "default": []}
    host = {
        "name": {"type": "str", "required": True}, "addresses": texts, "found": {"type": "list", "elements": "str"},
    }
    return AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["looked", "present", "shut_out", "kept", "withdrawn", "absent"],
                      "default": "present"},
            "nodes": texts,
            "ports": {"type": "dict", "default": {},
                      "options": {"cluster": texts, "clients": texts, "monitors": texts, "open": texts,
                                  "shared": texts}},
            "workload": {"type": "bool", "default": False},
            "user": {"type": "str", "default": "ray"},
            "clients": texts,
            "monitors": texts,
            "keep": {"type": "bool", "default": False},
            "seconds": {"type": "float", "default": 30},
            "name": {"type": "str", "default": ""},
            "hosts": {"type": "list", "elements": "dict", "default": [], "options": host},
        },
        supports_check_mode=True,
    )


def main() -> None:
    module = define_module()
    try:
        found = NodeFirewall(module).run()
    except (NftError, SystemdError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    except (ValueError, json.JSONDecodeError) as error:
        module.fail_json(msg=f"{error}.")
    module.exit_json(**found)


if __name__ == "__main__":
    main()

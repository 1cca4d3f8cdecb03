#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_network_test
short_description: Test that the nodes of a Ray cluster reach each other
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Run it twice on the hosts of all nodes, first with O(state=listening), then with O(state=tested). It needs no Ray.
  - The head connects to every worker, a worker to the head and to its neighbours in a ring. So the cost of the test is
    in proportion to the nodes.
  - Each node is tried on O(ports) and on one port of 32768-60999 (or of what it has in
    C(net.ipv4.ip_local_port_range)), which torch, gloo, NCCL and ZMQ use between the nodes of a model, all at the same
    time. Nothing is sent.
  - A port that is refused counts only where something listens on it, and the one of the workload's does not answer, as
    a node that is down is no firewall's fault.
extends_documentation_fragment: [rayops.cluster.attributes]
attributes:
  check_mode: {details: "It changes nothing, so a check tests the network too."}
  diff_mode: {support: N/A}
options:
  state:
    description:
      - V(listening) opens one free port of the workload's on O(address), in a process of user C(nobody) that closes
        each connection at once and ends by itself after O(seconds).
      - V(tested) connects to the other nodes, and fails with what cannot be reached, and what to do about it.
    type: str
    choices: [listening, tested]
    default: tested
  address: {description: "The address of this host's node, for O(state=listening).", type: str, default: ""}
  ports:
    description: Its ports that other nodes connect to, for O(state=listening). Of a range only the first one is tried.
    type: list
    elements: str
    default: []
  seconds: {description: How long the port stays open., type: int, default: 120}
  user: {description: "The workload's user, whose the port counts as.", type: str, default: ray}
  nodes:
    description:
      - The hosts of all nodes, the head first, for O(state=tested). What they returned with O(state=listening) must be
        registered as C(network_listener).
      - Those that are not hosts of the play, as with C(--limit), are left out.
    type: list
    elements: str
    default: []
  targets:
    description: What the controller makes of O(nodes).
    type: list
    elements: dict
    default: []
    suboptions:
      address: {description: An address., type: str, required: true}
      ports: {description: Ports to connect to., type: list, elements: int, required: true}
  timeout: {description: "Seconds that a connection may take. All are tried at the same time.", type: float, default: 3}
seealso: [{module: rayops.cluster.ray_smoke_test}]
"""

EXAMPLES = r"""
- name: Open a port of the workload's
  rayops.cluster.ray_network_test:
    state: listening
    address: 10.0.0.11
    ports: ["6381", "6382", 10002-19999]
  register: network_listener

- name: Test the network
  rayops.cluster.ray_network_test:
    nodes: "{{ groups['ray_head'] + groups['ray_workers'] }}"
"""

RETURN = r"""
msg:
  description: What cannot be reached, a sentence a pair of nodes; or how many nodes were.
  returned: with state=tested
  type: str
  sample: "worker-1 cannot reach worker-2 on 6382: open it in the security group, or in worker-2's firewall."
problems:
  description: The same for programs.
  returned: with state=tested
  type: list
  elements: dict
  contains:
    detail: {description: "What this host cannot do, without its name.", type: str}
    person: {description: What a person does about it., type: str}
port: {description: "The port that was opened, 0 for none.", returned: with state=listening, type: int}
among: {description: "The ports that this host gives to who asks for none, the first and the last.",
    returned: with state=listening, type: list, elements: int}
listening: {description: Those of O(ports) that something listens on., returned: with state=listening, type: list,
    elements: int}
answers: {description: "For each of O(targets) what became of its ports, C(open), C(refused), C(no_route), C(dropped) or
    C(failed).", returned: with state=tested, type: list, elements: list}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._network.mesh import first_of
from ansible_collections.rayops.cluster.plugins.module_utils._network.probe import connect, listen
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import listening_on, local_ports


def opened(address: str, ports: list[int], seconds: int, user: str) -> dict[str, Any]:
    """What is opened on this host, and what is open there."""
    among = local_ports()
    found = {"listening": sorted(set(ports) & listening_on(address)), "among": among}
    try:
        return {**found, "port": listen(address, seconds, ports, among, user)}
    except OSError as error:
        return {**found, "port": 0, "msg": f"No port can be opened on {address}: {error.strerror or error}."}


def tested(targets: list[dict[str, Any]], seconds: float) -> list[list[str]]:
    """What became of the connections, by target and port."""
    kinds = iter(connect([(target["address"], port) for target in targets for port in target["ports"]], seconds))
    return [[next(kinds) for _port in target["ports"]] for target in targets]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["listening", "tested"], "default": "tested"},
            "address": {"type": "str", "default": ""},
            "ports": {"type": "list", "elements": "str", "default": []},
            "seconds": {"type": "int", "default": 120},
            "user": {"type": "str", "default": "ray"},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "targets": {
                "type": "list", "elements": "dict", "default": [],
                "options": {
                    "address": {"type": "str", "required": True},
                    "ports": {"type": "list", "elements": "int", "required": True},
                },
            },
            "timeout": {"type": "float", "default": 3},
        },
        required_if=[("state", "listening", ["address"])],
        supports_check_mode=True,
    )
    params = module.params
    if params["state"] == "listening":
        ports = [first_of(text) for text in params["ports"]]
        found = opened(params["address"], ports, params["seconds"], params["user"])
        module.exit_json(changed=False, **found)
    module.exit_json(changed=False, answers=tested(params["targets"], params["timeout"]))


if __name__ == "__main__":
    main()

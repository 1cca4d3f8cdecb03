# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_start
short_description: Compile a node's declared state to what its systemd unit runs
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Turns the content of C(head-node.yaml) or C(worker-node.yaml) into the arguments and the environment of
    C(ray start).
  - Each key goes where today's Ray wants it. An unknown key is refused by name, with the nearest known one.
  - Only the node knows the interface that carries its address. C(@interface@) stands for it, which
    M(rayops.cluster.node_files) puts in (O(rayops.cluster.node_files#module:files[].interface_of)).
positional: node_type
options:
  _input:
    description: The content of the node's file.
    type: dict
    required: true
  node_type:
    description: What the node is.
    type: str
    choices: [head, worker]
    required: true
"""

EXAMPLES = r"""
- name: The command of this worker is shown
  ansible.builtin.debug:
    msg: "{{ (lookup('file', 'worker-node.yaml') | from_yaml | rayops.cluster.ray_start('worker')).argv }}"
"""

RETURN = r"""
_value:
  description: The compiled node.
  type: dict
  contains:
    argv:
      description: The command, a word an item. A Redis password is the variable C(${RAY_REDIS_PASSWORD}).
      type: list
      elements: str
    environment: {description: The unit's environment variables., type: dict}
    exec_start: {description: The command as systemd's C(ExecStart=) wants it quoted., type: str}
    environment_lines:
      description: The variables as systemd's C(Environment=) wants them quoted, sorted.
      type: list
      elements: str
    user_environment_lines:
      description: What people and programs on the host share with the node, as a shell reads it, sorted.
      type: list
      elements: str
    mesh_ports:
      description: The pinned ports that other nodes connect to, the workers' as a range.
      type: list
      elements: str
    ports: {description: "Its ports by their names in C(ray_ports), but for the workers'.", type: dict}
    warnings: {description: "Keys that were accepted but do nothing, a sentence each.", type: list, elements: str}
"""

import shlex

from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import (
    compile_start,
    ports_of,
    systemd_quote,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import NODE_TYPES, RayConfigError
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import INTERFACE


def ray_start(config: dict, node_type: str) -> dict:
    """Compile a node's declared state; the source of the unit's ExecStart and Environment."""
    if node_type not in NODE_TYPES:
        raise AnsibleFilterError(f"ray_start: the node type must be one of {', '.join(NODE_TYPES)}, not '{node_type}'.")
    try:
        start = compile_start(config, node_type, interface=INTERFACE)
    except RayConfigError as error:
        raise AnsibleFilterError(f"{node_type}-node.yaml: {error}") from None
    return {
        "argv": start.argv,
        "environment": start.environment,
        "exec_start": " ".join(systemd_quote(word, expand=True) for word in start.argv),
        "environment_lines": [
            systemd_quote(f"{name}={value}") for name, value in sorted(start.environment.items())
        ],
        "user_environment_lines": [
            f"{name}={shlex.quote(value)}" for name, value in sorted(start.user_environment(config).items())
        ],
        "mesh_ports": start.mesh_ports,
        "ports": ports_of(start),
        "warnings": start.warnings,
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict:
        return {"ray_start": ray_start}

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_known_hosts
short_description: Write the host keys of the inventory into a known_hosts file
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Writes the SSH host keys that the inventory knows into a known_hosts file of the controller's, before the first
    connection. They are the variable C(ray_known_hosts_keys) of a host, or C(ecs_host_keys), which the inventory plugin
    P(rayops.cluster.huawei_ecs#inventory) reads from the console of an instance with
    O(rayops.cluster.huawei_ecs#inventory:host_keys).
  - Hosts are written by the name that C(ssh -G) says for their C(ansible_host), C(ansible_port) and
    C(ansible_ssh_common_args), so that C(HostKeyAlias), other ports and C(~/.ssh/config) are as in a connection.
  - Lines of others stay. A host of which the file has another key, or which it revokes, is refused, and then nothing is
    written. The file is replaced in one step.
  - It fails after writing where a host is left of which no key is known.
  - All of it happens on the controller. One host's task is enough for all (C(run_once)).
options:
  hosts:
    description: The hosts, by their names in the inventory.
    type: list
    elements: str
    required: true
  path:
    description: The file. It is made where it does not exist.
    type: path
    default: ~/.ssh/known_hosts
  authority:
    description:
      - The public key of an authority that signs host keys, such as V(ssh-ed25519 AAAA...). The file then trusts its
        certificates for these hosts, and for no others.
    type: str
    default: ''
  replace:
    description: Whether another key of a host is replaced, with all that the file has of this host.
    type: bool
    default: false
extends_documentation_fragment: [rayops.cluster.attributes]
"""

EXAMPLES = r"""
- name: Write the host keys
  rayops.cluster.ray_known_hosts:
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true

- name: Trust the site's authority
  rayops.cluster.ray_known_hosts:
    hosts: "{{ ansible_play_hosts_all }}"
    path: ~/.ssh/known_hosts_ray
    authority: "{{ lookup('ansible.builtin.file', 'host_ca.pub') }}"
  run_once: true
"""

RETURN = r"""
added:
  description: The new lines.
  returned: success
  type: list
  elements: str
  sample: [10.0.0.2 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPYV2HCJNW1vO1gSjPqrEfU4xtnHPyYSPHDp1mgECGFp]
msg:
  description: What is left to do.
  returned: failure
  type: str
  sample: "No key is known of worker-3: log in to each once and compare its fingerprint, or set ray_known_hosts_keys."
"""

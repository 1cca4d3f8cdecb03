#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_tls_authority
short_description: Find or make the authority that signs the certificates of a Ray cluster
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - It is O(certificate) and O(key), or C(ca.pem) and C(ca.key) in O(controller_directory), or else in O(directory) on
    the host.
  - With O(state=present) and O(state=read) the key is returned, so use C(no_log) with it. It does not fail, for what
    fails would not be seen then. M(rayops.cluster.ray_tls) tells of RV(problem).
extends_documentation_fragment: [rayops.cluster.attributes]
attributes:
  diff_mode: {support: none}
options:
  state:
    description:
      - V(known) reads what is no secret. V(read) reads the key, too. V(present) also makes what is not there, and signs
        the certificate of an authority that it made anew before it ends.
      - V(replaced) makes another one in place of one that it made, which is kept beside it. No certificate of before is
        trusted then.
      - V(restored) puts that back, if its certificate is the one in O(previous_directory), and does nothing otherwise.
    type: str
    choices: [known, read, present, replaced, restored]
    default: present
  cluster_name: {description: "The cluster's name, for that of the authority.", type: str, default: ray}
  certificate: {description: "The certificates, in PEM.", type: str, default: ""}
  key: {description: "The key, in PEM.", type: str, default: ""}
  controller_directory: {description: A directory on the controller., type: path, default: ""}
  directory: {description: "A directory on the host, root's alone.", type: path, default: /var/lib/rayops/tls}
  previous_directory: {description: "Where the host keeps C(ca.pem) of before its last upgrade, such as
      C(/etc/ray/tls/previous).", type: path, default: ""}
  days: {description: "Days that its certificates last, and twice that it is to last itself.", type: int, default: 90}
seealso: [{module: rayops.cluster.ray_tls}]
"""

EXAMPLES = r"""
- name: Make the certificate authority
  rayops.cluster.ray_tls_authority:
    cluster_name: llm
  no_log: true
  register: ray_tls_authority
"""

RETURN = r"""
certificate: {description: "The certificates, in PEM; empty where there is no authority.", type: str, returned: always}
key: {description: "The key, in PEM. Empty with O(state=known) where it lies on the host.", type: str, returned: always}
has_key: {description: Whether the key is there., type: bool, returned: always}
source: {description: "Where the authority lies, for a sentence.", type: str, returned: always}
problem: {description: Why it cannot be used; empty for nothing., type: str, returned: always}
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, read_regular


def text_of(path: str) -> str:
    """What a file holds; empty where there is none."""
    try:
        return read_regular(path).decode()
    except FileNotFoundError:
        return ""


def main() -> None:
    """Read: what is made, the controller's side makes, and has written."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str", "choices": ["known", "read", "present", "replaced", "restored"], "default": "present",
            },
            "cluster_name": {"type": "str", "default": "ray"},
            "certificate": {"type": "str", "default": ""},
            "key": {"type": "str", "default": "", "no_log": True},
            "controller_directory": {"type": "path", "default": ""},
            "directory": {"type": "path", "default": "/var/lib/rayops/tls"},
            "previous_directory": {"type": "path", "default": ""},
            "days": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    suffix = ".previous" if module.params["state"] == "restored" else ""
    certificate, key = (os.path.join(module.params["directory"], name + suffix) for name in ("ca.pem", "ca.key"))
    try:
        module.exit_json(
            changed=False, certificate=text_of(certificate), has_key=os.path.isfile(key),
            key="" if module.params["state"] == "known" else text_of(key),
        )
    except (PathError, OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=str(getattr(error, "strerror", "") or error).rstrip("."))


if __name__ == "__main__":
    main()

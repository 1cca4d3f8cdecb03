#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_tls
short_description: Keep the certificate of a Ray node
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - A node has three files in O(directory), C(node.pem) (its certificate, with what is between it and the root),
    C(node.key) and C(ca.pem) (the authorities that it trusts). Its processes read them as they start.
  - What they are worth is found out on the host, by a handshake in memory and the host's clock. Certificates and their
    keys are made on the controller, with the authority that M(rayops.cluster.ray_tls_authority) has found.
extends_documentation_fragment: [rayops.cluster.attributes]
options:
  state:
    description:
      - V(compared) says what is wrong with the node's certificate, and fails where it could not be mended.
      - V(present) has it signed anew where something is wrong. Where only other authorities are to be trusted, the
        certificate stays.
    type: str
    choices: [compared, present]
    default: present
  directory: {description: Where the files lie., type: path, default: /etc/ray/tls}
  group: {description: The group that may read them., type: str, default: ray}
  names:
    description: The host's names and addresses, for the certificate. What is neither is left out.
    type: list
    elements: str
    default: []
  authority:
    description: What M(rayops.cluster.ray_tls_authority) has returned.
    type: dict
    default: {}
  chain: {description: What the controller makes of O(authority)., type: str, default: ""}
  head_kind:
    description: What is wrong with the head's certificate. With V(trust) it does not know yet who signs now.
    type: str
    default: ""
  days: {description: Days that a certificate lasts., type: int, default: 90}
  renew_days: {description: From how many days before its end on it is signed anew., type: int, default: 15}
seealso: [{module: rayops.cluster.ray_tls_authority}]
"""

EXAMPLES = r"""
- name: Put the node's certificate in place
  rayops.cluster.ray_tls:
    names: [10.0.0.7, worker-1, localhost, 127.0.0.1]
    authority: "{{ ray_tls_authority }}"
"""

RETURN = r"""
kind:
  description: What is wrong, or was, empty for nothing. V(missing), V(key) (it does not belong to the certificate),
    V(expired), V(not_yet), V(authority) (of another one than is declared), V(foreign), V(names) (one is missing),
    V(surplus) (one too many), V(trust) (other authorities are to be trusted), V(issuer) (another one signs now) or
    V(ending).
  type: str
  returned: success
words: {description: "OpenSSL's own words, or what is missing.", type: str, returned: success}
rejected:
  description: Whether other nodes refuse such a certificate, so that the node cannot wait for its turn.
  type: bool
  returned: success
ends:
  description: The second since the epoch in which the certificate ends, null where it is not valid.
  type: float
  returned: success
clock: {description: "The host's clock, in seconds since the epoch.", type: float, returned: success}
"""

import dataclasses
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles, judge


def main() -> None:
    """Compare: what is written, the controller's side has written."""
    module: AnsibleModule = UnloggedModule(
        argument_spec={
            "state": {"type": "str", "choices": ["compared", "present"], "default": "present"},
            "directory": {"type": "path", "default": "/etc/ray/tls"},
            "group": {"type": "str", "default": "ray"},
            "names": {"type": "list", "elements": "str", "default": []},
            "authority": {"type": "dict", "default": {}, "no_log": True},
            "chain": {"type": "str", "default": ""},
            "head_kind": {"type": "str", "default": ""},
            "days": {"type": "int", "default": 90},
            "renew_days": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    params = module.params
    verdict = judge(
        NodeFiles.of(params["directory"]), params["names"], str(params["authority"].get("certificate") or ""),
        params["chain"], params["renew_days"],
    )
    module.exit_json(
        changed=bool(verdict.kind), rejected=verdict.rejected, clock=time.time(), **dataclasses.asdict(verdict)
    )


if __name__ == "__main__":
    main()

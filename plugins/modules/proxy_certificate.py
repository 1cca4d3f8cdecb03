#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: proxy_certificate
short_description: Keep the certificate of a web server, one that is given or one that is made
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Writes a certificate and its key into one file, which root alone can read, so that they are always those of each
    other. nginx takes that file for both.
  - Without O(certificate) one is made on the controller, signed by itself, with an EC key and SHA-256. It is made anew
    O(renew_days) before its end, and for other O(names).
  - What is given is refused where it is expired, not of its key, or not for the first of O(names). Nothing of its key
    is shown. A file may be encrypted with ansible-vault, a key may not have a passphrase.
options:
  path: {description: Where the file lies. Its directory must exist., type: path, required: true}
  names: {description: "The names and addresses by which the server is called, that of browsers first.", type: list,
      elements: str, required: true}
  certificate: {description: "In PEM, with what it is signed by, or a file on the controller.", type: str, default: ""}
  key: {description: "Its key in PEM, or a file on the controller.", type: str, default: ""}
  days: {description: How long one that is made is valid., type: int, default: 90}
  renew_days: {description: How many days before its end it is made anew., type: int, default: 15}
extends_documentation_fragment: [rayops.cluster.attributes]
seealso: [{module: rayops.cluster.node_files}]
"""

EXAMPLES = r"""
- name: Keep the certificate
  rayops.cluster.proxy_certificate:
    path: /etc/ray-proxy/server.pem
    names: [ray.example.com, 192.168.0.10]
"""

RETURN = r"""
kind:
  description: What was not as declared, V(missing), V(expired), V(ending), V(not_yet), V(names) or V(given); or empty.
  type: str
  returned: success
"""

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """How a module reaches a cluster."""

    DOCUMENTATION = r"""
options:
  environment: {description: The virtual environment that has Ray., type: path, default: /opt/ray/current}
  address: {description: "Where the Global Control Store (GCS) listens, as V(host:port).",
    type: str, default: "127.0.0.1:6379"}
  auth_token_path: {description: "The file with the cluster's token. If it does not exist, no token is sent.",
    type: path, default: /etc/ray/auth_token}
  tls_directory:
    description:
      - The directory with this host's certificate (C(node.pem)), its key (C(node.key)) and the authorities that it
        trusts (C(ca.pem)), where the cluster speaks mutual TLS. None where it does not.
      - C(ray_tls) of the roles puts it at C(/etc/ray/tls).
    type: path
  user: {description: The system user that Ray runs as on this host. As root the module asks the cluster as this user.,
    type: str, default: ray}
"""

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a node speaks TLS. Filters read it, in each process of Ansible's: it imports no more than that."""

from __future__ import annotations

from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import api


def tls_variables(config: dict[str, Any]) -> dict[str, str]:
    """With what the processes of a node speak mutual TLS; nothing where they speak none.

    :arg config: the content of the node's file.
    """
    return api.tls_variables((config.get("tls") or {}).get("directory"))


def misfit(address: str, config: dict[str, Any]) -> str:
    """What keeps a node from talking to the GCS, of what TLS can; empty for nothing, and where nobody listens.

    :arg address: of the GCS, host:port.
    :arg config: the content of the node's file.
    """
    try:
        api.greet(address, tls_variables(config))
    except api.HelperError as error:
        return str(error)
    except OSError:
        pass
    return ""

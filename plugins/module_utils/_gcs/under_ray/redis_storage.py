# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of a cluster in Redis. Runs under the Python of Ray's environment."""

from __future__ import annotations

import socket
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import RPC_SECONDS, HelperError, reason


def wipe_redis(request: dict[str, Any]) -> dict[str, Any]:
    """Remove the keys of one cluster; others may share the server.

    request: address, namespace, username, password.
    """
    from ray._private.gcs_utils import cleanup_redis_storage

    address, namespace = request["address"], request["namespace"]
    host, _colon, port = address.rpartition(":")
    try:
        # Ray would try for minutes.
        socket.create_connection((host.strip("[]"), int(port)), timeout=RPC_SECONDS).close()
    except OSError as error:
        raise HelperError("unreachable", f"Redis at {address} is not reachable: {reason(error)}.") from error
    if not cleanup_redis_storage(host, int(port), request["password"], False, namespace, request["username"]):
        raise HelperError("redis", f"Redis at {address} did not remove the keys of {namespace}.")
    return {}

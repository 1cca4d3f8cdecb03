# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of a cluster: what a restored one has forgotten, and its end. Runs under Ray's own Python."""

from __future__ import annotations

import os
import socket
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import (
    RPC_SECONDS,
    HelperError,
    connect,
    raise_if_final,
    reason,
    silent,
)


def skip_job_ids(request: dict[str, Any]) -> dict[str, Any]:
    """Take as many ids as no job shall get. request: address, timeout, count."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import GetNextJobIDRequest
    from ray.core.generated.gcs_service_pb2_grpc import JobInfoGcsServiceStub

    # For its sentences, and for a GCS that wants a token.
    connect(request)
    service = JobInfoGcsServiceStub(init_grpc_channel(request["address"]))
    wanted = GetNextJobIDRequest()
    # Some thousands: all at once.
    calls = [service.GetNextJobID.future(wanted, timeout=request["timeout"]) for _number in range(request["count"])]
    try:
        return {"next_id": max(call.result().job_id for call in calls) + 1}
    except grpc.RpcError as error:
        raise_if_final(error)
        raise silent(request["address"], error) from error


def wipe_redis(request: dict[str, Any]) -> dict[str, Any]:
    """Remove one cluster's keys; others may share the server.

    request: address, namespace, username, password, ca_file (empty without TLS), server_name.
    """
    # Ray reads them from its environment, once.
    for variable, value in (("RAY_REDIS_CA_CERT", "ca_file"), ("RAY_REDIS_SERVER_NAME", "server_name")):
        if request["ca_file"] and request[value]:
            os.environ[variable] = request[value]
    from ray._private.gcs_utils import cleanup_redis_storage

    address, namespace = request["address"], request["namespace"]
    host, _colon, port = address.rpartition(":")
    try:
        # Ray would try for minutes.
        socket.create_connection((host.strip("[]"), int(port)), timeout=RPC_SECONDS).close()
    except OSError as error:
        raise HelperError("unreachable", f"Redis at {address} is not reachable: {reason(error)}.") from error
    tls, user = bool(request["ca_file"]), request["username"]
    if not cleanup_redis_storage(host.strip("[]"), int(port), request["password"], tls, namespace, user):
        raise HelperError("redis", f"Redis at {address} did not remove the keys of {namespace}.")
    return {}

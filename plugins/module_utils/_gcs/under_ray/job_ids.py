# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ids of jobs. Runs under the Python of Ray's environment."""

from __future__ import annotations

from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import connect, raise_if_final, silent


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

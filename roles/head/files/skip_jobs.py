# Managed by rayops.cluster
"""Skip the ids of jobs that began after the backup that this head was restored from.

The nodes that went on running remember the drivers of those jobs as ended, and a driver's id is that of its job: they
would grant nothing to a new job with an old id. Runs with Ray's own Python: ADDRESS TOKEN_FILE MARKER COUNT.
"""
from __future__ import annotations

import os
import sys

import grpc
from ray.core.generated.gcs_service_pb2 import GetNextJobIDRequest
from ray.core.generated.gcs_service_pb2_grpc import JobInfoGcsServiceStub

address, token_file, marker, count = sys.argv[1:]
with open(token_file, encoding="utf-8") as stream:
    metadata = [("authorization", f"Bearer {stream.read().strip()}")]
stub = JobInfoGcsServiceStub(grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]))
request = GetNextJobIDRequest()
calls = [stub.GetNextJobID.future(request, timeout=60, metadata=metadata) for _number in range(int(count))]
sys.stdout.write(f"The next job has the id {max(call.result().job_id for call in calls) + 1}.\n")
os.unlink(marker)

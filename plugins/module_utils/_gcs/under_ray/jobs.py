# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs of a cluster: submitted, waited for, stopped, deleted. Runs under the Python of Ray's environment.

What a job is stands in the GCS, whole; the dashboard's REST leaves out the resources of the entrypoint. All that
changes something goes through the REST.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import (
    RPC_SECONDS,
    HelperError,
    asked,
    connect,
    iso,
    raise_if_final,
    reason,
    silent,
)
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.rest import (
    READ_SECONDS,
    Dashboard,
    dashboard_of,
    differences,
    hidden,
    last_line,
    last_lines,
    pause,
    segment,
)

# Of ray.dashboard.modules.job.common: JobInfoStorageClient, JOB_ACTOR_NAME_TEMPLATE, JOB_LOGS_PATH_TEMPLATE.
PREFIX = "_ray_internal_job_info_"
ACTOR_NAME = "_ray_internal_job_actor_{}"
ACTOR_NAMESPACE = "SUPERVISOR_ACTOR_RAY_NAMESPACE"
LOG_NAME = "job-driver-{}.log"
ENDS = ("SUCCEEDED", "FAILED", "STOPPED")
# What a job is, beside its id: two with the same are the same job.
CONTENT = (
    "entrypoint", "runtime_env", "metadata", "entrypoint_num_cpus", "entrypoint_num_gpus", "entrypoint_memory",
    "entrypoint_resources",
)
# Seconds after which a job that waits for its resources is ended by the GCS: Ray's own stop waits with it.
PENDING_SECONDS = 3


# Reading


def read_jobs(client: Any, ids: list[str] | None = None) -> list[dict[str, Any]]:
    """The jobs as they were submitted and are now, the oldest first; ids: only these."""
    prefix = PREFIX.encode()
    keys = [prefix + name.encode() for name in ids] if ids is not None else client.internal_kv_keys(
        prefix, b"job", RPC_SECONDS
    )
    found = client.internal_kv_multi_get(list(keys), b"job", RPC_SECONDS) if keys else {}
    result = []
    for key, text in found.items():
        record = json.loads(text)
        environment = record.pop("runtime_env_json", None)
        record["runtime_env"] = (json.loads(environment) if environment else None) or {}
        result.append({**record, "submission_id": key[len(prefix):].decode()})
    return sorted(result, key=lambda record: (record.get("start_time") or 0, record["submission_id"]))


def read_job(client: Any, submission_id: str) -> dict[str, Any] | None:
    return next(iter(read_jobs(client, [submission_id])), None)


def described(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """A job as a module returns it, without the values of its environment."""
    if record is None:
        return None
    times = {name: iso(record[name]) if record.get(name) else None for name in ("start_time", "end_time")}
    kept = ("submission_id", "status", "error_type", "driver_exit_code", "driver_node_id")
    message = last_lines((record.get("message") or "")[:4000], 100)
    return {
        **{name: record.get(name) for name in kept},
        **times,
        "message": message[0] if message else "",
        **{name: hidden(value) for name, value in content(record).items()},
    }


def content(record: dict[str, Any]) -> dict[str, Any]:
    """What a job is, as it compares: what is not given counts as Ray's default."""
    environment = {
        name: value for name, value in (record.get("runtime_env") or {}).items()
        # Ray's own notes, such as the commit of the Ray that it was submitted with.
        if not name.startswith("_") and value not in (None, {}, [])
    }
    amounts = {name: record.get(name) or 0 for name in CONTENT if name.startswith("entrypoint_num_")}
    return {
        "entrypoint": record.get("entrypoint"),
        "runtime_env": environment,
        "metadata": record.get("metadata") or {},
        **amounts,
        "entrypoint_memory": record.get("entrypoint_memory") or 0,
        "entrypoint_resources": record.get("entrypoint_resources") or {},
    }


def job_log(dashboard: Dashboard, record: dict[str, Any], lines: int) -> list[str]:
    """The end of a job's log; of one that failed before it ran, what Ray says of it."""
    name = LOG_NAME.format(record["submission_id"])
    found = dashboard.log(lines, node_id=record.get("driver_node_id"), filename=name)
    return found or (last_lines(record.get("message") or "", lines) if record["status"] == "FAILED" else [])


# Submitting


def submission_client(dashboard: Dashboard, upload: bool) -> Any:
    """Ray's own client, which packs and uploads directories; upload: whether it does, or only names the packages."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]
        def _do_request(self, method: str, endpoint: str, **arguments: Any) -> Any:
            # Ray's own would wait for ever. An upload may have hundreds of megabytes.
            arguments.setdefault("timeout", READ_SECONDS * 10 if arguments.get("data") else READ_SECONDS)
            return super()._do_request(method, endpoint, **arguments)

        def _upload_package(self, *arguments: Any, **named: Any) -> Any:
            return super()._upload_package(*arguments, **named) if upload else None

        def _raise_error(self, response: Any) -> None:
            raise HelperError("refused", f"Ray refused: {last_line(response.text)}.", code=response.status_code)

    # For its sentences, and for a dashboard that does not answer.
    dashboard.wanted("GET", "/api/version")
    return Client(f"http://{dashboard.address}")


def packed(dashboard: Dashboard, runtime_env: dict[str, Any], upload: bool) -> dict[str, Any]:
    """The runtime_env as Ray keeps it: its directories are the names of their packages."""
    from ray.runtime_env import RuntimeEnv

    check_places(runtime_env)
    environment = json.loads(json.dumps(runtime_env))
    client = submission_client(dashboard, upload)
    try:
        client._upload_working_dir_if_needed(environment)
        client._upload_py_modules_if_needed(environment)
        return dict(RuntimeEnv(**environment).to_dict())
    except HelperError:
        raise
    except PermissionError as error:
        raise HelperError("runtime_env", f"{error.filename} cannot be read by user {os_user()}: chown it.") from error
    except (ValueError, TypeError) as error:
        raise HelperError("runtime_env", f"runtime_env does not fit Ray: {reason(error)}.") from error
    except Exception as error:
        raise_if_final(error)
        raise HelperError("runtime_env", f"runtime_env could not be uploaded: {last_line(str(error))}.") from error


def check_places(runtime_env: dict[str, Any]) -> None:
    """Refuse a directory or a file of this host that is not there, or that its user cannot read."""
    modules = runtime_env.get("py_modules")
    named = [("working_dir", runtime_env.get("working_dir"))]
    named += [("py_modules", path) for path in (modules if isinstance(modules, list) else [])]
    for option, path in named:
        if not isinstance(path, str) or "://" in path:
            continue
        if not path.startswith("/"):
            message = f"{option} is {path}: give the whole path, from /, or a URI such as s3://bucket/job.zip."
        elif not os.path.exists(path):
            message = f"{option} is {path}, which user {os_user()} does not find on this host: copy it there first."
        elif not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
            message = f"{option} is {path}, which user {os_user()} cannot read: chown or chmod it."
        else:
            continue
        raise HelperError("runtime_env", message)


def os_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def submit_job(request: dict[str, Any]) -> dict[str, Any]:
    """Submit a job unless there is one with its id, and wait for its end where request["wait"] says so.

    request: submission_id, the entries of CONTENT (each may be None), wait, lines (of the log), dry_run, timeout.
    :returns: {changed, job, log, differences}; in a dry run the job as it would be submitted.
    """
    submission_id, deadline = request["submission_id"], time.monotonic() + request["timeout"]
    client = connect(request)
    record = asked(request["address"], lambda: read_job(client, submission_id))
    dashboard = asked(request["address"], lambda: dashboard_of(client))
    environment = packed(dashboard, request["runtime_env"] or {}, upload=record is None and not request["dry_run"])
    job = {**{name: request[name] for name in CONTENT}, "runtime_env": environment}
    found = differences(content(job), content(record)) if record else []
    if record and found:
        names = ", ".join(item["option"] for item in found[:4])
        message = (
            f"A job {submission_id} is there already, with another {names}: use another submission_id, or remove that "
            "job first (state: absent)."
        )
        raise HelperError("taken", message, status={"job": described(record), "differences": found})
    changed = record is None
    if changed and request["dry_run"]:
        planned = {**hidden(content(job)), "submission_id": submission_id}
        return {"changed": True, "job": planned, "log": [], "differences": []}
    if changed:
        # What Ray would count as given, and place the driver by, is left out.
        body = {name: value for name, value in job.items() if value not in (None, {}, 0)}
        dashboard.wanted("POST", "/api/jobs/", {**body, "submission_id": submission_id})
    log: list[str] = []
    if request["wait"] and not request["dry_run"]:
        record = ended(request, deadline, changed)
        log = job_log(dashboard, record, request["lines"])
        if record["status"] != "SUCCEEDED":
            failed(record, log, changed)
    elif changed:
        record = asked(request["address"], lambda: read_job(client, submission_id))
    return {"changed": changed, "job": described(record), "log": log, "differences": []}


def failed(record: dict[str, Any], log: list[str], changed: bool) -> None:
    name = record["submission_id"]
    if record["status"] == "STOPPED":
        why = "somebody stopped it"
    elif record.get("error_type") == "JOB_ENTRYPOINT_COMMAND_ERROR":
        why = f"its entrypoint ended with exit code {record.get('driver_exit_code')}"
    else:
        why = reason(Exception(record.get("message") or "Ray does not say why"))
    text = f"Job {name} {record['status']}: {why}."
    if not changed:
        text += " It ended before: to run it again, use another submission_id, or remove it first (state: absent)."
    told = {"changed": changed, "job": described(record), "log": log}
    raise HelperError("failed", text, status=told)


def ended(request: dict[str, Any], deadline: float, changed: bool) -> dict[str, Any]:
    """Wait until a job has ended; a head that is away for a while is waited for as well."""
    submission_id, record, error = request["submission_id"], None, None
    client = None
    while True:
        try:
            client = client or connect(request)
            record, error = read_job(client, submission_id) or record, None
            if record and record["status"] in ENDS:
                return record
        except Exception as problem:
            raise_if_final(problem)
            client, error = None, problem
        if time.monotonic() >= deadline:
            break
        pause(deadline)
    if record is None or client is None:
        raise silent(request["address"], error or Exception("it does not know the job")) from error
    seconds, log = request["timeout"], job_log(dashboard_of(client), record, request["lines"])
    waits = f" {last_line(record.get('message') or '')}." if record["status"] == "PENDING" else ""
    text = f"Job {submission_id} is still {record['status']} after {seconds:g} s, and is left as it is.{waits}"
    raise HelperError("late", text, status={"changed": changed, "job": described(record), "log": log})


# Stopping, deleting


def stop_job(request: dict[str, Any]) -> dict[str, Any]:
    """Stop a job and wait until it has ended, and delete it where request["delete"] says so.

    request: submission_id, delete, lines (of the log), dry_run, timeout.
    :returns: {changed, job: None where there is none, was: the status before}.
    """
    submission_id, deadline = request["submission_id"], time.monotonic() + request["timeout"]
    client = connect(request)
    record = asked(request["address"], lambda: read_job(client, submission_id))
    runs = record is not None and record["status"] not in ENDS
    changed = record is not None and (runs or request["delete"])
    if not changed or request["dry_run"] or record is None:
        return {"changed": changed, "job": described(record), "was": record["status"] if record else None}
    dashboard = asked(request["address"], lambda: dashboard_of(client))
    place, was = f"/api/jobs/{segment(submission_id)}", record["status"]
    if runs:
        dashboard.wanted("POST", f"{place}/stop")
        if was == "PENDING":
            stop_pending(request, client, deadline)
        record = ended(request, deadline, True)
    if request["delete"]:
        dashboard.wanted("DELETE", place)
    return {"changed": True, "job": described(record), "was": was}


def stop_pending(request: dict[str, Any], client: Any, deadline: float) -> None:
    """A job that waits for its resources gets Ray's stop when it has them, maybe never: end what waits."""
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import GetNamedActorInfoRequest, KillActorViaGcsRequest
    from ray.core.generated.gcs_service_pb2_grpc import ActorInfoGcsServiceStub

    submission_id = request["submission_id"]
    patience = min(deadline, time.monotonic() + PENDING_SECONDS)
    while time.monotonic() < patience:
        record = asked(request["address"], lambda: read_job(client, submission_id))
        if record is None or record["status"] != "PENDING":
            return
        pause(patience)
    service = ActorInfoGcsServiceStub(init_grpc_channel(request["address"]))
    name = GetNamedActorInfoRequest(name=ACTOR_NAME.format(submission_id), ray_namespace=ACTOR_NAMESPACE)
    actor = asked(request["address"], lambda: service.GetNamedActorInfo(name, timeout=RPC_SECONDS)).actor_table_data
    kill = KillActorViaGcsRequest(actor_id=actor.actor_id, force_kill=True, no_restart=True)
    asked(request["address"], lambda: service.KillActorViaGcs(kill, timeout=RPC_SECONDS))


# Listing


def list_jobs(request: dict[str, Any]) -> dict[str, Any]:
    """The jobs that were submitted, the oldest first: {jobs}.

    request: ids (None for all), lines: of the log of each.
    """
    client = connect(request)
    found = asked(request["address"], lambda: read_jobs(client, request["ids"]))
    dashboard = asked(request["address"], lambda: dashboard_of(client)) if request["lines"] and found else None
    return {"jobs": [
        {**(described(record) or {}), **({"log": job_log(dashboard, record, request["lines"])} if dashboard else {})}
        for record in found
    ]}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Ray cluster, seen from a module: what is asked of its GCS through the Python of Ray's environment."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs import environment as _environment
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.environment import (
    RayClusterError,
    RayEnvironment,
    check_address,
)
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.rest import LATE_SECONDS
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.workload import Workload
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest

__all__ = ["RayCluster", "RayClusterError", "connected", "connection_arguments", "told"]


def connection_arguments() -> dict[str, dict[str, Any]]:
    """The options that each module with a RayCluster has."""
    return {
        "environment": {"type": "path", "default": "/opt/ray/current"},
        "address": {"type": "str", "default": "127.0.0.1:6379"},
        "auth_token_path": {"type": "path", "default": "/etc/ray/auth_token", "no_log": False},
        "tls_directory": {"type": "path"},
        "user": {"type": "str", "default": "ray"},
    }


def connected(options: dict[str, Any]) -> RayCluster:
    """The cluster that the options of a module name, with its timeout."""
    return RayCluster(**{name: options[name] for name in (*connection_arguments(), "timeout")})


def told(error: RayClusterError) -> str:
    """What a module says of a failure: the sentence and, where one came along, the end of a log."""
    log = error.status.get("log")
    lines = [line for line in log if isinstance(line, str)] if isinstance(log, list) else []
    return "\n".join([str(error), *(["The end of its log:", *lines] if lines else [])])


class RayCluster(RayEnvironment):
    """The cluster whose GCS listens at address ("host:port").

    auth_token_path: the file with the token; None, or a file that does not exist, means no token authentication.
    tls_directory: of this host's certificate (node.pem, node.key, ca.pem); None where the cluster speaks no TLS.
    For the rest see RayEnvironment.
    """

    def __init__(
        self,
        environment: str = "/opt/ray/current",
        address: str = "127.0.0.1:6379",
        auth_token_path: str | None = "/etc/ray/auth_token",
        user: str | None = None,
        timeout: float = 30,
        tls_directory: str | None = None,
    ) -> None:
        super().__init__(environment, user, timeout)
        self.address = address
        self.auth_token_path = auth_token_path
        self.tls_directory = tls_directory or None

    def status(self, wait: dict[str, Any] | None = None, timeout: float | None = None) -> dict[str, Any]:
        """The cluster as ray_status returns it, DEAD nodes included.

        Without wait it looks once. With wait ({nodes, node_ids, node_names, node_ips, resources}, each optional) it
        looks until all of it is there, also for a GCS that does not answer yet.
        """
        return self._call("status", timeout, wait=wait or {})

    def wait_alive(self, node_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait until the GCS has the node as ALIVE, and return the node."""
        nodes: list[dict[str, Any]] = self.status({"node_ids": [node_id]}, timeout)["nodes"]
        return next(node for node in nodes if node["node_id"] == node_id)

    def drain(self, node_id: str, deadline: float, message: str, lose: bool = False) -> dict[str, Any]:
        """Drain a node and wait at most deadline seconds until its work has ended.

        lose: whether actors that Ray does not restart elsewhere, and objects, count as nothing to wait for.
        Returns {drained: bool, seconds: float, node: the node as it was seen last, held: what it held then}. A drained
        node may still have idle actors that Ray restarts elsewhere. A drain cannot be taken back.
        """
        return self._call(
            "drain", None, extra=deadline, node_id=node_id, deadline=deadline, message=message, lose=lose
        )

    def held(self, node_id: str) -> dict[str, Any]:
        """What a node holds: {tasks, drivers, actors: [{name, restarts, serve}], objects, object_bytes}."""
        return self._call("held", None, node_id=node_id)

    def workload(self) -> Workload:
        """What runs on the cluster: Serve applications, jobs and placement groups, by the nodes that carry them."""
        try:
            return Workload.read(self._call("workload", None, extra=_environment.MARGIN_SECONDS))
        except (KeyError, TypeError, AttributeError) as error:
            raise RayClusterError("ray", f"The Ray in {self.environment} does not say what runs.") from error

    def wait_serving(self, applications: dict[str, dict[str, int]], timeout: float) -> list[str]:
        """Wait until Serve applications are RUNNING with their replicas; returns why they are not, if they are not.

        applications: by name, of each deployment how many replicas are enough; without it, what it wants.
        timeout: seconds; with 0 it looks once.
        """
        # The last look may take its time.
        lacking = self._call("wait_serving", timeout, extra=30, applications=applications).get("lacking")
        if not isinstance(lacking, list):
            raise RayClusterError("ray", f"The Ray in {self.environment} does not say what Serve does.")
        return [str(each) for each in lacking]

    def smoke_test(
        self,
        nodes: list[str] | None = None,
        nodes_timeout: float = 30.0,
        task_seconds: float = 1.0,
        payload_bytes: int = 8000000,
        max_tasks: int = 0,
        in_use: str = "skip",
        transfer_bytes: int = 32000000,
        transfer_seconds: float = 10.0,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Run one task per CPU, GPU and NPU (options: ray_smoke_test): {summary, resources, transfers, seconds}."""
        return self._call(
            "smoke_test",
            timeout,
            extra=nodes_timeout,
            nodes=nodes or [],
            nodes_timeout=nodes_timeout,
            task_seconds=task_seconds,
            payload_bytes=payload_bytes,
            max_tasks=max_tasks,
            in_use=in_use,
            transfer_bytes=transfer_bytes,
            transfer_seconds=transfer_seconds,
            dry_run=dry_run,
        )

    def skip_job_ids(self, count: int) -> int:
        """Take count ids of jobs, so that no job gets them. Returns the id that the next job has."""
        found = self._call("skip_job_ids", None, count=count).get("next_id")
        if not isinstance(found, int):
            raise RayClusterError("ray", f"The Ray in {self.environment} does not say which id the next job has.")
        return found

    def submit_job(self, submission_id: str, dry_run: bool = False, **options: Any) -> dict[str, Any]:
        """Submit a job unless there is one with its id (options: under_ray.jobs.submit_job).

        Returns {changed, job, log: [line], differences}.
        """
        return self._call(
            "submit_job", None, extra=LATE_SECONDS, submission_id=submission_id, dry_run=dry_run, **options
        )

    def stop_job(self, submission_id: str, delete: bool, lines: int, dry_run: bool = False) -> dict[str, Any]:
        """Stop a job, wait for its end, and delete it if asked to. Returns {changed, job, was: its status}."""
        return self._call(
            "stop_job", None, extra=LATE_SECONDS, submission_id=submission_id, delete=delete, lines=lines,
            dry_run=dry_run,
        )

    def jobs(self, ids: list[str] | None = None, lines: int = 0) -> list[dict[str, Any]]:
        """The jobs that were submitted, the oldest first. ids: only these; lines: of the end of each log."""
        found = self._call("list_jobs", None, ids=ids, lines=lines).get("jobs")
        return [job for job in found if isinstance(job, dict)] if isinstance(found, list) else []

    def deploy_applications(
        self,
        applications: list[dict[str, Any]],
        http_options: dict[str, Any] | None = None,
        proxy_location: str | None = None,
        wait: bool = True,
        lines: int = 20,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Declare Serve applications, in Serve's own schema; all others stay. Waits until they are RUNNING.

        Returns {changed, changes: [{name, action, differences}], applications}.
        """
        return self._call(
            "deploy_applications", None, extra=LATE_SECONDS, applications=applications, http_options=http_options,
            proxy_location=proxy_location, wait=wait, lines=lines, dry_run=dry_run,
        )

    def remove_applications(self, names: list[str], wait: bool = True, dry_run: bool = False) -> dict[str, Any]:
        """Remove Serve applications; all others stay. Waits until they have ended. Returns as deploy_applications."""
        return self._call(
            "remove_applications", None, extra=LATE_SECONDS, names=names, wait=wait, lines=0, dry_run=dry_run
        )

    def serve_status(self, names: list[str] | None = None) -> dict[str, Any]:
        """{running, applications, http_options, proxy_location, proxies}, the applications with their config."""
        return self._call("serve_status", None, names=names)

    def _call(self, call: str, timeout: float | None, extra: float = 0, **parameters: Any) -> dict[str, Any]:
        check_address(self.address)
        timeout = self.timeout if timeout is None else timeout
        limit = timeout + extra + _environment.MARGIN_SECONDS
        return self._ask(call, limit, address=self.address, timeout=timeout, **parameters)

    def _token(self) -> str | None:
        return self.auth_token_path if self.auth_token_path and os.path.exists(self.auth_token_path) else None

    def _tls(self) -> str | None:
        return self.tls_directory

    def _late(self, limit: float) -> str:
        return f"The GCS at {self.address} accepts connections, but gave no answer in {limit:g} s."

    def _died(self, code: int, errors: str) -> dict[str, Any]:
        if "RAY_AUTH_TOKEN_PATH is set but" in errors:
            who = self.user or guest.own_name()
            message = f"The token file {self.auth_token_path} is empty, or {who} cannot read it."
            return {"error": "token", "message": message}
        return super()._died(code, errors)

    def _sentence(self, answer: dict[str, Any]) -> str:
        if answer["error"] == "unauthorized" and self._token():
            return f"The cluster at {self.address} refused the token in {self.auth_token_path}."
        if answer["error"] == "unauthorized":
            return f"The cluster at {self.address} wants a token, and there is none at {self.auth_token_path}."
        if answer["error"] == "version":
            return f"The Ray in {self.environment} does not fit the cluster at {self.address}: {answer.get('message')}"
        return super()._sentence(answer)

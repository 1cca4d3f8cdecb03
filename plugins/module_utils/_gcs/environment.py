# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ray's environment on this host, seen from a module: each call runs a helper of under_ray under its Python."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
from types import ModuleType
from typing import Any, TypedDict

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import (
    api,
    dashboards,
    drain,
    jobs,
    rest,
    serve,
    smoke_test,
    state,
    workload,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest

# What the helper needs above a call's own timeout: to import Ray, and to disconnect.
MARGIN_SECONDS = 5
# Each call: who has it, and what it answers. A module returns that as keys of its own result: no other may come from a
# helper, whose environment may be anybody's.
CALLS: dict[str, tuple[ModuleType, tuple[str, ...]]] = {
    "status": (api, (
        "ray_version", "python_version", "environment_version", "session_name", "nodes", "resources", "demands",
        "summary",
    )),
    "drain": (drain, ("drained", "seconds", "node", "held")),
    "held": (drain, ("tasks", "drivers", "actors", "objects", "object_bytes")),
    "workload": (workload, ("applications", "jobs", "actors", "groups")),
    "wait_serving": (workload, ("lacking",)),
    "smoke_test": (smoke_test, ("summary", "resources", "transfers", "seconds")),
    "skip_job_ids": (state, ("next_id",)),
    "wipe_redis": (state, ()),
    "dashboards": (dashboards, ("dashboards",)),
    "submit_job": (jobs, ("changed", "job", "log", "differences")),
    "stop_job": (jobs, ("changed", "job", "was")),
    "list_jobs": (jobs, ("jobs",)),
    "deploy_applications": (serve, ("changed", "changes", "applications", "log")),
    "remove_applications": (serve, ("changed", "changes", "applications", "log")),
    "serve_status": (serve, ("running", "applications", "http_options", "proxy_location", "proxies")),
}
UID = re.compile(r"[A-Za-z0-9_-]{1,60}")
MOST_DASHBOARDS = 99

# Loads the sources under their own names, so that their imports of each other work, and answers one request.
BOOTSTRAP = """
import sys, types
for name, source in {sources!r}.items():
    sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), sys.modules[name].__dict__)
sys.modules[{api!r}].run(sys.modules[{module!r}].{call}, {request!r})
"""


class RayClusterError(Exception):
    """A call failed; str() is one sentence for the user.

    kind, of any call: no_ray (nothing installed), address, user, token (its file), unreachable, tls (the GCS and this
    host do not speak the same, or do not trust each other), unauthorized, version, timeout, ray (all else); of status:
    missing; of drain: rejected, no_node; of smoke_test: no_cpu, no_node, task, pending; of wipe_redis: redis; of what
    asks the dashboard: dashboard (it does not answer), refused; of jobs: runtime_env, taken (the id, by another job),
    failed, late; of Serve: no_serve, schema, http_options, imperative, second_writer, failed, late.
    status: with kinds missing, taken, failed and late, what was seen last: keys of the call's answer.
    """

    def __init__(self, kind: str, message: str, status: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status or {}


class Dashboard(TypedDict):
    uid: str
    content: str


class RayEnvironment:
    """A virtual environment that has Ray, and what it does without a cluster.

    user: the system user that root runs the helper as, by default root; who is not root runs it as itself.
    timeout: seconds, for calls that are not given their own.
    """

    def __init__(self, environment: str = "/opt/ray/current", user: str | None = None, timeout: float = 30) -> None:
        self.environment = environment
        self.user = user if os.geteuid() == 0 else None
        self.timeout = timeout

    def dashboards(self) -> list[Dashboard]:
        """The Grafana dashboards that this Ray generates, each uid once and fit for the name of a file."""
        found: Any = None
        try:
            found = self._ask("dashboards", self.timeout).get("dashboards")
        except RayClusterError as error:
            if error.kind != "ray":
                raise
        several = isinstance(found, list) and 0 < len(found) <= MOST_DASHBOARDS and all(map(_is_dashboard, found))
        result = {each["uid"]: Dashboard(uid=each["uid"], content=each["content"]) for each in found} if several else {}
        if not result or len(result) < len(found):
            message = (
                f"{self.environment} has printed something else than Ray's dashboards: see what it is, or install it "
                "anew (remove it, and run site.yml)."
            )
            raise RayClusterError("ray", message)
        return list(result.values())

    def wipe_redis(
        self, address: str, namespace: str, password: str, username: str = "", ca_file: str = "", server_name: str = ""
    ) -> None:
        """Remove the state of the cluster that has this namespace from the Redis at address ("host:port").

        :arg ca_file: the CAs of its certificate; empty where it speaks no TLS.
        :arg server_name: what TLS calls it.
        """
        check_address(address)
        self._ask(
            "wipe_redis", self.timeout, address=address, namespace=namespace, password=password, username=username,
            ca_file=ca_file, server_name=server_name,
        )

    def _ask(self, call: str, limit: float, **request: Any) -> dict[str, Any]:
        """What the helper answers to one call, within limit seconds: of it, what belongs to the call."""
        code, output, errors = self._run(script(call, {**request, "limit": limit}), call, limit)
        answer = read_answer(output)
        if answer is None:
            answer = self._died(code, errors)
        # Here and nowhere else: names of resources, labels, nodes and actors are for any job to choose.
        answer = guest.harmless(answer)
        if "error" in answer:
            status = only(answer.get("status"), call)
            raise RayClusterError(str(answer["error"]), self._sentence(answer), status)
        return only(answer, call)

    def _run(self, source: str, call: str, limit: float) -> tuple[int, str, str]:
        python = os.path.join(self.environment, "bin", "python")
        if not os.path.exists(python):
            raise RayClusterError("no_ray", f"There is no Python at {python}: install Ray there, or set environment.")
        # -I: nothing from the working directory or from PYTHONPATH. The last word names the process in ps.
        command = [python, "-I", "-", f"rayops.cluster.{call}"]
        try:
            return guest.run(
                command, self.user or guest.own_name(), limit, source,
                api.helper_variables(self._token(), self._tls()),
            )
        except TimeoutError:
            raise RayClusterError("timeout", self._late(limit)) from None
        except guest.UnknownUserError as error:
            raise RayClusterError("user", str(error)) from None
        except guest.GuestError as error:
            raise RayClusterError("ray", str(error)) from None
        except OSError as error:
            who = f" as {self.user}" if self.user else ""
            raise RayClusterError("no_ray", f"{python} cannot be run{who}: {error.strerror}.") from error

    def _token(self) -> str | None:
        """The file with the token that the helper is to use."""
        return None

    def _tls(self) -> str | None:
        """The directory of the certificate that the helper is to use."""
        return None

    def _late(self, limit: float) -> str:
        return f"The Ray in {self.environment} gave no answer in {limit:g} s."

    def _died(self, code: int, errors: str) -> dict[str, Any]:
        return {"error": "ray", "message": f"Ray's helper ended with code {code}: {api.last_words(errors)}"}

    def _sentence(self, answer: dict[str, Any]) -> str:
        message = str(answer.get("message"))
        return f"Ray is not installed in {self.environment}: {message}." if answer["error"] == "no_ray" else message


def check_address(address: str) -> None:
    if not re.fullmatch(r".+:\d+", address):
        message = f"The address must be host:port, for example 10.0.0.5:6379, not {address}."
        raise RayClusterError("address", message)


def script(call: str, request: dict[str, Any]) -> str:
    """The helper: Python source without any import from a collection."""
    sources = {module.__name__: inspect.getsource(module) for module in (api, rest, CALLS[call][0])}
    return BOOTSTRAP.format(
        sources=sources, api=api.__name__, module=CALLS[call][0].__name__, call=call, request=request
    )


def read_answer(output: str) -> dict[str, Any] | None:
    """A helper's answer, the last line that it wrote; None for none. What no JSON has, such as NaN, becomes null."""
    def number(text: str) -> float | None:
        value = float(text)
        return value if math.isfinite(value) else None

    try:
        answer = json.loads(output.strip().rpartition("\n")[2], parse_float=number, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def only(answer: Any, call: str) -> dict[str, Any]:
    """Of an answer, what belongs to the call."""
    return {key: answer[key] for key in CALLS[call][1] if key in answer} if isinstance(answer, dict) else {}


def _is_dashboard(found: Any) -> bool:
    texts = isinstance(found, dict) and isinstance(found.get("uid"), str) and isinstance(found.get("content"), str)
    return texts and bool(UID.fullmatch(found["uid"]))

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Ray cluster, seen from a module: each call runs a helper under the Python of Ray's environment."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import api as _ray_api
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import drain as _ray_drain
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import smoke_test as _ray_smoke_test
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest as _guest

# What the helper needs above a call's own timeout: to import Ray, and to disconnect.
MARGIN_SECONDS = 5
# What each call answers. A module returns it as keys of its own result: no other may come from a helper, whose
# environment may be anybody's.
ANSWERS = {
    "status": (
        "ray_version", "python_version", "environment_version", "session_name", "nodes", "resources", "demands",
        "summary",
    ),
    "drain": ("drained", "seconds", "node", "held"),
    "held": ("tasks", "drivers", "actors", "objects", "object_bytes"),
    "smoke_test": ("resources", "seconds"),
}

# Loads the sources under their own names, so that their imports of each other work, and answers one request.
BOOTSTRAP = """
import sys, types
for name, source in {sources!r}.items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
sys.modules[{api!r}].run(module.{call}, {request!r})
"""


class RayClusterError(Exception):
    """A call failed; str() is one sentence for the user.

    kind, of any call: no_ray (nothing installed), address, user, token (its file), unreachable, unauthorized, version,
    timeout, ray (all else); of status: missing; of drain: rejected, no_node;
    of smoke_test: no_cpu, no_node, task, pending.
    status: with kind missing, the cluster as it was seen last.
    """

    def __init__(self, kind: str, message: str, status: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status or {}


def connection_arguments() -> dict[str, dict[str, Any]]:
    """The options that each module with a RayCluster has."""
    return {
        "environment": {"type": "path", "default": "/opt/ray/current"},
        "address": {"type": "str", "default": "127.0.0.1:6379"},
        "auth_token_path": {"type": "path", "default": "/etc/ray/auth_token", "no_log": False},
        "user": {"type": "str", "default": "ray"},
    }


class RayCluster:
    """The cluster whose GCS listens at address ("host:port").

    environment: the virtual environment that has Ray.
    auth_token_path: the file with the token; None, or a file that does not exist, means no token authentication.
    user: the system user that root runs the helper as, by default root; who is not root runs it as itself.
    timeout: seconds, for calls that are not given their own.
    """

    def __init__(
        self,
        environment: str = "/opt/ray/current",
        address: str = "127.0.0.1:6379",
        auth_token_path: str | None = "/etc/ray/auth_token",
        user: str | None = None,
        timeout: float = 30,
    ) -> None:
        self.environment = environment
        self.address = address
        self.auth_token_path = auth_token_path
        self.user = user if os.geteuid() == 0 else None
        self.timeout = timeout

    def status(self, wait: dict[str, Any] | None = None, timeout: float | None = None) -> dict[str, Any]:
        """The cluster as ray_status returns it, DEAD nodes included.

        Without wait it looks once. With wait ({nodes, node_ids, node_names, node_ips, resources}, each optional) it
        looks until all of it is there, also for a GCS that does not answer yet.
        """
        return self._call("status", timeout, wait=wait or {})

    def wait_alive(self, node_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait until the GCS has the node as ALIVE, and return the node."""
        found = self.status({"node_ids": [node_id]}, timeout)
        return next(node for node in found["nodes"] if node["node_id"] == node_id)

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
        """What a node holds: {tasks, drivers, actors: [{name, restarts}], objects, object_bytes}."""
        return self._call("held", None, node_id=node_id)

    def smoke_test(
        self,
        task_seconds: float = 1.0,
        payload_bytes: int = 8000000,
        max_tasks: int = 0,
        in_use: str = "skip",
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Run one task per CPU, GPU and NPU (options: ray_smoke_test), and return {resources, seconds}."""
        return self._call(
            "smoke_test",
            timeout,
            task_seconds=task_seconds,
            payload_bytes=payload_bytes,
            max_tasks=max_tasks,
            in_use=in_use,
            dry_run=dry_run,
        )

    def _call(self, call: str, timeout: float | None, extra: float = 0, **parameters: Any) -> dict[str, Any]:
        if not re.fullmatch(r".+:\d+", self.address):
            message = f"The address must be host:port, for example 10.0.0.5:6379, not {self.address}."
            raise RayClusterError("address", message)
        timeout = self.timeout if timeout is None else timeout
        limit = timeout + extra + MARGIN_SECONDS
        request = {"address": self.address, "timeout": timeout, "limit": limit, **parameters}
        code, output, errors = self._run(script(call, request), call, limit)
        answer = read_answer(output)
        if answer is None:
            answer = self._died(code, errors)
        # Here and nowhere else: names of resources, labels, nodes and actors are for any job to choose.
        answer = _guest.harmless(answer)
        status = only(answer.get("status"), "status")
        if "error" in answer:
            raise RayClusterError(str(answer["error"]), self._sentence(answer), status)
        return only(answer, call)

    def _run(self, source: str, call: str, limit: float) -> tuple[int, str, str]:
        python = os.path.join(self.environment, "bin", "python")
        if not os.path.exists(python):
            raise RayClusterError("no_ray", f"There is no Python at {python}: install Ray there, or set environment.")
        # -I: nothing from the working directory or from PYTHONPATH. The last word names the process in ps.
        command = [python, "-I", "-", f"rayops.cluster.{call}"]
        try:
            return _guest.run(command, self.user or _guest.own_name(), limit, source, self._variables())
        except TimeoutError:
            message = f"The GCS at {self.address} accepts connections, but gave no answer in {limit:g} s."
            raise RayClusterError("timeout", message) from None
        except _guest.UnknownUserError as error:
            raise RayClusterError("user", str(error)) from None
        except _guest.GuestError as error:
            raise RayClusterError("ray", str(error)) from None
        except OSError as error:
            who = f" as {self.user}" if self.user else ""
            raise RayClusterError("no_ray", f"{python} cannot be run{who}: {error.strerror}.") from error

    def _variables(self) -> dict[str, str]:
        env = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_COLOR_PREFIX": "0", "NO_COLOR": "1"}
        if self.auth_token_path and os.path.exists(self.auth_token_path):
            env.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=self.auth_token_path)
        return env

    def _died(self, code: int, errors: str) -> dict[str, Any]:
        if "RAY_AUTH_TOKEN_PATH is set but" in errors:
            who = self.user or _guest.own_name()
            message = f"The token file {self.auth_token_path} is empty, or {who} cannot read it."
            return {"error": "token", "message": message}
        return {"error": "ray", "message": f"Ray's helper ended with code {code}: {last_words(errors)}"}

    def _sentence(self, answer: dict[str, Any]) -> str:
        kind, message = answer["error"], str(answer.get("message"))
        if kind == "no_ray":
            return f"Ray is not installed in {self.environment}: {message}."
        if kind == "unauthorized":
            if not (self.auth_token_path and os.path.exists(self.auth_token_path)):
                return f"The cluster at {self.address} wants a token, and there is none at {self.auth_token_path}."
            return f"The cluster at {self.address} refused the token in {self.auth_token_path}."
        if kind == "version":
            return f"The Ray in {self.environment} does not fit the cluster at {self.address}: {message}"
        return message


def script(call: str, request: dict[str, Any]) -> str:
    """The helper: Python source without any import from a collection."""
    owners = {"drain": _ray_drain, "held": _ray_drain, "smoke_test": _ray_smoke_test}
    modules = [_ray_api, owners[call]] if call in owners else [_ray_api]
    sources = {module.__name__: inspect.getsource(module) for module in modules}
    return BOOTSTRAP.format(sources=sources, api=_ray_api.__name__, call=call, request=request)


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
    return {key: answer[key] for key in ANSWERS[call] if key in answer} if isinstance(answer, dict) else {}


def last_words(errors: str) -> str:
    """Of what a helper wrote before it died, the line that tells most."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line.partition("Check failed: ")[2] for line in lines if "Check failed: " in line]
    return (telling or lines[-1:] or ["it wrote nothing"])[0][:300]

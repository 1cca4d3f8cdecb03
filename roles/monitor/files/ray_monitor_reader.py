# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the cluster in a child process: Ray's client can hang, and its C++ ends the process that uses it.

Both ends of the pipe are here: Reader in the exporter, and serve() in the child. A request and an answer are a line of
JSON each. _ray_api lies beside this file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from typing import Any

# With -I, Python does not look beside the program.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import _ray_api

PROXY_VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
# What a part of a reading may take before it is given up. A reading without such parts takes a tenth of a second.
COUNT_SECONDS, PROBE_SECONDS, DASHBOARD_SECONDS, GROUPS_SECONDS = 5, 2, 2, 2
# Of the time, the GCS may spend one part in so many on counting its tasks: the longer that takes, the rarer it is done.
COUNT_SHARE = 20
# Placement groups that wait, of which so many are looked at: a question to the GCS each.
MOST_GROUPS = 100


class ReadingError(Exception):
    """A reading failed: str() is one sentence. reachable: the GCS answered, so the fault lies elsewhere."""

    def __init__(self, message: str, reachable: bool) -> None:
        super().__init__(message)
        self.reachable = reachable


class Reader:
    """The child process. It is started by the first reading, and anew after one that failed.

    config: the exporter's (/etc/ray/monitor.yaml).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.address: str = config["address"]
        self.token: str | None = config["auth_token_path"]
        self.tls: str | None = config["tls_directory"]
        self.timeout: float = config["timeout"]
        self.request = json.dumps({name: config[name] for name in ("address", "dashboard_url", "timeout")})
        self.process: subprocess.Popen[str] | None = None
        self.errors: Any = None

    def read(self) -> dict[str, Any]:
        """One reading, as serve() gives it. Raises ReadingError at the latest after the timeout."""
        deadline = time.monotonic() + self.timeout
        try:
            self._knock()
            return self._ask(deadline)
        except ReadingError:
            self.kill()
            raise

    def end(self) -> None:
        """For a process that ends itself: from any thread, and without a wait."""
        if self.process:
            self.process.kill()

    def kill(self) -> None:
        process, self.process = self.process, None
        if process:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
            self.errors.close()

    def _knock(self) -> None:
        """Without a listener there is no need for a child, whose start costs a second of processor time."""
        host, _colon, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=self.timeout).close()
        except OSError as error:
            message = f"The GCS at {self.address} is not reachable: {_ray_api.reason(error)}."
            raise ReadingError(message, reachable=False) from error

    def _ask(self, deadline: float) -> dict[str, Any]:
        process = self.process
        if process is None or process.poll() is not None:
            self.kill()
            process = self.process = self._start()
        assert process.stdin and process.stdout
        late = threading.Timer(max(0.0, deadline - time.monotonic()), process.kill)
        late.daemon = True
        late.start()
        try:
            os.write(process.stdin.fileno(), f"{self.request}\n".encode())
            line = process.stdout.readline()
        except OSError:
            line = ""
        finally:
            late.cancel()
        if not line.endswith("\n"):
            raise self._died(process, time.monotonic() >= deadline)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ReadingError(self._sentence(answer), reachable=answer["error"] != "unreachable")
        return answer

    def _start(self) -> subprocess.Popen[str]:
        # What Ray writes there is wanted only if the child dies of it.
        self.errors = tempfile.TemporaryFile()
        return subprocess.Popen(
            [sys.executable, "-I", os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=self._environment(),
            text=True,
        )

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name.lower() not in PROXY_VARIABLES}
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USE_TLS"):
            env.pop(name, None)
        return {**env, **_ray_api.helper_variables(self.token, self.tls)}

    def _died(self, process: subprocess.Popen[str], late: bool) -> ReadingError:
        if late:
            message = f"The GCS at {self.address} accepts connections, but gave no reading in {self.timeout:g} s."
            return ReadingError(message, reachable=False)
        process.wait()
        self.errors.seek(0)
        written = self.errors.read().decode(errors="replace")
        if "RAY_AUTH_TOKEN_PATH is set but" in written:
            message = f"The token file {self.token} is empty or gone, or the user of ray-monitor cannot read it."
            return ReadingError(message, reachable=False)
        told = _ray_api.last_words(written)
        return ReadingError(f"The reader ended with code {process.returncode}: {told}", reachable=False)

    def _sentence(self, answer: dict[str, Any]) -> str:
        if answer["error"] == "unauthorized" and self.token:
            return f"The cluster at {self.address} refused the token in {self.token}."
        if answer["error"] == "unauthorized":
            return f"The cluster at {self.address} wants a token: set auth_token_path."
        if answer["error"] == "version":
            return f"The Ray of {sys.executable} does not fit the cluster at {self.address}: {answer['message']}"
        return str(answer["message"])


# The child


class Connection:
    """What the child keeps from one reading to the next."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.address = request["address"]
        self.dashboard_url = request["dashboard_url"]
        self.client = _ray_api.connect(request)
        self.task_service = _ray_api.task_service(self.address)
        self.group_service = _ray_api.group_service(self.address)
        self.tasks: dict[str, int] | Exception = {}
        self.next_count = 0.0
        # Two monitors of one cluster write different keys.
        self.probe_key = f"monitor_probe_{socket.gethostname()}"

    def read(self) -> dict[str, Any]:
        """A reading: read_status(), and what is read beside it.

        tasks: by state; storage_seconds: of the probe; token_auth: bool; metrics_addresses: of the head's own
        processes; groups: see read_waiting_groups. Each is None where it could not be read, and troubles has the reason
        under the same key: the rest of the reading is good.
        """
        began = time.monotonic()
        reading: dict[str, Any] = {"status": _ray_api.read_status(self.client), "groups": [], "troubles": {}}
        parts: dict[str, Any] = {
            "tasks": self._tasks, "storage_seconds": self._storage, "token_auth": self._token_auth,
            "metrics_addresses": lambda: _ray_api.read_metrics_addresses(self.client),
        }
        if any(demand["kind"] == "placement_group" for demand in reading["status"]["demands"]):
            parts["groups"] = self._groups
        for name, read in parts.items():
            try:
                reading[name] = read()
            except Exception as error:
                reading[name] = None
                reading["troubles"][name] = _ray_api.reason(error)
        return {**reading, "seconds": time.monotonic() - began}

    def _tasks(self) -> dict[str, int]:
        began = time.monotonic()
        if began >= self.next_count:
            try:
                self.tasks = _ray_api.count_tasks(self.task_service, COUNT_SECONDS)
            except Exception as error:
                self.tasks = error
            ended = time.monotonic()
            self.next_count = ended + (ended - began) * COUNT_SHARE
        if isinstance(self.tasks, Exception):
            raise self.tasks
        return self.tasks

    def _storage(self) -> float:
        return _ray_api.probe_storage(self.client, self.probe_key, PROBE_SECONDS)

    def _groups(self) -> list[dict[str, Any]]:
        return _ray_api.read_waiting_groups(self.client, self.group_service, MOST_GROUPS, GROUPS_SECONDS)

    def _token_auth(self) -> bool:
        """Whether the cluster asks for tokens. Its dashboard answers this to anybody."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"{self.dashboard_url.rstrip('/')}/api/authentication_mode"
        with opener.open(url, timeout=DASHBOARD_SECONDS) as answer:
            return bool(json.load(answer)["authentication_mode"] != "disabled")


def answer(request: dict[str, Any], connection: Connection | None) -> tuple[dict[str, Any], Connection | None]:
    """A reading, or {error, message}; and the connection to use next."""
    try:
        connection = connection or Connection(request)
        return _ray_api.asked(request["address"], connection.read), connection
    except _ray_api.HelperError as error:
        return error.answer, None
    except Exception as error:
        return {"error": "ray", "message": f"Ray failed: {type(error).__name__}: {_ray_api.reason(error)}."}, None


def serve() -> None:
    """Answer one request after the other, until the exporter is gone or a reading has failed."""
    # Ray writes to file descriptor 1 as well, also from C++: only answers may get through.
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    connection = None
    for line in sys.stdin:
        request = json.loads(line)
        # An exporter that was killed in the meantime cannot end a child that hangs.
        signal.alarm(int(request["timeout"]) + 2)
        reading, connection = answer(request, connection)
        answer_to.write(json.dumps(reading) + "\n")
        answer_to.flush()
        signal.alarm(0)
        if connection is None:
            break
    os._exit(0)  # Ray's threads have nothing left to do, and take their time to end


if __name__ == "__main__":
    serve()

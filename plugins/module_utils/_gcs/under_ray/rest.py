# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dashboard's REST, which knows jobs and Serve, with the cluster's token. Runs under Ray's own Python."""

from __future__ import annotations

import http.client
import json
import re
import time
from typing import Any
from urllib.parse import quote, urlencode

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import (
    POLL_SECONDS,
    RPC_SECONDS,
    HelperError,
    reason,
)

# Where Serve tells its applications, and takes them.
APPLICATIONS = "/api/serve/applications/"
# Bytes of an answer, and of what is read of a log.
MOST = 12 << 20
MOST_LOG = 1 << 20
MOST_LINE = 1000
# Seconds that a request may take which only reads.
READ_SECONDS = 30
# Seconds for the logs of what failed: a node that hangs must not hide what Ray itself says.
LOG_SECONDS = 20
# What a call that was late may take above its own timeout: a last look, and the logs.
LATE_SECONDS = READ_SECONDS + LOG_SECONDS
HIDDEN = "<hidden>"
SECRET_WORDS = {
    "key", "keys", "apikey", "token", "secret", "secrets", "password", "passwd", "credential", "credentials",
}
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def dashboard_of(client: Any) -> Dashboard:
    """The dashboard of the cluster of a GcsClient, and the token of this process."""
    from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled

    found = client.internal_kv_get(b"dashboard", b"dashboard", RPC_SECONDS)
    if not found:
        message = "The cluster has no dashboard, which jobs and Serve need: start the head with --include-dashboard."
        raise HelperError("dashboard", message)
    return Dashboard(found.decode(), get_auth_headers_if_auth_enabled({}))


class Dashboard:
    """A dashboard at an address ("host:port"). headers: what each request carries, such as the token."""

    def __init__(self, address: str, headers: dict[str, str]) -> None:
        self.address, self.headers = address, {"Content-Type": "application/json", **headers}

    def ask(
        self, method: str, path: str, body: Any = None, seconds: float = READ_SECONDS, most: int = MOST
    ) -> tuple[int, bytes]:
        """One request: the status, and at most `most` bytes of the answer.

        :raises HelperError: there was none, or the token was refused.
        """
        connection = http.client.HTTPConnection(self.address, timeout=max(1.0, seconds))
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers)
            response = connection.getresponse()
            status, answer = response.status, response.read(most)
        except TimeoutError as error:
            message = f"The dashboard at {self.address} accepts connections, but gave no answer in {seconds:g} s."
            raise HelperError("dashboard", message) from error
        except (OSError, http.client.HTTPException) as error:
            message = f"The dashboard at {self.address} is not reachable: {reason(error)}."
            raise HelperError("dashboard", message) from error
        finally:
            connection.close()
        if status in (401, 403):
            raise HelperError("unauthorized", f"The dashboard at {self.address} refused the request.")
        return status, answer

    def wanted(self, method: str, path: str, body: Any = None, seconds: float = READ_SECONDS) -> Any:
        """The JSON of a request's answer; None for an empty one.

        :raises HelperError: the dashboard refused, with the last line of what it says.
        """
        status, answer = self.ask(method, path, body, seconds)
        if status != 200:
            raise HelperError("refused", f"Ray refused: {last_line(answer.decode(errors='replace'))}.", code=status)
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            message = f"The dashboard at {self.address} answered {method} {path.partition('?')[0]} with no JSON."
            raise HelperError("dashboard", message) from error

    def log(self, lines: int, seconds: float = LOG_SECONDS, **place: str | None) -> list[str]:
        """The last lines of a log; none where they cannot be had in that time: they only help.

        :arg place: node_id and filename (below its directory of logs), or actor_id and suffix ("out", "err").
        """
        if lines < 1 or seconds <= 0 or not all(place.values()):
            return []
        query = urlencode({**place, "lines": lines, "timeout": RPC_SECONDS})
        try:
            status, answer = self.ask("GET", f"/api/v0/logs/file?{query}", seconds=seconds, most=MOST_LOG)
        except HelperError:
            return []
        return last_lines(answer.decode(errors="replace"), lines) if status == 200 else []


def segment(text: str) -> str:
    """A name as a part of a path."""
    return quote(text, safe="")


def last_lines(text: str, count: int) -> list[str]:
    """The last lines that say something, none of them longer than MOST_LINE."""
    found = [line.rstrip() for line in COLOUR.sub("", text).splitlines() if line.strip()]
    shown = found[-count:] if count > 0 else []
    return [line if len(line) <= MOST_LINE else f"{line[:MOST_LINE]}..." for line in shown]


def last_line(text: str) -> str:
    """Of a traceback, what was raised; without a full stop."""
    lines = last_lines(text, 1)
    return lines[0].strip().rstrip(".") if lines else "it does not say why"


def hidden(value: Any) -> Any:
    """A configuration without its secrets: variables of an environment, what is called a key or a token, logins."""
    if isinstance(value, dict):
        return {name: covered(item) if is_secret(name) else hidden(item) for name, item in value.items()}
    if isinstance(value, list):
        return [hidden(item) for item in value]
    return LOGIN.sub(HIDDEN, value) if isinstance(value, str) else value


def is_secret(name: Any) -> bool:
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).lower()))
    return bool(words & SECRET_WORDS) or str(name) == "env_vars"


def covered(value: Any) -> Any:
    """All texts and numbers inside a value become HIDDEN."""
    if isinstance(value, dict):
        return {name: covered(item) for name, item in value.items()}
    if isinstance(value, list):
        return [covered(item) for item in value]
    return value if value is None or isinstance(value, bool) else HIDDEN


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A tree as one entry for each leaf: {"a.b": 1, "c[0]": 2}. An empty branch is a leaf."""
    if isinstance(value, dict) and value:
        parts = {f"{name}.{key}" if name else str(key): item for key, item in value.items()}
    elif isinstance(value, list) and value:
        parts = {f"{name}[{number}]": item for number, item in enumerate(value)}
    else:
        return {name: value} if name else {}
    return {leaf: found for part, item in parts.items() for leaf, found in flat(item, part).items()}


def differences(declared: Any, live: Any) -> list[dict[str, Any]]:
    """Each leaf that differs, as {option, declared, live}; None where there is none. No secret is in it."""
    wanted, there = flat(declared), flat(live)
    shown_wanted, shown_there = flat(hidden(declared)), flat(hidden(live))
    return [
        {
            "option": option,
            "declared": changed_secret(shown_wanted.get(option), shown_there.get(option)),
            "live": shown_there.get(option),
        }
        for option in sorted({**wanted, **there})
        if wanted.get(option) != there.get(option)
    ]


def changed_secret(declared: Any, live: Any) -> Any:
    """What is shown of a declared value that differs from the live one."""
    return f"{declared} (another)" if declared is not None and declared == live else declared


def pause(deadline: float) -> None:
    """Until the next look, at the latest at the deadline (monotonic)."""
    time.sleep(max(0.0, min(POLL_SECONDS * 2, deadline - time.monotonic())))

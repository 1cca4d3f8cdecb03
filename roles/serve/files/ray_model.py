# Managed by rayops.cluster
"""Ask models for a token: a model is well when one came back. /health says 200 also after a stage has been lost.

Writes a line of JSON: [{"name", "answered", "seconds", "error"}], with --name that one. The answer of a model is a
guest's: so many bytes of it are read, within the time, and nothing of it is shown but its status.
"""
from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import socket
import sys
import time
from typing import Any
from urllib.parse import urlsplit

# Seconds, and bytes of an answer.
TIMEOUT, MOST = 30.0, 1 << 20
# Codes: none, or not all of them, answered; nobody listens.
SILENT, CLOSED = 1, 3


class NoTokenError(Exception):
    """No token came back. The message is half a sentence. closed: nobody listens there."""

    def __init__(self, message: str, closed: bool = False):
        super().__init__(message)
        self.closed = closed


def ask(url: str, model: str, key: str, deadline: float) -> tuple[int, bytes]:
    """One request for one token: the status and the body. key: empty for none."""
    parts = urlsplit(url)
    left = deadline - time.monotonic()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=max(left, 0.1))
    body = json.dumps({"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0, "ignore_eos": True})
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        connection.request("POST", f"{parts.path.rstrip('/')}/completions", body, headers)
        answer = connection.getresponse()
        found = b""
        while len(found) <= MOST:
            # One that sends a byte a second keeps nobody waiting for ever.
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if connection.sock:
                connection.sock.settimeout(left)
            block = answer.read1(1 << 16)
            if not block:
                return answer.status, found
            found += block
        raise NoTokenError(f"sent more than {MOST} bytes")
    except (ConnectionRefusedError, socket.gaierror):
        raise NoTokenError("does not listen", closed=True) from None
    except TimeoutError:
        raise NoTokenError("gave no answer in time") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoTokenError(f"gave no answer ({type(error).__name__})") from None
    finally:
        connection.close()


def token(url: str, model: str, key: str, deadline: float) -> None:
    """Return when a token came back. deadline: by time.monotonic.

    :raises NoTokenError: none did.
    """
    status, body = ask(url, model, key, deadline)
    if status != 200:
        raise NoTokenError(f"answered with status {status}")
    try:
        count = json.loads(body)["usage"]["completion_tokens"]
    except (ValueError, RecursionError, KeyError, TypeError):
        count = 0
    if not isinstance(count, int) or count < 1:
        raise NoTokenError("answered without a token")


def probe(declared: dict[str, Any], timeout: float, without_key: bool = False) -> dict[str, Any]:
    """What became of one model. timeout: seconds for all of it; without_key: ask it once more without the key, which it
    must refuse."""
    began, error, closed = time.monotonic(), "", False
    deadline = began + timeout
    try:
        with open(declared["api_key_file"], encoding="ascii") as stream:
            key = stream.read(4096).strip()
        token(declared["url"], declared["model"], key, deadline)
        seconds = time.monotonic() - began
        if without_key and ask(declared["url"], declared["model"], "", deadline)[0] != 401:
            error = "answers without a key"
    except NoTokenError as reason:
        seconds, error, closed = time.monotonic() - began, str(reason), reason.closed
    except (OSError, UnicodeError) as reason:
        seconds, error = 0.0, f"has a key that cannot be read ({getattr(reason, 'strerror', 'not ASCII')})"
    return {"name": declared["name"], "answered": not error, "seconds": round(seconds, 3), "error": error,
            "closed": closed}


def probe_all(models: list[dict[str, Any]], timeout: float, without_key: bool) -> list[dict[str, Any]]:
    """What became of each, all asked at once. One whose answer comes so slowly that no read is late is given up."""
    pool = concurrent.futures.ThreadPoolExecutor(max(1, len(models)))
    asked = [pool.submit(probe, model, timeout, without_key) for model in models]
    concurrent.futures.wait(asked, timeout)
    pool.shutdown(wait=False)
    late = {"answered": False, "seconds": timeout, "error": "gave no answer in time", "closed": False}
    return [each.result() if each.done() else {"name": model["name"], **late} for model, each in zip(models, asked)]


def leave(mark: str | None) -> None:
    """Make a file, where its directory still is: it goes with the unit."""
    if mark:
        with contextlib.suppress(OSError):
            os.close(os.open(mark, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask models for a token.")
    parser.add_argument("--config", required=True, help="the models, such as /etc/ray/models.yaml")
    parser.add_argument("--name", help="of one model; by default all are asked, but for those that may sleep")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds for all answers of a try")
    parser.add_argument("--tries", type=int, default=1, help="how often one is asked before it counts as silent")
    parser.add_argument("--mark", help="a file that a token leaves; with it, one that no longer listens is silent, too")
    parser.add_argument("--without-key", action="store_true", help="see that it asks for its key, too")
    options = parser.parse_args()
    with open(options.config, encoding="utf-8") as stream:
        models = json.load(stream)["models"]
    if options.name is not None:
        models = [model for model in models if options.name in (model["name"], model["model"])][:1]
        if not models:
            parser.error(f"{options.config} has no model {options.name}")
    else:
        models = [model for model in models if model.get("replicas", 1)]
    for _try in range(max(1, options.tries)):
        found = probe_all(models, options.timeout, options.without_key)
        if all(each["answered"] or each["closed"] for each in found):
            break
    sys.stdout.write(json.dumps(found[0] if options.name is not None else found) + "\n")
    sys.stdout.flush()
    if all(each["answered"] for each in found):
        leave(options.mark)
        return 0
    starting = all(each["answered"] or each["closed"] for each in found)
    return CLOSED if starting and not (options.mark and os.path.exists(options.mark)) else SILENT


if __name__ == "__main__":
    # A thread that a model keeps waiting is not waited for.
    os._exit(main())

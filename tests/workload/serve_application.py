# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve applications that stand for models, and their client. Each gives its token to whoever asks, and OpenAI's answer
with one to who has a key. ``python -c SOURCE VERB``, on a node:

``pair`` deploys two replicas, with room for another on each node; ``wide`` one whose placement group spans two nodes;
``delete NAME`` removes one; ``ask URL FILE`` asks from four threads until SIGTERM, and writes what was answered.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.request
from typing import Any

SECONDS = 30


def deploy(name: str) -> None:
    import ray
    from ray import serve

    ray.init(address="auto", log_to_driver=False)

    class Model:
        async def __call__(self, request: Any) -> Any:
            import asyncio

            from starlette.responses import JSONResponse

            await asyncio.sleep(0.2)
            if not request.url.path.endswith("/completions"):
                return "token"
            return JSONResponse({"usage": {"completion_tokens": 1}}, 200 if "Authorization" in request.headers else 401)

    options: dict = {"num_replicas": 2, "max_replicas_per_node": 2, "ray_actor_options": {"num_cpus": 0.2}}
    if name == "wide":
        bundle = {"CPU": 0.2}
        options = {"placement_group_bundles": [bundle, bundle], "placement_group_strategy": "STRICT_SPREAD",
                   "ray_actor_options": {"num_cpus": 0.1}}
    model = serve.deployment(name="Model", **options)(Model)
    serve.run(model.bind(), name=name, route_prefix=f"/{name}")


def delete(name: str) -> None:
    import ray
    from ray import serve

    ray.init(address="auto", log_to_driver=False)
    serve.delete(name)


def ask(url: str, file: str) -> None:
    """Write {asked, failed: [[seconds since the start, why]]} at the end."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_what: stop.set())
    began, counts, failed = time.monotonic(), [0] * 4, []

    def client(number: int) -> None:
        while not stop.is_set():
            try:
                with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                    if answer.read() != b"token":
                        raise ValueError("another answer")
            except (OSError, ValueError) as error:
                failed.append([round(time.monotonic() - began, 1), str(error)])
            counts[number] += 1
            time.sleep(0.05)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(file, "w", encoding="utf-8") as report:
        json.dump({"asked": sum(counts), "failed": failed}, report)


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    {"pair": lambda: deploy("pair"), "wide": lambda: deploy("wide"), "delete": lambda: delete(*words),
     "ask": lambda: ask(*words)}[verb]()

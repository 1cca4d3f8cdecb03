# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast an idle cluster is. Runs under Ray's own Python: ``python -c SOURCE TURNS TASKS CALLS``.

The answer is the last line of the output, as JSON: ``tls`` says whether this driver spoke it, ``tasks`` has the seconds
of TASKS tasks that do nothing, for each turn, and ``calls`` those of an actor's call, of CALLS one after the other.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    import ray

    turns, tasks, calls = map(int, sys.argv[1:])
    ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False, logging_level="ERROR")

    @ray.remote
    def nothing() -> None:
        pass

    @ray.remote(num_cpus=0)
    class Idle:
        def nothing(self) -> None:
            pass

    def run_tasks() -> None:
        ray.get([nothing.remote() for _task in range(tasks)])

    actor = Idle.remote()

    def call_actor() -> None:
        for _call in range(calls):
            ray.get(actor.nothing.remote())

    # The first ones include the start of Ray's workers.
    run_tasks()
    call_actor()
    answer = {
        "tls": os.environ.get("RAY_USE_TLS") == "1",
        "tasks": [seconds(run_tasks) for _turn in range(turns)],
        "calls": [seconds(call_actor) / calls for _turn in range(turns)],
    }
    sys.stdout.write(f"{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()

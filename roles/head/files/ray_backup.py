# Managed by rayops.cluster
"""Back up the cluster's state, or put a backup in its place: what ray-backup.timer runs.

The answer is JSON on standard output. What it imports lies beside it: modules of the collection, by their names.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import signal
import sys

# With -I, Python does not look beside the program, which is where root put them.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
COLLECTION = "ansible_collections.rayops.cluster.plugins.module_utils"
MODULES = ("_system.guest", "_system.paths", "_system.bounded", "_backup.state", "_backup.archive", "_backup.verbs")
for full_name in MODULES:
    # Each imports those before it by their full names.
    sys.modules[f"{COLLECTION}.{full_name}"] = importlib.import_module(full_name.partition(".")[2])
verbs = sys.modules["verbs"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Back up the cluster's state, or put a backup in its place.")
    commands = parser.add_subparsers(required=True)
    for verb in (verbs.save, verbs.check, verbs.inspect, verbs.restore):
        words = commands.add_parser(verb.__name__, help=(verb.__doc__ or "").partition("\n")[0])
        words.set_defaults(verb=verb)
        for word in inspect.signature(verb).parameters.values():
            words.add_argument(f"--{word.name}", required=word.default is word.empty, default=word.default,
                               type=int if word.name == "keep" else str)
    options = vars(parser.parse_args())
    # So that a stop of the service ends a pause too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    try:
        answer = options.pop("verb")(**options)
    except (*verbs.ERRORS, OSError) as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.exit("error" in answer)


if __name__ == "__main__":
    main()

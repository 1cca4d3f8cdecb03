# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of module ray_model_files: which models a host gets, and the files that are sent to it.

A host says which of the declared files it lacks; it names no other.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.rayops.cluster.plugins.module_utils._serving import models
from ansible_collections.rayops.cluster.plugins.module_utils._serving.copies import aside
from ansible_collections.rayops.cluster.plugins.module_utils._serving.sources import (
    INCOMING,
    MOST_SUMS,
    VARIABLE,
    Source,
    digest_of,
    files_in,
    read,
    sums_of,
)

POOL = "ray_pool_"
# Seconds that another process of this run may take for one digest.
PATIENCE = 900
display = Display()


class ActionModule(ActionBase):
    """Sends what lacks aside, and has the module put it into its place."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        options, here = dict(self._task.args), task_vars or {}
        sources = declared(options.pop("models", None), options.pop("served", None), here.get("group_names", []))
        if not sources:
            return {**result, "changed": False, "lacks": False, "models": []}
        entries = options["models"] = [entry_of(source) for source in sources]
        sends = any(source.source for source in sources) and not self._task.check_mode
        if sends:
            options["owner"] = self._own_number()
        found = self._execute_module(module_args=options, task_vars=task_vars)
        asked = awaited(entries, found)
        if sends and any(asked):
            for source, entry, names in zip(sources, entries, asked):
                self._send(source, entry, names, str(here.get("inventory_hostname", "")))
            done = self._execute_module(module_args=options, task_vars=task_vars)
            if not done.get("failed") and any(awaited(entries, done)):
                done = {"failed": True, "msg": f"{VARIABLE}: the host has not kept what was sent to it: run again."}
            found = done if done.get("failed") else {**done, "diff": found.get("diff", {}), "changed": True}
        return {**result, **found}

    def _own_number(self) -> int:
        """The number of the user who logs in, and whose the files are that are sent."""
        said = str(self._low_level_execute_command("id -u", sudoable=False).get("stdout", "")).strip()
        if not re.fullmatch("[0-9]{1,10}", said):
            raise AnsibleActionFail("The host did not say who logs in (id -u): run again.")
        return int(said)

    def _send(self, source: Source, entry: dict[str, Any], names: Mapping[str, bool], host: str) -> None:
        """Send the files of one model aside. names: whether each lies there already."""
        entry["digests"] = {}
        for number, name in enumerate(names, 1):
            local = os.path.join(on_controller(source.source), name)
            display.v(f"{host}: {source.path}/{name}, {number} of {len(names)}")
            try:
                entry["digests"][name] = entry["sums"].get(name) or known_digest(local)
            except OSError as error:
                raise AnsibleActionFail(
                    f"{VARIABLE}, {source.path}: {local} cannot be read ({error.strerror}): see to that, and run again."
                ) from None
            if not names[name]:
                self._connection.put_file(local, f"{source.path}/{INCOMING}/{aside(name)}")


def declared(entries: Any, served: Any, groups: Sequence[str]) -> list[Source]:
    """The models that a host of these groups gets.

    :raises AnsibleActionFail: what is wrong with the declaration.
    """
    sources, problems = read(entries if isinstance(entries, list) else [])
    if problems:
        raise AnsibleActionFail("\n".join(problems))
    known, _problems = models.read(served if isinstance(served, list) else [])
    pools = [group[len(POOL):] for group in groups if group.startswith(POOL)]
    return [source for source in sources if source.is_for(pools, known)]


def on_controller(path: str) -> str:
    """A path of the controller's, by where the command was given."""
    return os.path.join(os.environ.get("PWD") or os.getcwd(), os.path.expanduser(path))


def entry_of(source: Source) -> dict[str, Any]:
    """What the module is told of a model.

    :raises AnsibleActionFail: its source or its checksums cannot be used.
    """
    what, place = f"checksums {source.checksums}", f"{VARIABLE}, {source.path}"
    sums, files = {}, None
    try:
        if source.checksums:
            with open(on_controller(source.checksums), encoding="utf-8") as stream:
                sums = sums_of(stream.read(MOST_SUMS))
        if source.source:
            what = f"source {source.source}"
            with suppress(FileNotFoundError):
                files = listed(on_controller(source.source), sums)
    except OSError as error:
        fix = "see to that, or correct the entry"
        raise AnsibleActionFail(f"{place}: {what} cannot be read ({error.strerror}): {fix}.") from None
    except ValueError as error:
        raise AnsibleActionFail(f"{place}: {what} cannot be used, {error}.") from None
    return {"path": source.path, "source": source.source, "share": source.share, "files": files, "sums": sums}


def listed(directory: str, sums: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The files of a directory of the controller's: bytes, and the second in which they were changed."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return files_in(descriptor, sums)
    finally:
        os.close(descriptor)


def awaited(entries: list[dict[str, Any]], found: Mapping[str, Any]) -> list[dict[str, bool]]:
    """For each model the files that the host waits for, and whether they lie there already. Only what is declared is
    sent, to where it is declared."""
    answers = found.get("models")
    answers = answers if isinstance(answers, list) and len(answers) == len(entries) else [{}] * len(entries)
    asked = []
    for entry, answer in zip(entries, answers):
        pairs = answer.get("awaited") if isinstance(answer, Mapping) else None
        said = {pair[0]: pair[1] is True for pair in (pairs if isinstance(pairs, list) else [])
                if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)}
        asked.append({name: said[name] for name in entry["files"] or {} if name in said})
    return asked


def known_digest(path: str) -> str:
    """The SHA-256 of a file on the controller, read once for all hosts and runs while its size and time stay.

    :raises OSError: it cannot be read.
    """
    folder = os.path.join(os.path.expanduser(constants.ANSIBLE_HOME), "rayops", "digests")
    os.makedirs(folder, 0o700, exist_ok=True)
    note = os.path.join(folder, hashlib.sha256(os.path.realpath(path).encode()).hexdigest())
    with open(path, "rb") as stream, open(note, "a+", encoding="utf-8") as known:
        # Ansible serves each host by a process of its own.
        deadline = time.monotonic() + PATIENCE
        while not _taken(known.fileno()):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"somebody else has read it for {PATIENCE} s")
            time.sleep(0.2)
        status = os.fstat(stream.fileno())
        mark = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
        known.seek(0)
        before, _blank, digest = known.read(1024).rpartition(" ")
        if before != mark or len(digest) != 64:
            digest = digest_of(stream.fileno())
            known.truncate(0)
            known.write(f"{mark} {digest}")
        return digest


def _taken(lock: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_remains
short_description: Remove what nodes of Ray left on a host where none runs any more
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Works as Ray's user, since a job may have left links in Ray's directories. It can end and remove nothing but that
    user's own.
  - What that user may not remove stays, and is named.
options:
  user: {description: "Ray's user. Where the host has none of this name, there is nothing to do.", type: str,
      required: true}
  temp_dir: {description: "Ray's own directory. Its sessions go, and what their nodes spilled.", type: path}
  spilling_directory: {description: "Where the nodes spill, if not in O(temp_dir). Of it only what they left goes.",
      type: str, default: ""}
  removes: {description: "A file without which there never was a node, and nothing is to be removed.", type: path}
  last: {description: "The user goes too, with its processes and files in C(/dev/shm), C(/tmp) and C(/var/tmp).",
      type: bool, default: false}
extends_documentation_fragment: [rayops.cluster.attributes]
"""

EXAMPLES = r"""
- name: Remove the sessions
  rayops.cluster.ray_remains:
    user: ray
    temp_dir: /var/lib/ray
"""

RETURN = r"""
gone: {description: "Processes, with names, and paths that went.", type: list, elements: str, returned: success}
left: {description: "What could not be removed, a sentence each.", type: list, elements: str, returned: success}
"""

import contextlib
import os
import re
import shutil
import signal
import stat
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user, exists, harmless

SHARED = ("/dev/shm", "/tmp", "/var/tmp")
SESSION = re.compile(r"session_(2.*|latest)", re.DOTALL)
# Every node leaves files such as metrics_export_port_<node id> in its host's session.
PORT_FILE = re.compile(r"\w+_port_([0-9a-f]+)")
SPILL_DIRECTORY = re.compile(r"ray_spilled_objects_([0-9a-f]+)")
SECONDS = 600


def entries(path: str) -> list[os.DirEntry[str]]:
    """What a directory holds; nothing where it is gone or closed to this user."""
    try:
        return list(os.scandir(path))
    except OSError:
        return []


def sessions(temp_dir: str, spilling: str) -> list[str]:
    """The sessions, and what their nodes spilled."""
    top = os.path.realpath(temp_dir)
    found = [entry for entry in entries(top) if SESSION.fullmatch(entry.name)]
    real = [entry for entry in found if entry.is_dir(follow_symlinks=False)]
    held = [PORT_FILE.fullmatch(file.name) for session in real for file in entries(session.path)]
    known = {match[1] for match in held if match}
    for entry in entries(spilling or top):
        match = SPILL_DIRECTORY.fullmatch(entry.name)
        if match and match[1] in known and entry.is_dir(follow_symlinks=False):
            found.append(entry)
    return sorted(entry.path for entry in found)


def processes() -> Iterator[str]:
    """The other processes of this user, proc(5), each with its name."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == os.getuid() and int(pid) != os.getpid():
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                    yield f"{pid} {stream.read().strip()}"


def shared_files() -> Iterator[str]:
    """What lies in the shared directories and belongs to this user."""
    for entry in [entry for directory in SHARED for entry in entries(directory)]:
        with contextlib.suppress(OSError):
            if entry.stat(follow_symlinks=False).st_uid == os.getuid():
                yield entry.path


def remove(paths: list[str]) -> list[str]:
    """Remove files and trees; returns what stays, a sentence each."""
    left = []
    for path in paths:
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        except (OSError, RecursionError) as error:
            left.append(f"{path} stays, remove it as root: {error}")
    return left


def clear(options: dict[str, Any], check: bool) -> dict[str, list[str]]:
    """Do it, as the user; what goes, and what stays."""
    gone = sessions(options["temp_dir"], options["spilling_directory"]) if options["temp_dir"] else []
    left = [] if check else remove(gone)
    if options["last"]:
        if os.getuid() == 0:
            raise GuestError("root's processes and files are not ended: name the user who is to go")
        gone += [*processes(), *shared_files()]
        if not check:
            # All but this one and those of others, at once: none is left that could start another.
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            left += remove(list(shared_files()))
    return {"gone": gone, "left": left}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "temp_dir": {"type": "path"},
            "spilling_directory": {"type": "str", "default": ""},
            "removes": {"type": "path"},
            "last": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not exists(options["user"]) or (options["removes"] and not os.path.exists(options["removes"])):
        module.exit_json(changed=False, gone=[], left=[])
    try:
        done = harmless(as_user(options["user"], lambda: clear(options, module.check_mode), SECONDS))
    except GuestError as error:
        module.fail_json(msg=str(error))
    before = "".join(f"{line}\n" for line in done["gone"])
    module.exit_json(changed=bool(before), **done, diff={"before": before, "after": ""})


if __name__ == "__main__":
    main()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all entries of node_files have: owners, modes, and what is told of them."""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._files.file import NodeFile, replace_file, set_attributes
from ansible_collections.rayops.cluster.plugins.module_utils._files.own_directories import OwnDirectories
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, path_of

# One of the module's option files, as its argument_spec has it.
Entry = dict[str, Any]
HIDDEN = "(secret)\n"


class NodeEntries:
    """The run of node_files: what it has done and noted."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.own = OwnDirectories(module.params["record"])
        self.diffs: list[dict[str, str]] = []
        self.removed: set[str] = set()
        self.kept: list[str] = []

    def ids(self, entry: Entry) -> tuple[int, int]:
        """The numbers of the owner and the group.

        :raises PathError: there is no such user or group.
        """
        try:
            owner, group = entry["owner"], entry["group"]
            return (int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid,
                    int(group) if group.isdigit() else grp.getgrnam(group).gr_gid)
        except KeyError as error:
            raise PathError(entry["path"], f"{error.args[0]}.") from None

    def attributes(self, entry: Entry, descriptor: int, file: NodeFile | None = None) -> bool:
        """Owner, group and mode of what is open. A file with other names is written anew: they would follow."""
        path = entry["path"]
        try:
            ids = self.ids(entry)
        except PathError:
            if not self.module.check_mode:
                raise
            # An earlier task would have made them.
            self.diffs.append({"before_header": path, "after_header": path, "before": "",
                               "after": f"owner: {entry['owner']}\ngroup: {entry['group']}\n"})
            return True
        shared = file is not None and file.shared()
        before, after = set_attributes(descriptor, *ids, mode_of(entry), self.module.check_mode or shared)
        if not before:
            return False
        if file is not None and shared and not self.module.check_mode:
            self.write(file, file.content() or b"", *ids, mode_of(entry))
        self.diffs.append(diff_of_attributes(path, before, after))
        return True

    def write(self, file: NodeFile, content: bytes, uid: int, gid: int, mode: int) -> None:
        if file.parent is None:
            directory = os.path.dirname(file.path)
            raise PathError(f"{directory} does not exist", f"put it before {file.path} in the list.")
        replace_file(file.parent, file.name, content, uid, gid, mode)
        self.label(file.parent, file.name)

    def label(self, parent: int, name: str) -> None:
        """Give what was made the context that SELinux's policy has for its place, if the host has SELinux."""
        if self.module.selinux_enabled():
            from ansible.module_utils.compat import selinux

            context = self.module.selinux_default_context(os.path.join(path_of(parent), name))
            if context and None not in context:
                selinux.lsetfilecon(f"/proc/self/fd/{parent}/{name}", ":".join(context))


def mode_of(entry: Entry) -> int:
    """The declared mode, or the default for its kind."""
    return int(entry["mode"] or ("0755" if entry["state"] == "directory" else "0644"), 8)


def diff_of_attributes(path: str, before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """The diff of what set_attributes changes."""
    return {
        "before_header": path, "after_header": path,
        "before": "".join(f"{key}: {value}\n" for key, value in before.items()),
        "after": "".join(f"{key}: {value}\n" for key, value in after.items()),
    }


def diff_of_removal(path: str) -> dict[str, str]:
    """The diff of what goes."""
    return {"before_header": path, "after_header": path, "before": "present\n", "after": ""}

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_files
short_description: Keep the files and directories of a node as declared, in one call
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Writes files with given content, owner and mode, and makes directories.
  - It does for a list what M(ansible.builtin.template) with a loop does, in one round trip for the whole list.
    A node has a dozen files, and every run looks at all of them.
options:
  files:
    description: The files and directories, in the order in which they are made.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where it lies.
        type: path
        required: true
      state:
        description:
          - A file, a directory, or nothing there.
          - A directory goes with all that is in it. A mount point loses only what is in it, and what is mounted below
            it stays. Of a link, only the link goes.
        type: str
        choices: [file, directory, absent]
        default: file
      content:
        description: What the file holds.
        type: str
      regexp:
        description:
          - With it, only one line of the file is kept. Lines that match are replaced by O(files[].content), and where
            none does, it is appended. With O(files[].state=absent), only the lines that match go.
        type: str
      secret:
        description: What the file holds, if nobody may see it. It stands in no log and no diff.
        type: str
      force:
        description:
          - Whether a file with other content is replaced. With V(false) only a missing one is written.
          - With O(files[].state=absent) and V(false), a directory goes only if nothing is in it.
        type: bool
        default: true
      keep:
        description: What stays when a directory goes, and with it the directories above it.
        type: path
      original:
        description:
          - Where a copy is kept of the file that was there before this module first wrote it. An empty one says that
            there was none.
          - With O(files[].state=absent), that file comes back; without the copy, nothing is done.
        type: path
      validate:
        description:
          - A command that fails if the file cannot be used, with V(%s) for a copy of it.
          - It runs where the content differs. Nothing is written before all of them are content.
          - In check mode, a command that is not installed yet checks nothing.
        type: str
      owner:
        description: The user who owns it.
        type: str
        default: root
      group:
        description: The group that owns it.
        type: str
        default: root
      mode:
        description: Its permissions, an octal number as a string. The default is C(0644), for a directory C(0755).
        type: str
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns the difference of each file, without the content of secrets.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, the second run changes nothing.
    support: full
seealso:
  - module: ansible.builtin.template
"""

EXAMPLES = r"""
- name: The files of the worker are as declared
  rayops.cluster.node_files:
    files:
      - {path: /etc/ray, state: directory, group: ray, mode: "0750"}
      - {path: /etc/ray/worker-node.yaml, group: ray, mode: "0640", content: "{{ worker_node_config | to_nice_yaml }}"}
"""

RETURN = r"""
paths:
  description: What was changed.
  type: list
  elements: str
  returned: success
"""

import grp
import os
import pwd
import re
import shlex
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._removal import doomed
from ansible_collections.rayops.cluster.plugins.module_utils._unlogged_module import UnloggedModule

_HIDDEN = "(secret)\n"


class NodeFiles:
    """The list of files, and what is done to it."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.changed_paths: list[str] = []
        self.diffs: list[dict] = []
        self.removed: set[str] = set()

    def validate(self, entry: dict) -> None:
        """End the module if the entry's own command refuses its content."""
        command = shlex.split(entry["validate"] or "")
        if not command or entry["state"] != "file":
            return
        if self.module.check_mode and not self.module.get_bin_path(command[0]):
            return
        wanted = entry["secret"] if entry["secret"] is not None else entry["content"]
        if self._read(entry["path"]) == wanted.encode():
            return
        with tempfile.NamedTemporaryFile(dir=self.module.tmpdir, suffix=os.path.basename(entry["path"])) as copy:
            copy.write(wanted.encode())
            copy.flush()
            code, output, errors = self.module.run_command([word.replace("%s", copy.name) for word in command])
        if code:
            # Nobody needs to see the secret that is wrong.
            told = "its output is not shown" if entry["secret"] is not None else (output + errors).strip()
            told = told.replace(copy.name, entry["path"])
            self.module.fail_json(msg=f"{entry['path']} is not accepted by {os.path.basename(command[0])}: {told}")

    def ensure(self, entry: dict) -> None:
        """Bring one entry about."""
        existed = os.path.exists(entry["path"])
        changed = {"file": self._file, "directory": self._directory, "absent": self._absent}[entry["state"]](entry)
        if entry["state"] != "absent":
            changed = self._attributes(entry, note=existed and not changed) or changed
        if changed:
            self.changed_paths.append(entry["path"])

    def _file(self, entry: dict) -> bool:
        path, wanted = entry["path"], entry["secret"] if entry["secret"] is not None else entry["content"]
        if wanted is None:
            self.module.fail_json(msg=f"{path} is to be a file: give its content or secret.")
        if os.path.isdir(path):
            self.module.fail_json(msg=f"{path} is a directory and is to be a file: move it away.")
        found = self._read(path)
        if entry["regexp"]:
            wanted = _with_line((found or b"").decode(errors="surrogateescape"), wanted, entry["regexp"])
        if found == wanted.encode(errors="surrogateescape") or (found is not None and not entry["force"]):
            return False
        self._note(entry, found, wanted)
        if not self.module.check_mode:
            self._keep_original(entry)
            self._write(entry, wanted.encode(errors="surrogateescape"))
        return True

    @staticmethod
    def _keep_original(entry: dict) -> None:
        """Copy what is there before it is overwritten for the first time."""
        if not entry["original"] or os.path.exists(entry["original"]):
            return
        os.makedirs(os.path.dirname(entry["original"]), mode=0o755, exist_ok=True)
        _copy(entry["path"], entry["original"])

    @staticmethod
    def _read(path: str) -> bytes | None:
        if not os.path.exists(path):
            return None
        with open(path, "rb") as stream:
            return stream.read()

    def _write(self, entry: dict, content: bytes) -> None:
        """Write beside the file and move over it, so that nobody ever reads a half, or a secret of the wrong mode."""
        directory = os.path.dirname(entry["path"])
        if not os.path.isdir(directory):
            self.module.fail_json(msg=f"{directory} does not exist: put it before {entry['path']} in the list.")
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".ansible-")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        self.module.set_owner_if_different(temporary, entry["owner"], False)
        self.module.set_group_if_different(temporary, entry["group"], False)
        self.module.set_mode_if_different(temporary, entry["mode"] or "0644", False)
        # An existing file would hand its own owner and mode on.
        if os.path.exists(entry["path"]):
            self._attributes(entry)
        self.module.atomic_move(temporary, entry["path"])

    def _note(self, entry: dict, found: bytes | None, wanted: str) -> None:
        secret = entry["secret"] is not None
        before = "" if found is None else _HIDDEN if secret else found.decode(errors="replace")
        self.diffs.append({
            "before_header": entry["path"], "after_header": entry["path"],
            "before": before, "after": "(another secret)\n" if secret else wanted,
        })

    def _directory(self, entry: dict) -> bool:
        path = entry["path"]
        if os.path.isdir(path):
            return False
        if os.path.exists(path):
            self.module.fail_json(msg=f"{path} is a file and is to be a directory: move it away.")
        self.diffs.append({"before_header": path, "after_header": path, "before": "", "after": "directory\n"})
        if not self.module.check_mode:
            os.makedirs(path, mode=0o755)
        return True

    def _absent(self, entry: dict) -> bool:
        path = entry["path"]
        if entry["original"]:
            return self._restore(entry)
        if entry["regexp"]:
            return self._without_line(entry)
        if not os.path.lexists(path):
            return False
        if not os.path.isdir(path) or os.path.islink(path):
            self.diffs.append(_removal(path))
            self.removed.add(path)
            if not self.module.check_mode:
                os.remove(path)
            return True
        if entry["keep"] and f"{path}/".startswith(f"{entry['keep']}/"):
            return False
        if not entry["force"] and set(os.listdir(path)) - self._gone(path):
            return False
        going = list(doomed(path, entry["keep"]))
        if going:
            self.diffs.append(_removal(path))
            self.removed.update(going)
        for item in going if not self.module.check_mode else []:
            (os.rmdir if os.path.isdir(item) and not os.path.islink(item) else os.remove)(item)
        if going and not self.module.check_mode and os.path.isdir(path):
            # What stays in it, a mount for one, is not of a user that may go next.
            os.chown(path, 0, 0)
            os.chmod(path, 0o755)
        return bool(going)

    def _gone(self, directory: str) -> set[str]:
        """What check mode has only noted as gone from a directory."""
        return {os.path.basename(path) for path in self.removed if os.path.dirname(path) == directory}

    def _restore(self, entry: dict) -> bool:
        path, original = entry["path"], entry["original"]
        if not os.path.exists(original):
            return False
        before, after = self._read(path), self._read(original) or None
        if before == after:
            return False
        self.diffs.append({**_removal(path), "after": "what was there before\n" if after else ""})
        if self.module.check_mode:
            return True
        if after is None:
            os.remove(path)
        else:
            _copy(original, path)
        return True

    def _without_line(self, entry: dict) -> bool:
        path = entry["path"]
        before = (self._read(path) or b"").decode(errors="surrogateescape")
        after = "".join(line for line in before.splitlines(keepends=True) if not re.search(entry["regexp"], line))
        if after == before:
            return False
        self._note(entry, before.encode(errors="surrogateescape"), after)
        if not self.module.check_mode:
            found = os.stat(path)
            owners = {"owner": str(found.st_uid), "group": str(found.st_gid), "mode": oct(found.st_mode & 0o7777)}
            self._write({**entry, **owners}, after.encode(errors="surrogateescape"))
        return True

    def _attributes(self, entry: dict, note: bool = False) -> bool:
        path, diff = entry["path"], {}
        if not os.path.exists(path):
            return False
        mode = entry["mode"] or ("0755" if entry["state"] == "directory" else "0644")
        if self.module.check_mode and not self._owners_exist(entry):
            # An earlier task would have made them.
            self.diffs.append({"before_header": path, "after_header": path, "before": "",
                               "after": f"owner: {entry['owner']}\ngroup: {entry['group']}\n"})
            return True
        changed = self.module.set_owner_if_different(path, entry["owner"], False, diff)
        changed = self.module.set_group_if_different(path, entry["group"], changed, diff)
        changed = self.module.set_mode_if_different(path, mode, changed, diff)
        if changed and note:
            self.diffs.append({
                "before_header": path, "after_header": path,
                "before": "".join(f"{key}: {value}\n" for key, value in diff.get("before", {}).items()),
                "after": "".join(f"{key}: {value}\n" for key, value in diff.get("after", {}).items()),
            })
        return changed

    @staticmethod
    def _owners_exist(entry: dict) -> bool:
        try:
            return bool(entry["owner"].isdigit() or pwd.getpwnam(entry["owner"])) and bool(
                entry["group"].isdigit() or grp.getgrnam(entry["group"]))
        except KeyError:
            return False


def _copy(source: str, target: str) -> None:
    """Copy a file with its owner and mode; a missing one becomes an empty one."""
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(target), prefix=".ansible-", delete=False) as copy:
        if os.path.exists(source):
            shutil.copy2(source, copy.name)
            found = os.stat(source)
            os.chown(copy.name, found.st_uid, found.st_gid)
    os.replace(copy.name, target)


def _removal(path: str) -> dict:
    return {"before_header": path, "after_header": path, "before": "present\n", "after": ""}


def _with_line(text: str, line: str, regexp: str) -> str:
    """The text with the line in place of the first one that matches; further ones that match are dropped."""
    lines, placed = [], False
    for existing in text.removesuffix("\n").split("\n") if text else []:
        if not re.search(regexp, existing):
            lines.append(existing)
        elif not placed:
            lines.append(line)
            placed = True
    return "\n".join(lines if placed else lines + [line]) + "\n"


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "state": {"type": "str", "choices": ["file", "directory", "absent"], "default": "file"},
                    "content": {"type": "str"},
                    "regexp": {"type": "str"},
                    "secret": {"type": "str", "no_log": True},
                    "force": {"type": "bool", "default": True},
                    "keep": {"type": "path"},
                    "original": {"type": "path"},
                    "validate": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                },
                "mutually_exclusive": [("content", "secret")],
            },
        },
        supports_check_mode=True,
    )
    node_files = NodeFiles(module)
    try:
        for entry in module.params["files"]:
            node_files.validate(entry)
        for entry in module.params["files"]:
            node_files.ensure(entry)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    module.exit_json(
        changed=bool(node_files.changed_paths), paths=node_files.changed_paths, diff=node_files.diffs
    )


if __name__ == "__main__":
    main()

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
        description: A file, a directory, or nothing there.
        type: str
        choices: [file, directory, absent]
        default: file
      content:
        description: What the file holds.
        type: str
      regexp:
        description:
          - With it, only one line of the file is kept. Lines that match are replaced by O(files[].content), and where
            none does, it is appended.
        type: str
      secret:
        description: What the file holds, if nobody may see it. It stands in no log and no diff.
        type: str
      force:
        description: Whether a file with other content is replaced. With V(false) only a missing one is written.
        type: bool
        default: true
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

from ansible_collections.rayops.cluster.plugins.module_utils._unlogged_module import UnloggedModule

_HIDDEN = "(secret)\n"


class NodeFiles:
    """The list of files, and what is done to it."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.changed_paths: list[str] = []
        self.diffs: list[dict] = []

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
            self._write(entry, wanted.encode(errors="surrogateescape"))
        return True

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
        if not os.path.lexists(path):
            return False
        self.diffs.append({"before_header": path, "after_header": path, "before": "present\n", "after": ""})
        if not self.module.check_mode:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.remove(path)
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

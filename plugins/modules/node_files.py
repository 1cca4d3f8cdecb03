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
  - What is written may have the content of a template or a file of the controller's, which are found as roles find
    theirs. Of what is left out or absent, none is rendered.
options:
  files:
    description: The files and directories, in the order in which they are made.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where it lies., type: path, required: true}
      when: {description: Whether the entry counts. Otherwise it is left as it is., type: bool, default: true}
      state:
        description:
          - A file, a directory, or nothing there. A directory goes with all that is in it, of a mount point only what
            is in it and on its file system, of a link the link alone.
          - Links on the way and in its place are followed where root made them. A path with another's link is refused.
        type: str
        choices: [file, directory, absent]
        default: file
      content: {description: "What the file holds. A file has this, its template, its source or its secret.", type: str}
      template: {description: "A template on the controller, which makes what the file holds.", type: str}
      source: {description: "A file on the controller, which is what the file holds.", type: str}
      regexp: {description: "Only one line is kept, O(files[].content), in place of those that match or as the last.
          With O(files[].state=absent), the lines that match go.", type: str}
      secret: {description: "What the file holds, if nobody may see it. It stands in no log and no diff.", type: str}
      secret_template: {description: "A template on the controller, which makes O(files[].secret).", type: str}
      interface_of: {description: "An address of the host. The name of the interface that carries it stands where
          C(@interface@) is written; without one, these lines are left out.", type: str}
      force: {description: "With V(false), a file that is there stays, and a directory goes only if nothing is in it.",
          type: bool, default: true}
      keep: {description: "What stays when a directory goes, and with it the directories above it.", type: path}
      own:
        description:
          - The directory is the collection's alone, and goes with it. O(record) notes it if made here or found empty.
          - One that is neither noted, nor in one that is, nor empty is refused before anything is removed; an empty one
            stays. Of a mount point, and of what root's link leads to, all that is in it goes.
        type: bool
        default: false
      only: {description: "With O(files[].state=absent), only files go whose whole names match this regular
          expression, and the directory itself if it is empty then and noted in O(record).", type: str}
      validate: {description: "A command that fails on a bad file, whose copy is V(%s). It is run on what differs,
          before anything is written, and not in check mode where it is not installed.", type: str}
      owner: {description: The user who owns it., type: str, default: root}
      group: {description: The group that owns it., type: str, default: root}
      mode: {description: "An octal number as a string. The default is C(0644), for a directory C(0755).", type: str}
  state: {description: "With V(absent), all of the list goes, the last first.", type: str, choices: [present, absent],
      default: present}
  record: {description: "The file that notes O(files[].own).", type: path, default: /var/lib/rayops/directories}
extends_documentation_fragment: [rayops.cluster.attributes]
seealso: [{module: ansible.builtin.template}]
"""

EXAMPLES = r"""
- name: Write the worker's files
  rayops.cluster.node_files:
    files: "{{ worker_files }}"
  vars:
    worker_files:
      - {path: /etc/ray, state: directory, group: ray, mode: "0750", own: true}
      - {path: /etc/ray/worker-node.yaml, group: ray, mode: "0640", template: worker-node.yaml.j2}
      - {path: /etc/hosts, regexp: ' ray-head$', content: 10.0.0.1 ray-head, when: "{{ manage_hosts }}"}
"""

RETURN = r"""
paths: {description: What was changed., type: list, elements: str, returned: success}
kept: {description: "Directories that were to go without O(files[].force), and have something in them.", type: list,
  elements: str, returned: success}
"""

import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._files.directory_entries import DirectoryEntries
from ansible_collections.rayops.cluster.plugins.module_utils._files.entries import Entry
from ansible_collections.rayops.cluster.plugins.module_utils._files.file_entries import FileEntries
from ansible_collections.rayops.cluster.plugins.module_utils._files.own_directories import RECORD
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule


class NodeFiles(FileEntries, DirectoryEntries):
    """The list of files, and what is done to it."""

    def __init__(self, module: AnsibleModule):
        super().__init__(module)
        self.changed_paths: list[str] = []

    def entries(self) -> list[Entry]:
        """What counts, in the order in which it is done."""
        files = [entry for entry in self.module.params["files"] if entry["when"]]
        if self.module.params["state"] == "present":
            return files
        return [{**entry, "state": "absent"} for entry in reversed(files)]

    def validate(self, entry: Entry) -> None:
        """End the module if an entry cannot be, before anything is touched."""
        path, line = entry["path"], entry["content"] if entry["regexp"] and entry["state"] == "file" else None
        if not path.startswith("/") or re.search(r"[\x00-\x1f\x7f]", path):
            self.module.fail_json(
                msg=f"{path!r} is no absolute path: begin it with a slash, and leave control characters out."
            )
        if not re.fullmatch(r"[0-7]{3,4}", entry["mode"] or "0644"):
            self.module.fail_json(msg=f"The mode of {path} is {entry['mode']}: use an octal number, such as 0640.")
        if line and re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line):
            self.module.fail_json(msg=f"The line {line!r} for {path} has a line break or control character: remove it.")
        if line and path == "/etc/hosts" and len(line.partition("#")[0].split()) != 2:
            self.module.fail_json(msg=f"The line {line!r} for {path} is not an address and one name: correct the name.")
        if entry["state"] == "absent" and entry["own"] and not entry["only"]:
            self.check_own(entry)
        if entry["state"] == "file" and entry["validate"]:
            self.check_content(entry)

    def ensure(self, entry: Entry) -> None:
        """Bring one entry about."""
        step = {"file": self.file, "directory": self.directory, "absent": self.absent}[entry["state"]]
        if entry["state"] == "absent" and entry["regexp"]:
            step = self.without_line
        if step(entry):
            self.changed_paths.append(entry["path"])


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
                    "when": {"type": "bool", "default": True},
                    "content": {"type": "str"},
                    "template": {"type": "str"},
                    "source": {"type": "str"},
                    "regexp": {"type": "str"},
                    "secret": {"type": "str", "no_log": True},
                    "secret_template": {"type": "str", "no_log": False},
                    "interface_of": {"type": "str"},
                    "force": {"type": "bool", "default": True},
                    "keep": {"type": "path"},
                    "own": {"type": "bool", "default": False},
                    "only": {"type": "str"},
                    "validate": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                },
                "mutually_exclusive": [("content", "secret", "template", "secret_template", "source")],
            },
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "record": {"type": "path", "default": RECORD},
        },
        supports_check_mode=True,
    )
    node_files = NodeFiles(module)
    for step in (node_files.validate, node_files.ensure):
        for entry in node_files.entries():
            try:
                step(entry)
            except PathError as error:
                module.fail_json(msg=str(error))
            except IsADirectoryError:
                module.fail_json(msg=f"{entry['path']} is a directory and is to be a file: move it away.")
            except OSError as error:
                # What is named by itself lies below the path.
                place = error.filename if str(error.filename).startswith(entry["path"]) else entry["path"]
                module.fail_json(msg=f"{place}: {error.strerror}.")
    module.exit_json(
        changed=bool(node_files.changed_paths), paths=node_files.changed_paths, kept=node_files.kept,
        diff=node_files.diffs,
    )


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: support_bundle_merge
short_description: Put the support bundles of many hosts into one archive, without unpacking them
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Runs on the controller, and reads what M(rayops.cluster.support_bundle) made on each host as a stream.
  - A host that was taken can send any bytes. Nothing of them is ever a file of this machine. Regular files alone are
    taken, each below the directory of its host, with a limit on their number and size.
  - What is left out is named in the result and in C(left-out.txt) of its host. An archive that is damaged costs what
    lies behind the damage.
  - Adds C(hosts.txt), which tells who was asked and who answered, and C(cluster.json).
options:
  path: {description: "The archive, a C(.tar.gz) for its owner alone. The directory in it has its name.", type: path,
      required: true}
  hosts: {description: The hosts that were asked., type: list, elements: str, required: true}
  parts: {description: "Their archives, C(0.tar.gz) of the first host and so on.", type: path, required: true}
  errors: {description: "For each host, what went wrong, of which the first that is not empty is shown.", type: list,
      elements: list, default: []}
  groups: {description: The groups of the inventory. Those of the cluster are written down., type: dict, default: {}}
  cluster: {description: "The cluster's state, the text of C(cluster.json).", type: str, default: ""}
  max_bytes: {description: The bytes that one file of a host may have., type: int, default: 1048576}
  total_bytes: {description: "The bytes of all files of one, before compression.", type: int, default: 67108864}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes: {diff_mode: {support: none}, idempotent: {support: none, details: Each run writes the archive anew.}}
"""

EXAMPLES = r"""
- name: What the hosts say is one archive
  rayops.cluster.support_bundle_merge:
    path: ./support-bundle.tar.gz
    hosts: [head, worker-1]
    parts: /tmp/parts
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
archive: {description: The archive., type: str, returned: success}
size: {description: Its bytes., type: int, returned: success}
answered: {description: The hosts whose archive was there., type: list, elements: str, returned: success}
missing: {description: "The others, each with the reason.", type: list, elements: str, returned: success}
summary: {description: "All of it, as lines for its reader.", type: list, elements: str, returned: success}
left_out: {description: "What of the archives was not taken, and why.", type: list, elements: str, returned: success}
"""

import os
import tempfile
from typing import IO, Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._bundle.files import new_archive
from ansible_collections.rayops.cluster.plugins.module_utils._bundle.merge import Merged, safe_names
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless

# What a host's own manifest may have beyond the limits of its files.
MANIFEST = 8 << 20
# Notes on what was left out that the reader is told.
SHOWN = 20


def reason(errors: list[list[str]], number: int) -> str:
    """Why there is nothing of a host. Of an answer that failed only its first line: the rest may be a traceback."""
    found = [str(messages[number]).strip() for messages in errors if number < len(messages) and messages[number]]
    return harmless(found[0].splitlines()[0][:500]) if found and found[0] else "no answer"


def merge(params: dict[str, Any], stream: IO[bytes]) -> dict[str, list[str]]:
    """Write the archive; returns what the module does."""
    name = os.path.basename(params["path"]).partition(".tar")[0]
    merged = Merged(stream, name, params["max_bytes"] + MANIFEST, params["total_bytes"] + MANIFEST)
    answered, missing, left_out = [], [], []
    for number, (host, directory) in enumerate(zip(params["hosts"], safe_names(params["hosts"]))):
        try:
            part = open(os.path.join(params["parts"], f"{number}.tar.gz"), "rb")
        except OSError:
            missing.append(f"{host}: {reason(params['errors'], number)}")
            continue
        with part:
            left_out += [f"{host}: {note}" for note in merged.add(directory, part)]
        answered.append(host)
    groups = {group: hosts for group, hosts in params["groups"].items() if group.startswith("ray_")}
    lines = [f"{group}: {' '.join(hosts)}" for group, hosts in groups.items()]
    lines += [f"Asked: {' '.join(params['hosts'])}", f"Answered: {' '.join(answered)}"]
    lines += [f"Missing: {'; '.join(missing) or 'nobody'}", *(f"Left out: {note}" for note in left_out)]
    merged.write("hosts.txt", "".join(f"{line}\n" for line in lines).encode(errors="replace"))
    merged.write("cluster.json", params["cluster"].encode(errors="replace"))
    merged.close()
    return {"answered": answered, "missing": missing, "left_out": left_out}


def summary(path: str, size: int, answer: dict[str, list[str]]) -> list[str]:
    """What the reader of the bundle is told."""
    asked = len(answer["answered"]) + len(answer["missing"])
    missing = f". Missing: {'; '.join(answer['missing'])}" if answer["missing"] else ""
    return [
        f"{path}, {size} bytes",
        f"From {len(answer['answered'])} of {asked} hosts{missing}",
        "Known secrets were removed, and what looks like one. Look at it before you hand it on.",
        *(f"Left out: {note}" for note in answer["left_out"][:SHOWN]),
    ]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "parts": {"type": "path", "required": True},
            "errors": {"type": "list", "elements": "list", "default": []},
            "groups": {"type": "dict", "default": {}},
            "cluster": {"type": "str", "default": ""},
            "max_bytes": {"type": "int", "default": 1 << 20},
            "total_bytes": {"type": "int", "default": 64 << 20},
        },
        supports_check_mode=True,
    )
    path = module.params["path"]
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        module.fail_json(msg=f"{directory} is no directory on this machine: make it, or name another.")
    try:
        with tempfile.TemporaryFile() if module.check_mode else new_archive(path) as stream:
            answer = merge(module.params, stream)
            size = stream.tell()
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error.strerror}.")
    module.exit_json(changed=True, archive=path, size=size, summary=summary(path, size, answer), **answer)
    # Nobody ever sees a half, and nobody else the whole.
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".support-bundle-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            answer = merge(module.params, stream)
        size = os.path.getsize(temporary)
        os.replace(temporary, path)
    except OSError as error:
        module.fail_json(msg=f"{path} cannot be written: {error.strerror}.")
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
    module.exit_json(changed=True, archive=path, size=size, summary=summary(path, size, answer), **answer)


if __name__ == "__main__":
    main()

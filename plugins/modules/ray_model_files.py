#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_model_files
short_description: Bring models to a host, or check them where they lie
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Copies models from a directory of the controller, or from a share that the host has mounted, to the host's own disk.
    They belong to root, and everybody may read them.
  - A file is copied aside, read back, and compared by its SHA-256; once all files are there they are put into their
    places together. A run that ends before that is continued by the next one. Size and time of change decide whether a
    file is read again.
  - Files that are no longer in the source, and models that are no longer declared, stay.
options:
  models:
    description: The models, as in C(ray_models).
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: "The directory of the model on the host, of root's alone.", type: str, required: true}
      source: {description: "A directory on the controller. Hidden files in it are left out.", type: str}
      share: {description: "A directory that the host has mounted. Without it and O(models[].source), the model is used
          where it lies, and only compared with O(models[].checksums).", type: str}
      checksums: {description: "A file on the controller, as C(sha256sum) writes it. Exactly the files that it names are
          brought.", type: str}
      pools: {description: "The pools whose workers get it, by default those of the models that use it.", type: list,
          elements: str}
      files: {description: "Set by the action plugin, the files of O(models[].source).", type: dict}
      digests: {description: "Set by the action plugin, the SHA-256 of files that it sends.", type: dict}
      sums: {description: "Set by the action plugin, what O(models[].checksums) holds.", type: dict}
  served: {description: "The models that are served, as in C(ray_serve_models). The action plugin keeps them.",
      type: list, elements: dict, default: []}
  records: {description: "A directory of root's, for what was read of the files.", type: path,
      default: /var/lib/rayops/models}
  timeout: {description: "Seconds that all of it may take on a host.", type: int, default: 14400}
  owner: {description: "Set by the action plugin, the number of the user who logs in.", type: int, default: 0}
extends_documentation_fragment: [rayops.cluster.attributes]
"""

EXAMPLES = r"""
- name: Bring a model from a share
  rayops.cluster.ray_model_files:
    models:
      - path: /srv/models/deepseek-r1
        share: /mnt/sfs-turbo/deepseek-r1
        checksums: deepseek-r1.sha256
"""

RETURN = r"""
lacks: {description: "Whether a file is still to come, or to be read.", returned: success, type: bool}
models:
  description: The models of this host.
  returned: success
  type: list
  elements: dict
  contains:
    path: {description: The directory., type: str}
    files: {description: How many files it has., type: int}
    bytes: {description: Bytes of all of them., type: int}
    lacking: {description: How many of them were to come., type: int}
    awaited: {description: "For the action plugin, files that it is to send, and whether they lie on the host.",
        type: list, elements: list}
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._serving.copies import Copy
from ansible_collections.rayops.cluster.plugins.module_utils._serving.sources import VARIABLE
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest
from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import opened

# Seconds without a byte, of a share that hangs or a disk that does not keep up.
SILENCE = 300


@contextlib.contextmanager
def alone(module: AnsibleModule, directory: str) -> Iterator[None]:
    """One run at a time. A run whose controller went away is at work until it ends, and so is its child."""
    with opened(directory, make=0o700) as parent:
        lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        module.fail_json(msg=f"Another run brings models to this host: let it end (fuser -v {directory}/lock names "
                             "it), and run again.")
    finally:
        os.close(lock)


def bring(copies: list[Copy], owner: int, beat: Callable[[], None]) -> list[dict[str, Any]]:
    """In the child: one model after the other, until one cannot be brought."""
    done = []
    for copy in copies:
        awaited = copy.bring(owner, beat)
        done.append({"awaited": awaited, "changed": copy.changed, "problems": copy.problems})
        if copy.problems:
            break
    return done


def main() -> None:
    text = {"type": "str"}
    model = {
        "path": {"type": "str", "required": True},
        "source": text,
        "share": text,
        "checksums": text,
        "pools": {"type": "list", "elements": "str"},
        "files": {"type": "dict"},
        "digests": {"type": "dict"},
        "sums": {"type": "dict"},
    }
    module = AnsibleModule(
        argument_spec={
            "models": {"type": "list", "elements": "dict", "required": True, "options": model},
            "served": {"type": "list", "elements": "dict", "default": []},
            "records": {"type": "path", "default": "/var/lib/rayops/models"},
            "timeout": {"type": "int", "default": 14400},
            "owner": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    params = module.params
    copies = [Copy(declared, params["records"]) for declared in params["models"]]
    for copy in copies:
        copy.look()
    refuse(module, [problem for copy in copies for problem in copy.problems])
    differences = Differences(item for copy in copies for item in copy.differences())
    lacks = any(copy.lacking or copy.unread for copy in copies)
    changed, awaited = bool(len(differences)), [[] for _copy in copies]
    lacking = [len(copy.lacking) for copy in copies]
    if lacks and not module.check_mode:
        with alone(module, params["records"]):
            done = brought(module, copies)
        refuse(module, [problem for each in done for problem in each["problems"]])
        changed, awaited = any(each["changed"] for each in done), [each["awaited"] for each in done]
        lacks = any(awaited)
    module.exit_json(
        changed=changed,
        lacks=lacks,
        models=[{
            "path": copy.path, "files": len(copy.wanted), "bytes": sum(size for size, _time in copy.wanted.values()),
            "lacking": count, "awaited": names,
        } for copy, count, names in zip(copies, lacking, awaited)],
        diff=differences.diff("models"),
    )


def brought(module: AnsibleModule, copies: list[Copy]) -> list[dict[str, Any]]:
    """What became of the models, in a child that is ended where it hangs."""
    params = module.params
    try:
        return guest.as_user("root", lambda beat: bring(copies, params["owner"], beat), params["timeout"],
                             silence=SILENCE)
    except guest.GuestError as error:
        return module.fail_json(msg=f"{VARIABLE}: {str(error).removeprefix('As user root: ').rstrip('.')}: see whether "
                                    "share and disk answer, or set ray_models_timeout higher. What was copied stays.")


def refuse(module: AnsibleModule, problems: list[str]) -> None:
    """Fail with all that is wrong."""
    if problems:
        module.fail_json(msg=guest.harmless("\n".join(problems)))


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_upgrade
short_description: Try what a Ray node is to run, keep what it runs, and go back to that
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Works on an environment, and on the files that say what a node runs, its unit, its declared state, its certificate,
    what people share with it and the unit of its backups. No node is started or stopped, and systemd does not read its
    units anew.
options:
  state:
    description:
      - V(tried) imports Ray and O(packages) in O(environment), as Ray's user, and fails where that fails. Of vLLM, if
        it is there, C(vllm._C) is loaded, which links libraries of the host's.
      - V(kept) copies the files of the node, unless they are not there, or name O(environment) already by a
        run that was interrupted.
      - V(finished) says that no run is.
      - V(known) only says what runs, and whether a run was interrupted.
      - V(present) fails unless files are kept, and Ray can be imported in the environment that they name.
      - V(restored) puts the kept files back.
    type: str
    choices: [tried, kept, finished, known, present, restored]
    required: true
  node_type:
    description: Which node of this host it is about. Without it, it is about O(files) alone.
    type: str
    choices: [head, worker]
  files:
    description: What else changes together with the node, such as the password or the configuration of Redis.
    type: list
    elements: path
    default: []
  tls: {description: Whether it is to speak TLS., type: bool, default: false}
  environment: {description: The environment that is to run., type: path}
  version: {description: The version of Ray that it must hold., type: str}
  packages: {description: "What it must hold, too, with all modules.", type: list, elements: str, default: []}
  user: {description: The user who runs Ray., type: str, default: ray}
  variables: {description: "What of the node's environment its libraries are found by, such as C(LD_LIBRARY_PATH).",
      type: dict, default: {}}
  config_dir: {description: "Where the node's declared state lies. What is kept is in C(previous) in it, root's alone.",
      type: path, default: /etc/ray}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes: {diff_mode: {support: none}}
"""

EXAMPLES = r"""
- name: Keep what runs
  rayops.cluster.ray_upgrade:
    state: kept
    node_type: worker
    environment: /opt/ray/2.60.0
"""

RETURN = r"""
files: {description: The files that were kept or put back., type: list, elements: str, returned: success}
environment: {description: "The one that was tried, or is kept; null for none.", type: str, returned: success}
tls: {description: "Whether what is kept speaks TLS, with O(state=known) what runs; null for none.", type: bool,
  returned: success}
unfinished: {description: Whether the files of the node are of an upgrade that was interrupted., type: bool,
  returned: with O(state=known)}
"""

import filecmp
import os
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._environment.imported import (
    UnusableError,
    imported_version,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import RayStart
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import PREVIOUS, LiveNode, unit_of
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened, read_regular
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import SystemdError
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles

UNITS = "/etc/systemd/system"
# Beside the kept files until the upgrade has finished: the environment that it is to, and whether that speaks TLS.
UPGRADE = "upgraded-to"
PROGRAM = re.compile(r"^ExecStart=(/\S+)/bin/ray ", re.MULTILINE)
SPEAKS_TLS = re.compile(r"^Environment=RAY_USE_TLS=1$", re.MULTILINE)


class Previous:
    """What a node ran before, and what it runs."""

    def __init__(self, module: AnsibleModule):
        node_type, config_dir = module.params["node_type"], module.params["config_dir"]
        self.module, self.path = module, f"{config_dir}/previous"
        self.unit, self.tls = f"{UNITS}/ray-{node_type}.service", f"{config_dir}/tls"
        self.needed = [self.unit, f"{config_dir}/{node_type}-node.yaml"] if node_type else []
        self.files = [*self.needed, *module.params["files"]]
        if node_type:
            # The unit of the backups names the version, too, on a head that makes them.
            certificate = NodeFiles.of(self.tls)
            self.files += [
                f"{UNITS}/ray-backup.service", f"{config_dir}/environment",
                certificate.authority, certificate.certificate, certificate.key,
            ]

    def kept(self, file: str) -> str:
        """Where a file is kept: a node's certificate where Ray's user reads it, who drains with it (_node/live.py)."""
        of_node = self.needed and os.path.dirname(file) == self.tls
        directory = os.path.join(self.tls, PREVIOUS) if of_node else self.path
        return os.path.join(directory, os.path.basename(file))

    def environment(self) -> str | None:
        """The environment that the kept unit names."""
        return environment_of(self.kept(self.unit))

    def speaks_tls(self) -> bool | None:
        """Whether the kept unit speaks TLS."""
        return speaks_tls(self.kept(self.unit))

    def keep(self) -> list[str]:
        """Keep the files of a node for an upgrade to the environment; returns them.

        A node that other pools' packages do not concern has that environment already, and keeps it all the same: what
        was kept there is of an upgrade before. Only while this one has not finished, it is what ran before.
        """
        wanted = words_of(self.module.params["environment"], self.module.params["tls"])
        runs = words_of(environment_of(self.unit), speaks_tls(self.unit)) if self.needed else wanted
        if not runs or (runs == wanted and self._kept_for() == wanted):
            return []
        if not self.module.check_mode:
            with opened(self.path, 0o750):
                pass
            self._make_place_for_certificate()
        copied = self._copy([(file, self.kept(file)) for file in self.files])
        if not self.module.check_mode:
            # What is not there now is of an upgrade before.
            for file in self.files:
                if not os.path.exists(file) and os.path.lexists(self.kept(file)):
                    os.unlink(self.kept(file))
            self._mark(wanted)
        return copied

    def _make_place_for_certificate(self) -> None:
        if self.needed and os.path.isdir(self.tls):
            with opened(os.path.join(self.tls, PREVIOUS), 0o750) as directory:
                os.fchown(directory, -1, os.stat(self.tls).st_gid)

    def _mark(self, words: str) -> None:
        with open(self.kept(UPGRADE), "w", encoding="utf-8") as stream:
            stream.write(f"{words}\n")

    def _kept_for(self) -> str:
        """The upgrade for which files were kept; empty for none."""
        try:
            return read_regular(self.kept(UPGRADE)).decode().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def finish(self) -> None:
        """The node runs what the upgrade was to, or again what it ran before."""
        if os.path.exists(self.kept(UPGRADE)) and not self.module.check_mode:
            os.unlink(self.kept(UPGRADE))

    def restore(self) -> list[str]:
        """Put the kept files back; returns them."""
        if self.environment() and not self.module.check_mode:
            self._mark(words_of(self.environment(), self.speaks_tls()))
        # Not with the times of before: what they are newer than is started anew (node_units).
        return self._copy([(self.kept(file), file) for file in self.files], as_new=True)

    def is_unfinished(self, live: LiveNode) -> bool:
        """Whether a run that was interrupted has written the files of a node that runs as before."""
        if not self._kept_for() or not live.running:
            return False
        runs = words_of(os.path.dirname(os.path.dirname(live.executable)), bool(live.tls_directory))
        written = words_of(environment_of(self.unit), speaks_tls(self.unit))
        return runs != written or live.spoken_tls != live.tls_directory

    def _copy(self, pairs: list[tuple[str, str]], as_new: bool = False) -> list[str]:
        copied = []
        for source, target in pairs:
            if not os.path.exists(source) or os.path.exists(target) and filecmp.cmp(source, target, shallow=False):
                continue
            copied.append(source)
            if not self.module.check_mode:
                self.module.preserved_copy(source, f"{target}.new")
                if as_new:
                    os.utime(f"{target}.new")
                os.replace(f"{target}.new", target)
        return copied

    def check(self) -> None:
        """Fail unless there is something to go back to; raises UnusableError."""
        environment = self.environment()
        try:
            if not environment or not all(os.path.exists(self.kept(file)) for file in self.needed):
                raise UnusableError("No unit and no declared state are kept.")
            imported_version(environment, self.module.params["user"], [], self.module.params["variables"])
        except UnusableError as error:
            raise UnusableError(
                f"{self.path} names no environment that works: there was no upgrade, or it was removed. Declare the "
                f"version that is wanted, and run rayops.cluster.upgrade without ray_rollback. ({error})"
            ) from None


def environment_of(unit: str) -> str | None:
    """The environment that the file of a unit names; None for none."""
    try:
        found = PROGRAM.search(read_regular(unit).decode())
    except (OSError, UnicodeDecodeError):
        return None
    return found.group(1) if found else None


def speaks_tls(unit: str) -> bool | None:
    """Whether the file of a unit lets a node speak TLS; None for no file."""
    try:
        return bool(SPEAKS_TLS.search(read_regular(unit).decode()))
    except (OSError, UnicodeDecodeError):
        return None


def words_of(environment: str | None, tls: bool | None) -> str:
    """What a node runs, or is to run; empty for nothing."""
    return f"{environment}{' with TLS' if tls else ''}" if environment else ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"choices": ["tried", "kept", "finished", "known", "present", "restored"], "required": True},
            "node_type": {"type": "str", "choices": ["head", "worker"]},
            "files": {"type": "list", "elements": "path", "default": []},
            "tls": {"type": "bool", "default": False},
            "environment": {"type": "path"},
            "version": {"type": "str"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "default": "ray"},
            "variables": {"type": "dict", "default": {}},
            "config_dir": {"type": "path", "default": "/etc/ray"},
        },
        required_if=[
            ("state", "tried", ["environment", "version"]), ("state", "kept", ["environment"]),
            ("state", "known", ["node_type"]), ("state", "present", ["node_type"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    try:
        if params["state"] == "tried":
            found = imported_version(params["environment"], params["user"], params["packages"], params["variables"])
            if found != params["version"]:
                wanted = params["version"]
                raise UnusableError(f"{params['environment']} holds Ray {found}, not {wanted}: declare that.")
            module.exit_json(changed=False, files=[], environment=params["environment"], tls=None)
        previous, files = Previous(module), []
        if params["state"] == "known":
            live = LiveNode(unit_of(params["node_type"]), RayStart("/opt/ray/current/bin/ray"), {})
            module.exit_json(
                changed=False, files=[], environment=previous.environment(), unfinished=previous.is_unfinished(live),
                tls=bool(live.tls_directory) if live.running else None,
            )
        if params["state"] == "present":
            previous.check()
        elif params["state"] == "finished":
            previous.finish()
        else:
            files = previous.keep() if params["state"] == "kept" else previous.restore()
        module.exit_json(
            changed=bool(files), files=files, environment=previous.environment(), tls=previous.speaks_tls()
        )
    except (UnusableError, PathError, SystemdError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

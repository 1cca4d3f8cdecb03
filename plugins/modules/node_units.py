#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_units
short_description: Let services run with the files that they read, in one call
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Starts and enables services, and restarts or reloads those that have not read their files as they are now.
  - What a service has read follows from the times of its files and of its start, never from what this run changed.
    So a run that dies after it wrote a file is mended by the next one.
  - A service counts as running when it listens where it says.
options:
  units:
    description: The services, in the order in which they are started.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "The unit, such as V(prometheus.service).", type: str, required: true}
      state: {description: "V(started) also enables, V(stopped) disables; V(absent) is for a unit whose files are
          gone, which systemd forgets.",
          type: str, choices: [absent, started, stopped], default: started}
      restart_files: {description: "What it reads at its start, if there.", type: list, elements: path, default: []}
      ask_files: {description: "What it reads at its start, too, and shares with others. A unit that runs is restarted
          for them only with O(interrupt).", type: list, elements: path, default: []}
      reload_files: {description: Files that it reads again on reload., type: list, elements: path, default: []}
      owned_by: {description: "Without this file a unit that runs is another's: not to be started, left when stopped.",
          type: path}
      listens:
        description: Where it listens. An address that another service has is refused.
        type: list
        elements: dict
        default: []
        suboptions:
          address: {description: The address of this host., type: str, required: true}
          port: {description: The port., type: int, required: true}
          variable: {description: "The variable that sets the port, for the message.", type: str, required: true}
  timeout: {description: Seconds within which each must listen., type: int, default: 60}
  interrupt: {description: "Whether units that run may be restarted for their O(units[].ask_files). Otherwise it fails
      before anything is touched; in check mode it warns.", type: bool, default: true}
extends_documentation_fragment: [rayops.cluster.attributes]
seealso: [{module: rayops.cluster.node_files}, {module: ansible.builtin.systemd_service}]
"""

EXAMPLES = r"""
- name: Run Prometheus with its configuration
  rayops.cluster.node_units:
    units:
      - name: prometheus.service
        reload_files: [/etc/prometheus/prometheus.yml]
        listens: [{address: 10.0.0.7, port: 9090, variable: monitor_prometheus_port}]
"""

RETURN = r"""
differences: {description: "What was not as declared (kind, option, declared, live).", type: list, elements: dict,
  returned: success}
missing: {description: Services that systemd does not know yet., type: list, elements: str, returned: success}
"""

import os
import time
from enum import Enum

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import listeners
from ansible_collections.rayops.cluster.plugins.module_utils._system.log import end_of
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import started_at
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import SystemdError, Unit

# Its files' times are those of the last reload of each unit; it is gone after a reboot, as the processes are.
_LOADED = "/run/rayops"
_DECLARED = {"started": "runs with its files", "stopped": "stopped", "absent": "forgotten"}
# One that ends so often just after its start is not waited for.
_CRASHES = 3


class Mend(Enum):
    """What brings a service to what is declared."""

    START = "start"
    RESTART = "restart"
    RELOAD = "reload"
    ENABLE = "enable"
    STOP = "stop"
    FORGET = "forget"


class NodeUnit:
    """One service: what is declared for it, and what it is."""

    def __init__(self, module: AnsibleModule, declared: dict):
        self.module = module
        self.declared = declared
        self.unit = Unit(declared["name"])
        self._stamp = os.path.join(_LOADED, f"{declared['name']}.loaded")

    def refuse(self) -> None:
        """End the module where it cannot be started: somebody else's unit, or somebody else's port."""
        name = self.declared["name"]
        if self.declared["state"] == "started" and self.unit.active and not self._ours:
            self.module.fail_json(msg=(
                f"{name} runs on this host already, and this collection did not set it up: keep it and turn ours off "
                f"(monitor_prometheus: false), or stop it with `systemctl disable --now {name}`."
            ))
        if self.declared["state"] != "started":
            return
        shared = "" if not self.unit.active or self._newer("restart_files") else self._newer("ask_files")
        if shared and not self.module.params["interrupt"]:
            said = f"{name} runs with an older {shared}, and a restart"
            if not self.module.check_mode:
                self.module.fail_json(msg=f"{said} would interrupt it: let that be, with -e ray_interrupt=models.")
            self.module.warn(f"{said} interrupts it.")
        for wanted in self.declared["listens"]:
            for found in listeners(wanted["address"], wanted["port"]):
                # One that cannot be seen ends just now, if the unit runs.
                if found.service != name and (found.pid or not self.unit.active):
                    self.module.fail_json(msg=(
                        f"{wanted['address']}:{wanted['port']} is taken by {found}: set {wanted['variable']} to a free "
                        f"port, for {name}."
                    ))

    @property
    def _ours(self) -> bool:
        return not self.declared["owned_by"] or os.path.exists(self.declared["owned_by"])

    def _newer(self, kind: str) -> str:
        """The first of its files of a kind that was changed after it was started; empty for none."""
        started = started_at(self.unit.main_pid) or time.time()
        return next((path for path in self.declared[kind] if _changed(path) > started), "")

    def difference(self) -> tuple[Mend, str] | None:
        """What is not as declared: what mends it, and what it is; None for nothing."""
        if self.declared["state"] == "absent":
            # One that was forgotten just now may have been the last that systemd had to read anew.
            self.unit.refresh()
            return (Mend.FORGET, "remembered") if self.unit.stale or self.unit.failed else None
        if self.declared["state"] == "stopped":
            return None if not self._ours or self.unit.stopped and not self.unit.enabled else (Mend.STOP, "runs")
        if not self.unit.active:
            return Mend.START, "stopped"
        if self.unit.stale:
            return Mend.RESTART, "runs with an older unit file"
        newer = self._newer("restart_files") or self._newer("ask_files")
        if newer:
            return Mend.RESTART, f"started before {newer} was written"
        loaded = max(started_at(self.unit.main_pid) or time.time(), _changed(self._stamp))
        for path in self.declared["reload_files"]:
            if _changed(path) > loaded:
                return Mend.RELOAD, f"loaded before {path} was written"
        return None if self.unit.enabled else (Mend.ENABLE, "does not start with the host")

    def mend(self, mend: Mend) -> None:
        """Bring about what is declared."""
        if mend is Mend.FORGET:
            self.unit.forget()
            return
        if mend is Mend.STOP:
            self.unit.stop(self.module.params["timeout"])
            self.unit.disable()
            return
        if self.unit.stale:
            self.unit.reload()
        if not self.unit.enabled:
            self.unit.enable()
        before = time.time()
        if mend is Mend.RELOAD:
            self.unit.reload_service()
        elif mend is Mend.START:
            self.unit.start()
        elif mend is Mend.RESTART:
            self.unit.restart(self.module.params["timeout"])
        os.makedirs(_LOADED, 0o755, exist_ok=True)
        with open(self._stamp, "w", encoding="utf-8"):
            os.utime(self._stamp, (before, before))

    def wait(self) -> None:
        """Return when it listens; end the module with its last words if it does not in time."""
        deadline = time.monotonic() + self.module.params["timeout"]
        while self.declared["state"] == "started":
            missing = [f"{wanted['address']}:{wanted['port']}" for wanted in self.declared["listens"]
                       if not listeners(wanted["address"], wanted["port"])]
            self.unit.refresh()
            if self.unit.active and not missing:
                return
            if time.monotonic() > deadline or self.unit.restarts >= _CRASHES:
                self.module.fail_json(msg=(
                    f"{self.declared['name']} is {self.unit.properties['ActiveState']} and does not listen on "
                    f"{', '.join(missing) or 'anything'}: see journalctl -u {self.declared['name']}. It wrote last:\n"
                    f"{end_of(self.unit.journal(60))}"
                ))
            time.sleep(0.2)


def _changed(path: str) -> float:
    """When a file, or the link itself, was changed; 0 if it does not exist."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def define_module() -> AnsibleModule:
    listens = {
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "variable": {"type": "str", "required": True},
    }
    unit = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["absent", "started", "stopped"], "default": "started"},
        "restart_files": {"type": "list", "elements": "path", "default": []},
        "ask_files": {"type": "list", "elements": "path", "default": []},
        "reload_files": {"type": "list", "elements": "path", "default": []},
        "owned_by": {"type": "path"},
        "listens": {"type": "list", "elements": "dict", "default": [], "options": listens},
    }
    return AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "required": True, "options": unit},
            "timeout": {"type": "int", "default": 60},
            "interrupt": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )


def main() -> None:
    module = define_module()
    differences = Differences()
    try:
        units = [NodeUnit(module, declared) for declared in module.params["units"]]
        started = [unit for unit in units if unit.declared["state"] == "started"]
        missing = [unit.declared["name"] for unit in started if not unit.unit.exists]
        for unit in units:
            unit.refuse()
        for unit in units:
            difference = unit.difference()
            if difference:
                mend, live = difference
                differences.add(unit.declared["name"], _DECLARED[unit.declared["state"]], live, "unit")
                if not module.check_mode:
                    unit.mend(mend)
            if not module.check_mode:
                unit.wait()
    except SystemdError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(differences), differences=differences.to_list(), missing=missing,
        diff=differences.diff("services"),
    )


if __name__ == "__main__":
    main()

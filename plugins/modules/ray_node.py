#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_node
short_description: Keep the Ray node of a host as its file declares it
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Compiles the declared state of a node to the arguments and the environment of C(ray start), compares them with the
    process that runs, and starts or restarts the node's systemd unit only where they differ.
  - Returns when the cluster's GCS says that the node is ALIVE.
  - Other Ray nodes that run on the host outside the unit are differences too, and are ended.
  - A stop or a restart drains the node first. No task is killed before the declared drain time has passed.
  - It never runs C(ray stop), which would end every Ray of the host.
options:
  node_type:
    description: What the node is.
    type: str
    choices: [head, worker]
    required: true
  state:
    description:
      - V(started) runs as declared, enabled at boot; a running node that does not differ is not touched.
      - V(restarted) is restarted whether it differs or not.
      - V(drained) takes no new work, waits O(drain_timeout) for the work it has, and is stopped. Where something would
        be lost by that, or where its work does not end in time, it goes on, and the module fails; see O(force).
      - V(stopped) is stopped, with the drain time that its file declares.
      - V(absent) is stopped, disabled, and its unit and its file are removed; data and logs are kept.
    type: str
    choices: [started, restarted, drained, stopped, absent]
    default: started
  config:
    description: The declared state. Without it, O(config_file) is read.
    type: dict
  config_file:
    description: The node's file. The default is C(/etc/ray/head-node.yaml) or C(/etc/ray/worker-node.yaml).
    type: path
  check_accelerators:
    description: Whether declared GPUs and NPUs must exist. Ray itself accepts ones that do not.
    type: bool
    default: true
  other_nodes:
    description: Whether other Ray nodes on this host are ended (V(stop)) or left alone (V(ignore)).
    type: str
    choices: [stop, ignore]
    default: stop
  certificate:
    description: What M(rayops.cluster.ray_tls) finds wrong with the node's certificate, before it is written.
    type: dict
    suboptions:
      kind: {description: What is wrong., type: str, default: ""}
      rejected: {description: Whether other nodes refuse it., type: bool, default: false}
  install:
    description:
      - What is to be installed where the node's environment is missing. Nothing is installed here, only refused where
        it could not be.
      - Before a node starts, its ports, its directories and its disks are looked at, too.
    type: dict
    suboptions:
      user: {description: The system user that is to run Ray., type: str, required: true}
      python: {description: "What makes the environment. Without it, none is to be made.", type: path}
      packages: {description: "What is installed, as pip's requirements.", type: list, elements: str, default: []}
      size: {description: "Bytes that the environment takes; V(0) goes by O(install.packages).", type: int, default: 0}
      head_versions: {description: "What RV(versions) says on the head. Another worker is refused.", type: dict}
      groups: {description: "The groups of the host, for the message.", type: list, elements: str, default: []}
  drain_timeout:
    description: Seconds that O(state=drained) waits for running work.
    type: int
    default: 300
  force:
    description:
      - Whether O(state=drained) stops a node that holds drivers, objects that no other node has, or actors that Ray
        does not restart elsewhere, and one whose work does not end in time.
      - Ray cannot take a drain back. A node whose work has not ended in time is restarted, and so takes work again.
    type: bool
    default: false
  timeout:
    description: Seconds within which a started node must be ALIVE.
    type: int
    default: 120
  kill:
    description:
      - Whether O(state=stopped) and O(state=absent) kill all processes of the node at once, without a drain.
      - The other Ray nodes of this host are killed too, unless O(other_nodes=ignore). The declared state is not read.
    type: bool
    default: false
extends_documentation_fragment: [rayops.cluster.attributes]
attributes:
  diff_mode: {description: Returns the differences between the live and the declared node.}
  idempotent: {support: partial, details: O(state=restarted) restarts every time.}
seealso: [{module: rayops.cluster.ray_status}, {module: rayops.cluster.ray_smoke_test}]
"""

EXAMPLES = r"""
- name: The worker runs as /etc/ray/worker-node.yaml declares
  rayops.cluster.ray_node:
    node_type: worker

- name: The worker is empty, so that its host can be serviced
  rayops.cluster.ray_node:
    node_type: worker
    state: drained
    drain_timeout: 1800
"""

RETURN = r"""
action:
  description: What mends the differences, C(none), C(reload), C(start), C(restart), C(stop) or C(remove).
  type: str
  returned: success
differences:
  description: The options whose declared and live values differ.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description:
        - What it is, V(option), V(environment), V(shared_environment) (a variable of which workers see something),
          V(executable), V(limit), V(token), V(certificate), V(trust) (of authorities), V(rejected_certificate) (by
          other nodes), V(other_tls) (what runs reaches no node that runs as declared), V(raylet), V(health), V(unit),
          V(enabled), V(timers), V(foreign) (another Ray on this host), V(restart) or V(file).
      type: str
    option: {description: "The option of C(ray start), C(environment NAME), or what else differs.", type: str}
    declared: {description: "The declared value, null for none.", type: raw}
    live: {description: "The live value, null for none.", type: raw}
can_wait:
  description: Whether a head that is to be restarted can wait for its workers. They see nothing of what differs.
  type: bool
  returned: success
other_environment:
  description: The environment that runs, if it is not the declared one. Empty for none.
  type: str
  returned: success
other_tls:
  description: What runs, if it is not the declared TLS, V(plain), V(tls) or V(authority) (another one). Empty for none.
  type: str
  returned: success
versions:
  description: Of a head, what it runs, or is going to run, C(ray) and C(python); empty for what is not known.
  type: dict
  returned: with O(install)
missing_secrets:
  description: The files with secrets that it is to start with and that are not there, as on a new host.
  type: list
  elements: str
  returned: success
firewall:
  description: Whether this host has something of M(rayops.cluster.node_firewall).
  type: bool
  returned: success
seconds: {description: Seconds that all of it took., type: float, returned: success}
stopped_seconds:
  description: Seconds from the last stop of a node that was started to ALIVE, by its own clock; null for others.
  type: float
  returned: success
node:
  description: The node as it is now.
  type: dict
  returned: success
  contains:
    id: {description: Ray's id of the node., type: str}
    address: {description: Its IP address., type: str}
    state: {description: "C(ALIVE), or the unit's state where no node runs.", type: str}
    pid: {description: Process id of its C(ray start)., type: int}
    session: {description: The session it belongs to., type: str}
    ray_version: {description: The version of Ray in its environment., type: str}
    uptime: {description: Seconds since it was started., type: float}
    tls: {description: Whether it speaks TLS; null where none runs., type: bool}
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.table import traces
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import RayCluster, RayClusterError
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import RayStart, compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import RayConfigError, load
from ansible_collections.rayops.cluster.plugins.module_utils._node.difference import (
    all_differences,
    can_wait,
    other_environment,
    other_tls,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.drain import (
    NotEmptyError,
    drain,
    drain_if_possible,
    refuse_losses,
    unfinished,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.failure import raylet_words, unit_problem
from ansible_collections.rayops.cluster.plugins.module_utils._node.hardware import problems
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode, secrets_of, unit_of
from ansible_collections.rayops.cluster.plugins.module_utils._node.obstacles import obstacles, versions
from ansible_collections.rayops.cluster.plugins.module_utils._node.start import (
    NodeError,
    StartError,
    refuse_problems,
    stop_others,
    wait_for_gcs,
    wait_for_raylet,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless
from ansible_collections.rayops.cluster.plugins.module_utils._system.log import end_of
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError
from ansible_collections.rayops.cluster.plugins.module_utils._system.systemd import SystemdError
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule, hide

DEFAULT_ENVIRONMENT = "/opt/ray/current"


class RayNode:
    """The node of this host, and what is done to it."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.began, self.since = time.monotonic(), time.time()
        self.params = module.params
        self.node_type = self.params["node_type"]
        self.config_file = self.params["config_file"] or f"/etc/ray/{self.node_type}-node.yaml"
        self.unit = unit_of(self.node_type)
        self.config, self.start = self._declared()
        self.live = LiveNode(self.unit, self.start, self.config)
        self.differences = Differences()
        self.action = "none"

    def _declared(self) -> tuple[dict[str, Any], RayStart]:
        declared = self.params["config"] or os.path.exists(self.config_file)
        if self.params["state"] in ("stopped", "absent") and (self.params["kill"] or not declared):
            # A node that was removed, or that never was, can still be stopped, and killed one with a bad file.
            return {}, RayStart(f"{DEFAULT_ENVIRONMENT}/bin/ray")
        config = self.params["config"] or load(self.config_file, self._environments(), self.unit.user)
        hide(self.module, secrets_of(config))
        start = compile_start(config, self.node_type, to_run=self.params["state"] in ("started", "restarted"))
        for warning in start.warnings:
            self.module.warn(warning)
        return config, start

    def _environments(self) -> tuple[str, ...]:
        """Where a Python that reads YAML may be: in the environment that the unit names, and in the usual one."""
        program = self.unit.program
        named = (os.path.dirname(os.path.dirname(program)),) if program.endswith("/bin/ray") else ()
        return (*named, DEFAULT_ENVIRONMENT)

    def ensure_started(self, restart: bool = False) -> None:
        """Run the node as declared."""
        self.differences, self.action = self._compare()
        if restart and self.action != "start":
            self.differences.add("restart", "asked for", None, "restart")
            self.action = "restart"
        found = problems(self.config, self.node_type, self.params["check_accelerators"])
        if self.action in ("start", "restart"):
            found += obstacles(self.live, self.params["install"], self.params["other_nodes"] == "stop")
        if found:
            told = list(map(str, found))
            self.module.fail_json(msg=harmless(" ".join(told)), problems=harmless(told))
        self._refuse_in_vain()
        if self.action == "none" or self.module.check_mode:
            return
        if not self.unit.exists:
            self.unit.reload()
        if not self.unit.exists:
            self.module.fail_json(
                msg=f"{self.unit.name} is not installed on this host: run the playbook's {self.node_type} role first."
            )
        self._apply()

    def _refuse_in_vain(self) -> None:
        """Touch nothing where a start is known to fail, and name what a running node's next start will fail with."""
        if self.action in ("start", "restart"):
            refuse_problems(self.live, self.node_type)
            return
        found = unit_problem(self.unit)
        if found:
            self.module.warn(f"The node runs, but will not start again as declared: {found}")

    def ensure_stopped(self, drained: bool = False) -> None:
        """Stop the node; if it is to be drained, wait for its work first."""
        if not self.unit.stopped:
            self.differences.add("unit", "inactive", self.unit.properties.get("ActiveState"), "unit")
        others = self.live.others if self.params["kill"] and self.params["other_nodes"] == "stop" else []
        for process in others:
            self.differences.add(f"other Ray on this host, {process.kind} {process.pid}", None, "running", "foreign")
        if not self.differences:
            return
        self.action = "stop"
        alive = drained and self.live.raylet and self.live.health() == "alive"
        if alive and not self.params["force"]:
            refuse_losses(self._cluster(), self.live)
        if self.module.check_mode:
            return
        if alive:
            self._drain()
        (self.unit.kill if self.params["kill"] else self.unit.stop)(self._stop_timeout())
        if others:
            stop_others(self.live, self._stop_timeout(), self.params["kill"])

    def ensure_absent(self) -> None:
        """Stop the node and remove its unit and its file."""
        self.ensure_stopped()
        for path in (f"/etc/systemd/system/{self.unit.name}", self.config_file):
            if os.path.exists(path):
                self.differences.add(path, None, "present", "file")
        if not self.differences:
            return
        self.action = "remove"
        if self.module.check_mode:
            return
        self.unit.disable()
        for path in (f"/etc/systemd/system/{self.unit.name}", self.config_file):
            if os.path.exists(path):
                os.remove(path)
        self.unit.reload()

    def result(self) -> dict[str, Any]:
        """What the module returns."""
        other, install = other_environment(self.live), self.params["install"]
        tls = other_tls(self.differences, self.live)
        self.live.refresh()
        return {
            "changed": bool(self.differences),
            "action": self.action,
            "can_wait": can_wait(self.differences, self.action),
            "other_environment": other,
            "other_tls": tls,
            "differences": self.differences.to_list(),
            "node": self.live.describe(),
            "versions": versions(self.live, install) if install and self.node_type == "head" else {},
            "firewall": bool(traces()),
            "missing_secrets": self.live.missing_secrets,
            "seconds": round(time.monotonic() - self.began, 1),
            "stopped_seconds": self._stopped_seconds(),
            "diff": self.differences.diff(f"Ray {self.node_type} node"),
            "msg": self._message(),
        }

    def _stopped_seconds(self) -> float | None:
        started = self.action in ("start", "restart") and not self.module.check_mode
        return round(time.monotonic() - self.unit.stopped_at, 1) if started and self.unit.stopped_at else None

    def _message(self) -> str:
        if not self.differences:
            return f"The {self.node_type} is as declared."
        return f"{self.action}: {self.differences.names()}."

    def _compare(self) -> tuple[Differences, str]:
        return all_differences(
            self.live, others=self.params["other_nodes"] == "stop", certificate=self.params["certificate"]
        )

    def _apply(self) -> None:
        if self.params["other_nodes"] == "stop" and self.live.foreign:
            stop_others(self.live, self._stop_timeout())
        # systemd does not notice a file whose time is older than that of the one it has loaded, as after a rollback.
        if self.unit.stale or self.action in ("start", "restart"):
            self.unit.reload()
            # A drop-in that is newer than what systemd had loaded.
            refuse_problems(self.live, self.node_type)
        if not self.unit.enabled:
            self.unit.enable()
        before = self.live.raylet.pid if self.live.raylet else 0
        if self.action == "restart" and self.node_type == "worker":
            drain_if_possible(self._cluster(), self.live, self._drain_timeout())
        if self.action == "restart" or not (self.unit.stopped or self.unit.active):
            self.unit.restart(self._stop_timeout())
            self._wait_alive(before)
        elif self.action == "start":
            deadline = time.monotonic() + self.params["timeout"]
            # The head may be starting, too. One that does not come is told of below, and systemd goes on trying.
            answers = self.node_type == "head" or wait_for_gcs(self.live.gcs_address, deadline)
            self.unit.start()
            self._wait_alive(before, None if answers else deadline)
        else:
            self.unit.restart_timers()

    def _wait_alive(self, old_raylet: int, deadline: float | None = None) -> None:
        """Wait until the GCS counts the node as ALIVE. deadline: by the monotonic clock."""
        end = deadline or time.monotonic() + self.params["timeout"]
        node_id = wait_for_raylet(self.live, self.node_type, old_raylet, end, self.params["timeout"])
        try:
            self._cluster().wait_alive(node_id, max(end - time.monotonic(), 5))
        except RayClusterError as error:
            refuse_problems(self.live, self.node_type)
            raise NodeError(str(error)) from error
        differences, action = self._compare()
        if action in ("start", "restart"):
            first = next(iter(differences))
            drop_ins = ", ".join(self.unit.drop_ins)
            raise NodeError(
                f"{self.unit.name} runs, but {first.option} is still {first.live!r} and not {first.declared!r}: "
                + (f"remove it from {drop_ins}." if drop_ins else "see its log.")
            )

    def _cluster(self) -> RayCluster:
        return RayCluster(
            environment=os.path.dirname(os.path.dirname(self.live.executable)),
            address=self.live.gcs_address,
            auth_token_path=(self.config.get("auth") or {}).get("token_path"),
            tls_directory=self.live.spoken_tls or None,
            user=self.live.user,
        )

    def _drain(self) -> None:
        """Empty the node; if its work does not end in time, and force is not set, put it back to work and fail."""
        before, seconds = self.live.raylet.pid if self.live.raylet else 0, self.params["drain_timeout"]
        if self.params["force"]:
            drain_if_possible(self._cluster(), self.live, seconds, lose=True)
            return
        answer = drain(self._cluster(), self.live, seconds, lose=False)
        if answer["drained"]:
            return
        self.unit.restart(self._stop_timeout())
        self._wait_alive(before)
        left = unfinished(answer["held"])
        raise NotEmptyError(
            f"The node at {self.live.address} still had {left} after {seconds} s, and was not stopped. Ray "
            "cannot take a drain back, so it was restarted and takes work again: wait longer (drain_timeout), or "
            "end its work (force: true).", answer["held"]
        )

    def _drain_timeout(self) -> int:
        declared = (self.config.get("ray") or {}).get("drain_timeout")
        return 30 if declared is None else int(declared)

    def _stop_timeout(self) -> float:
        return self._drain_timeout() + 60


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "node_type": {"type": "str", "choices": ["head", "worker"], "required": True},
            "state": {"choices": ["started", "restarted", "drained", "stopped", "absent"], "default": "started"},
            "config": {"type": "dict"},
            "config_file": {"type": "path"},
            "check_accelerators": {"type": "bool", "default": True},
            "other_nodes": {"type": "str", "choices": ["stop", "ignore"], "default": "stop"},
            "certificate": {
                "type": "dict",
                "options": {"kind": {"type": "str", "default": ""}, "rejected": {"type": "bool", "default": False}},
            },
            "install": {
                "type": "dict",
                "options": {
                    "user": {"type": "str", "required": True},
                    "python": {"type": "path"},
                    "packages": {"type": "list", "elements": "str", "default": []},
                    "size": {"type": "int", "default": 0},
                    "head_versions": {"type": "dict"},
                    "groups": {"type": "list", "elements": "str", "default": []},
                },
            },
            "drain_timeout": {"type": "int", "default": 300},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            "kill": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        node = RayNode(module)
        state = module.params["state"]
        if state in ("started", "restarted"):
            node.ensure_started(restart=state == "restarted")
        elif state == "absent":
            node.ensure_absent()
        else:
            node.ensure_stopped(drained=state == "drained")
        # What a process shows of itself, and what it logs, is its own choice.
        module.exit_json(**harmless(node.result()))
    except RayConfigError as error:
        module.fail_json(msg=f"{module.params['node_type']}-node.yaml: {error}")
    except NotEmptyError as error:
        module.fail_json(msg=harmless(str(error)), held=error.held)
    except StartError as error:
        module.fail_json(msg=harmless(str(error)))
    except NodeError as error:
        # The line that matters comes last. What it wrote before belongs to another start.
        log = end_of(node.unit.journal(200, node.since))
        raylet = raylet_words(node.live, node.since)
        module.fail_json(msg=harmless("\n".join(filter(None, (str(error), log, raylet and f"raylet: {raylet}")))))
    except (SystemdError, RayClusterError, PathError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

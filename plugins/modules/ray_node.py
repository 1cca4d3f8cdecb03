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
      - V(drained) takes no new work, waits O(drain_timeout) for the work it has, and is stopped.
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
  drain_timeout:
    description: Seconds that O(state=drained) waits for running work.
    type: int
    default: 300
  timeout:
    description: Seconds within which a started node must be ALIVE.
    type: int
    default: 120
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns the differences between the live and the declared node.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, the second run changes nothing.
    support: partial
    details:
      - O(state=restarted) restarts every time.
seealso:
  - module: rayops.cluster.ray_status
  - module: rayops.cluster.ray_smoke_test
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
    option:
      description: The option of C(ray start), C(environment NAME), or what else differs.
      type: str
    declared:
      description: The declared value, null for none.
      type: raw
    live:
      description: The live value, null for none.
      type: raw
missing_secrets:
  description: The files with secrets that it is to start with and that are not there, as on a new host.
  type: list
  elements: str
  returned: success
node:
  description: The node as it is now.
  type: dict
  returned: success
  contains:
    id:
      description: Ray's id of the node.
      type: str
    address:
      description: Its IP address.
      type: str
    state:
      description: C(ALIVE), or the unit's state where no node runs.
      type: str
    pid:
      description: Process id of its C(ray start).
      type: int
    session:
      description: The session it belongs to.
      type: str
    ray_version:
      description: The version of Ray in its environment.
      type: str
    uptime:
      description: Seconds since it was started.
      type: float
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._ray_cluster import RayCluster, RayClusterError
from ansible_collections.rayops.cluster.plugins.module_utils._ray_config import RayConfigError, load
from ansible_collections.rayops.cluster.plugins.module_utils._ray_host import problems
from ansible_collections.rayops.cluster.plugins.module_utils._ray_node import LiveNode, all_differences, is_secret
from ansible_collections.rayops.cluster.plugins.module_utils._ray_process import stop_foreign
from ansible_collections.rayops.cluster.plugins.module_utils._ray_start import RayStart, compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._systemd import SystemdError, Unit
from ansible_collections.rayops.cluster.plugins.module_utils._unlogged_module import UnloggedModule

TIMERS = ("ray-health.timer", "ray-prune.timer")
BACKUP_TIMER = "ray-backup.timer"  # Of a head that makes backups.
DEFAULT_ENVIRONMENT = "/opt/ray/current"
# systemd restarts a node that cannot start; after so many tries in a row its log says why.
MAX_RESTARTS = 3


class RayNode:
    """The node of this host, and what is done to it."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.params = module.params
        self.node_type = self.params["node_type"]
        self.config_file = self.params["config_file"] or f"/etc/ray/{self.node_type}-node.yaml"
        self.config, self.start = self._declared()
        backup = self.node_type == "head" and os.path.exists(f"/etc/systemd/system/{BACKUP_TIMER}")
        self.unit = Unit(f"ray-{self.node_type}.service", TIMERS + ((BACKUP_TIMER,) if backup else ()))
        self.live = LiveNode(self.unit, self.start, self.config)
        self.differences = Differences()
        self.action = "none"

    def _declared(self) -> tuple[dict, RayStart]:
        gone = self.params["state"] in ("stopped", "absent") and not os.path.exists(self.config_file)
        if gone and not self.params["config"]:
            # A node that was removed, or that never was, can still be stopped.
            return {}, RayStart(f"{DEFAULT_ENVIRONMENT}/bin/ray")
        config = self.params["config"] or load(self.config_file, (DEFAULT_ENVIRONMENT,))
        self.module.no_log_values.update(_secrets(config))
        start = compile_start(config, self.node_type)
        for warning in start.warnings:
            self.module.warn(warning)
        return config, start

    def ensure_started(self, restart: bool = False) -> None:
        """Run the node as declared."""
        found = problems(self.config, self.node_type, self.params["check_accelerators"])
        if found:
            self.module.fail_json(msg=" ".join(found), problems=found)
        self.differences, self.action = self._compare()
        if restart and self.action != "start":
            self.differences.add("restart", "asked for", None)
            self.action = "restart"
        if self.action == "none" or self.module.check_mode:
            return
        if not self.unit.exists and not self._load_unit():
            self.module.fail_json(
                msg=f"{self.unit.name} is not installed on this host: run the playbook's {self.node_type} role first."
            )
        self._apply()

    def ensure_stopped(self, drain: bool = False) -> None:
        """Stop the node; with drain, wait for its work first."""
        if self.unit.stopped and not self.unit.active:
            return
        self.action = "stop"
        self.differences.add("unit", "inactive", self.unit.properties.get("ActiveState"))
        if self.module.check_mode:
            return
        if drain and self.live.raylet:
            self._drain()
        self.unit.stop(self._stop_timeout())

    def ensure_absent(self) -> None:
        """Stop the node and remove its unit and its file."""
        self.ensure_stopped()
        for path in (f"/etc/systemd/system/{self.unit.name}", self.config_file):
            if os.path.exists(path):
                self.differences.add(path, None, "present")
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

    def result(self) -> dict:
        """What the module returns."""
        self.live.refresh()
        return {
            "changed": bool(self.differences),
            "action": self.action,
            "differences": self.differences.to_list(),
            "node": self.live.describe(),
            "missing_secrets": self.live.missing_secrets,
            "diff": self.differences.diff(f"Ray {self.node_type} node"),
            "msg": self._message(),
        }

    def _message(self) -> str:
        if not self.differences:
            return f"The {self.node_type} is as declared."
        names = [item["option"] for item in self.differences.to_list()]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return f"{self.action}: {', '.join(names[:4])}{more}."

    def _compare(self) -> tuple[Differences, str]:
        found, action = all_differences(self.live)
        if self.params["other_nodes"] == "ignore" and self.live.foreign:
            kept = Differences()
            for item in found.to_list():
                if not item["option"].startswith("other Ray"):
                    kept.add(**item)
            return kept, action if kept else "none"
        return found, action

    def _load_unit(self) -> bool:
        self.unit.reload()
        return self.unit.exists

    def _apply(self) -> None:
        if self.params["other_nodes"] == "stop" and self.live.foreign:
            self._stop_others()
        if self.unit.stale:
            self.unit.reload()
        if not self.unit.enabled:
            self.unit.enable()
        before = self.live.raylet.pid if self.live.raylet else 0
        if self.action == "restart" or not (self.unit.stopped or self.unit.active):
            self.unit.restart(self._stop_timeout())
            self._wait_alive(before)
        elif self.action == "start":
            self.unit.start()
            self._wait_alive(before)
        else:
            self.unit.restart_timers()

    def _stop_others(self) -> None:
        for process in self.live.processes:
            if process.kind == "start" and process.service not in ("", self.unit.name):
                # A unit that runs Ray itself, such as that of a head that has become a worker, would start it again.
                other = Unit(process.service)
                if other.main_pid == process.pid:
                    other.disable()
                    other.stop(self._stop_timeout())
        stop_foreign(self.unit.name)
        time.sleep(0.5)
        self.live.refresh()
        if self.live.foreign:
            where = self.live.foreign[0].cgroup.strip().rpartition("/")[2]
            self.module.fail_json(
                msg=f"Another Ray starts again on this host, in {where}: disable what starts it, or set other_nodes: "
                "ignore."
            )

    def _wait_alive(self, old_raylet: int) -> None:
        """Wait until the GCS counts the node as ALIVE; fail with the log otherwise."""
        deadline = time.monotonic() + self.params["timeout"]
        while time.monotonic() < deadline:
            self.live.refresh()
            raylet = self.live.raylet
            if raylet and raylet.pid != old_raylet and self.live.health(timeout=2) == "alive":
                self._confirm_alive(raylet.options["--node_id"], max(deadline - time.monotonic(), 5))
                return
            if self.unit.restarts >= MAX_RESTARTS or self.unit.properties.get("ActiveState") == "failed":
                self._fail_with_log(f"{self.unit.name} cannot start; its last lines say why.")
            time.sleep(0.25)
        self._fail_with_log(
            f"The {self.node_type} at {self.live.address} was not ALIVE within {self.params['timeout']} s at the GCS "
            f"{self.live.gcs_address}; check that the head runs and that its port is open."
        )

    def _confirm_alive(self, node_id: str, timeout: float) -> None:
        self._cluster().wait_alive(node_id, timeout)
        differences, action = self._compare()
        if action in ("start", "restart"):
            first = differences.to_list()[0]
            drop_ins = ", ".join(self.unit.drop_ins)
            self._fail_with_log(
                f"{self.unit.name} runs, but {first['option']} is still {first['live']!r} and not "
                f"{first['declared']!r}: " + (f"remove it from {drop_ins}." if drop_ins else "see its log.")
            )

    def _cluster(self) -> RayCluster:
        return RayCluster(
            environment=os.path.dirname(os.path.dirname(self.start.executable)),
            address=self.live.gcs_address,
            auth_token_path=(self.config.get("auth") or {}).get("token_path"),
        )

    def _drain(self) -> None:
        raylet = self.live.raylet
        if raylet:
            # A drained node looks dead to the health timer, which would start it again.
            self.unit.stop_timers()
            self._cluster().drain(raylet.options["--node_id"], self.params["drain_timeout"], "drained by ray_node")

    def _stop_timeout(self) -> float:
        return ((self.config.get("ray") or {}).get("drain_timeout") or 30) + 60

    def _fail_with_log(self, sentence: str) -> None:
        log = self.unit.journal()
        self.module.fail_json(msg=f"{sentence}\n{log}" if log else sentence)


def _secrets(config: dict) -> set[str]:
    """What of the declared state must stand in no result; the shorter words would hide others than themselves."""
    redis, environment = config.get("redis"), config.get("environment")
    found = [redis.get("password")] if isinstance(redis, dict) else []
    if isinstance(environment, dict):
        found += [value for name, value in environment.items() if is_secret(str(name))]
    return {str(value) for value in found if len(str(value)) >= 6 and value is not None}


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "node_type": {"type": "str", "choices": ["head", "worker"], "required": True},
            "state": {
                "type": "str",
                "choices": ["started", "restarted", "drained", "stopped", "absent"],
                "default": "started",
            },
            "config": {"type": "dict"},
            "config_file": {"type": "path"},
            "check_accelerators": {"type": "bool", "default": True},
            "other_nodes": {"type": "str", "choices": ["stop", "ignore"], "default": "stop"},
            "drain_timeout": {"type": "int", "default": 300},
            "timeout": {"type": "int", "default": 120},
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
            node.ensure_stopped(drain=state == "drained")
        module.exit_json(**node.result())
    except RayConfigError as error:
        module.fail_json(msg=f"{module.params['node_type']}-node.yaml: {error}")
    except (SystemdError, RayClusterError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

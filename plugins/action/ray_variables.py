# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users wrote into the inventory, group_vars, host_vars and -e, against the argument specs of all roles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar

from ansible_collections.rayops.cluster.plugins.module_utils._variables.names import sentence, strangers
from ansible_collections.rayops.cluster.plugins.module_utils._variables.values import (
    Fault,
    faults,
    not_worked_out,
    place,
)

ROLES = Path(__file__).resolve().parents[2] / "roles"
GROUPS = ("ray_head", "ray_workers", "ray_redis", "ray_monitor")
# It may ask a server: once, not once a host.
_LOOKUP = re.compile(r"\b(lookup|query|q)\s*\(")


def read_options() -> dict[str, dict[str, Any]]:
    """Every variable that users can set, by its name; role ray has those of the playbooks, too."""
    options: dict[str, dict[str, Any]] = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        for entry in specs.values():
            options.update(entry.get("options") or {})
    return options


class ActionModule(ActionBase):
    """All on the controller: no host is asked anything."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.here = task_vars or {}
        self.own = str(self.here.get("inventory_hostname"))
        self.options = read_options()
        groups = self.here["groups"]
        hosts = list(dict.fromkeys([*(host for name in GROUPS for host in groups.get(name, [])), self.own]))
        raw = {host: self.here["hostvars"].raw_get(host) for host in hosts}

        places: dict[Fault, list[str]] = {}
        for host, fault in self.wrong(raw):
            places.setdefault(fault, []).append(host)
        problems = [fault.sentence(place(where, hosts, groups)) for fault, where in places.items()]

        names = {host: self.written(host, raw[host]) for host in hosts}
        unknown = [
            sentence(name, near, place([host for host in hosts if name in names[host]], hosts, groups))
            for name, near in strangers(set().union(*names.values()), self.options).items()
        ]
        said = {"error": problems, "warn": result.setdefault("warnings", [])}
        said.get(self.unknown_variables(), []).extend(unknown)
        result.update(changed=False, failed=bool(problems), msg="\n".join(problems))
        return result

    def wrong(self, raw: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Fault]]:
        """Each host with each of its faults. A value that several hosts share is looked at once."""
        # What hosts have beside their own: the roles' defaults and variables, groups, hostvars.
        shared = {name: value for name, value in self.here.items() if name not in raw[self.own]}
        seen: dict[tuple[str, int], list[Fault]] = {}
        for host, variables in raw.items():
            context = self.here if host == self.own else {**shared, **variables}
            templar = self._templar if host == self.own else None
            for name, option in self.options.items():
                if name not in context or host != self.own and name not in variables:
                    continue
                value = context[name]
                if value == option.get("default"):
                    continue
                key = (name, id(value))
                if key not in seen:
                    is_template = self._templar.is_template(value)
                    if is_template and templar is None:
                        templar = self._templar.copy_with_new_env(available_variables=context)
                    found = self.of_value(name, value, option, templar if is_template else None)
                    if is_template and not _LOOKUP.search(str(value)):
                        yield from ((host, fault) for fault in found)
                        continue
                    seen[key] = found
                yield from ((host, fault) for fault in seen[key])

    @staticmethod
    def of_value(name: str, value: Any, option: Mapping[str, Any], templar: Templar | None) -> list[Fault]:
        """What is wrong with one value, as it was written. templar: works it out, if it is a template."""
        try:
            return list(faults(name, templar.template(value) if templar else value, option))
        except AnsibleError as error:
            return [not_worked_out(name, value, option, str(error))]

    def written(self, host: str, raw: Mapping[str, Any]) -> set[str]:
        """The names that users wrote: without what tasks have registered or set."""
        manager = getattr(self.here["hostvars"], "_variable_manager", None)
        caches = (getattr(manager, name, {}) for name in ("_nonpersistent_fact_cache", "_vars_cache"))
        return set(raw).difference(*(cache.get(host, {}) for cache in caches))

    def unknown_variables(self) -> str:
        try:
            return str(self._templar.template(self.here.get("ray_unknown_variables", "warn")))
        except AnsibleError:
            return "warn"

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes what the inventory knows of the hosts' SSH keys into a known_hosts file of the controller's."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rayops.cluster.plugins.module_utils._host_keys import known_hosts
from ansible_collections.rayops.cluster.plugins.module_utils._host_keys.keys import Key, key_of

ARGUMENTS = {
    "hosts": {"type": "list", "elements": "str", "required": True},
    "path": {"type": "path", "default": "~/.ssh/known_hosts"},
    "authority": {"type": "str", "default": ""},
    "replace": {"type": "bool", "default": False},
}
# In the order in which they count.
KEY_VARIABLES = ("ray_known_hosts_keys", "ecs_host_keys")
SSH_SECONDS = 10
NO_SOURCE = (
    "Nothing says which keys the hosts have: ask the cloud (RAY_HOST_KEYS=true in the environment), "
    "set ray_known_hosts_keys of each host, or ray_known_hosts_authority."
)

LACKING = (
    "No key is known of {}: log in to each once and compare its fingerprint, or set ray_known_hosts_keys."
)


class ActionModule(ActionBase):
    """All on the controller: no host is asked anything."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _valid, arguments = self.validate_argument_spec(ARGUMENTS)
        path, replace = arguments["path"], arguments["replace"]
        variables = {host: (task_vars or {})["hostvars"][host] for host in arguments["hosts"]}
        authority = key_of(arguments["authority"])
        if arguments["authority"].strip() and not authority:
            raise AnsibleActionFail(
                "ray_known_hosts_authority is no public key: use the line of the authority's .pub file, "
                "such as ssh-ed25519 AAAA...")
        names = {host: looked_up_by(host, each) for host, each in variables.items()}
        keys = {host: keys_of(host, each) for host, each in variables.items()}
        try:
            before = known_hosts.read(path)
        except OSError as error:
            raise AnsibleActionFail(f"ray_known_hosts {path} cannot be read: {error.strerror}.") from error
        change = known_hosts.with_keys(before, by_name(names, keys), authority)
        refused = list(refusals(path, names, change, replace))
        if refused:
            raise AnsibleActionFail("\n".join(refused))
        result.update(changed=change.text != before, added=change.added, diff={
            "before": shown(before), "after": shown(change.text), "before_header": path, "after_header": path})
        if result["changed"] and not self._task.check_mode:
            try:
                known_hosts.write(path, change.text)
            except OSError as error:
                raise AnsibleActionFail(f"ray_known_hosts {path} cannot be written: {error.strerror}.") from error
        lines = known_hosts.lines_of(change.text)
        lacking = [host for host, name in names.items() if not known_hosts.knows(lines, name)]
        if lacking:
            result.update(failed=True, msg=LACKING.format(", ".join(lacking)) if any(keys.values()) else NO_SOURCE)
        return result


def looked_up_by(host: str, variables: Mapping[str, Any]) -> str:
    """The name by which ssh looks this host up, which its own configuration and arguments may change.

    Raises AnsibleActionFail where ssh does not say, and for a name that would stand for other hosts in the file.
    """
    arguments = [word for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args")
                 for word in shlex.split(str(variables.get(name) or ""))]
    port = variables.get("ansible_port") or variables.get("ansible_ssh_port")
    arguments += ["-p", str(port)] if port else []
    address = str(variables.get("ansible_host") or variables.get("ansible_ssh_host") or host)
    try:
        done = subprocess.run(
            [str(variables.get("ansible_ssh_executable") or "ssh"), "-G", *arguments, "--", address],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SSH_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        reason = " ".join(str(getattr(error, "stderr", "") or error).split())
        raise AnsibleActionFail(f"ssh cannot say how it looks up {host}: {reason}.") from error
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    name = said["hostname"] if said["port"] == "22" else f"[{said['hostname']}]:{said['port']}"
    name = said.get("hostkeyalias", name)
    if not known_hosts.is_name(name):
        raise AnsibleActionFail(f"ssh looks up {host} as {name!r}, which is no name or address: change ansible_host.")
    return name


def keys_of(host: str, variables: Mapping[str, Any]) -> list[Key]:
    """The keys that a host's variables name. Raises AnsibleActionFail for one that is none."""
    source = next((name for name in KEY_VARIABLES if variables.get(name)), "")
    given = variables[source] if source else []
    found = []
    for text in given if isinstance(given, list) else [given]:
        key = key_of(str(text))
        if not key:
            raise AnsibleActionFail(
                f"{source} of {host} has something that is no public key: use lines such as ssh-ed25519 AAAA...")
        found.append(key)
    return found


def by_name(names: Mapping[str, str], keys: Mapping[str, list[Key]]) -> dict[str, list[Key]]:
    """The keys by the name that ssh uses. Raises AnsibleActionFail where two hosts are one to it."""
    owners: dict[str, str] = {}
    for host, name in names.items():
        first = owners.setdefault(name, host)
        if keys[first] != keys[host]:
            raise AnsibleActionFail(
                f"ssh looks up {first} and {host} as {name}, and their keys differ: set -o HostKeyAlias=... for each "
                "in ansible_ssh_common_args.")
    return {name: keys[host] for name, host in owners.items()}


def refusals(path: str, names: Mapping[str, str], change: known_hosts.Change, replace: bool) -> Iterable[str]:
    """Why the file is not touched, a sentence a host."""
    for host, name in names.items():
        known = f"{host} ({name})"
        if name in change.revoked:
            yield f"{path} revokes a key of {known}: find out why, then take the line or the host away."
        elif name in change.fixed:
            lines = ", ".join(str(line.number) for line in change.fixed[name])
            yield f"{path} has another key of {known} for a pattern of names, line {lines}: change it by hand."
        elif name in change.changed and not replace:
            lines = ", ".join(str(line.number) for line in change.changed[name])
            yield (
                f"{path} has another key of {known}, line {lines}: either the instance was made anew, or somebody "
                f"answers in its place. If you know which, set ray_known_hosts_replace=true, with --limit {host}.")


def shown(text: str) -> str:
    """The file for a diff, whatever its bytes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

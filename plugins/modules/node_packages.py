#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_packages
short_description: Install the distribution's packages, and take back those that came
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Installs packages with apt, and writes down which ones that brings, before it does. Their services are not started.
    Where another apt or dpkg is at work, as on a new host, it waits up to five minutes for its end.
  - Without apt it writes them down, and leaves them to the caller; those that dnf does not have are refused.
  - Removes what is written down, and no other package, as far as nothing else has come to need it.
options:
  records: {description: "A directory of root's, for what is written down.", type: path, required: true}
  state: {description: "V(absent) removes all that is written down.", type: str, choices: [present, absent],
      default: present}
  names: {description: The packages to install., type: list, elements: str, default: []}
  optional: {description: "More of them, if the distribution has them.", type: list, elements: str, default: []}
  recommends: {description: "Whether packages that these recommend are installed, too.", type: bool, default: true}
  advice: {description: "What else to do about packages that are not to be had, the end of a sentence.", type: str,
      default: name the packages of this distribution}
  users: {description: "Users whom the packages make. They go with them.", type: list, elements: str, default: []}
extends_documentation_fragment: [rayops.cluster.attributes]
"""

EXAMPLES = r"""
- name: Install Prometheus
  rayops.cluster.node_packages:
    names: [prometheus]
    records: /var/lib/rayops
"""

RETURN = r"""
installed: {description: "What came, or would come.", type: list, elements: str, returned: success}
removed: {description: "What went, or would go.", type: list, elements: str, returned: success}
kept: {description: "What is needed by others, or has no dpkg.", type: list, elements: str, returned: success}
left: {description: "What was only written down, without apt.", type: list, elements: str, returned: success}
"""

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._system.packages import (
    STATUS,
    Package,
    missing_packages,
    parse,
)

# A new package in a simulation, apt-get(8); of one that is upgraded the old version comes first.
_NEW = re.compile(r"^Inst (\S+) \(", re.MULTILINE)
_POLICY = "/usr/sbin/policy-rc.d"
# What apt-get update and dpkg do not wait for by themselves.
_LISTS_LOCK = "/var/lib/apt/lists/lock"
_DPKG_LOCK = "/var/lib/dpkg/lock-frontend"
# A new host's own first update takes minutes.
_LOCK_SECONDS = 300
OS_RELEASE = Path("/etc/os-release")


def removable(packages: dict[str, Package], noted: set[str]) -> set[str]:
    """Those of the noted packages that nothing else needs."""
    going = {name for name in noted if name in packages and packages[name].status != "not-installed"}
    while True:
        stays = {name for name, package in packages.items() if package.unpacked and name not in going}
        there = frozenset().union(*(packages[name].provides for name in stays))
        broken = [need for name in stays for need in packages[name].needs if not need & there]
        needed = {name for name in going if packages[name].unpacked
                  and any(need & packages[name].provides for need in broken)}
        if not needed:
            return going
        going -= needed


def wait_for_lock(path: str) -> None:
    """Until no other process holds this lock of apt's or dpkg's (fcntl(2)), or its time is over: they say who does."""
    end = time.monotonic() + _LOCK_SECONDS
    with contextlib.suppress(OSError), open(path, "r+b") as stream:
        while time.monotonic() < end:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.5)


class NodePackages:
    """The packages of this host, and what is written down of them."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.records = Path(module.params["records"])
        self.noted_packages = self.records / "packages"
        self.noted_users = self.records / "users"
        self.answer: dict[str, list[str]] = {"installed": [], "removed": [], "kept": [], "left": []}

    def install(self) -> None:
        """Install what is missing."""
        params = self.module.params
        if not shutil.which("apt-get"):
            self._refuse_unknown(params["names"])
            self.answer["left"] = sorted(params["names"])
            self._note(params["names"])
            return
        if not self._missing(params["names"]):
            return
        if not self.module.check_mode:
            wait_for_lock(_LISTS_LOCK)
            self._apt_get("update", "-qq")
        known = [name for name in params["optional"] if self._run("apt-cache", "show", name, check=False) is not None]
        missing = self._missing([*params["names"], *known])
        options = [] if params["recommends"] else ["--no-install-recommends"]
        # A check cannot refresh a new host's lists, in which the packages may be missing.
        simulated = self._run("apt-get", "install", "--simulate", *options, *missing, check=False)
        if simulated is None and not self.module.check_mode:
            self._refuse([name for name in missing if self._run("apt-cache", "show", name, check=False) is None])
            self._apt_get("install", "--simulate", *options, *missing)
        self.answer["installed"] = _NEW.findall(simulated or "") or missing
        if not self.module.check_mode:
            # Before it is done: a run that dies in between has written down what it left.
            self._note(_NEW.findall(simulated or ""))
            with self._services_rest():
                self._apt_get("install", "--yes", "-qq", "-o", f"DPkg::Lock::Timeout={_LOCK_SECONDS}",
                              "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
                              *options, *missing)

    def _refuse_unknown(self, names: list[str]) -> None:
        """Refuse packages that are called otherwise on a host with dnf."""
        unknown = [name for name in names if shutil.which("dnf")
                   and self._run("rpm", "--query", "--whatprovides", name, check=False) is None
                   and not self._run("dnf", "--quiet", "repoquery", "--whatprovides", name, check=False)]
        self._refuse(unknown)

    def _refuse(self, unknown: list[str]) -> None:
        if unknown:
            where = distribution(OS_RELEASE)
            self.module.fail_json(msg=f"{where} has no package {', '.join(unknown)}: {self.module.params['advice']}.")

    def remove(self) -> None:
        """Remove what is written down, and the users that came with it."""
        noted = set(_words(self.noted_packages))
        if not noted:
            return
        if not shutil.which("dpkg"):
            self.answer["kept"] = sorted(noted)
            return
        packages = self._packages()
        going = removable(packages, noted)
        self.answer["removed"] = sorted(going)
        self.answer["kept"] = sorted(name for name in noted - going if name in packages and packages[name].unpacked)
        if self.module.check_mode:
            return
        if going:
            wait_for_lock(_DPKG_LOCK)
            self._run("dpkg", "--purge", *sorted(going))
        if not self.answer["kept"]:
            before = set(_words(self.noted_users))
            for name in self.module.params["users"]:
                with contextlib.suppress(KeyError):
                    if pwd.getpwnam(name) and name not in before:
                        self._run("userdel", name)

    def _packages(self) -> dict[str, Package]:
        return parse(self._run("dpkg-query", "--show", "--showformat", STATUS) or "")

    def _missing(self, names: list[str]) -> list[str]:
        return missing_packages(names, self._packages())

    def _note(self, names: list[str]) -> None:
        if self.module.check_mode:
            return
        self.records.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.noted_users.exists():
            self.noted_users.write_text("".join(f"{user.pw_name}\n" for user in pwd.getpwall()), encoding="utf-8")
        new = set(names).difference(_words(self.noted_packages))
        with self.noted_packages.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{name}\n" for name in sorted(new))

    @contextlib.contextmanager
    def _services_rest(self) -> Iterator[None]:
        """No service is started with the distribution's own settings meanwhile; a policy of the site's comes back."""
        with contextlib.ExitStack() as stack:
            if os.path.lexists(_POLICY):
                os.rename(_POLICY, f"{_POLICY}.rayops")
                stack.callback(os.rename, f"{_POLICY}.rayops", _POLICY)
            else:
                stack.callback(os.unlink, _POLICY)
            with open(_POLICY, "w", encoding="utf-8") as stream:
                stream.write("#!/bin/sh\nexit 101\n")
            os.chmod(_POLICY, 0o755)
            yield

    def _apt_get(self, *arguments: str) -> None:
        """Fetch, where the host may have no way to what is asked for."""
        self._run("apt-get", *arguments, fix=f" Mend that, or {self.module.params['advice']}.")

    def _run(self, *command: str, check: bool = True, fix: str = "") -> str | None:
        """What a command prints; None where it failed and that is no error. fix: a sentence after its own words."""
        code, output, errors = self.module.run_command(
            list(command), environ_update={"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        )
        if code and check:
            words = " ".join((errors or output).split()[-60:]).rstrip(".?")
            self.module.fail_json(
                msg=f"{' '.join(command)} failed on this host: {words}.{fix}", stdout=output, stderr=errors)
        return None if code else str(output)


def distribution(release: Path) -> str:
    """What a host calls itself in os-release(5)."""
    text = release.read_text(encoding="utf-8") if release.exists() else ""
    found = re.search(r"^PRETTY_NAME=[\"']?([^\"'\n]+)", text, re.MULTILINE)
    return found[1] if found else "This distribution"


def _words(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "records": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "names": {"type": "list", "elements": "str", "default": []},
            "optional": {"type": "list", "elements": "str", "default": []},
            "recommends": {"type": "bool", "default": True},
            "advice": {"type": "str", "default": "name the packages of this distribution"},
            "users": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    packages = NodePackages(module)
    (packages.install if module.params["state"] == "present" else packages.remove)()
    answer = packages.answer
    diff = {"before": "".join(f"{name}\n" for name in answer["removed"]),
            "after": "".join(f"{name}\n" for name in answer["installed"])}
    module.exit_json(changed=bool(answer["installed"] or answer["removed"]), diff=diff, **answer)


if __name__ == "__main__":
    main()

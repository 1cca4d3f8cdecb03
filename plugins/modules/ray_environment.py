#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_environment
short_description: Install Ray into a virtual environment of its own
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Makes a virtual environment that holds Ray and what it needs, from a package index or from a wheelhouse.
  - An installation that was interrupted is begun anew by the next run. Of a finished one no package manager is asked.
options:
  path: {description: The virtual environment., type: path, required: true}
  version: {description: The version of Ray that the environment must hold., type: str, required: true}
  packages: {description: "What is installed, as pip's requirements.", type: list, elements: str, default: []}
  managed: {description: "With V(false), somebody else made it, and it is only looked at.", type: bool, default: true}
  python: {description: "What makes it, Python 3.10 or later.", type: path, default: /usr/bin/python3}
  index_url: {description: "The package index, if not pip's own default. A password in it is not shown.", type: str}
  ca_file: {description: A file of CA certificates that the index is checked against., type: path}
  constraints: {description: "The content of pip's file of constraints. With hashes it must name every package that is
      installed, and no dependency is looked for.", type: str, default: ""}
  size: {description: "Bytes that the environment takes, to refuse a disk that is too small; V(0) goes by O(packages).",
      type: int, default: 0}
  source_packages: {description: "Those that may be built from source, as root, unless there is a wheelhouse.",
      type: list, elements: str, default: []}
  wheelhouse: {description: "A directory on the controller with every wheel, which hosts get as a tar file; no index
      is asked then. With uv's wheel among them, uv installs, several times as fast.", type: path}
  system_packages: {description: "Packages of the distribution that it needs. They are only looked up.", type: list,
      elements: str, default: []}
  user: {description: "The system user that Ray runs as. As this one, an engine that is in the environment is tried.",
      type: str}
  variables: {description: "What of the node's environment its libraries are found by, such as C(LD_LIBRARY_PATH).",
      type: dict, default: {}}
  link: {description: A symbolic link that points to the environment., type: path}
extends_documentation_fragment: [rayops.cluster.attributes]
"""

EXAMPLES = r"""
- name: Ray is installed from a mirror of the package index
  rayops.cluster.ray_environment:
    path: /opt/ray/2.60.0
    version: 2.60.0
    packages: ["ray[default]==2.60.0"]
    index_url: https://mirrors.huaweicloud.com/repository/pypi/simple
    link: /opt/ray/current
"""

RETURN = r"""
install: {description: "Whether packages were, or in check mode would be, installed.", type: bool, returned: success}
link: {description: "Whether the link was, or in check mode would be, changed.", type: bool, returned: success}
venv_missing: {description: "Whether O(python) lacks Debian's C(python3-venv).", type: bool, returned: success}
packages_missing: {description: "Those of O(system_packages) that are not installed.", type: list, elements: str,
    returned: success}
user_missing: {description: Whether O(user) has to be made., type: bool, returned: success}
ray_version: {description: "The version of Ray in the environment, null for none.", type: str, returned: success}
python_version: {description: "The version of Python in the environment, null for none.", type: str, returned: success}
"""

import contextlib
import fcntl
import inspect
import json
import os
import tarfile
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._environment import start_bytecode
from ansible_collections.rayops.cluster.plugins.module_utils._environment.imported import (
    UnusableError,
    imported_version,
)
from ansible_collections.rayops.cluster.plugins.module_utils._environment.needs import (
    python_problem,
    room_for_environment,
    room_problems,
)
from ansible_collections.rayops.cluster.plugins.module_utils._environment.requirements import (
    Constraints,
    RequirementsError,
    secrets_of,
)
from ansible_collections.rayops.cluster.plugins.module_utils._environment.virtual_environment import (
    compile_later,
    compile_no_more,
    has_engine,
    python_version,
    ray_version,
    venv_missing,
)
from ansible_collections.rayops.cluster.plugins.module_utils._environment.wheelhouse import unpacked, uv_of
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import exists
from ansible_collections.rayops.cluster.plugins.module_utils._system.packages import missing_packages
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import (
    PathError,
    opened,
    opened_parent,
    read_regular,
    vouch,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule, hide

# Written last, so that an environment without it is known to be unfinished.
MARKER = ".rayops-environment.json"
# Seconds; pip from a slow index takes some minutes.
LOCK_TIMEOUT = 900


class RayEnvironment:
    """A virtual environment, as it is and as it is wanted."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.path = module.params["path"]
        self.python = os.path.join(self.path, "bin", "python")
        self.constraints = Constraints(module.params["constraints"])
        self._inherited: tuple[int, ...] = ()

    def marker(self) -> dict:
        """What the environment was finished with; empty for an unfinished one."""
        try:
            return json.loads(read_regular(os.path.join(self.path, MARKER)))
        except (OSError, ValueError, PathError):
            return {}

    def finished(self) -> bool:
        """Whether it holds what is asked for."""
        return (
            os.path.exists(self.python)
            and ray_version(self.path) == self.module.params["version"]
            and self.marker().get("packages") == self.module.params["packages"]
            and self.marker().get("constraints", "") == self.constraints.digest
        )

    def linked(self) -> bool:
        """Whether the link, if one is asked for, points here."""
        link = self.module.params["link"]
        return not link or (os.path.islink(link) and os.readlink(link) == self.path)

    def check_foreign(self) -> None:
        """Refuse an environment of somebody else's that does not hold the declared version."""
        version = self.module.params["version"]
        found = ray_version(self.path)
        if found is None:
            self.module.fail_json(msg=f"There is no Ray in {self.path}: install ray[default]=={version} into it.")
        if found != version:
            self.module.fail_json(
                msg=f"{self.path} holds Ray {found}, but the cluster runs {version}: set ray_version to {found} for "
                "every host, or give this host an environment with the same version."
            )

    def check_own(self) -> None:
        """Refuse an interpreter or an environment that others could change: root runs them."""
        for path in (self.module.params["python"], self.path):
            try:
                vouch(path)
            except FileNotFoundError:
                continue

    def check_host(self) -> None:
        """Refuse a host without a Python that fits, or without room."""
        params = self.module.params
        room = room_for_environment(self.path, params["packages"], params["size"])
        for problem in (python_problem(params["python"]), *room_problems([room])):
            if problem:
                self.module.fail_json(msg=str(problem))

    def check_engine(self) -> None:
        """Refuse an environment whose engine lacks a library of the host's: it would be seen when a model is served."""
        user = self.module.params["user"]
        if user and has_engine(self.path):
            imported_version(self.path, user, [], self.module.params["variables"])

    def ensure_installed(self) -> None:
        """Install, unless another installation has just done so.

        Ctrl-C ends the run on the controller, not the module on the host: that one may still be installing when the
        next run comes. Its children hold the lock too.
        """
        lock_path = os.path.join(os.path.dirname(self.path), f".{os.path.basename(self.path)}.lock")
        with opened(os.path.dirname(self.path), make=0o755), open(lock_path, "w", encoding="utf-8") as lock:
            deadline = time.monotonic() + LOCK_TIMEOUT
            while not self._take(lock):
                if time.monotonic() > deadline:
                    self.module.fail_json(
                        msg=f"Another installation into {self.path} has not ended for {LOCK_TIMEOUT} s: see who holds "
                        f"{lock_path} (fuser -v), end it, and run again."
                    )
                time.sleep(0.5)
            self._inherited = (lock.fileno(),)
            if not self.finished():
                self.install()

    @staticmethod
    def _take(lock) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def install(self) -> None:
        """Make the environment and install everything into it."""
        self._quietly(compile_no_more())
        # All that is unpacked: /tmp may be small, and programs may not run there.
        with tempfile.TemporaryDirectory(dir=os.path.dirname(self.path), prefix=".install-") as scratch:
            wheels = self._wheels(scratch)
            uv = uv_of(wheels, scratch) if wheels else None
            if not os.path.exists(self.python) or self.marker() == {}:
                self._run([self.module.params["python"], "-I", "-m", "venv", "--clear"]
                          + (["--without-pip"] if uv else []) + [self.path], {"TMPDIR": scratch})
            else:
                # An interrupted change is unfinished, but no reason to clear an environment that Ray runs from.
                self._mark([])
            self._install_packages(wheels, uv, scratch)
            if uv:
                # uv leaves its lock open to everyone.
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(os.path.join(self.path, ".lock"), 0o644)
        self._mark(self.module.params["packages"])
        if ray_version(self.path) != self.module.params["version"]:
            self.module.fail_json(
                msg=f"{self.path} now holds Ray {ray_version(self.path)} and not {self.module.params['version']}: "
                "let ray_packages name the version that ray_version names."
            )
        if uv:
            self._quietly([self.python, "-I", "-"], inspect.getsource(start_bytecode))
            self._quietly(compile_later(self.path))

    def _quietly(self, command: list[str], stdin: str | None = None) -> None:
        """Run what may fail, as on a host without systemd."""
        with contextlib.suppress(OSError):
            self.module.run_command(command, data=stdin, handle_exceptions=False)

    def _mark(self, packages: list[str]) -> None:
        with open(os.path.join(self.path, MARKER), "w", encoding="utf-8") as stream:
            constraints = {"constraints": self.constraints.digest} if packages and self.constraints.digest else {}
            json.dump({"packages": packages, **constraints}, stream)

    def link(self) -> None:
        """Let the link point here, without a moment in which there is none."""
        link = self.module.params["link"]
        if os.path.isdir(link) and not os.path.islink(link):
            self.module.fail_json(msg=f"{link} is a directory and is to be a link: move it away.")
        with opened_parent(link, make=0o755) as (directory, name):
            temporary = f"{name}.new"
            if temporary in os.listdir(directory):
                os.unlink(temporary, dir_fd=directory)
            os.symlink(self.path, temporary, dir_fd=directory)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)

    def _wheels(self, scratch: str) -> str | None:
        wheelhouse = self.module.params["wheelhouse"]
        try:
            return unpacked(wheelhouse, scratch) if wheelhouse else None
        except (OSError, tarfile.TarError) as error:
            return self.module.fail_json(msg=f"The wheelhouse {wheelhouse} cannot be read: {error}.")

    def _install_packages(self, wheels: str | None, uv: str | None, scratch: str) -> None:
        params = self.module.params
        pip = [uv, "pip"] if uv else [self.python, "-I", "-m", "pip"]
        where = ["--python", self.python] if uv else []
        how = ["--offline", "--no-cache"] if uv else ["--disable-pip-version-check", "--no-input", "--quiet"]
        # The build of any other package would run its code as root.
        how += ["--only-binary", ":all:"]
        environment = {"HOME": scratch, "TMPDIR": scratch}
        if wheels:
            how += ["--no-index", "--find-links", wheels]
        else:
            how += [word for package in params["source_packages"] for word in ("--no-binary", package)]
            # An address may hold a password, which everyone could read among a process's arguments.
            environment.update({"PIP_INDEX_URL": params["index_url"]} if params["index_url"] else {})
        if params["ca_file"]:
            environment.update(PIP_CERT=params["ca_file"], SSL_CERT_FILE=params["ca_file"])
        what = self.constraints.arguments(params["packages"], scratch)
        self._run([*pip, "install", *where, *how, *what], environment)
        if self.constraints.hashed:
            # No dependency was looked for.
            self._run([*pip, "check", *where], {"HOME": scratch})

    def _run(self, command: list[str], environment: dict) -> None:
        rc, out, err = self.module.run_command(
            command, environ_update={"LC_ALL": "C.UTF-8", **environment}, pass_fds=self._inherited
        )
        if rc:
            lines = [line.strip() for line in (err or out).splitlines() if line.strip()]
            self.module.fail_json(
                msg=f"Installing Ray into {self.path} failed: {' '.join(lines[-3:])}",
                stdout=out, stderr=err, rc=rc, cmd=" ".join(command),
            )

    def describe(self, as_declared: bool = False) -> str:
        """The lines of the diff: as it is, or as it is declared."""
        params = self.module.params
        version, link = ray_version(self.path), params["link"]
        target = os.readlink(link) if link and os.path.islink(link) else None
        packages = self.marker().get("packages", [])
        if as_declared:
            version, target = params["version"], self.path if link else None
            packages = params["packages"] if params["managed"] else packages
        lines = [f"{self.path}: Ray {version}, {' '.join(packages)}"] if version else []
        return "".join(f"{line}\n" for line in lines + ([f"{link} -> {target}"] if target else []))


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "version": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "managed": {"type": "bool", "default": True},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "index_url": {"type": "str"},
            "constraints": {"type": "str", "default": ""},
            "size": {"type": "int", "default": 0},
            "source_packages": {"type": "list", "elements": "str", "default": []},
            "ca_file": {"type": "path"},
            "wheelhouse": {"type": "path"},
            "system_packages": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str"},
            "variables": {"type": "dict", "default": {}},
            "link": {"type": "path"},
        },
        supports_check_mode=True,
    )
    # The node's user must be able to read all of it, whatever mask the login brings.
    os.umask(0o022)
    # The rest of the address stays readable.
    hide(module, secrets_of(module.params["index_url"] or ""))
    try:
        run(module)
    except (UnusableError, PathError, RequirementsError) as error:
        module.fail_json(msg=str(error))


def run(module: AnsibleModule) -> None:
    """Compare, and install where that is asked for."""
    environment = RayEnvironment(module)
    if not module.params["managed"]:
        environment.check_foreign()
    else:
        environment.check_own()
        environment.constraints.check(module.params["packages"])
    install = module.params["managed"] and not environment.finished()
    link = not environment.linked()
    before = environment.describe()
    if install:
        environment.check_host()
        if not module.check_mode:
            environment.ensure_installed()
    if not module.check_mode:
        environment.check_engine()
        if link:
            environment.link()
    module.exit_json(
        changed=install or link,
        install=install,
        link=link,
        venv_missing=install and module.check_mode and venv_missing(module.params["python"]),
        packages_missing=missing_packages(module.params["system_packages"]),
        user_missing=bool(module.params["user"]) and not exists(module.params["user"]),
        ray_version=ray_version(environment.path),
        python_version=python_version(environment.path),
        diff={"before": before, "after": environment.describe(as_declared=True)},
    )


if __name__ == "__main__":
    main()

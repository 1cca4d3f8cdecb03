#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: support_bundle
short_description: Gather what a host of a Ray cluster says of itself, without secrets
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Writes one archive with the units and their journals, Ray's logs of the live session, configurations, versions,
    processes, disks, memory, limits, sockets, clocks, accelerators and the kernel's messages on memory.
  - The cluster's token, passwords, the addresses of chat robots and what else the host knows as a secret are replaced
    by C([removed]) in all of it, also where they are escaped or encoded, and so is what looks like a secret.
  - What cannot be read, and a command that is missing or hangs, is named in C(manifest.txt) and is no error.
  - It works where Ray is not installed, and changes nothing but that archive.
options:
  path: {description: "The archive, a C(.tar.gz) for its owner alone. Its directory is made, closed to others.",
      type: path, required: true}
  name: {description: "Its name in the archive. The default is the host's own.", type: str}
  since: {description: "From when journals are read, as C(journalctl --since) takes it, such as V(-2h).", type: str}
  journal_lines: {description: "Of each journal, the last lines.", type: int, default: 5000}
  max_bytes: {description: "Of each file, the last bytes.", type: int, default: 1048576}
  total_bytes: {description: "Bytes of all, before compression; the newest first.", type: int, default: 67108864}
  extra_paths: {description: "Other text files and directories of them. No link is followed but root's.",
      type: list, elements: path, default: []}
  config_dir: {description: Where the node's files lie., type: path, default: /etc/ray}
  temp_dir: {description: Where Ray's sessions lie., type: path, default: /var/lib/ray}
  environment: {description: The virtual environment that has Ray., type: path, default: /opt/ray/current}
  user: {description: "Ray's. O(temp_dir) is read with this user's rights alone.", type: str, default: ray}
  secret_files: {description: "More files that are secrets; left out.", type: list, elements: path, default: []}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes: {diff_mode: {support: none}, idempotent: {support: none, details: Each run writes the archive anew.}}
"""

EXAMPLES = r"""
- name: The host's support bundle is made
  rayops.cluster.support_bundle:
    path: /var/lib/rayops/support-bundle.tar.gz
    name: "{{ inventory_hostname }}"
    since: -6h
"""

RETURN = r"""
archive: {description: The archive., type: str, returned: success}
size: {description: Its bytes; 0 in check mode., type: int, returned: success}
files:
  description: What it holds, and what is missing there.
  type: list
  elements: dict
  returned: success
  contains:
    name: {description: "The name in the archive, below the host's.", type: str}
    bytes: {description: The bytes of it., type: int}
    note: {description: "What was cut, or why it is missing; empty for what is whole.", type: str}
"""

import glob
import os
import platform
import pwd
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._bundle.collect import Bundle, Source, command_output
from ansible_collections.rayops.cluster.plugins.module_utils._bundle.files import (
    files_below,
    followed,
    new_archive,
    read,
    session_logs,
)
from ansible_collections.rayops.cluster.plugins.module_utils._bundle.redaction import (
    Redactor,
    secrets_of,
    secrets_of_secret_file,
)
from ansible_collections.rayops.cluster.plugins.module_utils._environment.virtual_environment import ray_version
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import is_secret
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import ray_processes
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened
from ansible_collections.rayops.cluster.plugins.module_utils._system.proc import environment_of

PROMETHEUS_DIR = "/etc/prometheus/ray"
# Ours, and the distribution's own.
REDIS_CONFIGS = ["/etc/rayops/redis.conf", "/etc/redis/redis.conf"]
UNIT_DIR = "/etc/systemd/system"
UNIT_PATTERNS = ["ray-*", "prometheus*", "alertmanager*", "redis*", "valkey*"]
COMMANDS = {
    "uname": ["uname", "-a"],
    "uptime": ["uptime"],
    "cpus": ["lscpu"],
    "memory": ["free", "--mebi"],
    "disks": ["df", "--human-readable", "--print-type", "--local"],
    "inodes": ["df", "--inodes", "--local"],
    "mounts": ["mount"],
    "addresses": ["ip", "-brief", "address"],
    "routes": ["ip", "route"],
    "sockets": ["ss", "--listening", "--tcp", "--numeric", "--processes"],
    "sockets-summary": ["ss", "--summary"],
    "clock": ["timedatectl"],
    "clock-sources": ["chronyc", "tracking"],
    "failed-units": ["systemctl", "list-units", "--failed", "--no-pager", "--full"],
    "timers": ["systemctl", "list-timers", "--all", "--no-pager", "--full"],
    "journal-size": ["journalctl", "--disk-usage"],
    "gpus": ["nvidia-smi"],
    "gpu-topology": ["nvidia-smi", "topo", "--matrix"],
    "npus": ["npu-smi", "info"],
}
FILES = [
    "/etc/os-release", "/etc/hosts", "/etc/resolv.conf", "/etc/sysctl.d/60-ray.conf", "/proc/meminfo", "/proc/cmdline",
    "/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io",
]
SYSCTLS = [
    "net.core.somaxconn", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "fs.file-max",
    "net.ipv4.tcp_keepalive_time", "vm.overcommit_memory", "vm.swappiness", "vm.max_map_count", "fs.file-nr",
    "kernel.pid_max", "kernel.threads-max", "kernel.shmmax",
]
PROCESS_COLUMNS = "user,pid,ppid,pgid,stat,ni,lstart,etime,pcpu,rss,nlwp,args"
KERNEL_MESSAGES = re.compile(rb"out of memory|oom|killed process|NVRM|Xid|I/O error|hung task|segfault", re.IGNORECASE)
REDIS_SECRETS = re.compile(r"^[ \t]*(?:requirepass|masterauth)[ \t]+\"?([^\s\"]+)", re.MULTILINE)
# A session may hold the logs of a hundred thousand workers.
MOST_LOGS = 2000
DAEMONS = re.compile(r"(raylet|gcs_server|dashboard|monitor|log_monitor|runtime_env_agent|ray_\w+)[._].*")


class Host:
    """What is gathered on this host."""

    def __init__(self, params: dict):
        self.params = params
        self.processes = ray_processes()

    def secret_files(self) -> list[str]:
        """Files that hold nothing but a secret: those that the collection writes, and those that its files name."""
        config_dir = self.params["config_dir"]
        found = [f"{config_dir}/auth_token", f"{config_dir}/redis.env", f"{config_dir}/alert-relay.json"]
        found += [f"{config_dir}/tls/node.key", "/etc/ray-proxy/password"]
        found += [f"{PROMETHEUS_DIR}/{name}" for name in ("token", "redis.env", "redis.json", "alert-relay.json")]
        for path in self.configurations():
            found += re.findall(r"(?:token_path|password_file|credentials_file):\s*[\"']?([^\s\"']+)", read(path))
        return sorted({*found, *self.params["secret_files"]})

    def configurations(self) -> list[str]:
        """Configurations that are gathered, and whose secrets are removed."""
        found = glob.glob(f"{self.params['config_dir']}/*.yaml")
        return sorted(found + glob.glob(f"{PROMETHEUS_DIR}/**/*.yml", recursive=True)) + REDIS_CONFIGS

    def redactor(self) -> Redactor:
        """Every secret that this host knows of."""
        secrets: set[str] = set()
        for path in self.secret_files():
            text = read(path)
            secrets |= secrets_of_secret_file(text) | (secrets_of(text, urls=True) if path.endswith(".json") else set())
        for path in self.configurations():
            secrets |= secrets_of(read(path), urls=os.path.basename(path) == "alertmanager.yml")
            secrets.update(REDIS_SECRETS.findall(read(path)))
        for path in (path for pattern in UNIT_PATTERNS for path in glob.glob(f"{UNIT_DIR}/{pattern}*")):
            for unit in files_below(path):
                secrets |= secrets_of(read(unit))
        for process in self.processes:
            secrets.update(value for name, value in environment_of(process.pid).items() if is_secret(name))
        redactor = Redactor()
        redactor.add(secrets)
        return redactor

    def sources(self) -> list[Source]:
        """Everything, in the order in which it is taken as long as there is room."""
        logs = self.logs()
        found = [Source("versions.txt", text=self.versions()), Source("sysctl.txt", text=sysctls())]
        found += [Source(f"host/{name}.txt", argv=argv) for name, argv in COMMANDS.items()]
        found += [Source("host/processes.txt", argv=self.process_list())]
        found += [Source("host/kernel.txt", argv=["dmesg", "--ctime"], only=KERNEL_MESSAGES)]
        found += [Source(f"files{path}", path=followed(path)) for path in FILES + self.configurations()]
        found += [
            Source(f"limits/{process.kind}-{process.pid}.txt", path=f"/proc/{process.pid}/limits")
            for process in self.processes if process.kind in ("raylet", "gcs_server", "start")
        ]
        found += self.units() + logs[:MOST_LOGS]
        for path in self.params["extra_paths"]:
            found += [Source(f"extra{name}", path=name) for name in files_below(path) or [path]]
        if len(logs) > MOST_LOGS:
            found.append(Source("ray/more.txt", text=f"{len(logs) - MOST_LOGS} older logs are not here.\n"))
        return found

    def versions(self) -> str:
        """Python, Ray and the packages of its environment, by their metadata: no program of it is run."""
        environment = self.params["environment"]
        names = glob.glob(f"{environment}/lib/python3*/site-packages/*.dist-info")
        packages = sorted(os.path.basename(name).removesuffix(".dist-info").replace("-", "==") for name in names)
        lines = [
            f"Ansible's Python: {platform.python_version()}",
            f"Ray: {ray_version(environment) or 'not installed'} in {os.path.realpath(environment)}",
            f"Python of Ray: {', '.join(glob.glob(f'{os.path.realpath(environment)}/lib/python3*')) or 'not there'}",
        ]
        return "\n".join([*lines, "", *packages, ""])

    def process_list(self) -> list[str]:
        """The command that lists Ray's processes, those of its user, and of the servers beside it."""
        # The kernel keeps 15 characters of a name.
        argv = ["ps", "-ww", "-o", PROCESS_COLUMNS, "-C", "redis-server,prometheus,prometheus-aler,prometheus-redi"]
        # ps lists nothing at all where one of the users is unknown, as on the host of Redis.
        user = self.params["user"]
        argv += ["-u", user] if user in {entry.pw_name for entry in pwd.getpwall()} else []
        pids = ",".join(str(process.pid) for process in self.processes)
        return argv + (["-p", pids] if pids else [])

    def units(self) -> list[Source]:
        """The units of the cluster: their files, their state and their journals."""
        query = ["systemctl", "list-unit-files", "--plain", "--no-legend", "--no-pager"]
        output, _note, _code = command_output([*query, *UNIT_PATTERNS])
        with output:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()
        names = [line.split()[0] for line in lines if line.strip() and "@." not in line]
        journal = ["journalctl", "--no-pager", "--output=short-iso-precise", f"--lines={self.params['journal_lines']}"]
        journal += [f"--since={self.params['since']}"] if self.params["since"] else []
        found = []
        for name in names:
            found += [
                Source(f"units/{name}/unit.txt", argv=["systemctl", "cat", "--no-pager", name]),
                Source(f"units/{name}/status.txt", argv=["systemctl", "status", "--full", "--lines=0", name]),
                Source(f"units/{name}/properties.txt", argv=["systemctl", "show", "--no-pager", name]),
            ]
            if name.endswith(".service"):
                found.append(Source(f"units/{name}/journal.txt", argv=[*journal, f"--unit={name}"]))
        return found

    def logs(self) -> list[Source]:
        """Ray's logs of the live session, read as its user: those of a node's own processes first, then the newest."""
        top, user = self.params["temp_dir"], self.params["user"]
        try:
            logs = session_logs(top, user)
        except GuestError as error:
            return [Source("ray/logs", error=str(error))] if os.path.isdir(top) else []
        found = sorted((not DAEMONS.fullmatch(os.path.basename(path)), -modified, path) for path, modified in logs)
        return [
            Source(f"ray/{path.partition('/')[2]}", path=path, top=top, user=user) for _worker, _age, path in found
        ]


def sysctls() -> str:
    """The kernel's settings that Ray feels."""
    values = {name: read(f"/proc/sys/{name.replace('.', '/')}").strip() for name in SYSCTLS}
    return "".join(f"{name} = {value}\n" for name, value in values.items() if value)


def identities(paths: list[str]) -> set[tuple[int, int]]:
    """Files by what they are, so that a link to one is known, too."""
    statuses = [os.stat(path) for path in paths if os.path.exists(path)]
    return {(status.st_dev, status.st_ino) for status in statuses}


def check(module: AnsibleModule) -> None:
    """Refuse what cannot work."""
    params = module.params
    for name in ("journal_lines", "max_bytes", "total_bytes"):
        if params[name] < 1:
            module.fail_json(msg=f"{name} is {params[name]}: give a number of 1 or more.")
    directory = os.path.dirname(os.path.abspath(params["path"]))
    if not os.path.isdir(os.path.dirname(directory)):
        module.fail_json(msg=f"{directory} cannot be made: choose a path in a directory that exists, such as /root.")
    if params["since"]:
        output, _note, code = command_output(["journalctl", "--quiet", "--lines=0", f"--since={params['since']}"])
        output.close()
        if code:
            module.fail_json(msg=f"since is {params['since']!r}, unknown to journalctl: use -2h or 2026-01-31 08:00.")


def write(module: AnsibleModule, host: Host, name: str) -> dict:
    """Make the archive."""
    params = module.params
    try:
        with opened(os.path.dirname(os.path.abspath(params["path"])), 0o700), new_archive(params["path"]) as stream:
            hidden = identities(host.secret_files())
            bundle = Bundle(stream, name, host.redactor(), params["max_bytes"], params["total_bytes"], hidden)
            for source in host.sources():
                bundle.add(source)
            bundle.close()
    except (PathError, OSError) as error:
        module.fail_json(msg=f"{params['path']} cannot be written: {error}")
    files = [{"name": entry.name, "bytes": entry.bytes, "note": entry.note} for entry in bundle.entries]
    return {"archive": params["path"], "size": os.path.getsize(params["path"]), "files": files}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "name": {"type": "str"},
            "since": {"type": "str"},
            "journal_lines": {"type": "int", "default": 5000},
            "max_bytes": {"type": "int", "default": 1 << 20},
            "total_bytes": {"type": "int", "default": 64 << 20},
            "extra_paths": {"type": "list", "elements": "path", "default": []},
            "config_dir": {"type": "path", "default": "/etc/ray"},
            "temp_dir": {"type": "path", "default": "/var/lib/ray"},
            "environment": {"type": "path", "default": "/opt/ray/current"},
            "user": {"type": "str", "default": "ray"},
            "secret_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
        },
        supports_check_mode=True,
    )
    check(module)
    host = Host(module.params)
    if module.check_mode:
        files = [{"name": source.name, "bytes": 0, "note": ""} for source in host.sources()]
        module.exit_json(changed=True, archive=module.params["path"], size=0, files=files)
    name = re.sub(r"[^\w.-]", "_", module.params["name"] or platform.node())
    module.exit_json(changed=True, **write(module, host, name))


if __name__ == "__main__":
    main()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is, as JSON: run on it, before a deployment and after the teardown, both must be the same.

Only the standard library: it is sent to the host's own Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess

# Not files on a disk, or looked at by their names alone (NAMES).
ROOTS = {"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"}
NAMES = ("/dev/shm", "/run", "/tmp", "/var/tmp")
# What any login, package or boot leaves, whatever it was for. Everything else must be as it was.
NOISE = re.compile("|".join([
    "/root/.ansible(/.*)?",  # Ansible's own directory for what it sends.
    "/var/log/journal/.*", "/var/log/(wtmp|btmp|lastlog|faillog)",  # Who logged in, what happened.
    "/var/log/redis/redis-server.log",  # What the site's own Redis has to say; the directory is looked at.
    "/var/log/(dpkg|alternatives).log", "/var/log/apt(/.*)?",  # What was installed and removed.
    "/var/(lib/apt/lists|cache/apt)/.*",  # The lists of what could be installed, and what was fetched.
    "/var/lib/apt/(extended_states|periodic.*)",  # apt's notes, also on packages that are gone.
    "/var/lib/dpkg/(status|available|diversions|statoverride|lock.*|triggers/.*)(-old)?",  # "packages" has them.
    "/var/lib/(dpkg/info/format|ucf/.*|systemd/deb-systemd-.*)", "/var/cache/debconf/.*",
    "/etc/(passwd|group|shadow|gshadow|subuid|subgid)-",  # The copies that adduser and its like make.
    "/etc/(ld.so.cache|machine-id|.pwd.lock)", "/var/cache/ldconfig/aux-cache",  # Made anew by every package and boot.
    "/var/lib/systemd/(random-seed|timers/.*|catalog/database|timesync.*)",
    ".*/__pycache__(/.*)?",  # Python's, of whichever program of the distribution ran.
]))
MADE_BY_USE = ("/run/motd.dynamic", "/run/adduser")
# Counters and the like: no two looks at them are the same.
COUNTERS = re.compile(
    r"fs\.(dentry-state|file-nr|inode-nr|inode-state|quota\..*|aio-nr|mqueue.*)|kernel\.(random\..*|ns_last_pid|pty\.nr)"
    r"|net\.netfilter\..*|net\.ipv[46]\.neigh\..*|vm\.stat_.*|kernel\.sched_domain.*"
)


def run(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    return done.stdout.splitlines()


def describe(path: str) -> str:
    """Type, mode, owner, and what it holds."""
    found = os.lstat(path)
    text = f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid}"
    if stat.S_ISLNK(found.st_mode):
        return f"{text} -> {os.readlink(path)}"
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as stream:
            return f"{text} {hashlib.sha256(stream.read()).hexdigest()[:16]}"
    return text


def files() -> dict[str, str]:
    found = {}
    for directory, directories, names in os.walk("/"):
        directories[:] = [name for name in directories if os.path.join(directory, name) not in ROOTS]
        for name in directories + names:
            path = os.path.join(directory, name)
            if not NOISE.fullmatch(path):
                found[path] = describe(path)
    return found


def names() -> list[str]:
    return [f"{path}/{name}" for path in NAMES for name in sorted(os.listdir(path))
            # The private directories of services, by random names; what every login and adduser makes.
            if not name.startswith("systemd-private-") and f"{path}/{name}" not in MADE_BY_USE]


def settings() -> dict[str, str]:
    pairs = (line.partition(" = ")[::2] for line in run("sysctl", "-a"))
    return {name: value for name, value in pairs if not COUNTERS.fullmatch(name)}


def main() -> None:
    kinds = ("*.service", "*.timer", "*.socket", "*.path")
    units = [line.split() for line in run("systemctl", "list-units", "--all", "--plain", "--no-legend", *kinds)]
    processes = run("ps", "-eo", "user:32,comm")
    print(json.dumps({
        "files": files(),
        "names": names(),
        "packages": run("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\\n"),
        "users": [sorted(run("getent", base)) for base in ("passwd", "group")],
        "unit files": run("systemctl", "list-unit-files", "--no-legend"),
        # Those of a login come and go, and so do units that do not exist and that some other names.
        "units": sorted(f"{unit[0]} {unit[1]}" for unit in units if unit[1] != "not-found" and unit[0][:4] != "user"),
        "failed": run("systemctl", "--failed", "--plain", "--no-legend"),
        "settings": settings(),
        "listeners": sorted({" ".join(line.split()[i] for i in (0, 4)) for line in run("ss", "-Hltun")}),
        "mounts": run("findmnt", "-rn", "-o", "TARGET,FSTYPE,OPTIONS"),
        "processes": sorted({line for line in processes if re.match("ray|redis|prometheus", line)}),
    }))


if __name__ == "__main__":
    main()

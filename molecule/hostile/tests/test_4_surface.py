# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployed host shows to whoever looks for a way up."""

from __future__ import annotations

import re

import pytest

# Of systemd-analyze security: tenths of the exposure that a unit may have.
LIMITS = {
    "ray-head.service": 60, "ray-worker.service": 60, "ray-health.service": 30, "ray-prune.service": 30,
    "ray-agent-port.service": 30,
    "ray-backup.service": 30, "ray-monitor.service": 25,
}
# What a process of root's has open for writing below what Ray's user can write.
OPEN = r"""
import os, re
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        if os.stat('/proc/' + pid).st_uid:
            continue
        for number in os.listdir('/proc/%s/fd' % pid):
            target = os.readlink('/proc/%s/fd/%s' % (pid, number))
            flags = int(re.search('flags:\s+(\d+)', open('/proc/%s/fdinfo/%s' % (pid, number)).read())[1], 8)
            if flags & 3 and target.startswith(('/var/lib/ray/', '/dev/shm/')):
                print(pid, open('/proc/%s/comm' % pid).read().strip(), target)
    except OSError:
        continue
"""


@pytest.fixture
def units(cluster):
    """The collection's services on a host."""

    def found(name: str) -> list[str]:
        listed = cluster.sh(name, "systemctl list-unit-files --plain --no-legend 'ray-*.service'")
        return sorted(line.split()[0] for line in listed.splitlines())

    return found


def test_ray_has_no_program_with_another_ones_rights(cluster):
    for name in cluster.names:
        assert cluster.sh(name, "find / -xdev -user ray -perm /6000 -print 2>/dev/null") == ""


def test_root_has_nothing_open_where_ray_writes(cluster):
    for name in cluster.names:
        assert cluster.sh(name, f"python3 -c \"{OPEN}\"") == ""


def test_what_root_made_below_rays_directory_is_not_rays_to_replace(cluster):
    for name in cluster.names:
        assert cluster.sh(name, "stat -c '%U:%G %a' /var/lib/ray") == "root:ray 1770"
        assert cluster.sh(name, "find /opt/ray /etc/ray /usr/local/libexec -user ray -print -quit") == ""
        assert cluster.sh(name, "find /opt/ray /etc/ray /usr/local/libexec -perm /022 -not -type l -print -quit") == ""


def test_every_python_of_a_unit_is_isolated(cluster, units):
    seen = 0
    for name in cluster.names:
        for unit in units(name):
            for line in cluster.sh(name, f"systemctl cat {unit}").splitlines():
                command = re.match(r"Exec\w+=([-@:+!]*)(\S+)(.*)", line)
                if command and "python" in command[2].rpartition("/")[2]:
                    seen += 1
                    assert command[3].split()[0] == "-I", f"{unit} on {name}: {line}"
    assert seen >= 5


def test_a_unit_of_rays_has_no_step_of_roots(cluster, units):
    for name in cluster.names:
        for unit in units(name):
            text = cluster.sh(name, f"systemctl cat {unit}")
            if re.search(r"^User=ray$", text, re.MULTILINE):
                assert not re.search(r"^Exec\w+=[-@:]*[+!]", text, re.MULTILINE), unit


def test_each_unit_is_closed_as_far_as_its_work_allows(cluster, units):
    for name in cluster.names:
        for unit in units(name):
            # Helpers of root's that the list does not name have their limit.
            limit = LIMITS.get(unit, 30)
            shown = cluster.sh(name, f"systemd-analyze security --no-pager --threshold={limit} {unit} 2>&1 | tail -1; "
                                     f"systemd-analyze security --no-pager --threshold={limit} {unit} > /dev/null")
            assert shown, f"{unit} on {name}"

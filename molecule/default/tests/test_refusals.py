# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work on a host is refused before anything is touched, with the fix. BED_NAME names the bed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest

from tests.bed.bed import Bed
from tests.bed.cluster import Cluster

OLD_PYTHON = "/usr/local/bin/python3.9"
# Another environment is one to install.
ELSEWHERE = {"ray_root": "/opt/elsewhere"}
ADDRESS = "network.node_ip_address {} {}: set ray_node_ip_address to its private one; it has {{address}} (eth0)."
CANNOT = {
    "port in use": (
        {"ray_ports": {"object_manager": 22}},
        r"port 22 of this host \(ray_ports.object_manager\) is taken by ssh.service, process \d+ \(sshd\): stop it "
        r"\(systemctl disable --now ssh.service\), or set ray_ports.object_manager to a free port, for all hosts\."),
    "disk too small": (
        {**ELSEWHERE, "ray_environment_bytes": 10**15},
        r"the file system /\S* has \d+\.\d GB left, and 1500000.0 GB for Ray's environment in /opt/elsewhere/\S+ are "
        r"needed: remove what nobody uses, enlarge it, or set ray_root to a directory on another one\."),
    "no such Python": (
        {**ELSEWHERE, "ray_python": "/usr/bin/python3.99"},
        r"ray_python /usr/bin/python3.99 does not exist on this host: set it to /usr/bin/python3.1\d, which is there\.",
    ),
    "old Python": (
        {**ELSEWHERE, "ray_python": OLD_PYTHON},
        rf"ray_python {OLD_PYTHON} is Python 3.9, and Ray needs 3.10 or later: set it to /usr/bin/python3.1\d, which "
        r"is there\."),
    "loopback": ({"ray_node_ip_address": "127.0.0.1"}, re.escape(ADDRESS.format(
        "127.0.0.1", "is a loopback address, which no other host can reach"))),
    "not its own": ({"ray_node_ip_address": "203.0.113.7"}, re.escape(ADDRESS.format(
        "203.0.113.7", "is not an address of this host"))),
    "closed directory": (
        {"ray_temp_dir": "/root/ray"},
        r"/root/ray lies in /root, which is closed to user ray: chmod o\+x /root\."),
    "somebody's link": (
        {"ray_temp_dir": "/run/theirs/ray"},
        r"/run/theirs/ray goes through the link 'ray', which nobody can have made, and root follows only its own: "
        r"remove the link, and see who put it there\."),
}
STATE = (
    "find /etc/ray /etc/systemd/system /usr/local -type f -exec sha256sum {} + | sort; ls -d /opt/* /var/lib/ray*;"
    "systemctl show --property=ActiveEnterTimestampMonotonic ray-head ray-worker"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-default")))
    for name in found.names:
        found.sh(name, f"printf '#!/bin/sh\\necho 3.9\\n' > {OLD_PYTHON}; chmod 755 {OLD_PYTHON}")
        found.sh(name, "mkdir -p /run/theirs && chmod 777 /run/theirs")
        found.sh(name, "runuser -u nobody -- ln -s /etc /run/theirs/ray")
    yield found
    for name in found.names:
        found.sh(name, f"rm -rf {OLD_PYTHON} /run/theirs")


def state(cluster: Cluster) -> list[str]:
    """All that a refused run must leave as it is."""
    return [cluster.sh(name, STATE) for name in cluster.names] + [str(cluster.pids())]


@pytest.mark.parametrize("what", CANNOT)
def test_what_cannot_work_is_refused(cluster, what):
    variables, sentence = CANNOT[what]
    before = state(cluster)
    # A check says the same, with the same task.
    for arguments in ([], ["--check"])[:2 if what == "no such Python" else 1]:
        run = cluster.site("--extra-vars", json.dumps(variables), *arguments)
        assert run.status != 0 and run.changed == 0, run.output[-3000:]
        address = re.escape(cluster.gcs.partition(":")[0])
        said = " ".join(run.output.replace('\\"', '"').split())
        assert re.search(sentence.replace(re.escape("{address}"), address), said), run.output[-3000:]
        assert not re.search(r"Traceback|\{\{", run.output)
    assert state(cluster) == before

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""inventories/local finds the machine's own address, and says what to write where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import interface_of

REPOSITORY = Path(__file__).resolve().parents[3]


def asked(*prefix: str) -> subprocess.CompletedProcess[str]:
    ansible = Path(sys.executable).with_name("ansible")
    command = [str(ansible), "localhost", "-i", "inventories/local", "-m", "debug", "-a", "var=ray_node_ip_address"]
    return subprocess.run(
        [*prefix, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )


def test_the_address_is_one_of_this_machines():
    done = asked()
    assert done.returncode == 0, done.stderr
    address = json.loads(done.stdout.partition("=> ")[2])["ray_node_ip_address"]
    assert interface_of(address) not in ("", "lo")


def test_a_machine_without_a_network_is_told_what_to_set():
    done = asked("unshare", "--net")
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode != 0
    assert "set ray_node_ip_address to the one that Ray shall use." in done.stdout + done.stderr

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interface of an address, on a network of the test's own: a bridge, a VLAN's name, several addresses, IPv6."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import interface_of

COLLECTIONS = Path(__file__).resolve().parents[3] / ".ansible" / "collections"
NETWORK = """
ip link set lo up
ip link add eth1 type veth peer name eth10 && ip link set eth1 up && ip link set eth10 up
ip addr add 10.0.0.1/24 dev eth1 && ip addr add 10.0.0.9/24 dev eth1 label eth1:vip
ip addr add 10.0.1.1/24 dev eth10 && ip addr add fd00::1/64 dev eth10 nodad
ip link add eth1.100 type veth peer name 'odd"' && ip addr add 10.0.2.1/24 dev eth1.100
ip link add br0 type bridge && ip link set br0 up && ip addr add 10.0.3.1/24 dev br0
ip addr add 10.0.4.1/24 dev 'odd"'
{extra}
"""
ASK = """
import json
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import interface_of, own_address
asked = ["10.0.0.1", "10.0.0.9", "10.0.1.1", "fd00::1", "fd00:0::0:1", "10.0.2.1", "10.0.3.1", "10.0.4.1", "10.9.9.9",
         "127.0.0.1", "head", ""]
print(json.dumps([{address: interface_of(address) for address in asked}, own_address()]))
"""


def ask(extra: str = "", network: str = NETWORK) -> tuple[dict[str, str], str]:
    """In a network namespace of its own, with no way out but what extra adds."""
    script = f"set -e\n{network.format(extra=extra)}\nexec {sys.executable} -c '{ASK}'"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
    )
    if "unshare failed" in done.stderr or "Operation not" in done.stderr or "Unknown device type" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    found, own = json.loads(done.stdout)
    return found, own


def test_interfaces():
    found, own = ask()
    assert found == {
        "10.0.0.1": "eth1", "10.0.0.9": "eth1", "10.0.1.1": "eth10", "fd00::1": "eth10", "fd00:0::0:1": "eth10",
        "10.0.2.1": "eth1.100", "10.0.3.1": "br0", "127.0.0.1": "lo",
        # Neither of these can be named.
        "10.0.4.1": "", "10.9.9.9": "", "head": "", "": "",
    }
    # No default route, and several addresses: a person must say which.
    assert own == ""


def test_the_own_address_is_the_default_routes():
    assert ask("ip route add default via 10.0.1.254 src 10.0.1.1")[1] == "10.0.1.1"
    assert ask("ip route add default via 10.0.0.254 dev eth1 src 10.0.0.9")[1] == "10.0.0.9"
    assert ask("ip -6 route add default via fd00::ff dev eth10")[1] == "fd00::1"


def test_without_a_default_route_the_only_address_is_taken():
    one = "ip link set lo up\nip link add eth1 type veth peer name eth2\nip addr add 10.0.0.1/24 dev eth1\n"
    assert ask(network=one)[1] == "10.0.0.1"
    assert ask(network="ip link set lo up\n")[1] == ""


def test_an_address_of_another_host():
    assert interface_of("198.51.100.77") == ""

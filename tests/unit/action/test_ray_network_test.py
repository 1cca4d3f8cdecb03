# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller makes of what hosts say about their network: names and addresses are the inventory's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.action.ray_network_test import (
    answers_of,
    numbers,
    peer_of,
    range_of,
    said,
)
from ansible_collections.rayops.cluster.plugins.module_utils._network.mesh import Peer
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem

OPENED = {"address": "10.0.0.2", "ports": ["6381", "10002-19999"], "listening": [6381], "port": 40000, "ends": 0}
TARGETS = [{"address": "10.0.0.2", "ports": [6381, 40000]}]

# Hosts that are this machine. The stand-in for a firewall is a node that says it listens where it does not.
PLAY = """
- hosts: all
  connection: local
  gather_facts: false
  tasks:
    - rayops.cluster.ray_network_test:
        {state: listening, address: "{{ address }}", ports: "{{ ports }}", seconds: 30}
      register: network_listener
      when: not (outside | default(false))
    - rayops.cluster.ray_network_test: {nodes: [head, worker-1, worker-2], timeout: 1}
      register: network_test
      ignore_errors: true
      when: not (outside | default(false))
    - copy:
        content: "{{ [network_listener, network_test] | to_json }}"
        dest: "{{ answers }}/{{ inventory_hostname }}"
"""


def registered(**changes):
    return {"w2": {"network_listener": {**OPENED, "ends": time.time() + 60, **changes}}}


def test_a_peer_is_what_was_registered():
    assert peer_of("w2", registered(), 3) == Peer("w2", "10.0.0.2", ("6381", "10002-19999"), frozenset({6381}), 40000)


def test_a_listener_that_may_have_ended_is_not_tried():
    assert peer_of("w2", registered(ends=time.time() + 1), 3).workload == 0


@pytest.mark.parametrize("answer, among", [
    ([50000, 50999], (50000, 50999)), ([50999, 50000], (32768, 60999)), ([0, 9], (32768, 60999)), ("x", (32768, 60999)),
    ([1, 2, 3], (32768, 60999)), ([40000, 70000], (32768, 60999)), (None, (32768, 60999)), ([True, 5], (32768, 60999)),
])
def test_the_workloads_ports_are_what_a_host_says_if_it_says_any(answer, among):
    assert range_of(answer) == among


@pytest.mark.parametrize("hostvars", [{}, {"w2": {}}, {"w2": {"network_listener": {"unreachable": True}}},
                                      registered(address="head")])
def test_hosts_that_are_left_out(hostvars):
    assert peer_of("w2", hostvars, 3) is None


@pytest.mark.parametrize("answer", [None, "6381", {"6381": 1}, ["6381", True, 6381.0, None]])
def test_numbers_are_numbers(answer):
    assert numbers(answer) == set()
    assert numbers([6381, "x"]) == {6381}


@pytest.mark.parametrize("answers", [None, [], [["dropped"], ["dropped"]], ["dropped"], [{"6381": "dropped"}],
                                     [["{{ lookup('pipe', 'id') }}", 7]]])
def test_answers_to_other_questions_are_none(answers):
    assert answers_of({"answers": answers}, TARGETS) == [{}]


def test_what_is_said():
    assert said("w1", [], 1) == "w1 reaches 1 node."
    assert said("w1", [Problem("dropped", "cannot reach w2 on 6382", "open it"), Problem("refused", "b", "c")], 2) == (
        "w1 cannot reach w2 on 6382: open it.\nw1 b: c.")


def run(directory: Path, *arguments: str, **hosts: dict) -> dict[str, list]:
    """What each host registered."""
    own = {"ansible_python_interpreter": sys.executable, "answers": str(directory)}
    inventory = {"all": {"hosts": {name.replace("_", "-"): {**own, **host} for name, host in hosts.items()}}}
    (directory / "hosts.json").write_text(json.dumps(inventory))
    (directory / "play.yml").write_text(PLAY)
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "hosts.json", "play.yml", *arguments], cwd=directory,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(root / ".ansible/collections"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name.replace("_", "-"): json.loads((directory / name.replace("_", "-")).read_text()) for name in hosts
            if (directory / name.replace("_", "-")).exists()}


def test_three_hosts(tmp_path):
    here = {"address": "127.0.0.1", "ports": ["1"]}
    found = run(tmp_path, head=here, worker_1={**here, "address": "127.0.0.2"}, worker_2={**here, "outside": True})
    listener, tested = found["worker-1"]
    assert 32768 <= listener["port"] <= 60999 and listener["listening"] == [] and listener["ports"] == ["1"]
    # worker-2 said nothing: it is left out.
    assert tested["msg"] == "worker-1 reaches 1 node." and tested["failed"] is False
    assert found["head"][1]["msg"] == "head reaches 1 node."

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which ports the variables make of a host's parts in the cluster, and when playbooks tell which hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
PLAY = [{
    "hosts": "all", "gather_facts": False, "roles": ["rayops.cluster.ray_defaults"],
    "tasks": [
        *({"ansible.builtin.import_role": {"name": f"rayops.cluster.{role}", "tasks_from": "declared"}}
          for role in ("head", "worker", "monitor", "serve")),
        {"ansible.builtin.copy": {"dest": "{{ playbook_dir }}/{{ inventory_hostname }}.json", "mode": "0600",
                                  "content": "{{ _ray_firewall_ports | to_json }}"}},
    ],
}]


def played(directory: Path, plays: list, inventory: dict, *arguments: str) -> str:
    (directory / "hosts.yml").write_text(json.dumps({"all": inventory}))
    (directory / "play.yml").write_text(json.dumps(plays))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), directory / "play.yml", "-i", directory / "hosts.yml",
         *arguments],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def playbook(name: str) -> list:
    return yaml.safe_load((REPOSITORY / "playbooks" / f"{name}.yml").read_text())


def test_the_proxys_port_is_open_where_the_proxy_is_alone(tmp_path):
    hosts = {"head": "ray_head", "worker": "ray_workers", "monitor": "ray_monitor"}
    variables = {"ray_proxy_port": 15443, "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
                 "ray_node_ip_address": "127.0.0.1"}
    groups = {group: {"hosts": {name: {"ray_proxy": True}}} for name, group in hosts.items()}
    played(tmp_path, PLAY, {"vars": variables, "children": groups})
    opened = {name: json.loads((tmp_path / f"{name}.json").read_text())["open"] for name in hosts}
    assert opened == {"head": ["15443"], "worker": [], "monitor": ["15443"]}


@pytest.mark.parametrize("limit, at_once, in_turn", [
    ([], ["head", "worker-1"], []), (["--limit", "worker-2"], [], ["head", "worker-1"]),
])
def test_a_removed_worker_is_shut_out_everywhere(tmp_path, limit, at_once, in_turn):
    """Side by side; a play has no hosts that --limit leaves out."""
    plays = {play["name"]: play for play in playbook("remove_worker")}
    [group] = [task for task in plays["Remove the workers"]["tasks"] if "ansible.builtin.group_by" in task]
    told, rest = plays["Shut the removed workers out"], plays["Verify what is left"]
    output = played(
        tmp_path, [{"hosts": "worker-2", "gather_facts": False, "tasks": [group]}, {**told, "become": False},
                   {**rest, "become": False, "tasks": rest["tasks"][:1]}],
        {"vars": {"ray_firewall": True, "ansible_connection": "local", "ansible_python_interpreter": sys.executable},
         "children": {"ray_head": {"hosts": {"head": {}}},
                      "ray_workers": {"hosts": {"worker-1": {}, "worker-2": {}}}}}, *limit)
    shut_out = output.partition("PLAY [Shut the removed workers out]")[2]
    assert sorted(re.findall(r"^ok: \[([\w-]+)\]$", shut_out, re.MULTILINE)) == at_once, output
    assert re.findall(r"^ok: \[worker-2 -> ([\w-]+)\]", shut_out, re.MULTILINE) == in_turn, output


def test_a_teardown_removes_the_table_once_when_nothing_listens_and_nft_is_there():
    [play] = playbook("teardown")
    order = [task["name"] for task in play["tasks"]]
    removes = [task["name"] for task in play["tasks"] if "rayops.cluster.node_firewall" in task]
    assert removes == ["Remove the firewall"]
    at = order.index("Remove the firewall")
    assert {"End every Ray process, all at once", "Remove the models", "Remove the proxy", "Stop the monitor",
            "Stop Redis"} <= set(order[:at])
    assert {"Remove the monitor", "Remove Redis", "Remove Ray"} <= set(order[at:])
    users = [path for path in (REPOSITORY / "roles").rglob("tasks/*.yml") if "node_firewall" in path.read_text()]
    assert not users

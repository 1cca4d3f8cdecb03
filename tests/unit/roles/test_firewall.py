# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which ports the variables make of a host's parts in the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_the_proxys_port_is_open_where_the_proxy_is_alone(tmp_path):
    hosts = {"head": "ray_head", "worker": "ray_workers", "monitor": "ray_monitor"}
    variables = {"ray_proxy_port": 15443, "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
                 "ray_node_ip_address": "127.0.0.1"}
    groups = {group: {"hosts": {name: {"ray_proxy": True}}} for name, group in hosts.items()}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"vars": variables, "children": groups}}))
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), tmp_path / "play.yml", "-i", tmp_path / "hosts.yml"],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    opened = {name: json.loads((tmp_path / f"{name}.json").read_text())["open"] for name in hosts}
    assert opened == {"head": ["15443"], "worker": [], "monitor": ["15443"]}

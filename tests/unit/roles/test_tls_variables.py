# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `ray_tls` comes to in the roles: units, the environment of people, the modules' connection and the exporter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
PLAY = """
- hosts: ray_head:ray_workers:ray_monitor
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: rayops.cluster.ray_defaults}
    - ansible.builtin.import_role: {name: rayops.cluster.head, tasks_from: configure}
      when: false
    - ansible.builtin.import_role: {name: rayops.cluster.worker, tasks_from: configure}
      when: false
    - ansible.builtin.import_role: {name: rayops.cluster.monitor, tasks_from: configure}
      when: false
    - ansible.builtin.copy:
        dest: "{{ directory }}/{{ inventory_hostname }}.json"
        content: "{{ found | to_json }}"
        mode: "0600"
      vars:
        found:
          unit: "{{ _ray_start.environment_lines if inventory_hostname != 'monitor' else [] }}"
          people: "{{ _ray_start.user_environment_lines if inventory_hostname != 'monitor' else [] }}"
          connection: "{{ _ray_connection }}"
          exporter: "{{ lookup('ansible.builtin.template', playbook_templates ~ '/monitor.yaml.j2') }}"
          restart_files: "{{ _monitor_units[0].restart_files }}"
          declared: "{{ _ray_declared if inventory_hostname != 'monitor' else {} }}"
"""
TLS = [
    "RAY_TLS_CA_CERT=/etc/ray/tls/ca.pem", "RAY_TLS_SERVER_CERT=/etc/ray/tls/node.pem",
    "RAY_TLS_SERVER_KEY=/etc/ray/tls/node.key", "RAY_USE_TLS=1",
]


@pytest.fixture(scope="module", name="found", params=[True, False], ids=["on", "off"])
def found_fixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("tls-variables")
    common = {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_host": "10.0.0.1",
        "ray_tls": request.param,
    }
    groups = {"ray_head": "head", "ray_workers": "worker", "ray_monitor": "monitor"}
    hosts = {"all": {"children": {group: {"hosts": {name: common}} for group, name in groups.items()}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (directory / "play.yml").write_text(PLAY)
    variables = {"directory": str(directory), "playbook_templates": str(REPOSITORY / "roles/monitor/templates")}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(directory / "hosts.yml"),
         str(directory / "play.yml"), "-e", json.dumps(variables)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".ansible" / "collections")},
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return request.param, {name: json.loads((directory / f"{name}.json").read_text()) for name in groups.values()}


def test_nodes_and_their_people_speak_what_is_declared(found):
    on, hosts = found
    for name in ("head", "worker"):
        for lines in (hosts[name]["unit"], hosts[name]["people"]):
            assert sorted(line.replace("'", "") for line in lines if "TLS" in line) == (TLS if on else [])
        # Without it the node's file is the one of before.
        assert hosts[name]["declared"].get("tls") == ({"directory": "/etc/ray/tls"} if on else None)


def test_modules_and_the_exporter_know_where_the_certificate_is(found):
    on, hosts = found
    for host in hosts.values():
        assert host["connection"]["tls_directory"] == ("/etc/ray/tls" if on else "")
        assert yaml.safe_load(host["exporter"])["tls_directory"] == ("/etc/ray/tls" if on else None)
        # One that was renewed is read by a process that starts.
        assert {"/etc/ray/tls/node.pem", "/etc/ray/tls/ca.pem"} <= set(host["restart_files"])

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `ray_tls` comes to in the roles: units, the environment of people, the modules' connection and the exporter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.rendering import play, run, tells

REPOSITORY = Path(__file__).resolve().parents[3]
FOUND = {
    "unit": "{{ _ray_start.environment_lines if inventory_hostname != 'monitor' else [] }}",
    "people": "{{ _ray_start.user_environment_lines if inventory_hostname != 'monitor' else [] }}",
    "connection": "{{ _ray_connection }}",
    "exporter": f"{{{{ lookup('ansible.builtin.template', '{REPOSITORY}/roles/monitor/templates/monitor.yaml.j2') }}}}",
    "restart_files": "{{ _monitor_units[0].restart_files }}",
    "declared": "{{ _ray_declared if inventory_hostname != 'monitor' else {} }}",
}
PLAY = play("ray_head:ray_workers:ray_monitor", ["head", "worker", "monitor"], tells("found", found=FOUND))
TLS = [
    "RAY_TLS_CA_CERT=/etc/ray/tls/ca.pem", "RAY_TLS_SERVER_CERT=/etc/ray/tls/node.pem",
    "RAY_TLS_SERVER_KEY=/etc/ray/tls/node.key", "RAY_USE_TLS=1",
]


@pytest.fixture(scope="module", name="found", params=[True, False], ids=["on", "off"])
def found_fixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("tls-variables")
    groups = {"ray_head": "head", "ray_workers": "worker", "ray_monitor": "monitor"}
    done = run(directory, [PLAY], {group: {name: {"ray_tls": request.param}} for group, name in groups.items()})
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

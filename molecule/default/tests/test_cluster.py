# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster deployed by site.yml is, seen from its hosts and from the network. Scenarios share these tests."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

testinfra_hosts = ["ansible://ray_head", "ansible://ray_workers"]

TOKEN_PATH = "/etc/ray/auth_token"
# Asks the GCS itself, as Ray's own client does, with the node's token.
NODES = f"""
import json, os, sys
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="{TOKEN_PATH}")
from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo
nodes = GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10).values()
print(json.dumps([
    {{"name": node.node_name, "address": node.node_manager_address, "head": node.is_head_node,
      "resources": dict(node.resources_total)}}
    for node in nodes if node.state == GcsNodeInfo.ALIVE]))
"""


@pytest.fixture(scope="session")
def inventory(request):
    """The bed's static inventory: the same hosts as the cloud's, by their names, with their groups."""
    with open(request.config.option.ansible_inventory, encoding="utf-8") as file:
        return json.load(file)["all"]


@pytest.fixture(scope="session")
def addresses(inventory):
    return {
        name: host["ansible_host"]
        for group in ("ray_head", "ray_workers")
        for name, host in inventory["children"][group]["hosts"].items()
    }


@pytest.fixture
def kind(host):
    """``head`` or ``worker``."""
    groups = host.backend.ansible_runner.get_variables(host.backend.host)["groups"]
    return "head" if host.backend.host in groups["ray_head"] else "worker"


def journal(host, unit):
    return host.run("journalctl --no-pager --output=cat --lines=30 --unit=%s", unit).stdout


def dashboard(addresses, token=None):
    """The HTTP status of the dashboard's version page, and what it says."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://{addresses['head']}:8265/api/version", headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {}


def test_unit_is_enabled_and_active(host, kind):
    unit = host.service(f"ray-{kind}")
    assert unit.is_enabled
    assert unit.is_running, journal(host, f"ray-{kind}")
    assert host.service("ray-health.timer").is_running


def test_the_raylet_was_told_the_port_of_its_agent(host):
    """What tells it has ended: until it finds a raylet it looks for one."""
    shown = host.check_output("systemctl show --property ActiveState,Result,ExecMainExitTimestamp ray-agent-port")
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    assert (values["ActiveState"], values["Result"]) == ("inactive", "success") and values["ExecMainExitTimestamp"]


def test_no_unit_has_failed(host):
    assert host.run("systemctl list-units --failed --plain --no-legend").stdout == ""


def test_gcs_knows_every_node(host, inventory, addresses, kind):
    head = f"{inventory['vars']['ray_cluster_name']}-head:6379"
    answer = host.run("timeout 30 /opt/ray/current/bin/python -c %s %s", NODES, head)
    assert answer.rc == 0, f"{answer.stderr}\n{journal(host, f'ray-{kind}')}"
    nodes = json.loads(answer.stdout)
    assert {node["name"]: node["address"] for node in nodes} == addresses
    assert len(nodes) == len(addresses), "a node is there twice"
    cpus = int(host.check_output("nproc"))
    for node in nodes:
        assert node["head"] == (node["name"] == "head")
        assert node["resources"].get("CPU", 0) == (0 if node["head"] else cpus)


def test_configuration_is_closed_to_others(host, kind):
    directory = host.file("/etc/ray")
    assert (directory.user, directory.group, directory.mode) == ("root", "ray", 0o750)
    for path in (f"/etc/ray/{kind}-node.yaml", TOKEN_PATH):
        file = host.file(path)
        assert (file.user, file.group, file.mode) == ("root", "ray", 0o640), path


def test_token_is_in_no_public_place(host):
    # The token is the pattern file, so that this search does not itself show it; the first line proves that it finds.
    assert host.run(f"grep --quiet --fixed-strings --file={TOKEN_PATH} {TOKEN_PATH}").rc == 0
    for place in (
        "ps axww -o args",
        "cat /proc/[0-9]*/cmdline",
        "journalctl --no-pager --output=cat",
        "systemctl cat 'ray-*'",
        "systemctl show 'ray-*'",
        "find / -xdev -type f -perm -o=r -size -1024k -newer /etc/machine-id -not -path '/opt/ray/*' -exec cat {} +",
    ):
        found = host.run(f"{place} 2>/dev/null | grep --text --quiet --fixed-strings --file={TOKEN_PATH}")
        assert found.rc == 1, f"the token is in the output of: {place}"


def test_dashboard_wants_the_token(host, addresses):
    token = host.check_output(f"cat {TOKEN_PATH}")
    assert dashboard(addresses)[0] == 401
    assert dashboard(addresses, token="0" * 64)[0] == 403
    status, version = dashboard(addresses, token)
    assert status == 200
    assert version["ray_version"] in host.file("/opt/ray/current").linked_to


def test_dashboard_listens_on_the_private_address_only(host, kind, addresses):
    if kind != "head":
        assert not host.socket("tcp://8265").is_listening
        return
    assert host.socket(f"tcp://{addresses['head']}:8265").is_listening
    assert not host.socket("tcp://0.0.0.0:8265").is_listening


def test_the_exporter_sees_the_cluster(host, kind, addresses):
    """Without a host for the monitor, the head runs the exporter, and has the files for a site's own Prometheus."""
    if kind != "head" or host.backend.ansible_runner.get_hosts("ray_monitor"):
        pytest.skip("the exporter is not here")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{addresses['head']}:6386/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    assert "ray_up 1.0" in lines, journal(host, "ray-monitor")
    assert 'ray_cluster_nodes{pool="cpu_worker",state="alive"} 2.0' in lines
    assert host.service("ray-monitor").is_enabled
    for name in ("scrape_configs.yml", "rules/ray.yml", "dashboards/ray-glance.json"):
        assert host.file(f"/usr/local/share/ray-monitor/{name}").size > 0

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real faults reach a webhook and a robot as the right alerts, and are taken back after the repair."""

from __future__ import annotations

import json

import pytest

testinfra_hosts = ["ansible://ray_monitor"]

# One line for each alert of each message: [receiver, alert, status, node]; and the robots' texts as they came.
RECEIVER = r"""
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("/run/received", "a") as file:
            if self.path.startswith("/r"):
                print(json.dumps(["robot", body["markdown"]["text"], "timestamp=" in self.path, ""]), file=file)
            for alert in body.get("alerts", []):
                labels = alert["labels"]
                print(json.dumps(["webhook", labels["alertname"], alert["status"], labels.get("node", "")]), file=file)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"errcode": 0, "errmsg": "ok"}')
http.server.HTTPServer(("127.0.0.1", 18080), Handler).serve_forever()
"""
INFEASIBLE = """
import ray, time
ray.init(address="demo-head:6379", log_to_driver=False)
@ray.remote(num_gpus=64)
def never(): pass
never.remote()
time.sleep(900)
"""
# Without it the unit comes back by itself, within seconds.
DROP_IN = "/run/systemd/system/ray-worker.service.d"
FIRES = 240
RESOLVES = 120


@pytest.fixture(scope="module")
def webhook(request):
    """The test's own receiver, on the monitor's host. Gives a function that says what it has received."""
    hosts = {}

    def received(host):
        if "started" not in hosts:
            host.check_output("systemd-run --quiet --unit=test-webhook /usr/bin/python3 -c %s", RECEIVER)
            hosts["started"] = host
        return [json.loads(line) for line in host.run("cat /run/received").stdout.splitlines()]

    yield received
    if hosts:
        hosts["started"].run("systemctl stop test-webhook; rm -f /run/received")


def alert(received, name, status, node=None):
    return any(item[:3] == ["webhook", name, status] and node in (None, item[3]) for item in received)


def test_a_worker_is_lost_and_a_demand_cannot_be_met(host, at, monitor, driver, webhook, wait_for):
    webhook(host)
    worker = at("worker-2")
    worker.check_output(f"mkdir -p {DROP_IN} && printf '[Service]\\nRestart=no\\n' > {DROP_IN}/dead.conf")
    worker.check_output("systemctl daemon-reload && pkill -KILL -x raylet")
    try:
        with driver("infeasible", INFEASIBLE):
            wait_for("RayNodeLost at the webhook",
                     lambda: alert(webhook(host), "RayNodeLost", "firing", "worker-2"), FIRES)
            wait_for("RayDemandInfeasible at the webhook",
                     lambda: alert(webhook(host), "RayDemandInfeasible", "firing"), FIRES)
            assert monitor.query('ALERTS{alertname="RayPoolBelowDeclared",pool="cpu_worker"}')
            page = monitor.get(9090, "/consoles/ray.html")
            assert "RayNodeLost" in page and "RayDemandInfeasible" in page
    finally:
        worker.check_output(f"rm -r {DROP_IN}; systemctl daemon-reload; systemctl restart ray-worker")
    for name in ("RayNodeLost", "RayDemandInfeasible"):
        wait_for(f"{name} resolved", lambda name=name: alert(webhook(host), name, "resolved"), RESOLVES)
    robot = [item for item in webhook(host) if item[0] == "robot"]
    assert any("worker-2" in text and signed for _name, text, signed, _node in robot)


def test_the_head_is_stopped(host, at, monitor, webhook, wait_for):
    head = at("head")
    head.check_output("systemctl stop ray-head")
    try:
        wait_for("RayHeadDown at the webhook", lambda: alert(webhook(host), "RayHeadDown", "firing"), FIRES)
        found = monitor.exporter()
        assert found["ray_up"] == 0 and not any(name.startswith("ray_cluster_nodes{") for name in found)
        assert found["ray_monitor_reading_age_seconds"] > 30
    finally:
        head.check_output("systemctl start ray-head")
    wait_for("RayHeadDown resolved", lambda: alert(webhook(host), "RayHeadDown", "resolved"), RESOLVES)
    wait_for("no alert", lambda: monitor.firing() == set(), RESOLVES)

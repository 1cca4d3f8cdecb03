# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the bed by name, what the monitor says over HTTP, and work for the cluster."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from contextlib import contextmanager

import pytest

from tests.waiting import first_true

PYTHON = "/opt/ray/current/bin/python"
# A unit that runs a program on the cluster until it is stopped.
DRIVER = (
    "systemd-run --quiet --unit={name} --uid=ray --working-directory=/ --setenv=RAY_AUTH_MODE=token "
    "--setenv=RAY_AUTH_TOKEN_PATH=/etc/ray/auth_token " + PYTHON + " -c %s"
)


class Monitor:
    """The monitor's host as its users reach it."""

    def __init__(self, address):
        self.address = address
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, port, path, **query):
        url = f"http://{self.address}:{port}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with self._opener.open(url, timeout=10) as answer:
            return answer.read().decode()

    def exporter(self):
        """The exporter's samples: their values by name and labels, as they stand in the exposition."""
        lines = self.get(6386, "/metrics").splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _space, value in pairs}

    def query(self, expression):
        """What Prometheus answers: a list of {metric, value}."""
        answer = json.loads(self.get(9090, "/api/v1/query", query=expression))
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def values(self, expression, label):
        return {series["metric"].get(label, ""): float(series["value"][1]) for series in self.query(expression)}

    def firing(self):
        return {series["metric"]["alertname"] for series in self.query('ALERTS{alertstate="firing"}')}


@pytest.fixture(scope="session")
def wait_for():
    return first_true


@pytest.fixture(scope="session")
def inventory(request):
    with open(request.config.option.ansible_inventory, encoding="utf-8") as file:
        groups = json.load(file)["all"]["children"].values()
    return {name: host for group in groups for name, host in group["hosts"].items() if host}


@pytest.fixture(scope="session")
def monitor(inventory):
    return Monitor(inventory["monitor"]["ansible_host"])


@pytest.fixture(scope="module")
def at(host):
    """Another host of the bed, by its name."""
    return lambda name: host.get_host(
        f"ansible://{name}", ansible_inventory=host.backend.ansible_runner.inventory_file
    )


@pytest.fixture(scope="module")
def driver(at):
    """Run a program on the cluster, on the head, for as long as the context lasts."""

    @contextmanager
    def run(name, program):
        head = at("head")
        started = head.run(DRIVER.format(name=name), program)
        assert started.rc == 0, started.stderr
        try:
            yield
        finally:
            head.run(f"systemctl stop {name}; systemctl reset-failed {name}")

    return run

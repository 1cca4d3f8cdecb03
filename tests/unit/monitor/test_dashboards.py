# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Grafana dashboards and the console page, their queries run by a real Prometheus that scrapes data/*.txt."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.filter.monitor_dashboard import monitor_dashboard
from tests.prometheus import metric_names, programs
from tests.unit.conftest import free_ports, stop

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = REPOSITORY / "roles/monitor/files"
DATA = Path(__file__).parent / "data"
RULES = (FILES / "rules/ray.yml").read_text(encoding="utf-8")
METRICS = (REPOSITORY / "docs/metrics.md").read_text(encoding="utf-8")
# As they are written: through JSON.
DASHBOARDS = {
    path.stem: json.loads(json.dumps(monitor_dashboard(yaml.safe_load(path.read_text(encoding="utf-8")))))
    for path in FILES.glob("dashboards/*.yml")
}
VARIABLES = {"$cluster": "demo", "$pool": ".*", "$model": ".*", "$__rate_interval": "1m"}
OLD = """ray_up 0
ray_gcs_reachable {reachable}
ray_monitor_reading_age_seconds 321
ray_cluster_nodes_declared{{pool="worker"}} 3
"""
# Of the models' series, those that only grow.
COUNTED = re.compile(r"(ray_\w+_(?:total|count|sum|bucket){.*}) (\S+)")
HOSTILE_NODE = "<script>alert('1')</script>\\\"\n"
HOSTILE_POOL = "<b>\"it's\"</b> & {{.}}"
HOSTILE_CLUSTER = "<i>o'l\"d\\"


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


TARGETS = [
    pytest.param(target["expr"], id=f"{name}-{panel['id']}{target['refId']}")
    for name, board in sorted(DASHBOARDS.items())
    for panel in panels(board)
    for target in panel["targets"]
]


def grown(series: re.Match[str]) -> str:
    return f"{series[1]} {float(series[2]) * Exposition.scrapes}"


def with_variables(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


class Exposition(BaseHTTPRequestHandler):
    """What the targets of several clusters answer, by path."""

    scrapes = 0

    def do_GET(self) -> None:
        body = self.text().encode()
        self.send_response(200)
        listed = self.path == "/vllm-targets"
        self.send_header("Content-Type", "application/json" if listed else "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def text(self) -> str:
        if self.path == "/exporter":
            Exposition.scrapes += 1
            text = (DATA / "exporter_series.txt").read_text(encoding="utf-8")
            for old, new in (("1.7953e+09", -3600), ("1.7954e+09", -3), ("1.8e+09", 40 * 86400)):
                text = text.replace(old, str(int(time.time() + new)))
            return re.sub(r"(ray_node_restarts_total{.*}) \d+", rf"\1 {Exposition.scrapes}", text)
        if self.path == "/ray":
            serving = (DATA / "serving_series.txt").read_text(encoding="utf-8")
            return (DATA / "ray_series.txt").read_text(encoding="utf-8") + COUNTED.sub(grown, serving)
        if self.path == "/vllm-targets":
            own = self.server.server_address[1]
            return json.dumps([{"targets": [f"127.0.0.1:{own}"], "labels": {"model": "beside@worker-1"}}])
        if self.path == "/metrics":
            return (DATA / "vllm_series.txt").read_text(encoding="utf-8")
        if self.path == "/redis":
            return "redis_up 1\n"
        return OLD.format(reachable=int(self.path == "/old"))

    def log_message(self, *_arguments: Any) -> None:
        """A scrape is no news."""


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples. Raises AssertionError with what Prometheus says of an expression that it refuses."""
        data = urllib.parse.urlencode({"query": expression}).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query", data, timeout=10) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error

    def wait_for(self, expression: str) -> None:
        wait(lambda: self.query(expression), expression)

    def ready(self) -> bool:
        """Until then it answers nothing, or 503."""
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=10).status == 200
        except OSError:
            return False


def wait(found: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, f"no {what} within a minute"
        time.sleep(0.2)


def scrape_configs(port: int) -> list[dict[str, Any]]:
    targets = [
        ("ray-monitor", "/exporter", "demo"), ("ray", "/ray", "demo"), ("ray-redis", "/redis", "demo"),
        ("ray-monitor", "/down", "down"), ("ray-monitor", "/old", HOSTILE_CLUSTER),
    ]
    configs = [
        {"job_name": f"target-{number}", "metrics_path": path, "static_configs": [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"job": job, "ray_io_cluster": cluster}}]}
        for number, (job, path, cluster) in enumerate(targets)
    ]
    configs.append(next(job for job in role_scrape_configs(port) if job["job_name"] == "ray-vllm"))
    # Nobody listens there.
    lost = [("ray", "demo", "127.0.0.1:1"), ("ray-monitor", "unknown", "127.0.0.1:1")]
    return configs + [
        {"job_name": f"lost-{cluster}", "static_configs": [
            {"targets": [address], "labels": {"job": job, "ray_io_cluster": cluster}}]}
        for job, cluster, address in lost
    ]


def role_scrape_configs(port: int) -> list[dict[str, Any]]:
    """What the role gives Prometheus, on a monitor whose exporter listens here on that port."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.ChainableUndefined)
    environment.filters.update(bool=bool, to_json=lambda value: json.dumps(str(value)))
    text = environment.from_string((FILES.parent / "templates/prometheus.yml.j2").read_text(encoding="utf-8")).render(
        monitor_prometheus=True, monitor_interval=1, monitor_bind_address="127.0.0.1", monitor_port=port,
        ray_cluster_name="beside", monitor_scrape_configs=[],
    )
    found: list[dict[str, Any]] = yaml.safe_load(text)["scrape_configs"]
    return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exposition)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Nobody waits a minute here.
    (directory / "ray.yml").write_text(RULES.replace("interval: 1m", "interval: 1s"), encoding="utf-8")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["ray.yml"],
        "scrape_configs": scrape_configs(server.server_address[1]),
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_ports(1)}"
    command = [
        programs()["prometheus"], f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address={address}", f"--web.console.templates={FILES}/consoles",
        f"--web.console.libraries={FILES}/consoles", "--log.level=warn",
    ]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        running = Prometheus(f"http://{address}")
        wait(running.ready, "Prometheus")
        for cluster in ("demo", "down", "unknown"):
            running.wait_for(f'up{{ray_io_cluster="{cluster}"}}')
        running.wait_for('ALERTS{alertname="RayWorkersKilledForMemory",alertstate="firing"}')
        running.wait_for("ray:node_gpus_seen:count")
        running.wait_for("rate(ray_gcs_storage_operation_count_total[1m])")
        running.wait_for("increase(ray_node_restarts_total[1m]) > 0")
        running.wait_for("ray:model_first_token_seconds:p95")
        yield running
    finally:
        stop(process)
        server.shutdown()


# The dashboards


def test_the_dashboards_are_four():
    assert sorted(DASHBOARDS) == ["ray-faults", "ray-glance", "ray-pools", "ray-serving"]
    assert len({board["uid"] for board in DASHBOARDS.values()}) == 4
    assert len({board["title"] for board in DASHBOARDS.values()}) == 4


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_a_dashboard_can_be_provisioned_and_imported(name):
    board = DASHBOARDS[name]
    # An id is the database's of one Grafana; inputs are asked for at an import, and fail a provisioning.
    assert not {"id", "__inputs", "__requires"} & set(board)
    assert board["schemaVersion"] >= 39 and board["refresh"] == "30s" and re.fullmatch(r"[a-z-]{3,40}", board["uid"])
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["cluster"]["query"]["query"] == "label_values(ray_up, ray_io_cluster)"
    for found in [*panels(board), *board["annotations"]["list"], *list(variables.values())[1:]]:
        assert found["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_the_panels_of_a_dashboard(name):
    board = DASHBOARDS[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels(board):
        title = panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references and len(set(references)) == len(references), title
        assert all(target["expr"].strip() for target in panel["targets"]), title
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["unit"], title
            assert all(target["legendFormat"] for target in panel["targets"]), title


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_no_panel_covers_another(name):
    places = [(panel["title"], panel["gridPos"]) for panel in DASHBOARDS[name]["panels"]]
    for title, place in places:
        assert place["x"] >= 0 and place["y"] >= 0 and place["x"] + place["w"] <= 24, title
    for (one, a), (other, b) in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart = apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart, f"{one} and {other}"


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_every_query_is_of_one_cluster(name):
    for panel in panels(DASHBOARDS[name]):
        for target in panel["targets"]:
            selectors = re.findall(r"\{[^{}]*\}", target["expr"])
            assert selectors and all('ray_io_cluster="$cluster"' in found for found in selectors), panel["title"]


def known_metrics() -> set[str]:
    ray = "".join((DATA / f"{name}_series.txt").read_text(encoding="utf-8") for name in ("ray", "serving"))
    recorded = re.findall(r"- record: (\S+)", RULES)
    exporter = re.findall(r"^\| `(ray_\w+)` \|", METRICS, re.M)
    return {*exporter, *re.findall(r"^ray_\w+", ray, re.M), *recorded, "ALERTS", "up", "redis_up"}


@pytest.mark.parametrize("expression", TARGETS)
def test_a_query_reads_metrics_that_exist(expression):
    names = metric_names(with_variables(expression))
    assert names and names - known_metrics() == set()


@pytest.mark.parametrize("expression", TARGETS)
def test_a_query_finds_something(expression, prometheus):
    assert prometheus.query(with_variables(expression))


def test_the_variables_find_their_values(prometheus):
    for board in DASHBOARDS.values():
        for variable in board["templating"]["list"][1:]:
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            assert prometheus.query(f"group by ({label}) ({with_variables(selector)})")


def test_vllm_beside_ray_has_the_series_of_vllm_under_it(prometheus):
    """They are scraped without being asked for, and the rules and dashboards know one name of each."""
    selector = '{job="ray-vllm",ray_io_cluster="beside",model="beside@worker-1"}'
    prometheus.wait_for(f"ray_vllm_num_requests_running{selector}")
    names = {series["metric"]["__name__"] for series in prometheus.query(selector)}
    plain = (DATA / "vllm_series.txt").read_text(encoding="utf-8")
    ray = (DATA / "serving_series.txt").read_text(encoding="utf-8")
    scraped = {name for name in names if name.startswith("ray_vllm_")}
    assert scraped == {f"ray_vllm_{name}" for name in re.findall(r"^vllm:(\w+)", plain, re.M)}
    assert scraped <= set(re.findall(r"^ray_vllm_\w+", ray, re.M))
    # Nothing else of a process that jobs may have been in; those of a scrape are Prometheus's own.
    assert {name for name in names - scraped if not name.startswith("scrape_")} == {"up"}
    assert prometheus.query('ray:model_requests_waiting:sum{ray_io_cluster="beside",model="deepseek-tiny"}')


def test_a_wrong_query_is_noticed(prometheus):
    with pytest.raises(AssertionError, match="parse error"):
        prometheus.query("sum by (node (ray_up)")


def test_the_exposition_has_every_documented_metric():
    shown = re.findall(r"^ray_\w+", (DATA / "exporter_series.txt").read_text(encoding="utf-8"), re.M)
    assert set(shown) == set(re.findall(r"^\| `(ray_\w+)` \|", METRICS, re.M))


# The console page


class Page(HTMLParser):
    """The page by cluster: its text, and its tables by their headings, as rows of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.clusters: dict[str, dict[str, list[list[str]]]] = {}
        self.texts: dict[str, str] = {}
        self.open = self.cluster = self.heading = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag in ("h1", "h2"):
            self.heading = ""
        elif tag == "tr":
            self.clusters[self.cluster].setdefault(self.heading, []).append([])
        elif tag in ("td", "th"):
            self.clusters[self.cluster][self.heading][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "h1":
            self.cluster = self.heading
            self.clusters[self.cluster] = {}
        if tag in ("h1", "h2", "td", "th"):
            self.open = ""

    def handle_data(self, data: str) -> None:
        self.texts[self.cluster] = self.texts.get(self.cluster, "") + data
        if self.open in ("h1", "h2"):
            self.heading += data
        elif self.open in ("td", "th", "span"):
            rows = self.clusters.get(self.cluster, {}).get(self.heading)
            if rows and rows[-1]:
                rows[-1][-1] += data


@pytest.fixture(scope="module")
def page(prometheus: Prometheus) -> Page:
    with urllib.request.urlopen(f"{prometheus.url}/consoles/ray.html", timeout=20) as answer:
        return Page(answer.read().decode())


def test_the_page_has_each_cluster_with_its_state(page):
    states = {cluster: page.texts[cluster].split("Alerts")[0] for cluster in page.clusters}
    assert set(states) == {"demo", "down", "unknown", HOSTILE_CLUSTER}
    assert "Up\nfor 1h 0m" in states["demo"] and "Ray 2.60.0" in states["demo"]
    assert "1 of 2 targets of Ray answer" in states["demo"]
    assert "Down The head does not answer." in states["down"] and "5m 21s ago" in states["down"]
    assert "Data old" in states[HOSTILE_CLUSTER] and "5m 21s old" in states[HOSTILE_CLUSTER]
    assert "Unknown The monitor does not answer" in states["unknown"]


def test_the_tables_of_the_page(page):
    tables = page.clusters["demo"]
    for heading, rows in tables.items():
        assert {len(row) for row in rows} == {len(rows[0])}, heading
    nodes = {row[0]: row[1:] for row in tables["Nodes"]}
    assert nodes["worker-1"][:3] == ["10.0.0.11", "gpu_worker", "alive"] and nodes["worker-1"][4] == "3.5"
    assert nodes["worker-1"][5:] == ["13 %", "7 %", "25 %", "1.5", "2"]
    assert nodes["worker-2"][2] == "draining" and nodes["laptop"][1:3] == ["undeclared", "alive"]
    assert nodes[HOSTILE_NODE] == ["", HOSTILE_POOL, "lost", *"–" * 7]
    pools = {row[0]: row[1:] for row in tables["Pools"]}
    assert pools["gpu_worker"] == ["2", "1", "1", "0"] and pools["undeclared"] == ["0", "1", "0", "0"]
    assert page.clusters["down"]["Pools"][1:] == [["worker", "3", "–", "–", "–"]]
    resources = {row[0]: row[1:] for row in tables["Resources"]}
    assert resources["GPU"] == ["75 %", "1.5", "2"] and resources["memory"] == ["2 %", "1GiB", "64GiB"]
    assert "node:10.0.0.11" not in resources
    assert tables["Demands that wait"][1:] == [
        ["1", "CPU:1,GPU:16", "placement_group", "no node can hold it"], ["5", "CPU:1", "task_or_actor", ""],
    ]
    assert re.search(r"pending 7\s+running 4", page.texts["demo"])


def test_the_page_needs_nothing_else_and_runs_nothing(page):
    tags = {tag for tag, _attributes in page.elements}
    # A label that is not escaped would be one of these.
    assert not tags & {"script", "link", "img", "iframe"} and HOSTILE_POOL in page.clusters["demo"]["Pools"][1]
    assert not any("src" in attributes for _tag, attributes in page.elements)
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    runbooks = [link for link in links if not link.startswith("/")]
    assert "https://github.com/rayops/rayops.cluster/blob/main/docs/alerts.md#rayworkerskilledformemory" in runbooks
    assert all(f"runbook_url: {link}" in RULES for link in runbooks) and {"/alerts", "/targets"} <= set(links)

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the monitor says of a running cluster is true, and closed to those whom it does not concern."""

from __future__ import annotations

import json
import re
import time
import urllib.error

import pytest

testinfra_hosts = ["ansible://ray_monitor"]

UNITS = ["ray-monitor", "ray-alert-relay", "prometheus", "prometheus-alertmanager", "prometheus-redis-exporter"]
# ray-serving finds series where a model is: the unit tests ask it of recorded ones.
DASHBOARDS = ["ray-faults", "ray-glance", "ray-pools"]
# One task that runs on each worker and one on a GPU, some that wait, some that ended; one wants what nobody has.
LOAD = """
import ray, time
ray.init(address="demo-head:6379", log_to_driver=False)
@ray.remote
def rest(seconds=0): time.sleep(seconds)
@ray.remote(max_retries=0)
def fail(): raise ValueError("on purpose")
ray.get([rest.options(num_cpus=1).remote() for _ in range(20)])
try: ray.get(fail.options(num_cpus=1).remote())
except Exception: pass
work = [rest.options(num_cpus=1, memory=100 * 2**20, scheduling_strategy="SPREAD").remote(600) for _ in range(2)]
work += [rest.options(num_cpus=0, num_gpus=1).remote(600)]
time.sleep(3)
work += [rest.options(num_cpus=2).remote(600) for _ in range(3)]
work += [rest.options(num_gpus=64).remote(600)]
time.sleep(600)
"""
STATUS = """
import json, sys
sys.path.insert(0, "/usr/local/libexec/ray-monitor")
import os
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/etc/prometheus/ray/token")
import _ray_api
print(json.dumps(_ray_api.read_status(_ray_api.connect({"address": "demo-head:6379", "timeout": 5}))))
"""
# Series that a cluster without real GPUs, NPUs and faults cannot have; with Redis, Ray does not measure the storage.
ABSENT = re.compile(
    r"ray_node_(gpus_(available|utilization)|gpu_(temperature|power)|gram|npus)|ray:node_gpus_seen|ALERTS"
    r"|ray_memory_manager_worker_eviction_total|ray_gcs_storage_operation"
)


@pytest.fixture(scope="module")
def tasks_before(monitor):
    return {state: monitor.exporter()[f'ray_cluster_tasks{{state="{state}"}}'] for state in ("finished", "failed")}


@pytest.fixture(scope="module")
def load(monitor, driver, wait_for, tasks_before):
    """The cluster under load, until the last test of this file."""
    with driver("load", LOAD):
        def waits():
            found = monitor.exporter()
            demands = [value for key, value in found.items() if key.startswith("ray_cluster_pending_demands")]
            return found['ray_cluster_tasks{state="pending"}'] == sum(demands) == 4

        wait_for("four tasks that wait", waits, 180)
        time.sleep(6)  # one reading and one scrape more, when all has settled
        yield


def answer(monitor):
    """What the exporter says; nothing while it starts."""
    try:
        return monitor.exporter()
    except OSError:
        return {}


def test_units_are_enabled_and_active(host):
    for name in UNITS:
        unit = host.service(name)
        assert unit.is_enabled, name
        assert unit.is_running, host.run(f"journalctl --no-pager --lines=20 --unit={name}").stdout
    assert host.run("systemctl list-units --failed --plain --no-legend").stdout == ""


@pytest.mark.parametrize("name", UNITS)
def test_units_are_closed_in(host, name):
    score = host.check_output("systemd-analyze security --no-pager %s | tail -1", name)
    assert float(score.split(":")[1].split()[0]) <= 2.5, score
    # What systemd cannot read in a unit, it passes over.
    read = host.run(f"systemd-analyze verify {name}.service").stderr.splitlines()
    assert [line for line in read if "ignoring" in line and "/bed.conf:" not in line] == []


def test_exporter_and_relay_share_their_user_with_nobody(host):
    users = {}
    for name in ("ray-monitor", "ray-alert-relay", "prometheus-redis-exporter"):
        main = host.check_output("systemctl show --value --property=MainPID %s", name)
        users[name] = host.check_output(f"stat --format=%u /proc/{main}")
        others = host.check_output(f"find /proc -maxdepth 1 -user {users[name]} -name '[0-9]*'").split()
        # A reader may just have ended.
        groups = {host.run(f"ps -o cgroup= -p {other.rpartition('/')[2]}").stdout for other in others} - {""}
        assert len(groups) == 1 and name in groups.pop()
    # Users of their own: none is an account of this host.
    assert len(set(users.values())) == 3
    accounts = host.check_output("cut -d: -f3 /etc/passwd").split()
    assert not set(accounts) & set(users.values())
    for path in ("/etc/ray/monitor.yaml", "/etc/prometheus/ray/alert-relay.json", "/etc/prometheus/ray/redis.json"):
        assert (host.file(path).user, host.file(path).group, host.file(path).mode) == ("root", "root", 0o600), path
    # A host that runs no Ray has no second copy of the cluster's token.
    assert not host.file("/etc/ray/auth_token").exists


def test_python_of_the_monitor_imports_nothing_of_a_user_s(host):
    for pattern in ("[l]ibexec/ray-monitor/", "[l]ibexec/ray-alert-relay/"):
        lines = host.check_output(f"ps axww -o args | grep {pattern}").splitlines()
        assert lines and [line for line in lines if line.split()[1] != "-I"] == []


FLOOD = """
import urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _number in range(25):
    try: print(opener.open("http://127.0.0.1:6387/robot", b'{"alerts": [{}]}', timeout=10).status)
    except urllib.error.HTTPError as error: print(error.code)
"""


def test_the_relay_takes_nothing_from_a_local_user(host):
    for user in ("nobody", "ray", "prometheus", "root"):
        assert host.check_output(f"runuser -u {user} -- python3 -I -c %s", FLOOD).split() == ["401"] * 25


STRANGE_REDIS = """
import socket, threading, urllib.request
server = socket.create_server(("127.0.0.1", 7379))
url = "http://%s:9121/scrape?target=redis://127.0.0.1:7379"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
threading.Thread(target=lambda: opener.open(url, timeout=5).read(), daemon=True).start()
server.settimeout(10)
connection = server.accept()[0]
connection.settimeout(2)
print(connection.recv(4096).decode())
"""


def test_the_redis_exporter_tells_its_password_to_redis_alone(host, monitor):
    """Its caller may name the server that it asks."""
    heard = host.check_output("runuser -u nobody -- python3 -I -c %s", STRANGE_REDIS % monitor.address)
    assert "SETNAME" in heard and "AUTH" not in heard.split()


def test_nothing_listens_on_all_addresses(host, inventory):
    lines = host.check_output("ss --listening --tcp --numeric --no-header").splitlines()
    open_to_all = [line.split()[3] for line in lines if line.split()[3].startswith(("0.0.0.0:", "[::]:", "*:"))]
    assert [address for address in open_to_all if not address.endswith(":22")] == []


def own(host):
    """What the monitor's parts show to each other."""
    relay = json.loads(host.file("/etc/prometheus/ray/alert-relay.json").content_string)["token"]
    return [relay, *json.loads(host.file("/etc/prometheus/ray/redis.json").content_string).values()]


def test_secrets_are_closed_to_others(host, at):
    redis = at("redis").check_output("awk '$1 == \"requirepass\" {print $2}' /etc/rayops/redis.conf")
    for secret in (host.check_output("cat /etc/prometheus/ray/token"), redis, "hunter2", *own(host)):
        assert secret
        for place in ("ps axwwe -o args", "journalctl --no-pager --output=cat", "systemctl show 'ray-*' 'prometheus*'",
                      "find /etc /usr/local /run /var/lib -xdev -type f -perm -o=r -size -1024k -exec cat {} +"):
            seen = host.run(f"runuser -u nobody -- sh -c \"{place}\" 2>/dev/null").stdout
            assert secret not in seen, f"a secret is in the output of: {place}"


def test_the_monitor_adds_no_driver(host, at, monitor, wait_for):
    before = at("head").check_output("ls /var/lib/ray/session_latest/logs | grep -c python-core-driver || true")
    host.check_output("systemctl restart ray-monitor")
    wait_for("a reading", lambda: "ray_cluster_token_auth" in answer(monitor), 30)
    after = at("head").check_output("ls /var/lib/ray/session_latest/logs | grep -c python-core-driver || true")
    assert before == after


def test_every_target_is_up(monitor, wait_for):
    def targets():
        found = json.loads(monitor.get(9090, "/api/v1/targets?state=active"))["data"]["activeTargets"]
        jobs = [target["labels"]["job"] for target in found if target["health"] == "up"]
        return sorted(jobs) if len(jobs) == len(found) else None

    wanted = ["alertmanager", "prometheus", *["ray"] * 5, "ray-monitor", "ray-redis"]
    wait_for("every target up", lambda: targets() == wanted, 60)
    assert monitor.values("redis_up", "job") == {"ray-redis": 1}


def test_a_healthy_cluster_has_no_alert(monitor):
    rules = json.loads(monitor.get(9090, "/api/v1/rules"))["data"]["groups"]
    assert sum(len(group["rules"]) for group in rules) >= 19
    assert [rule["name"] for group in rules for rule in group["rules"] if rule["health"] not in ("ok", "unknown")] == []
    assert monitor.firing() == set()


def test_the_exporter_says_what_ray_says(host, monitor, load, tasks_before):
    found = monitor.exporter()
    status = json.loads(host.check_output(f"runuser -u prometheus -- /opt/ray/current/bin/python -I -c '{STATUS}'"))
    usage = status["resources"]["used"]
    assert (usage["CPU"], usage["GPU"], usage["memory"]) == (2, 1, 2 * 100 * 2**20)
    for node in (node for node in status["nodes"] if node["state"] == "ALIVE"):
        used = {name: total - node["resources"]["available"].get(name, 0)
                for name, total in node["resources"]["total"].items()}
        assert found[f'ray_node_cpu_usage{{node_ip="{node["ip"]}"}}'] == used.get("CPU", 0)
        assert found[f'ray_node_memory_usage{{node_ip="{node["ip"]}"}}'] == used["memory"]
        if not node["is_head"]:
            assert found[f'ray_node_gpu_usage{{gpu_id="0",node_ip="{node["ip"]}"}}'] == used["GPU"]
    for name, total in status["resources"]["total"].items():
        for kind, value in (("capacity", total), ("used", usage[name])):
            parts = [amount for key, amount in found.items()
                     if key.startswith(f"ray_cluster_resource_{kind}{{") and f'resource="{name}"' in key]
            assert sum(parts) == pytest.approx(value), (name, kind)
    tasks = {state: found[f'ray_cluster_tasks{{state="{state}"}}'] for state in ("running", "pending", *tasks_before)}
    ended = {"finished": tasks_before["finished"] + 20, "failed": tasks_before["failed"] + 1}
    assert tasks == {"running": 3, "pending": 4, **ended}
    waiting = sum(demand["count"] for demand in status["demands"])
    assert sum(value for key, value in found.items() if key.startswith("ray_cluster_pending_demands")) == waiting == 4
    infeasible = {key: value for key, value in found.items() if key.startswith("ray_cluster_infeasible_demands")}
    assert [("GPU:64" in key, value) for key, value in infeasible.items()] == [(True, 1)]


def test_facts_of_the_cluster(host, monitor, inventory):
    found = monitor.exporter()
    info = next(key for key in found if key.startswith("ray_cluster_info"))
    assert 'cluster="demo"' in info and 'gcs_storage="redis"' in info and 'ray_version="2.' in info
    assert found["ray_up"] == found["ray_gcs_reachable"] == found["ray_gcs_storage_up"] == 1
    assert found["ray_cluster_token_auth"] == 1
    assert found['ray_cluster_nodes{pool="cpu_worker",state="alive"}'] == 2
    assert found['ray_cluster_nodes{pool="head",state="alive"}'] == 1
    assert found['ray_cluster_nodes_declared{pool="cpu_worker"}'] == 2
    assert found["ray_monitor_reading_age_seconds"] < 15
    assert 0 < float(host.check_output("date +%s")) - found["ray_cluster_start_time_seconds"] < 3600


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_of_a_dashboard_finds_series(host, monitor, load, wait_for, name):
    dashboard = json.loads(host.file(f"/etc/prometheus/ray/dashboards/{name}.json").content_string)
    targets = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert targets
    queries = {}
    for title, query in targets:
        query = query.replace("$__rate_interval", "1m").replace("$__range", "1m").replace("$cluster", "demo")
        query = re.sub(r"\$\{?[A-Za-z_]\w*\}?", ".*", query)
        # Of what is shown only under a condition, the series must be there.
        queries[re.sub(r"\s*(==|!=|>=?|<=?)\s*[\d.]+", "", query)] = title
    empty = {query: title for query, title in queries.items() if not monitor.query(query) and not ABSENT.search(query)}
    # A rate wants two samples, and Ray exports some series late.
    wait_for(f"series of {empty}", lambda: all(map(monitor.query, empty)), 90)


def test_the_page_shows_the_cluster(monitor, inventory):
    page = monitor.get(9090, "/consoles/ray.html")
    for text in ("demo", "worker-1", "worker-2", "cpu_worker", inventory["head"]["ansible_host"]):
        assert text in page
    assert not re.search(r"(src|href)=.?https?://(?!github\.com/rayops)", page), "an asset from elsewhere"


def test_ports_that_are_not_ours_are_closed(monitor):
    for port in (6387, 9094):
        with pytest.raises((urllib.error.URLError, OSError)):
            monitor.get(port, "/")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every problem of a Ray node. systemd is a stand-in here; the unit's process, its agent and all files are real."""

from __future__ import annotations

import ctypes
import hashlib
import http.server
import os
import platform
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis import findings as findings_module
from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis import node as node_module
from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.findings import (
    Cluster,
    Declared,
    KnownNode,
    gather,
    known_to,
    need_of,
    settle,
)
from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis.node import NodeDiagnosis
from ansible_collections.rayops.cluster.plugins.module_utils._node import hardware, live
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._node.processes import RayProcess
from ansible_collections.rayops.cluster.plugins.module_utils._node.redis import RedisReply
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import as_user
from ansible_collections.rayops.cluster.plugins.plugin_utils import _tls

CLONE_NEWNS = 0x00020000
PACKAGES = "lib/python3.11/site-packages"
OWN, FOREIGN, LOST = "a" * 56, "b" * 56, "c" * 56
PROGRAM = "import sys, time\nprint(1, flush=True)\ntime.sleep(120)\n"


class StandInUnit:
    """What a diagnosis asks of a Unit."""

    timers = ("ray-health.timer", "ray-prune.timer")
    main_pid = restarts = 0
    user = program = ""
    active, stopped, exists, enabled, stale, timers_active = False, True, True, True, False, True
    log = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.properties = {"ActiveState": "inactive"}

    masked, failed, ending = False, False, ""
    drop_ins: list[str] = []

    def refresh(self) -> None:
        pass

    def journal(self, lines: int) -> str:
        return self.log


@pytest.fixture(autouse=True)
def nodes_on_loopback(monkeypatch):
    """The nodes of these tests are at 127.0.0.1, which is refused where it is declared (test_ray_host.py)."""
    monkeypatch.setattr(hardware, "_is_loopback", lambda address: False)


class Agent(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format, *args):
        pass


class Host:
    """A host whose node works, until a test spoils something."""

    def __init__(self, directory: Path, agent_port: int, node_type: str = "worker") -> None:
        self.directory, self.node_type, self.process = directory, node_type, None
        for name in ("bin", "t", f"{PACKAGES}/ray", f"{PACKAGES}/ray-2.60.0.dist-info"):
            (directory / name).mkdir(parents=True)
        (directory / PACKAGES / "ray" / "__init__.py").touch()
        (directory / "bin/ray").write_text(f"#!{sys.executable}\n{PROGRAM}")
        (directory / "bin/ray").chmod(0o755)
        (directory / "bin/python").symlink_to(sys.executable)
        (directory / "token").write_text("abc")
        past = time.time() - 60
        os.utime(directory / "token", (past, past))
        self.config = {
            "network": {"node_ip_address": "127.0.0.1", "ports": {"dashboard_agent_listen": agent_port}},
            "ray": {"environment": str(directory), "temp_dir": str(directory / "t"), "node_name": "n1"},
            "auth": {"token_path": str(directory / "token")},
        }
        if node_type == "worker":
            self.config["network"]["head_address"] = "localhost:6379"
        self.declared = Declared(
            config=self.config, config_file=str(directory / "node.yaml"), head_address="127.0.0.1",
            ray_version="2.60.0",
            token_digest=hashlib.sha256(b"abc").hexdigest(), disk_limit=1.01,
            cluster=Cluster(True, "", "2.60.0", platform.python_version(), [self.entry(OWN)]),
        )
        self.unit = StandInUnit(f"ray-{node_type}.service")
        self.others: list[RayProcess] = []
        self.raylet = True

    @staticmethod
    def entry(node_id: str, **changed) -> KnownNode:
        return KnownNode(**{"node_id": node_id, "node_name": "n1", "ip": "127.0.0.1", "state": "ALIVE", **changed})

    def run(self) -> Host:
        start = compile_start(self.config, self.node_type)
        environment = {"PATH": os.environ["PATH"], **start.environment}
        self.process = subprocess.Popen(start.argv, env=environment, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"1\n"
        self.unit.main_pid, self.unit.active, self.unit.stopped = self.process.pid, True, False
        self.unit.properties["ActiveState"] = "active"
        return self

    def raylet_process(self, node_id: str = OWN, cgroup: str = "", pid: int = 4242) -> RayProcess:
        argv = ["raylet", f"--node_id={node_id}", "--node_ip_address=127.0.0.1", "--gcs-address=localhost:6379"]
        return RayProcess(pid, "raylet", argv, cgroup or f"0::/system.slice/{self.unit.name}\n")

    def diagnosis(self, other_nodes: str = "stop") -> NodeDiagnosis:
        found = LiveNode(self.unit, compile_start(self.config, self.node_type), self.config)
        # Other tests on this host may run Ray.
        found.processes = [process for process in found.processes if process.pid == self.unit.main_pid] + self.others
        if self.raylet and self.process:
            found.processes.append(self.raylet_process())
        return NodeDiagnosis(self.declared, self.node_type, found, True, other_nodes)

    def findings(self, **options) -> dict[str, findings_module.Finding]:
        found, _steps = settle(gather(self.diagnosis(**options).checks()))
        return {finding.problem: finding for finding in found}

    def steps(self) -> list[str]:
        return settle(gather(self.diagnosis().checks()))[1]


@pytest.fixture
def agent():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent) as server:
        server.status = 200
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def host(tmp_path, agent, monkeypatch):
    """The unit's process is an hour old, unless a test says otherwise."""
    found = Host(tmp_path, agent.server_port)
    for module in (live, node_module):
        monkeypatch.setattr(module, "started_at", lambda pid: time.time() - 3600 if pid else None)
    # The token's file is older than that too.
    os.utime(tmp_path / "token", (time.time() - 7200,) * 2)
    yield found
    if found.process:
        found.process.kill()
        found.process.wait()


def test_with_a_node_that_works_nothing_is_wrong(host):
    assert host.run().findings() == {}


def test_a_stopped_unit(host):
    assert host.findings()["unit_stopped"].detail == "ray-worker.service is stopped."
    assert host.steps() == ["start"]
    host.unit.enabled = False
    assert host.steps() == ["enable", "start"]


def test_a_failed_unit_tells_its_reason(host):
    host.unit.properties["ActiveState"], host.unit.log = "failed", "x\nRuntimeError: Version mismatch: y\nz\n"
    assert host.findings()["unit_failed"].detail == "ray-worker.service has failed: RuntimeError: Version mismatch: y"


def test_a_unit_that_is_not_installed(host):
    host.unit.exists = False
    assert list(host.findings()) == ["unit_missing"] and host.steps() == ["start"]


def test_a_host_gets_what_has_its_name_or_its_address():
    config = {"ray": {"node_name": "worker-1"}, "network": {"node_ip_address": "10.0.0.11"}}
    named, placed = {"node_id": "a", "node_name": "worker-1"}, {"node_id": "b", "ip": "10.0.0.11", "labels": {"x": "y"}}
    others = [{"node_id": str(number), "node_name": f"worker-1{number}", "ip": "10.0.0.1"} for number in range(1000)]
    status = {"ray_version": "2.60.0", "python_version": "3.11.2", "nodes": [named, *others, placed], "demands": []}
    known = known_to(config, status)
    assert [KnownNode(**node) for node in known["nodes"]] == [
        KnownNode("a", node_name="worker-1"), KnownNode("b", ip="10.0.0.11"),
    ]
    assert known_to(config, known) == known
    assert set(known) == {"answers", "msg", "ray_version", "python_version", "nodes"}
    # That the GCS answers is known to a host that has no node there.
    assert known_to({"ray": "x"}, known_to(config, {"nodes": others}))["answers"] is True
    assert known_to(config, {"msg": "Not reachable.", "failed": True}) == {
        "answers": False, "msg": "Not reachable.", "ray_version": "", "python_version": "", "nodes": [],
    }


@pytest.mark.parametrize(
    ("problem", "blocks", "steps", "step", "wait", "need"),
    [
        ("timers_stopped", "", ["timers"], "start", True, "nothing"),
        ("unit_stopped", "", ["enable", "start"], "start", False, "node"),
        ("unit_stopped", "", ["start"], "start", True, "head"),
        ("node_unknown", "", [], "start", True, "head"),
        ("token_mismatch", "start", [], "start", False, "person"),
        ("unit_stopped", "", ["redis"], "redis", False, "redis"),
        ("storage_corrupt", "redis", [], "redis", False, "person"),
        # What the head cannot start without is its Redis; itself it only needs to be started.
        ("storage_unreachable", "", ["redis", "start"], "start", False, "node"),
    ],
)
def test_who_is_next(problem, blocks, steps, step, wait, need):
    assert need_of([findings_module.Finding(problem, "x", blocks=blocks)], steps, step, wait) == need


@pytest.mark.parametrize(("age", "step"), [(60, ["count"]), (3600, [])])
def test_a_crash_loop_that_ended_only_leaves_its_count(host, monkeypatch, age, step):
    monkeypatch.setattr(node_module, "started_at", lambda pid: time.time() - age)
    host.run().unit.restarts = 3
    assert host.steps() == step


def test_a_crash_loop(host):
    host.unit.restarts, host.unit.stopped = 7, False
    host.unit.properties["ActiveState"], host.unit.log = "activating", "ValueError: no\n"
    assert host.findings()["crash_loop"].detail == (
        "systemd has started ray-worker.service 7 times by itself: ValueError: no"
    )
    assert host.steps() == ["start"]


def test_an_active_unit_whose_raylet_is_gone(host):
    host.run().raylet = False
    found = host.findings()["node_dead"]
    assert found.detail == "ray-worker.service is active, but its node is not: its raylet is gone."
    assert host.steps() == ["start"]


def test_a_young_unit_whose_raylet_is_gone(host, monkeypatch):
    """Whether it is still to come shows in what `ray start` has open."""
    monkeypatch.setattr(live, "started_at", lambda pid: time.time() - 5 if pid else None)
    os.utime(host.directory / "token", (time.time() - 7200,) * 2)
    host.run().raylet = False
    assert list(host.findings()) == ["node_starting"] and host.steps() == []
    host.process.kill()
    log = host.directory / "ray_process_exit.log"
    (host.directory / "bin/ray").write_text(f"#!{sys.executable}\nkept = open({str(log)!r}, 'w')\n{PROGRAM}")
    assert list(host.run().findings()) == ["node_dead"]


def test_a_node_that_its_agent_calls_dead(host, agent):
    agent.status = 503
    assert "HTTP 503" in host.run().findings()["node_dead"].detail
    # With a silent GCS nobody knows: it is no reason to end what may work.
    host.declared.cluster = Cluster(msg="The GCS is not reachable.")
    assert list(host.findings()) == ["node_unknown"] and host.steps() == []


def test_a_node_that_the_gcs_has_as_dead(host):
    host.declared.cluster.nodes = [host.entry(OWN, state="DEAD", state_message="missed heartbeats.")]
    assert host.run().findings()["node_dead"].detail.endswith("the GCS has it as DEAD: missed heartbeats.")


GIVEN_UP = "health check failed due to missing too many heartbeats"


@pytest.mark.parametrize(
    ("deaths", "flaps"),
    [
        ([20, 60, 95], True),
        ([20, 60], False),
        # It is over: since then its node has lived for longer than it takes to be given up.
        ([70, 110, 150], False),
        ([20, 700, 900], False),
    ],
)
def test_a_node_that_flaps(host, monkeypatch, deaths, flaps):
    """By the GCS's memory: at this moment it is ALIVE, and sockets of its last life lie about."""
    host.declared.cluster.nodes += [
        host.entry(LOST[:-2] + f"{number:02}", state="DEAD", state_message=GIVEN_UP, death="given_up",
                   dead_for=float(ago)) for number, ago in enumerate(deaths)
    ]
    monkeypatch.setattr(node_module, "started_at", lambda pid: time.time() - 60)
    host.run().unit.restarts = 7
    found = host.findings()
    assert ("node_flapping" in found, "crash_loop" in found) == (flaps, not flaps)
    if flaps:
        assert found["node_flapping"].detail == (
            f"the GCS gave its node up 3 times within 3 minutes, and it came back each time: {GIVEN_UP}.")
        assert found["node_flapping"].person and not found["node_flapping"].mend and host.steps() == []


@pytest.mark.parametrize("death", [
    {"death": "expected", "state_message": "received SIGTERM"}, {"death": "unexpected", "state_message": "raylet died"},
    {"state_message": GIVEN_UP}, {"death": "given_up", "state_message": GIVEN_UP, "dead_for": None},
])
def test_other_ends_are_no_flapping(host, death):
    ended = {"state": "DEAD", "dead_for": 10.0, **death}
    host.declared.cluster.nodes += [host.entry(LOST[:-1] + str(number), **ended) for number in range(5)]
    assert "node_flapping" not in host.run().findings()


def test_a_foreign_node_and_its_twin(host):
    host.others = [host.raylet_process(FOREIGN, "0::/user.slice/session-1.scope\n", 77)]
    host.declared.cluster.nodes.append(host.entry(FOREIGN, node_name="other"))
    found = host.run().findings()
    assert found["node_foreign"].detail == "raylet 77 runs outside ray-worker.service, in cluster localhost:6379."
    assert found["twin_nodes"].mend == "it is ended." and host.steps() == ["start"]
    assert host.findings(other_nodes="ignore") == {}
    # Ending it through the role would restart a node that works.
    host.config["resources"] = {"CPU": 1}
    found = host.findings()
    assert "site.yml" in found["node_foreign"].person and found["not_as_declared"].person == "" and host.steps() == []


def test_twins_elsewhere(host):
    host.declared.cluster.nodes += [host.entry(FOREIGN, ip="10.0.0.9")]
    assert host.run().findings()["twin_nodes"].person.startswith("give every host a name of its own")
    # A node that was just killed is a twin for a while, and needs nobody.
    host.declared.cluster.nodes[1:] = [host.entry(LOST)]
    found = host.findings()["twin_nodes"]
    assert found.person == "" and found.step == ""
    host.declared.cluster.nodes[1:] = [host.entry(LOST, state="DEAD")]
    assert host.findings() == {}


def test_tokens(host):
    (host.directory / "token").write_text("hunter2")
    os.utime(host.directory / "token", (time.time() - 7200,) * 2)
    assert host.run().findings()["token_mismatch"].detail.endswith("token is not the head's.")
    assert host.steps() == ["start"]
    (host.directory / "token").unlink()
    assert host.findings()["token_mismatch"].detail.endswith("token is missing.")
    assert "hunter2" not in str([finding.to_dict() for finding in host.findings().values()])


def test_a_head_that_lost_its_token_is_left_alone(tmp_path, agent):
    host = Host(tmp_path, agent.server_port, "head")
    (tmp_path / "token").unlink()
    found = host.findings()
    assert found["token_mismatch"].person.startswith("copy ") and host.steps() == []
    assert found["unit_stopped"].mend == "" and found["unit_stopped"].person.startswith("first what else is said")


def test_versions(host):
    host.declared.cluster.ray_version = "2.59.0"
    found = host.findings()["version_mismatch"]
    assert found.detail == "Ray 2.60.0 is declared for this host, and the cluster runs 2.59.0." and host.steps() == []
    host.declared.cluster.ray_version, host.declared.cluster.python_version = "2.60.0", "3.11.99"
    assert host.findings()["version_mismatch"].detail.endswith("and the cluster runs 3.11.99.")
    # The GCS is silent, and the host was set up with another version.
    host.declared.cluster = Cluster()
    (host.directory / "node.yaml").write_text("ray: {environment: /opt/ray/2.59.0}\n")
    assert "was set up with /opt/ray/2.59.0" in host.findings()["version_mismatch"].detail and host.steps() == []
    (host.directory / "node.yaml").unlink()
    (host.directory / PACKAGES / "ray" / "__init__.py").unlink()
    assert "environment_missing" in host.findings() and host.steps() == ["start"]


def test_addresses(host, monkeypatch):
    host.config["network"]["node_ip_address"] = "203.0.113.7"
    assert host.findings()["address_changed"].person.startswith("set ray_node_ip_address") and host.steps() == []
    host.config["network"]["node_ip_address"] = "127.0.0.2"
    monkeypatch.setattr(node_module, "has_address", lambda address: address != "127.0.0.1")
    found = host.run().findings()["address_changed"]
    assert found.detail.startswith("the node runs at 127.0.0.1, which is no address of this host")
    assert found.step == "start"


def test_the_heads_name(host):
    host.declared.head_address = "10.0.0.10"
    found = host.run().findings()["head_name"]
    assert found.detail.startswith("localhost leads to ") and found.detail.endswith("and the head is at 10.0.0.10.")
    assert host.steps() == ["hosts"]
    host.config["network"]["head_address"] = "no-such-host.invalid:6379"
    assert host.findings()["head_name"].detail.startswith("no-such-host.invalid is not known on this host")


def test_what_belongs_to_the_unit(host):
    host.run().unit.timers_active, host.unit.enabled = False, False
    assert sorted(host.findings()) == ["timers_stopped", "unit_disabled"] and host.steps() == ["enable", "timers"]


def test_a_node_that_works_otherwise_than_declared_is_left_to_site(host):
    host.run().config["resources"] = {"CPU": 1}
    found = host.findings()
    assert list(found) == ["not_as_declared"] and found["not_as_declared"].person == "" and host.steps() == []


def test_full_disks(host):
    host.run().declared.disk_limit = 0.0
    found = host.findings()["disk_full"]
    assert "% of its" in found.detail and "du -xh" in found.person and "prune" in host.steps()


def test_full_shared_memory(host, monkeypatch):
    space = os.statvfs("/dev/shm")
    size = space.f_blocks * space.f_frsize
    host.config["object_store"] = {"memory": size + 1}
    found = host.findings()["shm_full"]
    assert "lower it, or enlarge the file system" in found.person and host.steps() == []
    monkeypatch.setattr(hardware, "size_of", lambda path: 1 << 62)
    host.config["object_store"] = {"memory": 1 << 61}
    assert host.findings()["store_too_large"].person == "lower it."
    monkeypatch.setattr(hardware, "file_system_of", lambda path: "nfs4")
    assert "leave plasma_directory out" in host.findings()["plasma_shared"].person


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
def test_shared_memory_full_of_others(host):
    """A file system of its own, which only one process sees."""

    def look() -> tuple[list[str], str]:
        assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
        for command in ("mount --make-rprivate /", "mount -t tmpfs -o size=128m tmpfs /dev/shm"):
            subprocess.run(command.split(), check=True)
        Path("/dev/shm/small").write_bytes(bytes(4096))
        without = list(host.findings())
        Path("/dev/shm/other").write_bytes(bytes(64 << 20))
        return without, host.findings()["shm_full"].person

    host.config["object_store"] = {"memory": 100 << 20}
    without, person = as_user("root", look, 60)
    assert "shm_full" not in without
    assert person.startswith("remove what nobody uses, /dev/shm/other first")


def test_stale_files(host):
    (host.directory / "t" / "ray_current_cluster").write_text("10.9.9.9:6379")
    node = host.run().diagnosis()
    node.stale_files()
    assert node.stale == [f"{host.directory}/t/ray_current_cluster"]
    assert host.steps() == ["remove"]
    for known in ("localhost:6379", "127.0.0.1:6379"):
        (host.directory / "t" / "ray_current_cluster").write_text(known)
        assert host.findings() == {}


def test_storage_that_is_corrupt_is_not_started_again(tmp_path, agent):
    host = Host(tmp_path, agent.server_port, "head")
    logs = tmp_path / "t" / "session_latest" / "logs"
    logs.mkdir(parents=True)
    (tmp_path / "gcs").mkdir()
    host.config["gcs"] = {"storage": "rocksdb", "path": str(tmp_path / "gcs")}
    (logs / "gcs_server.err").write_text("x Check failed: Corruption: bad block\n")
    found = host.findings()
    assert found["storage_corrupt"].detail.endswith("gcs: Corruption: bad block.") and host.steps() == []
    assert "reset_state=wipe" in found["storage_corrupt"].person and found["unit_stopped"].mend == ""


@pytest.mark.parametrize(
    ("answer", "words", "step"),
    [
        (RedisReply("ok"), None, []),
        (RedisReply("unreachable", "Connection refused"), "does not answer: Connection refused.", ["redis"]),
        (RedisReply("refused", "WRONGPASS x"), "refuses the declared password.", ["redis"]),
        (RedisReply("certificate", "expired"), "has a certificate that is not to be trusted: expired.", ["redis"]),
        (RedisReply("loading", "LOADING x"), "is still reading its state: LOADING x.", []),
        (RedisReply("replica", "READONLY it is a replica"), "takes no writes: READONLY it is a replica.", []),
    ],
)
def test_redis(tmp_path, agent, monkeypatch, answer, words, step):
    host = Host(tmp_path, agent.server_port, "head")
    host.config.update(gcs={"storage": "redis"}, redis={"host": "10.0.0.5", "port": 6380})
    monkeypatch.setattr(node_module.redis, "ask", lambda *arguments: answer)
    found = host.findings().get("storage_unreachable")
    assert (found.detail if found else None) == (words and f"Redis at 10.0.0.5:6380 {words}")
    assert host.steps() == sorted(["start", *step])


@pytest.mark.parametrize(
    ("answer", "detail", "person"),
    [
        (RedisReply("ok"), None, None),
        (RedisReply("unreachable", "timed out"), "does not answer: timed out.", "correct ray_redis_url, or open its"),
        (RedisReply("refused", "WRONGPASS x"), "refuses user ann: WRONGPASS x.", "correct ray_redis_password, or the"),
        (RedisReply("certificate", "self-signed"), "has a certificate that is not to be", "correct ray_redis_ca_file."),
    ],
)
def test_a_redis_of_somebody_else_is_left_to_a_person(tmp_path, agent, monkeypatch, answer, detail, person):
    host = Host(tmp_path, agent.server_port, "head")
    host.config.update(gcs={"storage": "redis"}, redis={
        "url": "rediss://ann@dcs.example:6390", "ca_file": "/etc/ray/redis-ca.pem", "password_file": "/nowhere"})
    monkeypatch.setattr(node_module.redis, "ask", lambda *arguments: answer)
    found = host.findings().get("storage_unreachable")
    assert (found.detail if found else None) == detail or found.detail.startswith(f"Redis at dcs.example:6390 {detail}")
    # No playbook of ours mends it, and no head is started without it.
    assert host.steps() == ([] if found else ["start"])
    assert found is None or found.person.startswith(person)


def test_a_gcs_that_answers_nobody(tmp_path, agent, monkeypatch):
    host = Host(tmp_path, agent.server_port, "head")
    host.declared.cluster = Cluster(msg="The cluster at 10.0.0.10:6379 refused the token.")
    try:
        assert host.run().findings()["gcs_silent"].detail == host.declared.cluster.msg
    finally:
        host.process.kill()
        host.process.wait()


def test_what_cannot_be_looked_at_hides_nothing_else(host, monkeypatch):
    def fails(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(node_module.facts, "full_disks", fails)
    found = host.findings()
    assert found["not_looked_at"].detail.endswith(": [Errno 13] Permission denied.")
    assert "unit_stopped" in found


@pytest.mark.parametrize(
    ("state", "log", "problem", "steps"),
    [
        ("active", "", None, []),
        ("inactive", "", "unit_stopped", ["redis"]),
        ("failed", "Bad file format reading the append only file\n", "storage_corrupt", []),
    ],
)
def test_the_service_of_redis(monkeypatch, state, log, problem, steps):
    unit = StandInUnit("redis-server")
    unit.properties["ActiveState"], unit.log = state, log
    unit.active, unit.stopped = state == "active", state != "active"
    monkeypatch.setattr(findings_module, "Unit", lambda name: unit)
    found, done = settle(gather(findings_module.HostDiagnosis(Declared(redis_service="r", disk_limit=1.01)).checks()))
    assert [finding.problem for finding in found] == ([problem] if problem else []) and done == steps


NOW = datetime.now(timezone.utc)
AUTHORITY, OTHER = (_tls.read(*_tls.make("demo", now=NOW - timedelta(days=400))) for _each in range(2))


def certify(host: Host, authority: _tls.Authority = AUTHORITY, begins: float = 0, days: float = 90) -> None:
    """Give the node a real certificate. begins: in so many days."""
    directory = host.directory / "tls"
    directory.mkdir()
    leaf = _tls.sign(authority, ["127.0.0.1"], days, now=NOW + timedelta(days=begins))
    for name, text in (("node.pem", leaf.certificate), ("node.key", leaf.key), ("ca.pem", authority.certificate)):
        (directory / name).write_text(text)
        os.utime(directory / name, (time.time() - 7200,) * 2)
    host.config["tls"] = {"directory": str(directory)}
    host.declared.authority = AUTHORITY.certificate


def test_a_certificate_that_is_good(host):
    certify(host)
    assert host.run().findings() == {}
    (host.directory / "tls" / "ca.pem").write_text(AUTHORITY.certificate + OTHER.certificate)
    assert not {problem for problem in host.findings() if problem.startswith("certificate")}


@pytest.mark.parametrize(
    ("begins", "ahead", "problem", "mends"),
    [
        (-100, 0, "certificate_expired", True),
        (-100, 900, "certificate_expired", True),  # It takes a while until all hosts were asked.
        (-100, 86400 * 30, "certificate_expired", False),
        (5, 0, "certificate_not_yet", True),
        (5, -86400 * 5, "certificate_not_yet", False),
    ],
)
def test_a_certificate_out_of_its_time(host, begins, ahead, problem, mends):
    """By the clock of the host: a wrong one is a person's to set, and all that was signed by it would be wrong."""
    certify(host, begins=begins)
    host.declared.clock_ahead = ahead
    found = host.run().findings()[problem]
    assert bool(found.mend) is mends and ("start" in host.steps()) is mends
    assert mends or (found.person.startswith("set the host's clock") and f"{abs(ahead)} s " in found.detail)


def test_a_certificate_of_another_authority_than_the_heads(host):
    certify(host, OTHER)
    found = host.run().findings()["certificate_foreign"]
    assert "of another authority than the head's" in found.detail and "signed anew" in found.mend
    (host.directory / "tls" / "ca.pem").write_text(AUTHORITY.certificate)
    assert "of no authority that" in host.findings()["certificate_foreign"].detail and host.steps() == ["start"]


def test_a_certificate_whose_key_is_gone(host):
    certify(host)
    (host.directory / "tls" / "node.key").unlink()
    found = host.run().findings()["certificate_unusable"]
    assert "node.key is not there" in found.detail and host.steps() == ["start"]


def test_a_node_that_speaks_otherwise_than_declared(host):
    host.run()
    certify(host)
    assert "tls_mismatch" in host.findings() and "not_as_declared" not in host.findings()
    # The head is as declared, and has no room for another.
    assert host.steps() == ["start"] and "without TLS" in host.findings()["tls_mismatch"].detail
    # Nobody answers: the whole cluster may be so, and a restart of one would shut it out.
    host.declared.cluster = Cluster()
    found = host.findings()["tls_mismatch"]
    assert host.steps() == [] and "rayops.cluster.upgrade" in found.person and "ray_tls: false" in found.person

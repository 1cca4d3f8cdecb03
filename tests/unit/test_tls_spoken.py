# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mutual TLS, on a real cluster of two nodes: who is refused, that ours are served, and what is said of the others."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import RayClusterError
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.tls import misfit
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import api, gone
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import listening_on
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles
from tests.certificates import Site
from tests.unit.conftest import REPOSITORY, LocalRay
from tests.unit.monitor.exporter import Exporter, install, of, until

# Ray takes 127.0.0.1 for the host's own address elsewhere.
HEAD, WORKER = "127.0.0.3", "127.0.0.2"
# What speaks HTTP, by its distance from a node's first port, and from the cluster's.
NODE_HTTP = {"agent": 3, "metrics": 4, "runtime_env_agent": 5}
HEAD_HTTP = {"autoscaler_metrics": 1, "dashboard_metrics": 2, "dashboard": 4}
NODE_GRPC = {"node_manager": 0, "object_manager": 1, "agent_grpc": 2}
HEAD_GRPC = {"gcs": 0, "client_server": 3}
# A call to each port as each client, at once: how each of them ended.
CALL = """
import concurrent.futures, json, sys
import grpc
ports, clients = json.load(sys.stdin)
def call(host, port, files):
    if files:
        key, certificate, authority = (open(path, "rb").read() if path else None for path in files)
        channel = grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(authority, key, certificate))
    else:
        channel = grpc.insecure_channel(f"{host}:{port}")
    try:
        channel.unary_unary("/ray.rpc.Nobody/Nothing")(b"", timeout=10)
    except grpc.RpcError as error:
        return error.code().name
    finally:
        channel.close()
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    calls = {(name, host, port): pool.submit(call, host, port, files)
             for name, files in clients.items() for host, port in ports}
    print(json.dumps([[*key, call.result()] for key, call in calls.items()]))
"""
# An actor on each node, so that there are workers to call; they stay as long as the driver does.
WORKERS = """
@ray.remote(num_cpus=1)
class Held:
    def port(self):
        return ray.get_runtime_context().get_node_id()
held = [Held.options(scheduling_strategy="SPREAD").remote() for _ in range(2)]
print(len(set(ray.get([each.port.remote() for each in held]))), flush=True)
import time
time.sleep(100)
"""


class TlsRay(LocalRay):
    """A cluster whose nodes have certificates of one authority, and what strangers have."""

    def __init__(self, environment: str) -> None:
        super().__init__(environment)
        self.address = f"{HEAD}:{self.port}"
        site, other = Site(), Site("other")
        self.own = site.node(self.directory / "own", HEAD, WORKER)
        self.foreign = other.node(self.directory / "foreign", HEAD, WORKER, trusts=site)
        self.stranger = other.node(self.directory / "stranger", HEAD, WORKER)
        self.expired = site.node(self.directory / "expired", HEAD, WORKER, seconds=1)
        self.extra = api.tls_variables(str(self.own))

    def connection(self) -> dict[str, str]:
        return {**super().connection(), "tls_directory": str(self.own)}


@pytest.fixture(scope="module", name="ray")
def ray_fixture(ray_environment: str) -> Iterator[TlsRay]:
    ray = TlsRay(ray_environment)
    try:
        ray.start_head("--num-cpus=1", f"--node-ip-address={HEAD}", "--include-dashboard=true",
                       f"--dashboard-host={HEAD}")
        ray.wait_for("head")
        ray.start_worker("worker-1", 40, "--num-cpus=1", f"--node-ip-address={WORKER}")
        ray.wait_for("head", "worker-1")
        yield ray
    finally:
        ray.close()


def under_ray(ray: TlsRay, source: str, *arguments: str, text: str = "", **more: str) -> str:
    """What Ray's Python writes, with the environment that a node of this cluster gives to people."""
    done = subprocess.run(
        [f"{ray.environment}/bin/python", *(["-c", source] if source else []), *arguments], input=text, text=True,
        capture_output=True, check=False, cwd="/", timeout=60, env={**ray.variables(), **more},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_names_of_the_files_are_the_same_everywhere():
    files = NodeFiles.of("/etc/ray/tls")
    own = api.tls_variables("/etc/ray/tls")
    assert [own[name] for name in api.TLS_FILES] == [files.certificate, files.key, files.authority]
    declared = yaml.safe_load((REPOSITORY / "roles/ray_defaults/vars/main/tls.yml").read_text())["_ray_tls"]
    assert [path.rpartition("/")[2] for path in declared.values()] == list(api.TLS_FILES.values())
    assert list(declared) == ["certificate", "key", "authority"]


def test_strangers_are_refused_on_every_port_that_speaks_grpc(ray):
    with ray.run_driver(WORKERS) as driver:
        try:
            assert driver.stdout.readline() == "2\n"
            bases = {HEAD: ray.port + 10, WORKER: ray.port + 40}
            listening = {(host, port) for host, base in bases.items() for port in listening_on(host)
                         if base <= port < base + 30 or host == HEAD and ray.port <= port < base}
            http = {(host, base + number) for host, base in bases.items() for number in NODE_HTTP.values()}
            http |= {(HEAD, ray.port + number) for number in HEAD_HTTP.values()}
            known = {(host, base + number) for host, base in bases.items() for number in NODE_GRPC.values()}
            known |= {(HEAD, ray.port + number) for number in HEAD_GRPC.values()}
            # A listener that is neither would be one that nobody has looked at.
            called = listening - http
            workers = {(host, port) for host, port in called if port >= bases[host] + 6}
            assert known <= called and called - known == workers and {host for host, _port in workers} == {HEAD, WORKER}
            answers = call(ray, called)
        finally:
            driver.kill()
    refused = {"UNAVAILABLE"}
    for name in ("nothing", "plain", "foreign", "stranger", "expired"):
        assert {place: code for (who, *place), code in answers.items() if who == name and code not in refused} == {}
    # A service that is not there, or a token that was not shown: the connection stood.
    assert {code for (who, *_place), code in answers.items() if who == "own"} <= {"UNIMPLEMENTED", "UNAUTHENTICATED"}


def call(ray: TlsRay, ports: set[tuple[str, int]]) -> dict[tuple[str, str, int], str]:
    """How a call of each client to each port ended."""
    def of(directory: Path) -> list[str]:
        return [str(directory / name) for name in ("node.key", "node.pem", "ca.pem")]

    clients: dict[str, Any] = {"plain": None, "nothing": [None, None, str(ray.own / "ca.pem")]}
    clients.update({name: of(ray.directory / name) for name in ("own", "foreign", "stranger", "expired")})
    text = json.dumps([sorted(ports), clients])
    return {tuple(key): code for *key, code in json.loads(under_ray(ray, CALL, text=text, RAY_USE_TLS="0"))}


def test_all_that_is_ours_is_served(ray):
    cluster = ray.cluster(timeout=30)
    (worker,) = [node["node_id"] for node in cluster.status()["nodes"] if node["node_name"] == "worker-1"]
    assert cluster.held(worker)["actors"] == []
    assert cluster.workload().jobs == ()
    assert isinstance(cluster.skip_job_ids(1), int)
    assert cluster.wait_serving({"none": {}}, 0) == []
    found = cluster.smoke_test(task_seconds=0.1, transfer_bytes=100000, transfer_seconds=1, timeout=60)
    assert found["resources"]["CPU"]["nodes"] == {"head": 1, "worker-1": 1} and len(found["transfers"]) == 2
    words = [gone.__file__, "--address", ray.address, "--ip", WORKER, "--port", "1"]
    assert under_ray(ray, "", "-I", *words) == ""
    network = {"node_ip_address": HEAD, "ports": {"gcs": ray.port}}
    declared = {"network": network, "auth": {"token_path": str(ray.token)}, "tls": {"directory": str(ray.own)}}
    shared = compile_start(declared, "head", interface="").user_environment(declared)
    # What stands in the environment file for people, and nothing else.
    driver = "import ray; ray.init(log_to_driver=False); print(len(ray.nodes()))"
    assert under_ray(ray, driver, **shared) == "2\n"


def test_a_job_runs(ray, run_module):
    entrypoint = f"{ray.environment}/bin/python -c 'import ray; ray.init(); print(len(ray.nodes()), \"nodes\")'"
    options = {**ray.connection(), "submission_id": "one", "entrypoint": entrypoint, "timeout": 60, "wait": True}
    done = run_module("ray_job", options)
    assert not done.get("failed"), done
    assert done["job"]["status"] == "SUCCEEDED" and "2 nodes" in done["log"]


def test_the_exporter_reads_the_cluster_and_says_what_keeps_it_off(ray, tmp_path):
    (tmp_path / "programs").mkdir()
    programs, settings = install(tmp_path / "programs"), of(ray, dashboard_url=f"http://{HEAD}:{ray.port + 4}")
    said = {ray.own: "the cluster answers: 2 ALIVE", ray.stranger: "is of none of the authorities in"}
    for directory, words in said.items():
        settings["tls_directory"] = str(directory)
        exporter = Exporter(f"{ray.environment}/bin/python", programs, tmp_path, settings)
        try:
            until(lambda exporter=exporter, words=words: words in exporter.log.read_text())
            # The GCS is there, for those whom it trusts.
            assert exporter.value("ray_gcs_reachable") == 1
        finally:
            exporter.close()


def greeting(address: str, directory: Path | None) -> str:
    """What is said of an address by a host with this certificate; empty where they fit."""
    found = misfit(address, {"tls": {"directory": str(directory)}} if directory else {})
    assert "\n" not in found
    return found


def test_what_keeps_a_host_off_is_said_in_a_sentence(ray, tmp_path):
    assert greeting(ray.address, ray.own) == ""
    gcs, mend = f"The GCS at {ray.address}", "run rayops.cluster.recover, which names the host to mend."
    assert greeting(ray.address, None) == (
        f"{gcs} refuses whoever speaks no TLS: set ray_tls: true (for a module alone, its tls_directory), or run "
        "rayops.cluster.upgrade, which takes TLS off all nodes together."
    )
    for directory in (ray.foreign, ray.expired):
        assert greeting(ray.address, directory) == (
            f"{gcs} refuses the certificate {directory}/node.pem of this host, which is not valid now or of an "
            f"authority that the GCS does not trust: {mend}"
        )
    found = greeting(ray.address, ray.stranger)
    assert found.startswith(f"The certificate of the GCS at {ray.address} is of none of the authorities in "
                            f"{ray.stranger}/ca.pem on this host (") and found.endswith(mend)
    assert "is not for that address (" in greeting(f"127.0.0.9:{ray.port}", ray.own)
    # Not everything is TLS: the agent of the runtime environments speaks HTTP.
    assert " speaks no TLS (" in greeting(f"{HEAD}:{ray.port + 15}", ray.own)
    broken = shutil.copytree(ray.own, tmp_path / "broken")
    shutil.copy(ray.foreign / "node.key", broken)
    for directory in (broken, tmp_path / "none"):
        found = greeting(ray.address, directory)
        assert found.startswith(f"This host's certificate in {directory} cannot be used (") and "run site.yml" in found
    # And to whoever uses a module.
    with pytest.raises(RayClusterError, match="refuses whoever speaks no TLS") as caught:
        ray.cluster(tls_directory="").status()
    assert caught.value.kind == "tls"
    began = time.monotonic()
    with pytest.raises(RayClusterError, match="refuses the certificate"):
        ray.cluster(tls_directory=str(ray.foreign)).status({"nodes": 1}, timeout=1)
    assert time.monotonic() - began < 20


@contextlib.contextmanager
def server(directory: Path | None) -> Iterator[str]:
    """One connection with a server that shows this certificate, or none and no TLS, and answers as an HTTP/2 server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if directory else None
    if context and directory:
        context.load_cert_chain(directory / "node.pem", directory / "node.key")

    def answer() -> None:
        with contextlib.suppress(OSError):
            plain, _address = listener.accept()
            with context.wrap_socket(plain, server_side=True) if context else plain as connection:
                connection.recv(100)
                connection.sendall(b"\0\0\0\4\0\0\0\0\0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def test_an_expired_one_and_a_server_that_hangs(tmp_path, monkeypatch):
    site = Site()
    own, ending = site.node(tmp_path / "own"), site.node(tmp_path / "ending", seconds=1)
    with server(None) as address:
        assert greeting(address, None) == ""
    with server(own) as address:
        assert greeting(address, own) == ""
    time.sleep(1.1)
    with server(ending) as address:
        found = greeting(address, own)
    assert found.startswith(f"The certificate of the GCS at {address} has expired by this host's clock (")
    # Nothing is known of one that does not answer: Ray's own client may try.
    monkeypatch.setattr(api, "GREETING_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for directory in (None, own):
            assert greeting(f"127.0.0.1:{silent.getsockname()[1]}", directory) == ""


@pytest.mark.parametrize("speaks", [True, False])
def test_a_gcs_that_ends_meanwhile_refuses_nobody(tmp_path, speaks):
    own = Site().node(tmp_path / "own") if speaks else None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if own:
        context.load_cert_chain(own / "node.pem", own / "node.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def end() -> None:
        plain, _address = listener.accept()
        listener.close()
        with context.wrap_socket(plain, server_side=True) if own else plain as connection:
            connection.recv(100)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(ConnectionRefusedError):
        api.greet(f"127.0.0.1:{listener.getsockname()[1]}", api.tls_variables(own and str(own)))
    thread.join(10)

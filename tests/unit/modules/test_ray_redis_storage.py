# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Redis of somebody else's, a real one: TLS with a CA of its own, a user that may do little, a Sentinel."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import compile_start
from tests.long import long
from tests.redis import Redis, certificates

NAMESPACE = "demo-2.60.0"
CLUSTER, OTHER = f"RAY{NAMESPACE}@KV", "RAYother@KV"


@pytest.fixture(scope="module", name="directory")
def directory_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="module", name="tls")
def tls_fixture(directory: Path) -> dict[str, Path]:
    return certificates(directory)


@pytest.fixture(scope="module", name="server")
def server_fixture(directory: Path, tls: dict[str, Path]) -> Iterator[Redis]:
    with Redis(directory / "server", tls, prefix="demo-") as server:
        yield server


@pytest.fixture(name="asks")
def asks_fixture(run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The module, as the role calls it before there is anything on the host."""

    def asks(server: Redis, state: str = "checked", url: str = "", **options: Any) -> dict[str, Any]:
        redis = {"url": url or server.url, "ca_file": "/etc/ray/redis-ca.pem", "namespace": NAMESPACE,
                 "password_file": "/etc/ray/redis.env"}
        ca = server.tls["ca"].read_text() if server.tls else None
        return run_module("ray_redis_storage", {
            "state": state, "config": {"gcs": {"storage": "redis"}, "redis": redis}, "password": server.password,
            "ca": ca, "user": "no-such-user", **options,
        })

    return asks


def test_one_that_can_keep_the_state_is_left_as_it_is(server, asks):
    server.cli("hset", CLUSTER, "a", "b")
    server.cli("set", "DUMMY", "theirs")
    before = server.cli("dbsize")
    assert asks(server) == {"changed": False, **{key: value for key, value in asks(server).items() if key != "changed"}}
    assert server.cli("dbsize") == before and server.cli("get", "DUMMY") == "theirs"
    assert server.cli("hgetall", CLUSTER) == "a\nb"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"password": "Zq7-wrong"}, "refuses user ray: WRONGPASS invalid username-password pair or user is disabled: "
                                    "correct ray_redis_password, or the user in ray_redis_url."),
        ({"namespace": "another"}, "does not let user ray do what Ray does: NOPERM "),
        ({"ca": "another"}, "has a certificate that is not to be trusted: self"),
        ({"url": "redis"}, "does not answer: "),
        ({"url": "closed"}, "does not answer: Connection refused: correct ray_redis_url, or open its port to the "),
        ({"url": "silent"}, "does not answer: it does not begin TLS: correct ray_redis_url"),
        ({"url": "name"}, "does not answer: "),
    ],
    ids=["password", "rights", "ca", "no-tls", "closed", "silent", "name"],
)
def test_what_cannot_work_is_one_sentence(server, asks, tmp_path, options, said):
    address = f"127.0.0.1:{server.port}"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        kind = options.get("url")
        if kind == "silent":
            other.listen()
        if kind in ("closed", "silent", "name"):
            address = "no-such-host.invalid:6379" if kind == "name" else f"127.0.0.1:{other.getsockname()[1]}"
            options = {"url": f"rediss://ray@{address}"}
        elif kind:
            options = {"url": server.url.replace("rediss", "redis")}
        if "ca" in options:
            options = {"ca": certificates(tmp_path)["ca"].read_text()}
        if "namespace" in options:
            config = {"gcs": {"storage": "redis"}, "redis": {
                "url": server.url, "ca_file": "/c", "password_file": "/p", "namespace": "another"}}
            options = {"config": config}
        began = time.monotonic()
        result = asks(server, **options)
    assert result["failed"] and result["msg"].startswith(f"Redis at {address} {said}"), result["msg"]
    assert "\n" not in result["msg"] and "Zq7" not in json.dumps(result) and server.password not in json.dumps(result)
    assert time.monotonic() - began < 30


def test_it_is_asked_by_somebody_who_is_not_root(asks, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("who is not root asks as itself")
    seen = tmp_path / "asked-by"
    code = f"""
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, peer = listener.accept()
own = "0100007F:%04X" % peer[1]
rows = [line.split() for line in open("/proc/net/tcp")]
open({str(seen)!r}, "w").write(" ".join(row[7] for row in rows if row[1] == own))
"""
    with subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline())
        server = Redis(tmp_path / "never-started", port=port)
        assert asks(server)["failed"]
        process.wait(20)
    # Of its end of the connection, proc(5).
    assert int(seen.read_text()) != 0


def test_only_the_clusters_own_keys_go(server, asks, ray_environment, tmp_path):
    for key in (CLUSTER, f"RAY{NAMESPACE}@NODE", OTHER, "RAYdemo-2.60.01@KV", "theirs"):
        server.cli("hset", key, "a", "b")
    redis = {"url": server.url, "ca_file": str(server.tls["ca"]), "namespace": NAMESPACE,
             "password_file": str(tmp_path / "redis.env")}
    (tmp_path / "redis.env").write_text(f"RAY_REDIS_PASSWORD={server.password}\n")
    options = {"config": {"gcs": {"storage": "redis"}, "redis": redis}, "password": None, "ca": None, "user": "root",
               "environment": ray_environment}
    assert asks(server, "absent", **options)["changed"]
    left = set(server.cli("keys", "*").split())
    assert {OTHER, "RAYdemo-2.60.01@KV", "theirs"} <= left and not {CLUSTER, f"RAY{NAMESPACE}@NODE"} & left
    # Ray itself would end with a trace of C++'s.
    result = asks(server, "absent", **{**options, "password": "Zq7-wrong"})
    assert result["failed"] and "refuses user ray: WRONGPASS" in result["msg"]


def test_tls_to_a_server_that_has_none(directory, tls, asks):
    with Redis(directory / "plain", prefix="demo-") as plain:
        assert not asks(plain).get("failed")
        said = asks(plain, url=f"rediss://ray@127.0.0.1:{plain.port}", ca=tls["ca"].read_text())["msg"]
        assert "does not answer: it does not begin TLS: correct ray_redis_url" in said


def test_a_sentinel_leads_to_its_primary(directory, tls, asks):
    with Redis(directory / "primary", tls, prefix="demo-") as primary:
        where = ("127.0.0.1", primary.port)
        with Redis(directory / "sentinel", tls, sentinel_of=where) as sentinel:
            assert not asks(sentinel).get("failed")
            primary.stop()
            assert f"Redis at 127.0.0.1:{sentinel.port} does not answer: Connection refused" in asks(sentinel)["msg"]
    with Redis(directory / "first", tls, prefix="demo-") as first:
        with Redis(directory / "replica", tls, prefix="demo-", replica_of=first.port) as replica:
            assert "is a replica, which takes no writes: name the primary in ray_redis_url" in asks(replica)["msg"]


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
    return found


@long
def test_a_real_head_keeps_its_state_there_and_follows_a_failover(directory, tls, own_ray):
    """What is compiled of a head, started by the real Ray: TLS, a user of its own, and a Sentinel in front."""
    names = ("ha-1", "ha-2", "ha-sentinel")
    with Redis(directory / names[0], tls, prefix="demo-") as primary:
        with Redis(directory / names[1], tls, prefix="demo-", replica_of=primary.port) as replica:
            with Redis(directory / names[2], tls, sentinel_of=("127.0.0.1", primary.port)) as sentinel:
                config = {
                    "gcs": {"storage": "redis"}, "auth": {"token_path": str(own_ray.token)},
                    "redis": {"url": sentinel.url, "ca_file": str(tls["ca"]), "password_file": "/etc/ray/redis.env",
                              "namespace": NAMESPACE},
                }
                start = compile_start(config, "head")
                options = [word.replace("${RAY_REDIS_PASSWORD}", sentinel.password) for word in start.argv
                           if word.startswith("--redis-")]
                own = {name: value for name, value in start.environment.items() if name.startswith(
                    ("RAY_REDIS", "RAY_external"))}
                assert own == {"RAY_REDIS_ADDRESS": f"rediss://{sentinel.address}:{sentinel.port}",
                               "RAY_REDIS_CA_CERT": str(tls["ca"]), "RAY_external_storage_namespace": NAMESPACE}
                own_ray.extra = own
                head = own_ray.start_head("--num-cpus=0", *options)
                before = own_ray.wait_for("head")
                assert primary.cli("exists", CLUSTER) == "1"
                wait_for("the replica has it", lambda: replica.cli("exists", CLUSTER) == "1")
                primary.stop()
                wait_for("the replica becomes the primary", lambda: replica.cli("role").startswith("master"))
                # The GCS ends with its server, and systemd starts the head again.
                wait_for("the head ends", lambda: head.poll() is not None)
                own_ray.start_head("--num-cpus=0", *options)
                assert own_ray.wait_for("head")["session_name"] == before["session_name"]

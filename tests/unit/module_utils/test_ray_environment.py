# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door to Ray's private interfaces, and what Ray's environment does without a cluster.

RAYOPS_TEST_RAY_ENVIRONMENT names the environment: run these and test_ray_cluster.py with each version of TRIED.
"""

from __future__ import annotations

import ast
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.environment import RayClusterError, RayEnvironment
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import TRIED
from tests.redis import Redis

REPOSITORY = Path(__file__).resolve().parents[3]
DOOR = REPOSITORY / "plugins/module_utils/_gcs/under_ray"
# Part of the applications: Serve LLM's own ingress, with a key.
INGRESS = REPOSITORY / "roles/serve/files/rayops_ingress.py"


def ray_imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [str(node.module)]
        found += [name for name in names if name.partition(".")[0] == "ray"]
    return found


def test_one_package_alone_imports_ray():
    sources = [path for place in ("plugins", "roles") for path in (REPOSITORY / place).rglob("*.py")]
    found = {str(path.relative_to(REPOSITORY)) for path in sources if ray_imports(path)}
    outside = {path for path in found if REPOSITORY / path not in {*DOOR.glob("*.py"), INGRESS}}
    assert found and not outside


def test_it_was_tried_with_the_version_of_the_role_and_with_this_one(ray_environment):
    defaults = yaml.safe_load((REPOSITORY / "roles/ray_defaults/defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults["ray_version"] == TRIED[-1]
    (metadata,) = Path(ray_environment).glob("lib/python3*/site-packages/ray-*.dist-info")
    assert metadata.name[len("ray-"):-len(".dist-info")] in TRIED


def test_rays_own_dashboards(ray_environment):
    found = RayEnvironment(ray_environment, timeout=120).dashboards()
    assert {"rayDefaultDashboard", "rayServeDashboard", "rayDataDashboard"} <= {each["uid"] for each in found}
    for each in found:
        assert json.loads(each["content"])["uid"] == each["uid"]


@pytest.mark.parametrize("dashboards", [
    None, [], "text", {"uid": "a"}, ["text"], [{"uid": "a"}], [{"uid": "a", "content": 1}], [{"content": "{}"}],
    [{"uid": "../a", "content": "{}"}], [{"uid": "", "content": "{}"}], [{"uid": "a" * 61, "content": "{}"}],
    [{"uid": "a\n", "content": "{}"}], [{"uid": ["a"], "content": "{}"}], [{"uid": "a", "content": "{}"}] * 2,
    [{"uid": f"a{number}", "content": "{}"} for number in range(100)],
])
def test_what_is_no_dashboard_is_refused(tmp_path, dashboards):
    environment = python_that_answers(tmp_path)
    for text in (json.dumps({"dashboards": dashboards}), json.dumps(dashboards), "nonsense", ""):
        (tmp_path / "answer").write_text(text)
        with pytest.raises(RayClusterError, match="has printed something else than Ray's dashboards"):
            RayEnvironment(environment).dashboards()


def test_of_a_dashboard_two_keys_come_through(tmp_path):
    dashboard = {"uid": "a_B-1", "content": "{}"}
    (tmp_path / "answer").write_text(json.dumps({"dashboards": [{**dashboard, "path": "/etc/passwd"}], "failed": True}))
    assert RayEnvironment(python_that_answers(tmp_path)).dashboards() == [dashboard]


def python_that_answers(directory: Path) -> str:
    """An environment whose Python answers with the file `answer`."""
    python = directory / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\ncat > /dev/null\ncat {directory}/answer\n")
    python.chmod(0o755)
    return str(directory)


# The state in Redis


class FakeRedis(socketserver.StreamRequestHandler):
    """Of Redis as much as Ray asks here."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _word in range(int(line[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:length].decode())
            self.wfile.write(self.answer(words[0].upper(), words[1:]))

    def answer(self, command: str, words: list[str]) -> bytes:
        keys, password = self.server.keys, self.server.password
        if command == "AUTH":
            return b"+OK\r\n" if words[-1] == password else b"-WRONGPASS invalid password.\r\n"
        if command == "DEL":
            known = [keys.remove(key) for key in words if key in keys]
            return b":%d\r\n" % len(known)
        if command == "SCAN":
            prefix = words[words.index("MATCH") + 1].replace("\\", "").removesuffix("*")
            found = [key.encode() for key in keys if key.startswith(prefix)]
            texts = b"".join(b"$%d\r\n%s\r\n" % (len(key), key) for key in found)
            return b"*2\r\n$1\r\n0\r\n*%d\r\n%s" % (len(found), texts)
        text = b"# Cluster\r\ncluster_enabled:0\r\n" if words == ["CLUSTER"] else b""
        return b"$%d\r\n%s\r\n" % (len(text), text) if command == "INFO" else b"+OK\r\n"


@contextmanager
def redis(*keys: str) -> Iterator[tuple[str, list[str]]]:
    """Where it listens, and its keys."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), FakeRedis) as server:
        server.daemon_threads = True
        server.keys, server.password = list(keys), "Zq7-of-redis"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", server.keys
        finally:
            server.shutdown()
            thread.join()


def test_the_keys_of_one_cluster_are_removed_from_redis(ray_environment):
    ray = RayEnvironment(ray_environment, timeout=120)
    with redis("RAYdemo-2@KV", "RAYdemo-2@NODE", "RAYdemo-22@KV", "RAYother@KV", "mine") as (address, keys):
        with pytest.raises(RayClusterError, match="WRONGPASS") as caught:
            ray.wipe_redis(address, "demo-2", "Zq7-wrong")
        assert "Zq7" not in str(caught.value) and len(keys) == 5
        ray.wipe_redis(address, "demo-2", "Zq7-of-redis")
        assert keys == ["RAYdemo-22@KV", "RAYother@KV", "mine"]
        ray.wipe_redis(address, "demo-2", "Zq7-of-redis")
    with pytest.raises(RayClusterError, match=f"^Redis at {address} is not reachable: Connection refused.$") as caught:
        ray.wipe_redis(address, "demo-2", "Zq7-of-redis")
    assert caught.value.kind == "unreachable"


def test_the_module_gives_the_password_to_nobody_else(tmp_path, run_module):
    """The helper's own view, and what Ansible is told: an environment may be anybody's, and repeat what it hears."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f"#!/bin/sh\n(echo \"$@\"; env) > {tmp_path}/seen\ncat > {tmp_path}/read\n"
        'echo \'{"error": "redis", "message": "It is Zq7-of-redis."}\'\n'
    )
    python.chmod(0o755)
    (tmp_path / "redis.env").write_text("# Of Redis\nRAY_REDIS_PASSWORD=Zq7-of-redis\n")
    server = Redis(tmp_path / "redis", password="Zq7-of-redis", user="")
    options = {
        "state": "absent", "environment": str(tmp_path), "user": "root",
        "config": {"gcs": {"storage": "redis"}, "redis": {
            "host": "127.0.0.1", "port": server.port, "namespace": "demo", "password_file": f"{tmp_path}/redis.env"}},
    }
    assert run_module("ray_redis_storage", options, check_mode=True)["changed"] and not (tmp_path / "seen").exists()
    with server:
        result = run_module("ray_redis_storage", options)
    assert result["failed"] and result["msg"].startswith("It is ***") and "Zq7" not in json.dumps(result)
    assert "Zq7" not in (tmp_path / "seen").read_text() and "Zq7-of-redis" in (tmp_path / "read").read_text()
    (tmp_path / "redis.env").unlink()
    assert "The password of Redis cannot be read from" in run_module("ray_redis_storage", options)["msg"]
    os.mkfifo(tmp_path / "redis.env")
    assert "is no regular file" in run_module("ray_redis_storage", options)["msg"]


# The ids of jobs


def id_of_a_job(local_ray) -> int:
    with local_ray.run_driver("print(ray.get_runtime_context().get_job_id())") as driver:
        return int.from_bytes(bytes.fromhex(driver.stdout.readline().strip()), "little")


def test_ids_of_jobs_are_skipped_once(local_ray, run_module, tmp_path):
    marker = tmp_path / "marker"
    options = {**local_ray.connection(), "marker": str(marker), "count": 50}
    assert not run_module("ray_job_ids", options)["changed"]
    marker.touch()
    checked = run_module("ray_job_ids", options, check_mode=True)
    assert checked["changed"] and marker.exists()
    before = id_of_a_job(local_ray)
    result = run_module("ray_job_ids", options)
    assert result["changed"] and result["next_id"] == before + 51 and not marker.exists()
    assert id_of_a_job(local_ray) == before + 51
    assert not run_module("ray_job_ids", options)["changed"]
    assert "use 1 or more" in run_module("ray_job_ids", {**options, "count": 0})["msg"]


def test_ids_that_cannot_be_had_are_still_due(local_ray, run_module, tmp_path):
    marker = tmp_path / "marker"
    options = {**local_ray.connection(), "marker": str(marker), "count": 2}
    marker.touch()
    found = run_module("ray_job_ids", {**options, "auth_token_path": str(tmp_path / "none")})
    assert found["failed"] and "wants a token" in found["msg"] and marker.exists()
    found = run_module("ray_job_ids", {**options, "address": f"127.0.0.1:{local_ray.port + 99}"})
    assert found["failed"] and "is not reachable: Connection refused" in found["msg"] and marker.exists()
    assert not run_module("ray_job_ids", {**options, "user": "nosuchuser"})["changed"]

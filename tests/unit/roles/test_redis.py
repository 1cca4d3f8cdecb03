# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Redis of the collection's own: a real server with the configuration that role redis writes."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jinja2
import pytest
from ansible.plugins.filter.core import FilterModule

from ansible_collections.rayops.cluster.plugins.module_utils._node.config import redis_of
from ansible_collections.rayops.cluster.plugins.module_utils._node.redis import ask
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles
from ansible_collections.rayops.cluster.plugins.plugin_utils import _tls
from tests.redis import SECONDS, free_port, program

TEMPLATES = Path(__file__).resolve().parents[3] / "roles" / "redis" / "templates"
PASSWORD = "s3cret-of-the-cluster"


@contextmanager
def server(directory: Path, tls: bool) -> Iterator[int]:
    """Its port."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(FilterModule().filters())
    port, config = free_port(), directory / "redis.conf"
    config.write_text(environment.get_template("redis.conf.j2").render(
        redis_bind_address="127.0.0.2", ray_redis_port=port, redis_password=PASSWORD, ray_cluster_name="demo",
        _ray_redis_exporter_user="exporter", redis_pid_file=directory / "pid", redis_data_dir=directory,
        redis_maxmemory=0, ray_tls=tls, _redis_tls_directory=directory,
    ))
    path, variables = program("redis-server")
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen([path, config], stdout=log, stderr=log, env={**os.environ, **variables})
    try:
        deadline = time.monotonic() + SECONDS
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def reply(port: int, ca_file: Path | str = "") -> tuple[str, str]:
    """What it answers to a head that has declared it so."""
    declared = redis_of({"gcs": {"storage": "redis"},
                         "redis": {"host": "127.0.0.1", "port": port, "ca_file": str(ca_file)}})
    found = ask(declared, PASSWORD, "demo-2.60.0")
    return found.kind, found.words


def test_it_speaks_tls_with_the_nodes_authority(tmp_path):
    authority = _tls.read(*_tls.make("demo"))
    leaf, files = _tls.issue(authority, ["127.0.0.1", "redis-1"], 90), NodeFiles.of(str(tmp_path))
    for path, text in ((files.certificate, leaf.certificate), (files.key, leaf.key),
                       (files.authority, authority.certificate)):
        Path(path).write_text(text)
    (tmp_path / "other.pem").write_text(_tls.make("other")[0])
    with server(tmp_path, tls=True) as port:
        assert reply(port, files.authority) == ("ok", "")
        assert reply(port, tmp_path / "other.pem")[0] == "certificate"
        # What does not speak TLS gets nothing.
        assert reply(port)[0] == "unreachable"
        # The exporter, unlike Ray, looks for the server's name.
        shown = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", files.authority, "-verify_ip",
             "127.0.0.1", "-verify_return_error"], input=b"", capture_output=True, check=True)
        assert b"Verify return code: 0 (ok)" in shown.stdout


def test_it_speaks_as_before_without_tls(tmp_path):
    with server(tmp_path, tls=False) as port:
        assert reply(port) == ("ok", "")


@pytest.mark.parametrize("tls", [True, False])
def test_the_head_declares_what_its_server_speaks(tls):
    found = redis_of({"gcs": {"storage": "redis"}, "redis": {"host": "r", "ca_file": "/ca.pem" if tls else ""}})
    assert (found.tls, found.ca_file) == (tls, "/ca.pem" if tls else "")

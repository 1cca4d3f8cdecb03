# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a diagnosis reads, on real files and sockets. The logs are those of Ray 2.60 and Redis 7."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import socketserver
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis import facts
from ansible_collections.rayops.cluster.plugins.module_utils._environment.imported import python_version
from ansible_collections.rayops.cluster.plugins.module_utils._node import redis
from ansible_collections.rayops.cluster.plugins.module_utils._node.failure import corruption, rocksdb_corruption
from ansible_collections.rayops.cluster.plugins.module_utils._node.redis import RedisReply, RedisServer
from ansible_collections.rayops.cluster.plugins.module_utils._system.log import telling_line

GCS_LOG = (
    "[2026-11-24 08:39:55,295 C 1232 1232] (gcs_server) rocksdb_store_client.cc:179:  An unexpected system state has "
    "occurred. You have likely discovered a bug in Ray. Check failed: open_status.ok() Failed to open RocksDB at "
    "/var/lib/ray/gcs/tables: Corruption: no log_file_number, next_file_number, last_sequence entry in MANIFEST  The "
    "file /var/lib/ray/gcs/tables/MANIFEST-000005 may be corrupted.\n*** StackTrace Information ***\n"
)
REDIS_LOG = "1:M 24 Nov 2026 08:00:00.000 # Bad file format reading the append only file: make a backup of it\n"


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (GCS_LOG, "open_status.ok() Failed to open RocksDB at /var/lib/ray/gcs/tables: Corruption: no log_file_number"),
        ("Traceback:\n  File x\nRuntimeError: Version  mismatch: x\nStopped ray", "RuntimeError: Version mismatch"),
        (REDIS_LOG, "Bad file format reading the append only file"),
        ("Started ray-worker.service - Ray worker of cluster demo.\n", ""),
    ],
)
def test_the_line_that_tells_most(log, line):
    found = telling_line(log)
    assert found.startswith(line) and bool(found) == bool(line)


def test_a_line_without_end_takes_no_time():
    """Where each byte is looked at for each other one, it takes hours."""
    began = time.process_time()
    assert telling_line("a" * 1000000 + "\n" + "a." * 500000) == ""
    assert time.process_time() - began < 30


def test_only_what_says_so_is_corrupt():
    assert corruption(GCS_LOG).startswith("Corruption: no log_file_number")
    assert corruption(REDIS_LOG).startswith("Bad file format")
    assert corruption("RuntimeError: Version mismatch\nConnection refused\n") == ""


def test_a_database_that_was_put_back_is_no_longer_corrupt(tmp_path):
    logs, database = tmp_path / "session_latest" / "logs", tmp_path / "gcs"
    logs.mkdir(parents=True)
    (database / "tables").mkdir(parents=True)
    assert rocksdb_corruption(str(tmp_path), str(database)) == ""
    (logs / "gcs_server.err").write_text(GCS_LOG)
    assert rocksdb_corruption(str(tmp_path), str(database)).startswith("Corruption: ")
    # The log of a life before.
    past = time.time() - 60
    os.utime(logs / "gcs_server.err", (past, past))
    assert rocksdb_corruption(str(tmp_path), str(database)) == ""
    # A later life that opened it.
    (logs / "gcs_server.1.err").write_text("")
    assert rocksdb_corruption(str(tmp_path), str(database)) == ""


def test_a_full_disk_is_named_once(tmp_path):
    (tmp_path / "sub").mkdir()
    paths = [str(tmp_path), str(tmp_path / "sub"), str(tmp_path / "absent"), ""]
    found = facts.full_disks(paths, 0.0)
    assert {path for path, _used in found} == {str(tmp_path)}
    assert any(used.endswith("% of its space") for _path, used in found)
    assert facts.full_disks(paths, 1.01) == []


def test_files_with_names_are_counted_and_others_are_not(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "small").write_bytes(b"x" * 5000)
    (tmp_path / "sub" / "large").write_bytes(b"x" * 50000)
    with tempfile.TemporaryFile(dir=tmp_path) as nameless:
        nameless.write(b"x" * 500000)
        nameless.flush()
        used, largest = facts.visible_bytes(str(tmp_path))
    assert 55000 <= used < 100000 and largest == str(tmp_path / "sub" / "large")


def test_sockets_without_a_process(tmp_path):
    # Shorter than what pytest makes: a socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="rt", dir="/tmp") as directory:
        sockets = Path(directory) / "session_2020-01-01" / "sockets"
        sockets.mkdir(parents=True)
        kept = {}
        for name in ("raylet", "raylet.1", "plasma_store", "dash_JobHead"):
            kept[name] = socket.socket(socket.AF_UNIX)
            kept[name].bind(str(sockets / name))
        (sockets / "plasma_store.7").write_text("no socket")
        assert facts.stale_sockets(directory) == []
        for name in ("raylet", "plasma_store", "dash_JobHead"):
            kept.pop(name).close()
        assert facts.stale_sockets(directory) == [str(sockets / "plasma_store"), str(sockets / "raylet")]
        kept["raylet.1"].close()


def test_small_things(tmp_path):
    assert facts.addresses_of("localhost") & {"127.0.0.1", "::1"}
    assert facts.addresses_of("no-such-facts.invalid") == set()
    (tmp_path / "token").write_text("abc")
    assert facts.digest_of(str(tmp_path / "token")) == hashlib.sha256(b"abc").hexdigest()
    assert facts.digest_of(str(tmp_path / "absent")) == ""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert python_version(f"{tmp_path}/bin/python") == platform.python_version()
    assert python_version(f"{tmp_path}/absent/bin/python") == ""


class Redis(socketserver.StreamRequestHandler):
    """Answers as Redis 7 does."""

    def handle(self):
        while True:
            length = self.rfile.readline()[1:]
            if not length:
                return
            lines = [self.rfile.readline().decode().strip() for _line in range(2 * int(length))]
            self.wfile.write(self.server.replies.get(lines[1], b""))


PRIMARY = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
REPLICA = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n"


@pytest.mark.parametrize(
    ("password", "replies", "answer"),
    [
        ("s3cret", {"AUTH": b"+OK\r\n", "PING": b"+PONG\r\n", "ROLE": PRIMARY}, RedisReply("ok")),
        ("", {"PING": b"+PONG\r\n", "ROLE": PRIMARY}, RedisReply("ok")),
        ("s3cret", {"AUTH": b"-WRONGPASS invalid\r\n", "PING": b"-NOAUTH needed\r\n"},
         RedisReply("refused", "WRONGPASS invalid")),
        ("", {"PING": b"-LOADING Redis is loading the dataset\r\n"},
         RedisReply("loading", "LOADING Redis is loading the dataset")),
        ("", {"PING": b"-MISCONF errors writing to the AOF file\r\n"},
         RedisReply("unwritable", "MISCONF errors writing to the AOF file")),
        ("", {"PING": b"+PONG\r\n", "ROLE": REPLICA},
         RedisReply("replica", "READONLY it is a replica")),
        ("", {"PING": b"HTTP/1.1 400 Bad Request\r\n", "ROLE": b"x\r\nx\r\nx\r\n"},
         RedisReply("unreachable", "it answers 'HTTP/1.1 400 Bad Request', as no Redis does")),
    ],
)
def test_what_redis_says(password, replies, answer):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Redis) as server:
        server.daemon_threads, server.replies = True, replies
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert redis.ask(RedisServer("127.0.0.1", server.server_address[1]), password) == answer
        server.shutdown()


def test_a_redis_that_is_not_there(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert redis.ask(RedisServer("127.0.0.1", port), "") == RedisReply("unreachable", "Connection refused")
        # One that hangs.
        closed.listen()
        monkeypatch.setattr(redis, "SECONDS", 0.2)
        reply = redis.ask(RedisServer("127.0.0.1", port), "")
        assert reply.kind == "unreachable" and "timed out" in reply.words

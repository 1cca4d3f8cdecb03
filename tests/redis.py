# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Redis, and its Sentinel, as somebody else runs them: with TLS, a CA of its own and a user that may do little.

The programs are those on PATH, or the distribution's, unpacked below .cache. Nothing is installed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.prometheus import run

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "redis"
PACKAGES = ("redis-server", "redis-tools", "redis-sentinel", "liblzf1", "libjemalloc2")
# What Ray does at a server (roles/redis/templates/redis.conf.j2), and at a Sentinel.
RIGHTS = (
    "~RAY{prefix}* ~DUMMY -@all +ping +info +role +scan +del +unlink +hget +hmget +hset +hsetnx +hdel +hexists +hscan "
    "+incrby"
)
SENTINEL_RIGHTS = "-@all +auth +ping +info +role +sentinel|masters"
SECONDS = 20


def program(name: str, cache: Path = CACHE, packages: Sequence[str] = PACKAGES) -> tuple[str, dict[str, str]]:
    """The path of a program, redis-server or one of other packages, and the variables that it needs."""
    found = shutil.which(name)
    if found:
        return found, {}
    cache.parent.mkdir(exist_ok=True)
    with open(cache.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cache.is_dir():
            with tempfile.TemporaryDirectory(dir=cache.parent, prefix=f"{cache.name}-") as scratch:
                Path(scratch).chmod(0o777)
                run("apt-get", "download", "--quiet", *packages, directory=scratch)
                for package in Path(scratch).glob("*.deb"):
                    run("dpkg-deb", "-x", str(package), f"{scratch}/root", directory=scratch)
                (Path(scratch) / "root").rename(cache)
    libraries = ":".join(str(path.parent) for path in cache.rglob("lib*.so.*"))
    return str(next(cache.glob(f"usr/*bin/{name}"))), {"LD_LIBRARY_PATH": libraries}


def certificates(directory: Path, name: str = "redis.example") -> dict[str, Path]:
    """A CA, and a certificate for a name, as files."""
    paths = {kind: directory / f"{kind}.pem" for kind in ("ca", "ca-key", "cert", "key")}
    for subject, key, out, more in (
        ("the CA of somebody else", "ca-key", "ca", ["-addext", "basicConstraints=critical,CA:TRUE"]),
        (name, "key", "cert", ["-CA", str(paths["ca"]), "-CAkey", str(paths["ca-key"])]),
    ):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", f"/CN={subject}", "-keyout", str(paths[key]), "-out", str(paths[out]), *more],
            check=True, capture_output=True,
        )
    return paths


class Redis:
    """A server until the end of a with block; its port is free, its user is ``ray``."""

    def __init__(
        self, directory: Path, tls: dict[str, Path] | None = None, password: str = "s3cret-of-the-server",
        user: str = "ray", prefix: str = "", address: str = "127.0.0.1", port: int = 0, replica_of: int = 0,
        sentinel_of: tuple[str, int] | None = None,
    ) -> None:
        self.directory, self.tls, self.password, self.user, self.address = directory, tls, password, user, address
        self.port = port or free_port(address)
        self.process: subprocess.Popen[bytes] | None = None
        self.open = ExitStack()
        directory.mkdir(exist_ok=True)
        lines = [
            f"bind {address}", f"dir {directory}", "save ''", f"port {0 if tls else self.port}", "protected-mode no",
            f"user default on >admin-{password} ~* &* +@all" if user else f"requirepass {password}",
        ]
        if user:
            rights = SENTINEL_RIGHTS if sentinel_of else RIGHTS.format(prefix=prefix)
            lines.append(f"user {user} on >{password} {rights}")
        if tls:
            lines += [
                f"tls-port {self.port}", f"tls-cert-file {tls['cert']}", f"tls-key-file {tls['key']}",
                f"tls-ca-cert-file {tls['ca']}", "tls-auth-clients no", "tls-replication yes",
            ]
        admin = f"admin-{password}" if user else password
        if replica_of:
            lines += [f"replicaof {address} {replica_of}"]
        if sentinel_of:
            host, port = sentinel_of
            lines += [
                f"sentinel monitor theirs {host} {port} 1", f"sentinel auth-pass theirs {admin}",
                "sentinel down-after-milliseconds theirs 1000", "sentinel failover-timeout theirs 5000",
            ]
        else:
            lines += [f"masterauth {admin}", "appendonly yes", "appendfsync always"]
        self.config, self.sentinel = directory / "redis.conf", bool(sentinel_of)
        self.config.write_text("".join(f"{line}\n" for line in lines))
        self.config.chmod(0o600)

    @property
    def url(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"redis{'s' if self.tls else ''}://{user}{self.address}:{self.port}"

    def cli(self, *words: str) -> str:
        """What the server answers to its administrator."""
        path, variables = program("redis-cli")
        password = f"admin-{self.password}" if self.user else self.password
        tls = ["--tls", "--cacert", str(self.tls["ca"])] if self.tls else []
        return subprocess.run(
            [path, "-h", self.address, "-p", str(self.port), *tls, *words], check=True, capture_output=True, text=True,
            timeout=SECONDS, env={**variables, "REDISCLI_AUTH": password},
        ).stdout.strip()

    def start(self) -> Redis:
        path, variables = program("redis-server")
        log = self.open.enter_context(open(self.directory / "log", "wb"))
        self.process = subprocess.Popen(
            [path, str(self.config), *(["--sentinel"] if self.sentinel else [])], stdout=log, stderr=log,
            env={**os.environ, **variables},
        )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection((self.address, self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.directory / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        self.open.close()

    def __enter__(self) -> Redis:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])

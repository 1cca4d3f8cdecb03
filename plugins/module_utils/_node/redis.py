# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Redis that keeps a cluster's state: where it is, and whether it can serve a GCS. All ends within seconds."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass, replace
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import bracketed

SECONDS = 3.0
DEFAULT_PORT = 6379
# What Redis says first where it runs and cannot serve a GCS; all else is that it lets nobody in with this password.
_REPLIES = {"LOADING": "loading", "MISCONF": "unwritable", "READONLY": "replica", "NOPERM": "forbidden"}
# An array of a Sentinel's has a hundred words; longer ones are no answer to what is asked.
_MOST_WORDS, _MOST_BYTES = 1000, 1 << 16


@dataclass(frozen=True)
class RedisServer:
    """Where Redis, or its Sentinel, is. ca_file: on the node, with the CAs that may have signed its certificate."""

    host: str
    port: int = DEFAULT_PORT
    username: str = ""
    tls: bool = False
    ca_file: str = ""

    @property
    def address(self) -> str:
        """As host:port."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def name(self) -> str:
        """What TLS calls it (SNI); empty for a bare address, which has no name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.host
        return ""


def read_url(url: str, ca_file: str = "") -> RedisServer:
    """The server of a URL such as rediss://user@host:6379.

    :raises ValueError: one sentence that shows no password.
    """
    example = "write redis://host:6379, or rediss://user@host:6379 with TLS"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError(f"is no address of a server: {example}") from None
    if parts.password is not None:
        raise ValueError("holds a password, which would stand in files and logs: leave it out, and set "
                         "ray_redis_password")
    if parts.scheme not in ("redis", "rediss") or not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise ValueError(f"is no address of a server: {example}")
    if parts.path not in ("", "/", "/0") or parts.query or parts.fragment:
        raise ValueError("says more than the address: leave out all behind the port, for Ray takes database 0")
    username = unquote(parts.username or "")
    if not re.fullmatch(r"[A-Za-z0-9._~@:+-]*", username):
        raise ValueError("has a user whose name systemd or Redis would read differently: use letters, digits and "
                         ". _ ~ @ : + -")
    return RedisServer(host, port, username, parts.scheme == "rediss", ca_file)


@dataclass(frozen=True)
class RedisReply:
    """Whether Redis can serve a GCS.

    kind: ok, loading (it reads its state), unwritable (its disk), replica, refused (not with this user and password),
    forbidden (the user may not do what Ray does), certificate (not signed by a known CA), primaries (a Sentinel that
    watches none or several) or unreachable (nothing, or no Redis, answers); words: its own, or why there are none.
    """

    kind: str
    words: str = ""


# What is wrong with a Redis of somebody else's, and what helps; {0} its words, {1} who logs in.
_EXPLAINED = {
    "loading": ("is still reading its state: {0}", "wait for it, then run this again"),
    "unwritable": ("takes no writes: {0}", "let those who run it see to its disk"),
    "replica": ("is a replica, which takes no writes", "name the primary in ray_redis_url, or its Sentinel"),
    "refused": ("refuses {1}: {0}", "correct ray_redis_password, or the user in ray_redis_url"),
    "forbidden": (
        "does not let {1} do what Ray does: {0}",
        "give it the keys ~RAY<cluster>* and ~DUMMY, and +ping +info +role +scan +del +unlink +hget +hmget +hset "
        "+hsetnx +hdel +hexists +hscan +incrby",
    ),
    "certificate": ("has a certificate that is not to be trusted: {0}", "correct ray_redis_ca_file"),
    "primaries": ("is a Sentinel that watches none or several primaries", "name one that watches a single one"),
    "unreachable": ("does not answer: {0}", "correct ray_redis_url, or open its port to the head"),
}


def explain(reply: RedisReply, server: RedisServer) -> tuple[str, str]:
    """What is wrong with a Redis of somebody else's, and what helps: the halves of a sentence."""
    who = f"user {server.username}" if server.username else "the password"
    fact, help_ = _EXPLAINED[reply.kind]
    return fact.format(reply.words, who), help_


class _RedisError(Exception):
    """What Redis answers to a command that it refuses."""


def ask(server: RedisServer, password: str, namespace: str = "", ca: str = "", hops: int = 1) -> RedisReply:
    """Ask whether Redis, or the primary that its Sentinel names, answers and may be written to.

    :arg namespace: of the cluster: then also whether the user may do what Ray does there. Nothing is changed.
    :arg ca: certificates, in place of the server's ca_file.
    :arg hops: how often a Sentinel may lead to another server.
    """
    try:
        with _connected(server, ca) as connection, connection.makefile("rwb") as stream:
            if password:
                _call(stream, "AUTH", *([server.username] if server.username else []), password)
            if _call(stream, "PING") != "PONG":
                raise ValueError("it answers something else than a Redis")
            role = _role(stream)
            if role == "sentinel" and hops:
                primary = _primary(stream, server)
                return ask(primary, password, namespace, ca, hops - 1) if primary else RedisReply("primaries")
            if role == "slave":
                return RedisReply("replica", "READONLY it is a replica")
            if namespace:
                _try_rights(stream, f"RAY{namespace}@rayops")
    except _RedisError as error:
        words = str(error)[:200]
        return RedisReply(_REPLIES.get(words.partition(" ")[0], "refused"), words.rstrip("."))
    except ssl.SSLCertVerificationError as error:
        return RedisReply("certificate", error.verify_message.rstrip("."))
    except TimeoutError:
        return RedisReply("unreachable", "timed out")
    except ssl.SSLError as error:
        return RedisReply("unreachable", f"its TLS fails, {error.reason or 'without a word'}")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return RedisReply("unreachable", words.strip().rstrip("."))
    return RedisReply("ok")


def _connected(server: RedisServer, ca: str) -> socket.socket:
    connection = socket.create_connection((server.host, server.port), timeout=SECONDS)
    connection.settimeout(SECONDS)
    if not server.tls:
        return connection
    # As Ray does: the certificate must come from the CA, and need not have the server's name in it.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    try:
        context.load_verify_locations(**({"cadata": ca} if ca else {"cafile": server.ca_file}))
        return context.wrap_socket(connection, server_hostname=server.name or None)
    except TimeoutError:
        connection.close()
        raise ValueError("it does not begin TLS") from None
    except BaseException:
        connection.close()
        raise


def _call(stream: Any, *words: str) -> Any:
    encoded = [word.encode() for word in words]
    stream.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    stream.flush()
    return _answer(stream)


def _answer(stream: BinaryIO) -> Any:
    """An answer in Redis's protocol: text, a number, None, or a list of these."""
    line = stream.readline(4096).decode(errors="replace").rstrip("\r\n")
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise _RedisError(rest)
    if kind in ("+", ":"):
        return rest
    if kind not in ("$", "*") or not re.fullmatch(r"-1|[0-9]{1,9}", rest):
        raise ValueError(f"it answers {line[:40]!r}, as no Redis does" if line else "it closes the connection")
    length = int(rest)
    if length > (_MOST_BYTES if kind == "$" else _MOST_WORDS):
        raise ValueError("it answers more than a Redis would")
    if length < 0:
        return None
    if kind == "*":
        return [_answer(stream) for _number in range(length)]
    return stream.read(length + 2)[:length].decode(errors="replace")


def _role(stream: Any) -> str:
    """What it is; empty where the user may not know."""
    try:
        role = _call(stream, "ROLE")
    except _RedisError as error:
        if str(error).startswith(("NOPERM", "ERR")):
            return ""
        raise
    return str(role[0]) if isinstance(role, list) and role else ""


def _primary(stream: Any, server: RedisServer) -> RedisServer | None:
    """The one primary that a Sentinel watches; Ray wants exactly one."""
    known = _call(stream, "SENTINEL", "MASTERS")
    if not isinstance(known, list) or len(known) != 1 or not isinstance(known[0], list):
        return None
    values = dict(zip(map(str, known[0][::2]), map(str, known[0][1::2])))
    host, port = values.get("ip", ""), values.get("port", "")
    return replace(server, host=host, port=int(port)) if host and port.isdigit() else None


def _try_rights(stream: Any, key: str) -> None:
    """The commands of Ray's that change nothing on a key that is not there."""
    for words in (["INFO", "CLUSTER"], ["HEXISTS", key, "x"], ["HGET", key, "x"], ["HMGET", key, "x"],
                  ["HSCAN", key, "0"], ["HDEL", key, "x"], ["DEL", key], ["UNLINK", key]):
        _call(stream, *words)

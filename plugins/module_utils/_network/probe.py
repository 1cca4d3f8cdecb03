# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host's part in the test of the network: a listener that ends by itself, and connections that say nothing."""

from __future__ import annotations

import errno
import os
import random
import resource
import selectors
import signal
import socket
import time
from collections.abc import Iterable

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import account, exists
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import LOCAL_PORTS

# What a connection came to. dropped: no answer came in time.
KINDS = ("open", "refused", "no_route", "dropped", "failed")
# What torch, gloo, NCCL and ZMQ take a port from, where the host says nothing else.
WORKLOAD_PORTS = LOCAL_PORTS
# Connections that are tried at the same time.
MOST = 500
# Ports that are tried until one is free.
_TRIES = 50
_USER = "nobody"
_WORDS = {
    errno.ECONNREFUSED: "refused", errno.ECONNRESET: "refused", errno.EHOSTUNREACH: "no_route",
    errno.ENETUNREACH: "no_route", errno.ETIMEDOUT: "dropped",
}


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(
    address: str, seconds: int, taken: Iterable[int], among: tuple[int, int] | None = None, user: str = ""
) -> int:
    """Open a port of the workload's for a time, in a process of its own, which closes each connection at once.

    :arg address: the host's own.
    :arg taken: ports that belong to somebody else, also where nobody listens yet.
    :arg among: the first and the last port of the workload's on this host.
    :arg user: whose the port is, by the kernel's word: to the host's firewall it is no other service's.
    :returns: the port.
    :raises OSError: it is no address of this host, or no port of those that were tried is free.
    """
    avoid, listener = set(taken), socket.socket(_family(address), socket.SOCK_STREAM)
    if user and exists(user) and (entry := account(user)):
        os.fchown(listener.fileno(), entry.pw_uid, -1)
    for attempt in range(_TRIES):
        port = random.randint(*(among or WORKLOAD_PORTS))
        if port in avoid:
            continue
        try:
            listener.bind((address, port))
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                raise
    listener.listen(MOST)
    child = os.fork()
    if child == 0:
        try:
            # A child of nobody's, whom the next Ansible task does not wait for.
            if os.fork() == 0:
                _serve(listener, seconds)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    number: int = listener.getsockname()[1]
    listener.close()
    return number


def _serve(listener: socket.socket, seconds: int) -> None:
    """The listener's life: with no rights, no files and no terminal."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.alarm(seconds)
    os.setsid()
    os.chdir("/")
    entry = account(_USER)
    if entry:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    number = os.dup2(listener.fileno(), 3) if listener.fileno() != 3 else 3
    os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    with socket.socket(fileno=number) as own:
        while True:
            try:
                own.accept()[0].close()
            except OSError:
                time.sleep(0.1)


def connect(places: list[tuple[str, int]], seconds: float) -> list[str]:
    """What became of a connection to each (address, port), one of KINDS. A silent drop takes the time once for all."""
    found: list[str] = []
    for start in range(0, len(places), MOST):
        found += _connect(places[start:start + MOST], seconds)
    return found


def _connect(places: list[tuple[str, int]], seconds: float) -> list[str]:
    found = ["dropped"] * len(places)
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as waiting:
        for number, place in enumerate(places):
            connection = socket.socket(_family(place[0]), socket.SOCK_STREAM)
            connection.setblocking(False)
            begun = connection.connect_ex(place)
            if begun == errno.EINPROGRESS:
                waiting.register(connection, selectors.EVENT_WRITE, number)
            else:
                found[number] = _kind(begun)
                connection.close()
        while waiting.get_map() and time.monotonic() < deadline:
            for key, _events in waiting.select(deadline - time.monotonic()):
                connection = key.fileobj  # type: ignore[assignment]  # only sockets are registered
                found[key.data] = _kind(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                waiting.unregister(connection)
                connection.close()
        for key in list(waiting.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # as above
    return found


def _kind(code: int) -> str:
    return "open" if code == 0 else _WORDS.get(code, "failed")

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import Listener, listeners, owners


@pytest.mark.parametrize(
    "family, bound, asked, found",
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1", True),
        (socket.AF_INET, "127.0.0.1", "127.0.0.2", False),
        (socket.AF_INET, "127.0.0.1", "0.0.0.0", True),
        (socket.AF_INET, "0.0.0.0", "127.0.0.1", True),
        (socket.AF_INET6, "::1", "::1", True),
        (socket.AF_INET6, "::1", "127.0.0.1", False),
        (socket.AF_INET6, "::", "127.0.0.1", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1", True),
    ],
)
def test_who_listens(family, bound, asked, found):
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((bound, 0))
        port = server.getsockname()[1]
        assert listeners(asked, port) == []  # bound, but it does not listen yet
        server.listen()
        assert [listener.pid for listener in listeners(asked, port)] == ([os.getpid()] if found else [])


@pytest.mark.parametrize(
    "cgroup, service",
    [
        ("0::/system.slice/prometheus.service\n", "prometheus.service"),
        ("9:name=systemd:/docker/abc/system.slice/ray-head.service\n0::/\n", "ray-head.service"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/demo.service\n", "user@0.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
    ],
)
def test_the_service_of_a_listener(tmp_path, cgroup, service):
    (tmp_path / "net").mkdir()
    line = "0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1\n"
    (tmp_path / "net" / "tcp").write_text("header\n" + line)
    (tmp_path / "77" / "fd").mkdir(parents=True)
    (tmp_path / "77" / "fd" / "3").symlink_to("socket:[4242]")
    (tmp_path / "77" / "cgroup").write_text(cgroup)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cgroup").write_text("9:name=systemd:/docker/abc/init.scope\n0::/init.scope\n")
    (tmp_path / "77" / "comm").write_text("demo\n")
    assert listeners("127.0.0.1", 9090, str(tmp_path)) == [Listener(77, "demo", service)]


@pytest.mark.parametrize("family, bound, found", [
    (socket.AF_INET, "0.0.0.0", True), (socket.AF_INET6, "::", True), (socket.AF_INET, "127.0.0.11", False),
    (socket.AF_INET6, "::1", False), (socket.AF_INET6, "::ffff:127.0.0.1", False),
])
def test_whose_a_port_is_that_others_reach(family, bound, found):
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((bound, 0))
        server.listen()
        assert owners().get(server.getsockname()[1]) == ({os.geteuid()} if found else None)


def test_a_socket_whose_process_cannot_be_seen(tmp_path):
    (tmp_path / "net").mkdir()
    line = "0: 00000000:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1\n"
    (tmp_path / "net" / "tcp").write_text("header\n" + line)
    found = listeners("10.0.0.1", 9090, str(tmp_path))
    assert found == [Listener(0, "", "")] and str(found[0]) == "a process that cannot be seen from here"

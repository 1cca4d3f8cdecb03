# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import time

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node.start import wait_for_gcs


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_is_open_and_one_that_is_not(family, host):
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip("this host has no such address")
        port = server.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        assert not wait_for_gcs(f"{shown}:{port}", time.monotonic() + 0.1)
        server.listen()
        assert wait_for_gcs(f"{shown}:{port}", time.monotonic() + 60)


def test_a_name_that_is_not_known():
    assert not wait_for_gcs("demo-head.invalid:6379", time.monotonic() + 0.1)

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a head speaks, and what is declared: one sentence where they do not go together."""

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.ray_tls_refusal import ray_tls_refusal


@pytest.mark.parametrize("speaks", [None, "", "true", 1, {}])
@pytest.mark.parametrize("declared", [True, False])
def test_a_head_that_does_not_run_refuses_nothing(speaks, declared):
    """And one whose host says what it likes is none."""
    assert ray_tls_refusal(speaks, declared, "head-1", True, True) == ""


@pytest.mark.parametrize("speaks", [True, False])
def test_as_declared(speaks):
    assert ray_tls_refusal(speaks, speaks, "head-1") == ""
    assert ray_tls_refusal(speaks, speaks, "head-1", other_authority="yes", unfinished="yes") == ""


def test_each_way_out_is_named():
    assert ray_tls_refusal(False, True, "head-1") == (
        "The head head-1 runs without TLS, and ray_tls is true: Ray does not mix the two, so all nodes change "
        "together. Run rayops.cluster.upgrade, or set ray_tls: false."
    )
    assert "runs with TLS, and ray_tls is false" in ray_tls_refusal(True, False, "head-1")
    assert "set ray_tls: true." in ray_tls_refusal(True, False, "head-1", other_authority=True)
    assert "of another authority" in ray_tls_refusal(True, True, "head-1", other_authority=True, unfinished=True)
    assert "-e ray_rollback=true" in ray_tls_refusal(True, True, "head-1", unfinished=True)
    assert "upgrade was interrupted" in ray_tls_refusal(False, False, "head-1", unfinished=True)

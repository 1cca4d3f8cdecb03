# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is quoted of a log. The logs are those of Ray 2.60's unit under systemd, one start that failed in each."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._system.log import end_of, telling_line

LOGS = Path(__file__).parents[1] / "data" / "logs"
WHY = {
    "permission": "PermissionError: [Errno 13] Permission denied: '/var/lib/ray/gcs/2.60.0/session_name'",
    "usage": "Error: No such option '--no-such-option'.",
    "exec": "ray-head.service: Failed to locate executable /opt/ray/2.60.0/bin/ray: No such file or directory",
    "chdir": "ray-head.service: Failed at step CHDIR spawning /opt/ray/2.60.0/bin/ray: Permission denied",
    "corrupt": "RuntimeError: Failed to start GCS. Last 1 lines of error files:",
}


@pytest.mark.parametrize("name", WHY)
def test_the_quoted_log_ends_with_the_line_that_matters(name):
    log = (LOGS / f"{name}.log").read_text()
    quoted = end_of(log).splitlines()
    assert quoted[-1] == telling_line(log) == WHY[name]
    assert not [line for line in quoted if line.startswith(" ") or "Traceback" in line] and len(quoted) <= 6


def test_a_log_that_does_not_say_why_is_quoted_to_its_end():
    log = (LOGS / "false.log").read_text()
    assert telling_line(log) == ""
    assert end_of(log, 2) == "\n".join(log.splitlines()[-2:])
    assert end_of("") == ""


def test_what_follows_an_exception_is_left_out_and_what_stood_before_is_not():
    log = "INFO: begins\nTraceback (most recent call last):\n  File x\n    y()\nKeyError: 'z'\nStopped.\nEnded.\n"
    assert end_of(log) == "INFO: begins\nKeyError: 'z'"


def test_the_processes_that_systemd_ends_with_a_unit_are_no_reason():
    killed = "x.service: Killing process 7 (python) with signal SIGKILL.\n"
    log = f"Started x.\n{killed}x.service: Failed with result 'signal'.\n"
    assert end_of(log, 2) == "Started x.\nx.service: Failed with result 'signal'."


def test_an_exception_of_any_name_and_not_that_of_a_stop():
    frames = "Traceback (most recent call last):\n  File x\n"
    assert telling_line(f"{frames}zmq.Again\n{frames}KeyboardInterrupt\n") == "zmq.Again"
    assert telling_line(f"{frames}KeyboardInterrupt\n") == ""

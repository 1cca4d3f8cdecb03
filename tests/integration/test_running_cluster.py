# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml on a cluster that runs: a part of it alone changes nothing, and what a hand changed is named and mended."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.bed.cluster import Run
from tests.long import long

TOKEN = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/etc/ray/auth_token"
RAY_START = "/opt/ray/current/bin/ray start --num-cpus=1 --object-store-memory=80000000 --disable-usage-stats"
UNIT = "/etc/systemd/system/ray-worker.service"
# What a hand does: host, command, and what the diff of a run must say of it.
DRIFT = {
    "configuration file": (
        "worker-1", "sed -i 's/drain_timeout: 30/drain_timeout: 7/' /etc/ray/worker-node.yaml",
        ["/etc/ray/worker-node.yaml", "drain_timeout: 7"],
    ),
    "unit": (
        "worker-2",
        f"sed -i 's/ --block/ --block --num-cpus=1/' {UNIT}; systemctl daemon-reload; systemctl restart ray-worker",
        [UNIT, "--num-cpus"],
    ),
    "unit, not yet loaded": (
        "head", "sed -i s/^RestartSec=.*/RestartSec=77/ /etc/systemd/system/ray-head.service",
        ["/etc/systemd/system/ray-head.service", "RestartSec=77"],
    ),
    "health timer": ("worker-1", "systemctl stop ray-health.timer", ["timers"]),
    "a second node of the cluster": (
        "worker-1", f"{TOKEN} {RAY_START} --address={{gcs}} --dashboard-agent-listen-port=52366 --temp-dir=/tmp/second",
        ["other Ray on this host, raylet {worker-1}"],
    ),
    "another cluster": (
        "worker-2", f"{RAY_START} --head --port=7777 --include-dashboard=false --ray-client-server-port=20001"
        " --dashboard-agent-listen-port=52367 --temp-dir=/tmp/another",
        ["other Ray on this host, gcs_server", "other Ray on this host, raylet {worker-2}"],
    ),
}
OTHERS = "for pid in $(pgrep -x 'raylet|gcs_server'); do grep -qs /ray- /proc/$pid/cgroup || echo $pid; done"


@dataclass(frozen=True)
class Story:
    """What three runs said of the drift, and the raylets by host before it and after the second."""

    others: dict[str, str]
    check: Run
    others_after_check: dict[str, str]
    mended: Run
    again: Run
    before: dict[str, str]
    after: dict[str, str]


@pytest.mark.parametrize("arguments", [
    *(pytest.param(["--tags", tag], marks=long) for tag in ("ray", "redis", "head", "verify")),
    ["--tags", "workers"], ["--limit", "worker-1"], ["--check", "--diff"],
], ids=" ".join)
def test_part_of_it_changes_nothing(deployed, arguments):
    before = deployed.pids()
    run = deployed.site(*arguments).must_succeed()
    assert run.changed == 0, run.output
    assert deployed.pids() == before


@pytest.fixture(scope="module")
def story(deployed) -> Story:
    before = deployed.pids()
    for host, command, _expected in DRIFT.values():
        deployed.sh(host, command.format(gcs=deployed.gcs))
    others = {name: deployed.sh(name, OTHERS) for name in deployed.names}
    check = deployed.site("--check", "--diff")
    others_after_check = {name: deployed.sh(name, OTHERS) for name in deployed.names}
    mended = deployed.site("--diff")
    after = deployed.pids()
    return Story(others, check, others_after_check, mended, deployed.again(), before, after)


@pytest.mark.parametrize("drift", DRIFT)
def test_check_names_the_drift(story, drift):
    raylets = {name: pids.split()[-1] for name, pids in story.others.items() if pids}
    for words in DRIFT[drift][2]:
        assert words.format(**raylets) in story.check.output, story.check.output


def test_check_changes_nothing(story):
    assert story.check.must_succeed()
    assert story.others_after_check == story.others
    assert len(story.others["worker-1"].split()) == 1
    assert len(story.others["worker-2"].split()) == 2


def test_next_run_mends(deployed, story):
    story.mended.must_succeed()
    assert {name: deployed.sh(name, OTHERS) for name in deployed.names} == dict.fromkeys(deployed.names, "")
    deployed.sh("worker-1", "grep -q 'drain_timeout: 30' /etc/ray/worker-node.yaml")
    deployed.sh("worker-1", "systemctl is-active ray-health.timer")
    deployed.sh("worker-2", f"! grep -e --num-cpus=1 {UNIT} && ! pgrep --full '[r]ay start .*--num-cpus=1'")
    assert deployed.sh("head", "systemctl show --property RestartUSec --value ray-head") != "1min 17s"


def test_what_did_not_differ_was_not_restarted(story):
    assert {name for name in story.before if story.before[name] != story.after[name]} == {"worker-2"}


def test_run_after_that_changes_nothing(story):
    story.again.must_succeed()
    assert story.again.changed == 0, story.again.output

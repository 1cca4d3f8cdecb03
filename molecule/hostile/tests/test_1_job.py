# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job runs code as user ray on every node. It must get nothing from root, and stop no verb."""

from __future__ import annotations

import tarfile

import pytest

STATE = "stat -c '%U %a' /opt/ray /opt/ray/2.60.0 /opt/ray/2.60.0/bin"


@pytest.fixture
def undo(cluster):
    """Commands for the end of a test, on a host each."""
    commands: list[tuple[str, str]] = []
    yield lambda name, command: commands.append((name, command))
    for name, command in commands:
        cluster.sh(name, command)


def test_root_imports_nothing_of_a_job(cluster, jobs, play, undo):
    for name in cluster.names:
        undo(name, f"rm -r {jobs.must(name, 'leave_modules')}")
        units = "ray-prune ray-health" + (" ray-backup" if name == cluster.head else "")
        cluster.sh(name, f"systemctl start {units}")
    status, output = play("rayops.cluster.site")
    assert status == 0, output


def test_root_runs_no_program_that_a_job_names(jobs, play, worker):
    jobs.must(worker, "rename_environment")
    status, output = play("rayops.cluster.restart", "--limit", worker)
    assert status == 0, output


def test_a_job_cannot_replace_what_root_made(cluster, jobs, undo):
    """The directory of the state is root's, in one whose entries only their owners may take away."""
    undo(cluster.head, "cd /var/lib/ray && test ! -e gcs-of-before || { rm gcs; mv gcs-of-before gcs; }")
    answer = jobs.attack(cluster.head, "give_away_environment")
    assert "Permission denied" in answer.get("failed", "") or "not permitted" in answer.get("failed", ""), answer


def test_root_follows_no_link_that_is_not_its_own(cluster, play, undo):
    """As on a host where a job once could make one."""
    before = cluster.sh(cluster.head, STATE)
    undo(cluster.head, "cd /var/lib/ray && rm gcs && mv gcs-of-before gcs")
    cluster.sh(cluster.head, "cd /var/lib/ray && mv gcs gcs-of-before && ln -s /opt/ray gcs && chown -h ray:ray gcs")
    status, output = play("site.yml", "--tags", "head")
    assert cluster.sh(cluster.head, STATE) == before
    assert status != 0 and "the link 'gcs', which ray can have made" in " ".join(output.split()), output[-3000:]


def test_names_that_a_job_chooses_stop_no_verb(cluster, jobs, play):
    job = jobs.submit(cluster.head, "wait_for_marks")
    assert jobs.answer(job) == 5
    try:
        for verb in ("rayops.cluster.status", "rayops.cluster.verify"):
            status, output = play(verb)
            assert status == 0, output[-3000:]
            assert "\x1b" not in output
        status, output = play("rayops.cluster.recover", "--check")
        assert status == 0, output[-3000:]
    finally:
        jobs.stop(job)


@pytest.mark.parametrize("attack", ["lock_for_nobody", "lock_of_a_daemon"])
def test_the_backup_signals_nobody_but_the_gcs(cluster, jobs, daemon, attack):
    held = jobs.must(cluster.head, attack)
    try:
        cluster.sh(cluster.head, "systemctl start ray-backup.service", check=False)
        assert not daemon()
        # The journal may be behind on a busy machine.
        log = cluster.sh(
            cluster.head, "journalctl --sync; journalctl --quiet --unit=ray-backup --lines=10 --output=cat")
        assert '"error"' in log, log
    finally:
        if isinstance(held, int):
            cluster.sh(cluster.head, f"kill {held}; sleep 0.5")
        jobs.must(cluster.head, "locks_of_before")
    cluster.sh(cluster.head, "systemctl start ray-backup.service")
    cluster.wait_whole()


def test_the_backup_program_shows_no_file_of_roots(cluster, jobs, play, diary, tmp_path):
    link = jobs.must(cluster.head, "show_a_secret")
    try:
        status, output = play("rayops.cluster.backup", "-e", f"backup_dest={tmp_path}")
        assert status == 0, output
        (archive,) = tmp_path.glob("*.tar.gz")
        _status, output = play("rayops.cluster.replace_head", "--check", "-vv", "-e", f"replace_head_backup={archive}")
        assert "state_id" in output, output
        assert diary not in output
    finally:
        cluster.sh(cluster.head, f"rm {link}")


def test_a_pipe_stops_nobody(cluster, jobs, play, worker):
    path = jobs.must(worker, "hang_readers")
    try:
        status, output = play("rayops.cluster.recover", seconds=150)
        assert status == 0, output[-3000:]
    finally:
        cluster.sh(worker, f"rm -f {path}")


def test_the_support_bundle_has_nothing_that_only_root_reads(cluster, jobs, play, worker, diary, tmp_path):
    jobs.must(worker, "link_logs")
    session = "$(readlink -f /var/lib/ray/session_latest)"
    try:
        cluster.sh(worker, f"timeout 20 sh -c 'until test -L {session}/logs; do sleep 0.2; done'")
        status, output = play("rayops.cluster.support_bundle", "-e", f"support_bundle_dest={tmp_path}")
        assert status == 0, output
    finally:
        cluster.sh(worker, f"cd {session} && rm logs && mv logs-of-before logs")
        # A node whose logs were gone may end at any time: a new one does not.
        cluster.sh(worker, "systemctl restart ray-worker")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as bundle:
        members = {member.name: bundle.extractfile(member).read() for member in bundle if member.isfile()}
    assert any(f"/{worker}/" in name for name in members)
    assert not [name for name, data in members.items() if diary.encode() in data]


def test_what_is_stale_is_removed_where_it_was_found(cluster, jobs, play, worker):
    cluster.sh(worker, "mkdir -p /srv/precious && date > /srv/precious/raylet")
    pid = jobs.must(worker, "swap_while_removed")
    try:
        for _attempt in range(2):
            play("rayops.cluster.recover")
            assert cluster.sh(worker, "ls /srv/precious") == "raylet"
    finally:
        cluster.sh(worker, f"kill {pid}; rm -rf /var/lib/ray/session_2020-01-01_00-00-00_000000_1", check=False)


def test_a_worker_process_gains_no_privileges(cluster, jobs, worker):
    for name in (cluster.head, worker):
        found = jobs.must(name, "become_root")
        assert found["user"] != 0 and found["no_new_privs"] == "1" and int(found["bounding"], 16) == 0, found

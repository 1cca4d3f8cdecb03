# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another host takes the head's role, with the state: from the old head while that answers, then from a backup."""

from __future__ import annotations

from pathlib import Path

from tests.bed.cluster import Cluster, Run


def moved(remade, cluster: Cluster, head: str, old_head: str = "") -> Cluster:
    """The cluster on its bed after another host has the head's tag; the old one is gone unless it is named."""
    new = remade(head=head, old_head=old_head)
    new.actor = cluster.actor
    return new


def backup(cluster: Cluster, directory: Path) -> Path:
    run = cluster.play("rayops.cluster.backup", "-e", f"backup_dest={directory}").must_succeed()
    assert "The GCS was paused for " in run.output
    (archive,) = directory.glob("ray-backup-*.tar.gz")
    assert archive.stat().st_mode & 0o777 == 0o600
    return archive


def worker_pids(cluster: Cluster) -> dict[str, str]:
    pids = cluster.pids()
    return {name: pids[name] for name in cluster.workers}


def prove(cluster: Cluster, run: Run, pids: dict[str, str], ids: dict[str, list[str]]) -> None:
    """The workers were not touched, the actor counts on, and nothing is left to do."""
    run.must_succeed()
    nodes = cluster.wait_whole()
    assert worker_pids(cluster) == pids
    assert {name: nodes[name] for name in cluster.workers} == {name: ids[name] for name in cluster.workers}
    counted = cluster.actor
    cluster.call_actor()
    assert (cluster.actor["count"], cluster.actor["pid"]) == (counted["count"] + 1, counted["pid"])
    assert cluster.again().changed == 0


def test_a_backup_changes_nothing_of_the_cluster(cluster, tmp_path):
    before = cluster.pids()
    check = cluster.play("rayops.cluster.backup", "--check", "-e", f"backup_dest={tmp_path}").must_succeed()
    assert "would be packed" in check.output and list(tmp_path.iterdir()) == []
    backup(cluster, tmp_path)
    assert cluster.pids() == before


def test_what_cannot_be_restored_is_refused(cluster, tmp_path):
    before = cluster.pids()
    archive = backup(cluster, tmp_path)
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(archive.read_bytes()[:-4000])
    for backup_path, said in ((damaged, "is no whole backup"), (tmp_path / "none", "is no file on this machine"),
                              (archive, "has a state of its own, last written"), ("", "was on the old head")):
        run = cluster.play("rayops.cluster.replace_head", "-e", f"replace_head_backup={backup_path}")
        assert run.status and said in run.output, run.output[-2000:]
    arguments = ("-e", f"replace_head_backup={archive}", "-e", "ray_cluster_name=other")
    other = cluster.play("rayops.cluster.replace_head", *arguments)
    assert other.status and "is a backup of cluster_name" in other.output
    assert cluster.pids() == before


def test_a_new_head_takes_over_from_one_that_answers(cluster, remade, nothing_lost, tmp_path):
    cluster.ensure_actor(cluster.workers[0])
    pids, ids, old = worker_pids(cluster), cluster.wait_whole(), cluster.head
    cluster = moved(remade, cluster, "head-2", old)
    # In the cloud a tag moves; a container's label cannot.
    cluster.inventory = cluster.bed.state / "static.yml"
    arguments = ("-e", f"replace_head_old={old}", "-e", f"backup_dest={tmp_path}")
    check = cluster.play("rayops.cluster.replace_head", "--check", *arguments).must_succeed()
    assert "would be in /var/lib/ray/gcs" in check.output and worker_pids(cluster) == pids
    assert cluster.sh(old, "systemctl is-active ray-head") == "active"
    with nothing_lost("worker-2"):
        run = cluster.play("rayops.cluster.replace_head", *arguments)
    prove(cluster, run, pids, ids)
    assert cluster.sh(old, "systemctl is-enabled ray-head || true") == "disabled"
    assert len(list(tmp_path.iterdir())) == 1
    # Again: all of it is done.
    again = cluster.play("rayops.cluster.replace_head", *arguments).must_succeed()
    assert again.changed == 0 and cluster.nodes().keys() == ids.keys() - {old} | {"head-2"}
    moved(remade, cluster, "head-2")


def test_a_new_head_takes_over_from_a_backup(cluster, remade, tmp_path):
    """The old one is gone with its disk. What was written after the backup is lost, and nothing else."""
    cluster.call_actor()
    pids, ids = worker_pids(cluster), cluster.wait_whole()
    archive = backup(cluster, tmp_path)
    # Jobs that the state does not know, and whose drivers the workers know to have ended.
    cluster.call_actor()
    cluster.call_actor()
    token = cluster.sh(cluster.head, "sha256sum < /etc/ray/auth_token")
    cluster = moved(remade, cluster, "head")
    run = cluster.play("rayops.cluster.replace_head", "-e", f"replace_head_backup={archive}")
    prove(cluster, run, pids, ids)
    assert cluster.sh(cluster.head, "sha256sum < /etc/ray/auth_token") == token
    again = cluster.play("rayops.cluster.replace_head", "-e", f"replace_head_backup={archive}").must_succeed()
    assert again.changed == 0


def test_a_head_without_its_token_takes_that_of_the_workers(cluster):
    before = cluster.pids()
    token = cluster.sh(cluster.head, "sha256sum < /etc/ray/auth_token; rm /etc/ray/auth_token")
    cluster.site("--tags", "head").must_succeed()
    assert cluster.sh(cluster.head, "sha256sum < /etc/ray/auth_token") == token
    cluster.again()
    assert {name: cluster.pids()[name] for name in cluster.workers} == {name: before[name] for name in cluster.workers}

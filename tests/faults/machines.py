# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis, the network, the power, the disks and the clock: what happens around the nodes."""

from __future__ import annotations

import socket
import subprocess

from tests.bed.cluster import Cluster, Run
from tests.bed.containers import address, wait_for_sshd, wait_for_systemd
from tests.bed.engine import client
from tests.bed.firewall import close, open_all
from tests.faults.fault import Fault
from tests.faults.kills import WORKER, command

REDIS = "redis-server"
OTHER = "worker-2"
REDIS_SECONDS = DISK_SECONDS = 20
# TCP tries again after 51 s of silence and after 102 s: before that the node does not know that it was given up.
NETWORK_SECONDS = 30
BOOT_SECONDS = 30
SITE_SECONDS = 60
# A person runs a second playbook, in which the head ends once more and begins with what the backup has.
PUT_BACK_SECONDS = 120
# Without a process that holds it, a file of this size fits on no file system of a test.
FILL = "dd if=/dev/zero of={0}/filler bs=1M status=none 2>/dev/null; dd if=/dev/zero of={0}/filler.2 bs=1k status=none"
SMALL = "200M"
OWN_DISK = (
    "systemctl stop ray-worker && mount -t tmpfs -o size=" + SMALL + ",mode=0770,gid=ray tmpfs /var/lib/ray"
    " && systemctl start ray-worker"
)
SHARED_DISK = "systemctl stop ray-worker; umount -l /var/lib/ray; systemctl start ray-worker"
FAKETIME = "/usr/lib/$(uname -m)-linux-gnu/faketime/libfaketime.so.1"
# The shell's own clock proves that it is wrong.
WRONG_CLOCK = (
    "now=$(date +%s); echo +1h > /etc/faketimerc; echo @ > /etc/ld.so.preload; test $(date +%s) -gt $((now + 3000))"
).replace("@", FAKETIME)
RESTART = "systemctl restart ray-worker"
# What a lost block leaves: the list of the database's files ends in the middle. It is read when the GCS starts again.
CORRUPT = (
    "kill -9 $(pgrep -x gcs_server); for file in $(find /var/lib/ray/gcs -name 'MANIFEST-*'); "
    "do truncate -s 20 $file; done"
)
BARE_HOSTS = "echo '127.0.0.1 localhost' > /etc/hosts"


def cable(cluster: Cluster, state: str) -> None:
    """As of a cable that is pulled: the host's interface stays, with its name and its address, and carries nothing."""
    number = int(cluster.sh(WORKER, "cat /sys/class/net/eth*/iflink"))
    outside = next(name for index, name in socket.if_nameindex() if index == number)
    subprocess.run(["ip", "link", "set", outside, state], check=True, timeout=30)


def one_way(cluster: Cluster) -> None:
    """As a firewall that lets the worker out and the head not in. Its node starts anew: open connections stay."""
    close(cluster, WORKER, "head")
    cluster.sh(WORKER, RESTART)


def apart(cluster: Cluster) -> None:
    """The workers reach the head, and not each other."""
    close(cluster, WORKER, OTHER, new=False)
    close(cluster, OTHER, WORKER, new=False)


def together(cluster: Cluster) -> None:
    for host in (WORKER, OTHER):
        open_all(cluster, host)


def back_up(cluster: Cluster) -> None:
    (cluster.bed.state / "backup").mkdir(exist_ok=True)
    cluster.play("rayops.cluster.backup", "--extra-vars", f"backup_dest={cluster.bed.state}/backup").must_succeed()


def put_back(cluster: Cluster) -> Run:
    """The newest backup, as site.yml advises."""
    newest = max((cluster.bed.state / "backup").glob("*.tar.gz"))
    options = f"replace_head_backup={newest} replace_head_force=true"
    return cluster.play("rayops.cluster.replace_head", "--extra-vars", options)


def power_off(host: str):
    return lambda cluster: client().containers.get(cluster.container(host)).kill()


def power_on(host: str):
    def boot(cluster: Cluster) -> None:
        client().containers.get(cluster.container(host)).start()
        wait_for_systemd(cluster.container(host))
        wait_for_sshd(address(cluster.bed, host))

    return boot


MACHINES = [
    Fault("redis-down", "Redis down for 60 s, and back",
          "the GCS ends and is started again until Redis answers; running nodes and their tasks go on meanwhile",
          REDIS_SECONDS, command("redis", f"systemctl stop {REDIS}"), command("redis", f"systemctl start {REDIS}"),
          hold=60, renewed=("head",)),
    Fault("redis-gone", "Redis stopped and disabled",
          "tasks go on on the workers, and nothing else; `site.yml` starts Redis, and the head follows",
          SITE_SECONDS, command("redis", f"systemctl disable --quiet --now {REDIS}"), hold=10, renewed=("head",),
          heals=False, says=(r"TASK \[.*Run Redis with its configuration\] \*+\nchanged: \[redis\]",)),
    Fault("network", "worker cut off the network for 90 s, and back",
          "the GCS gives the node up after 15 to 30 s and starts its work elsewhere; back on the network, the node "
          "starts anew", NETWORK_SECONDS, lambda cluster: cable(cluster, "down"),
          lambda cluster: cable(cluster, "up"), hold=90, renewed=(WORKER,)),
    Fault("one-way", "worker: the head cannot open connections to it for 90 s",
          "the node is ALIVE for half a minute, is given up and starts anew, again and again; `verify` and `recover` "
          "name the ports", NETWORK_SECONDS, one_way, together, hold=90, renewed=(WORKER,)),
    Fault("workers-apart", "the workers cannot reach each other for 60 s",
          "nothing: both reach the head, and calls between them wait; `verify` and `recover` name the ports",
          NETWORK_SECONDS, apart, together, hold=60),
    Fault("worker-reboot", "worker: power off, and on again", "the unit starts with the host", BOOT_SECONDS,
          power_off(WORKER), power_on(WORKER), hold=1, renewed=(WORKER,)),
    Fault("head-reboot", "head: power off, and on again",
          "the unit starts with the host and reads its state back; the workers wait for it", BOOT_SECONDS,
          power_off("head"), power_on("head"), hold=1, renewed=("head",)),
    Fault("hosts-file", "worker: `/etc/hosts` written anew, as cloud-init does it at boot, and its node started anew",
          "`ray-hosts` puts the head's name back, and the node finds the head", BOOT_SECONDS,
          command(WORKER, f"{BARE_HOSTS}; {RESTART}"), renewed=(WORKER,)),
    Fault("rocksdb-corrupt", "head: its RocksDB damaged, and its gcs_server killed",
          "the head ends again and again; `site.yml` and `recover` name the database; with a backup put back "
          "(`replace_head`) the workers' nodes, tasks and actors go on", PUT_BACK_SECONDS, command("head", CORRUPT),
          hold=5, renewed=("head",), heals=False, says=("cannot read /var/lib/ray/gcs", "replace_head_backup="),
          prepare=back_up, mend=put_back, storage="rocksdb"),
    Fault("disk-full", "worker: the disk of `/var/lib/ray` full, then freed",
          "the node goes on: its tasks run, its logs stop, and no object is spilled", DISK_SECONDS,
          command(WORKER, FILL.format("/var/lib/ray") + "; true"), command(WORKER, "rm -f /var/lib/ray/filler*"),
          hold=15, prepare=command(WORKER, OWN_DISK), clean=command(WORKER, SHARED_DISK)),
    Fault("shm-full", "worker: `/dev/shm` full, then freed",
          "small results do not need it; the node goes on", DISK_SECONDS,
          command(WORKER, FILL.format("/dev/shm") + "; true"), command(WORKER, "rm -f /dev/shm/filler*"), hold=10),
    Fault("clock", "worker: clock an hour ahead, its node started anew, and right again",
          "nothing: Ray compares no clocks of two hosts", 2 * BOOT_SECONDS,
          command(WORKER, f"{WRONG_CLOCK} && {RESTART}"),
          command(WORKER, f"rm -f /etc/ld.so.preload; {RESTART}"), hold=15, renewed=(WORKER,),
          prepare=command(WORKER, f"test -e {FAKETIME} || {{ apt-get update; apt-get install -y libfaketime; }}"),
          clean=command(WORKER, "rm -f /etc/ld.so.preload /etc/faketimerc")),
]

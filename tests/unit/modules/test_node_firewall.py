# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module on a host of its own: namespaces for its network and its files, with the real nft. systemctl and
systemd-run are stand-ins that remember what is active; molecule has the real ones."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.host import _is_ssh
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import Listener
from tests.bed.engine import install

REPOSITORY = Path(__file__).resolve().parents[3]
RUN = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
module = importlib.import_module(f"ansible_collections.rayops.cluster.plugins.modules.{sys.argv[1]}")
with patch_module_args(json.load(sys.stdin)):
    module.main()
"""
SYSTEMCTL = """#!/bin/sh
state=$(dirname "$0")/state
verb=$1; shift
for name; do case $name in -*) continue;; esac
    case $verb in
    show)
        echo LoadState=loaded
        if [ -e $state/$name.failed ]; then echo ActiveState=failed
        elif [ -e $state/$name.active ]; then echo ActiveState=active
        else echo ActiveState=inactive; fi
        [ -e $state/$name.enabled ] && echo UnitFileState=enabled
        echo ;;
    start)
        [ $name = ray-firewall.service ] && nft --file /etc/rayops/firewall.nft
        touch $state/$name.active ;;
    stop) rm -f $state/$name.active ;;
    enable) touch $state/$name.enabled ;;
    disable) rm -f $state/$name.enabled ;;
    reset-failed) rm -f $state/$name.failed ;;
    esac
done
exit 0
"""
SYSTEMD_RUN = """#!/bin/sh
state=$(dirname "$0")/state
if [ -e $state/ray-firewall-withdraw.service.failed ]; then
    echo Unit ray-firewall-withdraw.service was already loaded or has a fragment file. >&2
    exit 1
fi
echo "$@" > $state/withdrawal
touch $state/ray-firewall-withdraw.timer.active
"""
JOURNALCTL = """#!/bin/sh
echo "firewall.nft:2:1-5: Error: Could not process rule: Operation not permitted"
"""
# Their changes stay in it. /etc is a copy.
NAMESPACE = """set -e
mkdir -p $1/etc; cp -a /etc/. $1/etc; mount --bind $1/etc /etc
for place in /run /var/lib; do mount -t tmpfs none $place; done
ip link set lo up
echo ready
exec sleep 600
"""
PORTS = {"cluster": ["6379", "10002-19999"], "clients": ["8265"], "monitors": ["6385"], "open": []}
SHARED = {**PORTS, "cluster": ["6379"], "shared": ["10002-19999"]}
# A user of this image for Ray's, another one, and a number without a name, as /etc/subuid lends them.
RAY, OTHER, NAMELESS = "games", "daemon", "123456"
LISTEN = """
import os, pwd, socket, sys, time
user, *addresses = sys.argv[1:]
os.setuid(int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid)
servers = [socket.create_server((host, int(port))) for host, port in (each.split("@") for each in addresses)]
print("ready", flush=True)
time.sleep(60)
"""
HOSTS = [{"name": "head", "addresses": ["10.0.0.5"], "found": ["10.0.0.5", "10.9.0.5"]},
         {"name": "worker-1", "addresses": ["10.0.0.6"], "found": None}]
FILES = ("/etc/rayops", "/var/lib/rayops", "/run/rayops", "/etc/systemd/system/ray-firewall.service")


class Host:
    """A host, as the module sees it."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "bin" / "state"
        self.state.mkdir(parents=True)
        programs = {"systemctl": SYSTEMCTL, "systemd-run": SYSTEMD_RUN, "journalctl": JOURNALCTL}
        for name, text in programs.items():
            (directory / "bin" / name).write_text(text)
            (directory / "bin" / name).chmod(0o755)
        self.path = f"{directory}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", NAMESPACE, "sh", str(directory)], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def run(self, *command: str, text: str | None = None, check: bool = True) -> str:
        inside = ["nsenter", f"--target={self.process.pid}", "--net", "--mount", *command]
        done = subprocess.run(inside, input=text, capture_output=True, text=True, check=False, env={
            **os.environ, "PATH": self.path, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"})
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def module(self, state: str = "present", check_mode: bool = False, **options):
        given = {"hosts": HOSTS, "ports": PORTS, "name": "head"} if state == "present" else {}
        return self.answer("node_firewall", {"state": state, **given, **options, "_ansible_check_mode": check_mode})

    def answer(self, module: str, options: dict):
        return json.loads(self.run(sys.executable, "-c", RUN, module, check=False, text=json.dumps(options)))

    def found(self) -> list[str]:
        """What recover would name."""
        found = self.answer("ray_diagnosis", {"firewall": True, "disk_limit": 1.01})["findings"]
        assert all(each["problem"] == "firewall_missing" and "rayops.cluster.firewall" in each["person"]
                   for each in found), found
        return [each["detail"].partition(": ")[2] for each in found]

    def keep(self, **options):
        """Load, and keep; returns what the first said."""
        found = self.module(**options)
        assert not found.get("failed"), found
        if found["trial"]:
            assert not self.module("kept").get("failed")
        return found

    @contextlib.contextmanager
    def listening(self, user: str, *addresses: str):
        """Somebody listens here, on host@port each."""
        inside = ["nsenter", f"--target={self.process.pid}", "--net", sys.executable, "-c", LISTEN, user, *addresses]
        with subprocess.Popen(inside, stdout=subprocess.PIPE) as server:
            assert server.stdout.readline() == b"ready\n"
            yield
            server.kill()

    def table(self) -> str:
        return self.run("nft", "--stateless", "list", "table", "inet", "rayops", check=False)

    def files(self) -> list[str]:
        return [path for path in FILES if self.run("ls", "-d", path, check=False)]


@pytest.fixture(name="host")
def host_fixture(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("root alone makes namespaces")
    for program, package in (("nft", "nftables"), ("ip", "iproute2")):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            install(package)
    host = Host(tmp_path)
    yield host
    host.process.kill()
    host.process.wait()


def test_a_check_shows_the_rules_and_touches_nothing(host):
    found = host.module(check_mode=True)
    assert found["changed"] and not found["trial"]
    assert "tcp dport != @closed accept" in found["diff"]["after"] and found["diff"]["before"] == ""
    assert host.table() == "" and host.files() == []


def test_a_table_is_kept_once_and_for_the_next_boot(host):
    assert host.keep()["changed"]
    before = host.table()
    assert "10.9.0.5" in before and "10.0.0.6" in before and "6385" in before
    assert (host.state / "ray-firewall.service.enabled").exists()
    assert not (host.state / "ray-firewall-withdraw.timer.active").exists()
    assert host.run("stat", "-c", "%a %U", "/etc/rayops/firewall.nft", "/var/lib/rayops") == "600 root\n700 root\n"
    assert host.files() == [path for path in FILES if path != "/run/rayops"]
    again = host.module()
    assert (again["changed"], again["surplus"], again["trial"]) == (False, False, False)
    host.run("nft", "flush", "ruleset")
    host.run("nft", "--file", "/etc/rayops/firewall.nft")
    assert host.table() == before and not host.module()["changed"]


@pytest.mark.parametrize("hand", [
    ["nft", "add", "rule", "inet", "rayops", "input", "accept"],
    ["nft", "flush", "ruleset"], ["rm", "/etc/rayops/firewall.nft"], ["systemctl", "disable", "ray-firewall.service"],
    ["sed", "-i", "s/^ExecStart=.*/ExecStart=true/", "/etc/systemd/system/ray-firewall.service"],
])
def test_a_hand_in_it_is_undone(host, hand):
    host.keep()
    before = host.table()
    host.run(*hand)
    assert host.keep()["changed"]
    assert host.table() == before and not host.module()["changed"]


def test_what_nobody_keeps_is_withdrawn_to_what_was_there(host):
    assert host.module(seconds=12)["trial"]
    said = (host.state / "withdrawal").read_text()
    assert "--on-active=12.0s" in said and said.rstrip().endswith("nft --file /run/rayops/firewall.before")
    # As the timer does it.
    host.run("nft", "--file", "/run/rayops/firewall.before")
    host.run("systemctl", "stop", "ray-firewall-withdraw.timer")
    assert host.table() == ""
    found = host.module("kept")
    assert found["failed"] and found["msg"] == "The rules were withdrawn, as nobody kept them in time: run this again."
    host.keep()
    before = host.table()
    assert host.module(clients=["10.7.0.0/16"])["trial"] and "10.7.0.0/16" in host.table()
    # A run that was interrupted here, and the next one: both go back to what was kept.
    assert host.module(clients=["10.8.0.0/16"])["trial"] and "10.7.0.0/16" not in host.table()
    assert host.module("withdrawn")["changed"]
    assert host.table() == before and not host.module()["changed"]


def test_a_withdrawal_that_failed_once_is_in_nobodys_way(host):
    (host.state / "ray-firewall-withdraw.service.failed").touch()
    assert host.keep()["changed"]


def test_a_table_that_is_somebody_elses_stays(host):
    host.run("nft", "--file", "-", text="table inet rayops {\n chain theirs {\n }\n}\n")
    for state in ("looked", "present"):
        found = host.module(state)
        assert found["failed"] and found["msg"] == (
            "The table inet rayops of this host is somebody else's: it is not touched. Remove it (nft delete table "
            "inet rayops), or set ray_firewall to false for this host.")
    assert not host.module("absent")["changed"]
    assert "chain theirs" in host.table() and host.files() == []


def test_a_host_that_another_firewall_rules_is_refused(host):
    (host.state / "firewalld.service.active").touch()
    found = host.module("looked", name="worker-1")
    assert found["failed"] and found["msg"].startswith("firewalld rules worker-1, and would shut")
    (host.state / "firewalld.service.active").unlink()
    (host.state / "firewalld.service.enabled").touch()
    assert host.module("looked", name="worker-1")["msg"].startswith("firewalld starts with worker-1, and would shut")
    (host.state / "firewalld.service.enabled").unlink()
    host.run("sh", "-c", "mkdir -p /etc/ufw && echo ENABLED=yes > /etc/ufw/ufw.conf && mount -t tmpfs none "
             "/usr/local/sbin && install -m 755 /bin/true /usr/local/sbin/ufw")
    assert host.module("looked", name="worker-1")["msg"].startswith("ufw rules worker-1, and would shut")
    host.run("sh", "-c", "echo ENABLED=no > /etc/ufw/ufw.conf")
    assert host.module("looked", name="worker-1")["nft"] is True


def test_every_interface_counts_with_its_private_addresses(host):
    # As a bridge over a bond has them: the kernel lists addresses, whatever carries them.
    for line in ("link add bond0 type veth peer name far", "link add br0 type bridge", "link set bond0 master br0",
                 "link set br0 up", "address add 10.0.0.5/24 dev br0", "address add 10.0.1.5/24 dev br0",
                 "address add 8.8.4.4/24 dev br0", "address add fd77::5/64 dev br0 nodad"):
        host.run("ip", *line.split())
    found = host.module("looked", name="head")
    assert found["addresses"] == ["10.0.0.5", "10.0.1.5", "fd77::5"] and found["own"] == []
    host.keep()
    assert host.module("looked", name="head")["own"] == ["10.0.0.5", "10.9.0.5"]


def test_the_workloads_ports_follow_the_hosts_range(host):
    host.keep(workload=True)
    assert "32768-60999" in host.table()
    host.run("sh", "-c", "echo 50000 50999 > /proc/sys/net/ipv4/ip_local_port_range")
    # What began under the old range may still have its ports.
    assert host.keep(workload=True, keep=True)["surplus"]
    assert "32768-60999" in host.table()
    assert not host.keep(workload=True)["surplus"]
    assert "50000-50999" in host.table() and "60999" not in host.table()


def test_a_range_in_which_others_have_their_ports_is_told(host):
    assert "warnings" not in host.keep(workload=True)
    host.run("sh", "-c", "echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range")
    found = host.keep(workload=True)
    assert json.dumps(found["warnings"]).count("net.ipv4.ip_local_port_range of head is 1024-65535, and the workload")
    assert "warnings" not in host.keep(workload=True)


def test_a_port_is_opened_when_nobody_listens_there_any_more(host):
    host.keep(ports={**PORTS, "clients": ["8001"]})
    with host.listening("root", "@8001"):
        found = host.keep()
    assert "8001" in host.table()
    assert "8001 stays shut on head: it was the cluster's" in json.dumps(found["warnings"])
    assert host.keep()["changed"] and "8001" not in host.table()


def test_what_others_listen_on_stays_open_as_long_as_they_do(host):
    shared = {"ports": SHARED, "workload": True, "user": RAY}
    with host.listening(OTHER, "@10050", "@40000", "127.0.0.1@41000", "@6379"):
        first = host.keep(**shared, keep=True)
        # They are asked again when all is started: what was stopped for the cluster's sake lets go of its ports.
        assert first["surplus"]
        before = host.table()
        assert all(gap in before for gap in ("10002-10049", "10051-19999", "32768-39999", "40001-60999", "6379"))
        for keep in (True, False, True):
            again = host.module(**shared, keep=keep)
            assert (again["changed"], again["surplus"]) == (False, False)
        # What comes later is let in by what looks at all that is declared.
        with host.listening("root", "@50000"):
            found = host.module(**shared, keep=True)
            assert (found["changed"], found["surplus"]) == (False, True)
            assert host.keep(**shared)["changed"] and "40001-49999" in host.table()
            assert not host.module(**shared)["changed"]
    assert host.keep(**shared, keep=True)["changed"]
    assert "10002-19999" in host.table() and "32768-60999" in host.table()


@pytest.mark.parametrize("user, addresses", [
    (RAY, ["@10050", "@40000"]), (NAMELESS, ["@10050", "@40000"]),
])
def test_rays_user_opens_no_port_for_itself(host, user, addresses):
    with host.listening(user, *addresses):
        host.keep(ports=SHARED, workload=True, user=RAY)
        assert "10002-19999" in host.table() and "32768-60999" in host.table()


def test_a_port_that_rays_user_has_too_is_shut(host):
    host.run("ip", "address", "add", "10.0.0.5/24", "dev", "lo")
    with host.listening(OTHER, "127.0.0.1@40001", "10.0.0.5@40000"), host.listening(RAY, "127.0.0.1@40000"):
        host.keep(ports=SHARED, workload=True, user=RAY)
        assert "40001-60999" in host.table()
        host.run("ip", "address", "add", "10.0.0.6/24", "dev", "lo")
        with host.listening(RAY, "10.0.0.6@40000"):
            assert host.keep(ports=SHARED, workload=True, user=RAY)["changed"]
            assert "32768-60999" in host.table()


def test_the_listener_of_the_networks_test_is_none_of_others(host):
    probe = ("from ansible_collections.rayops.cluster.plugins.module_utils._network.probe import listen; "
             f"print(listen('0.0.0.0', 30, [], (40000, 40000), '{RAY}'))")
    assert host.run(sys.executable, "-c", probe) == "40000\n"
    host.keep(ports=SHARED, workload=True, user=RAY)
    assert "32768-60999" in host.table()


@pytest.mark.parametrize("listener, is_ssh", [
    (Listener(1, "systemd", ""), True), (Listener(7, "sshd", "ssh.service"), True),
    (Listener(7, "sshd", "sshd@1-2.service"), True), (Listener(7, "sshd", "ray-worker.service"), False),
    (Listener(7, "sshd", ""), False), (Listener(0, "", ""), False),
    # What a login started, where none has a place of its own: the listener of verify's test of the network is one.
    (Listener(8, "python3", "ssh.service"), False), (Listener(8, "sshd", "ssh.service"), False),
])
def test_ssh_is_told_by_systemds_word(tmp_path, monkeypatch, listener, is_ssh):
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho MainPID=7\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert _is_ssh(listener) == is_ssh


def test_a_port_that_is_never_shut_makes_a_gap_in_its_range(host):
    host.keep(ports={**PORTS, "open": ["10022"]})
    assert "10002-10021" in host.table() and "10023-19999" in host.table()


def test_a_host_is_shut_out_by_what_each_knows(host):
    assert not host.module("shut_out", nodes=["worker-1"])["changed"]
    host.keep(clients=["10.7.0.0/16"])
    found = host.module("shut_out", nodes=["worker-1"])
    assert found["trial"] and not host.module("kept").get("failed")
    assert "10.0.0.6" not in host.table() and "10.7.0.0/16" in host.table() and "10.9.0.5" in host.table()
    assert not host.module("shut_out", nodes=["worker-1"])["changed"]


def test_all_of_it_goes(host):
    host.keep()
    host.run("nft", "--file", "-", text="table inet other {\n}\n")
    assert host.module("absent", check_mode=True)["changed"] and host.table()
    assert host.module("absent")["changed"]
    assert host.table() == "" and host.files() in ([], ["/var/lib/rayops"])
    assert host.run("nft", "list", "tables") == "table inet other\n"
    assert not any(name.startswith("ray-firewall") for name in os.listdir(host.state))
    assert not host.module("absent")["changed"]


def test_the_table_goes_where_nft_is_gone(host):
    host.keep()
    nft = host.run("sh", "-c", "command -v nft").strip()
    host.run("sh", "-c", f"echo > /run/none && mount --bind /run/none {os.path.realpath(nft)}")
    found = host.module("absent")
    assert found["changed"] and "warnings" not in found
    host.run("umount", os.path.realpath(nft))
    assert host.table() == "" and host.files() in ([], ["/var/lib/rayops"])


def test_without_nft_the_package_is_named(host):
    nft = os.path.realpath(host.run("sh", "-c", "command -v nft").strip())
    host.run("sh", "-c", f"echo > /run/none && mount --bind /run/none {nft}")
    assert host.module("looked", name="head")["nft"] is False
    assert host.module(check_mode=True)["changed"]
    assert host.module()["msg"] == "nft is missing: install the package nftables."


@pytest.mark.parametrize("hand, said", [
    ("nft delete table inet rayops", "it is not there."),
    ("nft delete table inet rayops; touch $STATE/ray-firewall.service.failed",
     "ray-firewall.service has failed: Error: Could not process rule: Operation not permitted"),
    ("nft add rule inet rayops input accept", "somebody has changed it."),
    ("systemctl disable ray-firewall.service", "ray-firewall.service does not start with the host."),
    ("rm /etc/rayops/firewall.nft", "none was loaded by this collection."),
    ("mount --bind /dev/null $NFT", "nft is missing: install the package nftables."),
], ids=["flushed", "not loaded", "changed", "disabled", "no file", "no nft"])
def test_recover_names_a_host_whose_table_is_not_in_force(host, hand, said):
    nft = os.path.realpath(host.run("sh", "-c", "command -v nft").strip())
    assert host.found() == ["none was loaded by this collection."]
    host.keep()
    assert host.found() == []
    host.run("sh", "-c", hand.replace("$STATE", str(host.state)).replace("$NFT", nft))
    assert host.found() == [said]

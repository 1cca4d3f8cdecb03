# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook known_hosts, from the console of an instance or from an authority to a connection that asks nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ecs_simulator.testing import SECRET_KEY, running
from tests.redis import free_port
from tests.sshd import keygen, make_key, sshd, verdict

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs OpenSSH's client")
REPOSITORY = Path(__file__).resolve().parents[3]
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
HEAD, WORKER = "127.0.0.11", "127.0.0.12"
DEMO = {"ray-cluster-name": "demo"}
SHORTS = [
    {"name": "head", "id": "h", "private_ip": HEAD, "tags": {**DEMO, "ray-node-type": "head"}},
    {"name": "worker-1", "id": "w", "private_ip": WORKER, "tags": {**DEMO, "ray-node-type": "worker"}},
]


class Site:
    """A controller's folder, two servers with keys, and a playbook's run there."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.file = folder, port, folder / "known_hosts"
        self.keys = {name: make_key(folder / name) for name in ("head", "worker-1", "other")}
        self.environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "COLUMNS": "1000"}
        self.inventory = folder / "hosts.yml"

    def static(self, **worker: object) -> None:
        """An inventory without a cloud."""
        groups = {"ray_head": {"head": {"ansible_host": HEAD}},
                  "ray_workers": {"worker-1": {"ansible_host": WORKER, **worker}}}
        tree = {"all": {"vars": {"ansible_port": self.port},
                        "children": {group: {"hosts": hosts} for group, hosts in groups.items()}}}
        self.inventory.write_text(json.dumps(tree), encoding="utf-8")

    def play(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "rayops.cluster.known_hosts", "-i", self.inventory,
             "-e", f"ray_known_hosts={self.file}", *arguments],
            env=self.environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
        assert "Traceback" not in done.stdout + done.stderr and SECRET_KEY not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    def sees(self, address: str) -> str:
        return verdict(self.file, address, self.port)


@pytest.fixture(name="site")
def site_fixture() -> Iterator[Site]:
    # Where user nobody, who runs sshd, may look.
    with tempfile.TemporaryDirectory(prefix="known-") as folder:
        Path(folder).chmod(0o755)
        yield Site(Path(folder), free_port(HEAD))


def test_the_cloud_knows_the_keys(site):
    with running([dict(short) for short in SHORTS]) as simulator:
        site.environment.update(simulator.environment(), RAY_HOST_KEYS="true", NO_PROXY="*")
        site.inventory = site.folder / "huawei_ecs.yml"
        site.inventory.write_text(json.dumps({
            "plugin": "rayops.cluster.huawei_ecs", "compose": {"ansible_port": str(site.port)}}), encoding="utf-8")
        # More than the 50 lines that the API gives by itself, and things that another host's owner would like.
        boot = "\n".join(f"[ {n}.0] systemd[1]: Started unit {n}." for n in range(80))
        simulator.source.consoles.update(
            h=f"{BEGIN}\r\n{site.keys['head']}\r\n{END}\r\n{boot}",
            w=f"{WORKER} {site.keys['other']}\n{BEGIN}\n* {site.keys['other']}\n{HEAD} {site.keys['other']}\n"
              f"@cert-authority * {site.keys['other']}\n\x1b[2J{site.keys['worker-1']}\n{END}\n{boot}")
        status, output = site.play()
        assert status == 2 and "No key is known of worker-1: log in" in output, output
        assert "gives no host keys of w: the console does not show them" in output
        assert "\x1b" not in output
        simulator.source.consoles["w"] = f"{boot}\n{BEGIN}\n{site.keys['worker-1']}\n{END}\n"
        status, output = site.play()
        assert status == 0 and "changed=1" in output, output
        assert not any("/openstack/" in path for path in simulator.requests)
    own = [f"[{address}]:{site.port} {' '.join(site.keys[name].split()[:2])}"
           for address, name in ((HEAD, "head"), (WORKER, "worker-1"))]
    assert site.file.read_text(encoding="utf-8").splitlines() == own
    with sshd(site.folder / "a", HEAD, site.port, site.folder / "head"):
        assert site.sees(HEAD) == "known"
    # Somebody in the place of the worker.
    with sshd(site.folder / "b", WORKER, site.port, site.folder / "other"):
        assert site.sees(WORKER) == "Host key verification failed."


def test_another_key_is_refused_until_it_is_said(site):
    mine = f"example.com {site.keys['other']}\n"
    site.file.write_text(f"{mine}[{WORKER}]:{site.port} {site.keys['other']}\n", encoding="utf-8")
    before = site.file.read_text(encoding="utf-8")
    site.static(ray_known_hosts_keys=[site.keys["worker-1"]])
    status, output = site.play("--limit", "worker-1")
    assert status == 2 and f"has another key of worker-1 ([{WORKER}]:{site.port}), line 2: either the" in output
    assert site.file.read_text(encoding="utf-8") == before
    status, output = site.play("--limit", "worker-1", "-e", "ray_known_hosts_replace=true", "--check", "--diff")
    assert status == 0 and f"-[{WORKER}]:{site.port} {site.keys['other']}" in output, output
    assert site.file.read_text(encoding="utf-8") == before
    assert site.play("--limit", "worker-1", "-e", "ray_known_hosts_replace=true")[0] == 0
    after = site.file.read_text(encoding="utf-8")
    assert after.startswith(mine) and after.count("\n") == 2
    status, output = site.play("--limit", "worker-1")
    assert status == 0 and "changed=0" in output
    with sshd(site.folder / "a", WORKER, site.port, site.folder / "worker-1"):
        assert site.sees(WORKER) == "known"


@pytest.mark.parametrize(("line", "sentence"), [
    ("@revoked * {own}", "revokes a key of worker-1 ([{WORKER}]:{port}): find out why"),
    ("[127.0.0.*]:{port} {other}", "has another key of worker-1 ([{WORKER}]:{port}) for a pattern of names, line 1: "),
])
def test_some_lines_are_for_a_person_to_change(site, line, sentence):
    facts = {"own": site.keys["worker-1"], "other": site.keys["other"], "port": site.port, "WORKER": WORKER}
    site.file.write_text(line.format(**facts), encoding="utf-8")
    site.static(ray_known_hosts_keys=[site.keys["worker-1"]])
    status, output = site.play("--limit", "worker-1", "-e", "ray_known_hosts_replace=true")
    assert status == 2 and sentence.format(**facts) in output, output
    assert site.file.read_text(encoding="utf-8") == line.format(**facts)


def test_the_authority_vouches_for_these_hosts_alone(site):
    authority = make_key(site.folder / "ca")
    make_key(site.folder / "another-ca")
    site.static()
    status, output = site.play("-e", json.dumps({"ray_known_hosts_authority": authority}))
    assert status == 0, output
    (line,) = site.file.read_text(encoding="utf-8").splitlines()
    assert line.startswith(f"@cert-authority [{HEAD}]:{site.port},[{WORKER}]:{site.port} ssh-ed25519 ")

    def signed(name: str, by: str, *principals: str) -> Path:
        public = site.folder / f"{name}.pub"
        keygen("-s", site.folder / by, "-h", "-I", name, "-n", ",".join(principals), "-V", "+1d", public)
        return site.folder / f"{name}-cert.pub"

    certificate = signed("head", "ca", HEAD)
    with sshd(site.folder / "a", HEAD, site.port, site.folder / "head", certificate):
        assert site.sees(HEAD) == "known"
    # The head's certificate in the worker's place; the authority for a host of others; another authority.
    with sshd(site.folder / "b", WORKER, site.port, site.folder / "head", certificate):
        assert site.sees(WORKER) == "Host key verification failed."
    with sshd(site.folder / "c", "127.0.0.13", site.port, site.folder / "other", signed("other", "ca", "127.0.0.13")):
        assert site.sees("127.0.0.13") == "Host key verification failed."
    with sshd(site.folder / "d", WORKER, site.port, site.folder / "worker-1", signed("worker-1", "another-ca", WORKER)):
        assert site.sees(WORKER) == "Host key verification failed."


@pytest.mark.parametrize(("worker", "more", "sentence"), [
    ({}, {}, "Nothing says which keys the hosts have: ask the cloud (RAY_HOST_KEYS=true in the environment)"),
    ({}, {"ray_known_hosts_authority": "/etc/ssh/ca.pub"}, "ray_known_hosts_authority is no public key: use the line"),
    ({"ray_known_hosts_keys": ["ssh-ed25519 AAAA"]}, {}, "ray_known_hosts_keys of worker-1 has something that is no"),
    ({"ansible_ssh_common_args": "-o HostKeyAlias=*"}, {}, "ssh looks up worker-1 as '*', which is no name"),
    ({"ansible_ssh_common_args": "-o Nonsense=1"}, {}, "ssh cannot say how it looks up worker-1: "),
])
def test_what_cannot_work_is_a_sentence_and_writes_nothing(site, worker, more, sentence):
    site.static(**worker)
    status, output = site.play("-e", json.dumps(more))
    assert status == 2 and sentence in output, output
    assert not site.file.exists()


def test_two_hosts_of_one_name_have_one_key(site):
    site.static(ansible_host=HEAD, ray_known_hosts_keys=[site.keys["worker-1"]])
    status, output = site.play()
    assert status == 2 and f"ssh looks up head and worker-1 as [{HEAD}]:{site.port}, and their keys differ" in output
    site.static(ansible_host=HEAD, ray_known_hosts_keys=[site.keys["worker-1"]],
                ansible_ssh_common_args="-o HostKeyAlias=w1")
    status, output = site.play("--limit", "worker-1")
    assert status == 0, output
    assert site.file.read_text(encoding="utf-8") == f"w1 {' '.join(site.keys['worker-1'].split()[:2])}\n"

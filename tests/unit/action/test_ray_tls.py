# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tasks of role ray that make an authority and put a host's certificate in place: run by Ansible on this host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.rayops.cluster.plugins.action.ray_tls import ActionModule, vouched
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles, judge
from ansible_collections.rayops.cluster.plugins.plugin_utils import _tls
from ansible_collections.rayops.cluster.plugins.plugin_utils._tls import AuthorityError

REPOSITORY = Path(__file__).resolve().parents[3]
TASKS = REPOSITORY / "roles" / "ray" / "tasks"
TOLD = yaml.safe_load((REPOSITORY / "roles" / "ray_defaults" / "vars" / "main" / "tls.yml").read_text())
NAMES = ["10.0.0.7", "worker-1", "localhost", "127.0.0.1"]


@dataclass(frozen=True)
class Done:
    """What a run has done: each task's answer as it is shown, what stands in its output, and its words of failure."""

    answers: Mapping[str, Mapping[str, Any]]
    output: str
    failure: str

    @property
    def changed(self) -> set[str]:
        return {name for name, answer in self.answers.items() if answer.get("changed")}


class Cluster:
    """The tasks that the roles include, with their variables; both hosts are this one."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.etc, self.authority = directory, directory / "etc", directory / "var" / "tls"
        self.variables: dict[str, Any] = {
            "ray_tls_ca_certificate": "", "ray_tls_ca_key": "", "ray_tls_days": 90, "ray_tls_renew_days": 15,
            "ray_cluster_name": "demo", "ray_user": str(os.getegid()), "_ray_tls_dir": "", "_ray_head_host": "head-1",
            "_ray_tls_directory": str(self.etc), "_ray_tls_authority_directory": str(self.authority),
            "_ray_tls_names": NAMES, "_ray_tls_certificate": TOLD["_ray_tls_certificate"],
            "_ray_tls_signer": TOLD["_ray_tls_signer"],
        }
        self.etc.parent.mkdir(exist_ok=True)

    @property
    def files(self) -> NodeFiles:
        return NodeFiles.of(str(self.etc))

    def keep(self, certificate: str, key: str) -> None:
        """Have the authority on the head."""
        self.authority.mkdir(0o700, parents=True)
        for name, text in (("ca.pem", certificate), ("ca.key", key)):
            (self.authority / name).write_text(text)

    def keeps(self, certificate: str) -> None:
        """Have it as what the host ran with before an upgrade."""
        (self.etc / "previous").mkdir(parents=True)
        (self.etc / "previous" / "ca.pem").write_text(certificate)

    def authorities(self, suffix: str = "") -> tuple[str, str]:
        """Certificate and key, as they lie there."""
        certificate, key = ((self.authority / f"{name}{suffix}").read_text() for name in ("ca.pem", "ca.key"))
        return certificate, key

    def place(self, certificate: str, key: str, days: float = 90) -> str:
        """Give the host a certificate; returns it."""
        leaf = _tls.sign(_tls.read(certificate, key), NAMES, days)
        self.etc.mkdir(exist_ok=True)
        for path, text in ((self.files.certificate, leaf.certificate), (self.files.key, leaf.key),
                           (self.files.authority, certificate)):
            Path(path).write_text(text)
        return leaf.certificate

    def run(self, *names: str, options: tuple[str, ...] = (), fails: bool = False, **variables: Any) -> Done:
        """Run files of tasks on host worker-1."""
        tasks = [task for name in names for task in yaml.safe_load((TASKS / f"{name}.yml").read_text())]
        play = {"hosts": "worker-1", "gather_facts": False, "vars": {**self.variables, **variables}, "tasks": tasks}
        (self.directory / "play.yml").write_text(json.dumps([play]))
        done = subprocess.run(
            ["ansible-playbook", "-i", "head-1,worker-1,", "-c", "local", "-e",
             f"ansible_python_interpreter={sys.executable}", *options, "play.yml"],
            cwd=self.directory, capture_output=True, text=True, check=False,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{REPOSITORY}/.ansible/collections",
                 "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp")},
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        answers = {}
        for part in re.split(r"^TASK \[", done.stdout, flags=re.MULTILINE)[1:]:
            name, _rest, text = part.partition("]")
            answers[name] = {"changed": bool(re.search("^changed: ", text, re.MULTILINE))}
        said = re.search(r"^\[ERROR\]: (.*)", output, re.MULTILINE)
        return Done(answers, output, said[1] if said and fails else "")


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def mode(path: Path | str) -> int:
    return os.stat(path).st_mode & 0o7777


AUTHORITY, CERTIFICATE = "Make the certificate authority", "Put the host's certificate in place"


def test_the_first_run_makes_all_and_the_second_nothing(cluster):
    first = cluster.run("tls_compare", "authority", "tls", options=("--diff", "-vvv"))
    assert {AUTHORITY, CERTIFICATE} <= first.changed
    authority = cluster.authority
    assert [mode(path) for path in (authority, authority / "ca.key", authority / "ca.pem")] == [0o700, 0o600, 0o600]
    assert [mode(cluster.etc / name) for name in (".", "node.key", "node.pem", "ca.pem")] == [0o750] + 3 * [0o640]
    assert judge(cluster.files, NAMES, (authority / "ca.pem").read_text(), renew_days=15).kind == ""
    assert "+a certificate for 10.0.0.7, worker-1, localhost, 127.0.0.1, 90 days" in first.output
    for secret in (authority / "ca.key", cluster.etc / "node.key"):
        assert secret.read_text().split("\n")[1] not in first.output
    again = cluster.run("tls_compare", "authority", "tls", options=("--diff", "-vvv"))
    assert again.changed == set()
    assert (authority / "ca.key").read_text().split("\n")[1] not in again.output


def test_a_check_of_a_bare_host_writes_nothing_and_says_so(cluster):
    done = cluster.run("tls_compare", "authority", "tls", options=("--check", "--diff"))
    assert {AUTHORITY, CERTIFICATE} <= done.changed
    assert "-missing (" in done.output
    assert not cluster.etc.exists()
    assert not cluster.authority.exists()


def test_an_authority_of_the_controllers(cluster):
    here = cluster.directory / "safe" / "tls"
    cluster.run("authority", "tls_compare", "tls", _ray_tls_dir=str(here))
    assert (mode(here), mode(here / "ca.key"), mode(here / "ca.pem")) == (0o700, 0o600, 0o644)
    assert not cluster.authority.exists()
    assert judge(cluster.files, NAMES, (here / "ca.pem").read_text()).kind == ""


@pytest.fixture
def given(cluster: Cluster) -> Cluster:
    """One whose authority is in its variables."""
    certificate, key = _tls.make("site")
    cluster.variables.update(ray_tls_ca_certificate=certificate, ray_tls_ca_key=key)
    return cluster


def test_an_authority_of_variables_reaches_no_host(given):
    certificate, key = given.variables["ray_tls_ca_certificate"], given.variables["ray_tls_ca_key"]
    done = given.run("authority", "tls_compare", "tls", options=("-vvv",))
    assert judge(given.files, NAMES, certificate).kind == ""
    assert key.split("\n")[1] not in done.output
    assert not given.authority.exists()
    # Names that come and go, and a file that is lost.
    names = [*NAMES[:-1], "demo-head"]
    before = Path(given.files.certificate).read_text()
    assert CERTIFICATE in given.run("tls", _ray_tls_names=names).changed
    assert judge(given.files, names).kind == ""
    assert Path(given.files.certificate).read_text() != before
    Path(given.files.key).unlink()
    assert given.run("tls").changed == {CERTIFICATE}
    assert judge(given.files, NAMES).kind == ""


def test_a_certificate_is_renewed_in_its_last_days(given):
    own = given.variables["ray_tls_ca_certificate"], given.variables["ray_tls_ca_key"]
    given.place(*own, days=14)
    assert given.run("tls_compare", "tls").changed == {CERTIFICATE}
    assert judge(given.files, renew_days=89).kind == ""


def test_another_authority_beside_its_own_leaves_the_certificate(given):
    own = given.variables["ray_tls_ca_certificate"], given.variables["ray_tls_ca_key"]
    before, both = given.place(*own), own[0] + _tls.make("next")[0]
    assert given.run("tls", ray_tls_ca_certificate=both).changed == {CERTIFICATE}
    assert Path(given.files.certificate).read_text() == before
    assert Path(given.files.authority).read_text() == both


def test_an_authority_that_cannot_sign_is_refused_before_anything_is_touched(given):
    done = given.run("tls_compare", fails=True, ray_tls_ca_key="hunter2")
    assert "ray_tls_ca_certificate has no private key in PEM: begin it with -----BEGIN" in done.failure
    assert "hunter2" not in done.output


def test_a_key_that_is_lost_is_missed_only_where_it_is_needed(cluster):
    own = _tls.make("demo")
    cluster.keep(*own)
    cluster.place(*own)
    (cluster.authority / "ca.key").unlink()
    assert cluster.run("authority", "tls_compare").changed == set()
    Path(cluster.files.key).unlink()
    done = cluster.run("tls_compare", fails=True)
    assert ("/var/tls on head-1 has lost its ca.key, and worker-1 needs a certificate: put it back from a copy, or run "
            "rayops.cluster.upgrade with -e ray_tls_new_authority=true") in done.failure


def test_an_authority_that_is_lost_is_not_replaced_by_the_way(cluster):
    cluster.place(*_tls.make("demo"))
    done = cluster.run("tls_compare", fails=True)
    assert "/var/tls on head-1 has lost its authority, which has signed what worker-1 runs with" in done.failure
    done = cluster.run("authority", "tls", _ray_tls_authority_state="replaced")
    assert done.changed == {AUTHORITY, CERTIFICATE}
    assert judge(cluster.files, NAMES, (cluster.authority / "ca.pem").read_text()).kind == ""


def test_an_authority_that_cannot_be_read_is_not_taken_for_absent(cluster):
    (cluster.authority / "ca.pem").mkdir(parents=True)
    done = cluster.run("authority", fails=True)
    assert re.search("/var/tls on (head|worker)-1 cannot be used: ", done.failure)
    assert not (cluster.authority / "ca.key").exists()


def test_a_host_without_an_authority_to_ask_is_told_what_to_run(cluster):
    done = cluster.run("tls", fails=True)
    assert "/var/tls on head-1 has no authority yet: run the playbook once with --tags head." in done.failure
    assert not cluster.authority.exists()


def test_one_of_the_sites_is_neither_replaced_nor_completed(cluster):
    """On the controller; what is ours is kept beside, and can be put back."""
    here = cluster.directory / "safe"
    here.mkdir()
    site, key = _tls.make("corp")
    (here / "ca.key").write_text(key)
    done = cluster.run("tls_compare", fails=True, _ray_tls_dir=str(here))
    assert "has a ca.key and no ca.pem: name its certificate so, or name an empty directory" in done.failure
    (here / "ca.pem").write_text(site)
    done = cluster.run("authority", fails=True, _ray_tls_dir=str(here), _ray_tls_authority_state="replaced")
    assert "is an authority of your own, which ray_tls_new_authority does not replace" in done.failure
    assert {path.name for path in here.iterdir()} == {"ca.key", "ca.pem"}
    assert (here / "ca.pem").read_text() == site


def test_a_vaulted_key_on_the_controller_is_read_and_stays_vaulted(cluster):
    here, ours = cluster.directory / "safe", _tls.make("demo")
    here.mkdir()
    (here / "ca.pem").write_text(ours[0])
    (here / "ca.key").write_text(ours[1])
    (cluster.directory / "password").write_text("vaulted-by-us")
    vault = ("--vault-password-file", "password")
    subprocess.run(["ansible-vault", "encrypt", *vault, "safe/ca.key"], cwd=cluster.directory, check=True,
                   capture_output=True)
    vaulted = (here / "ca.key").read_text()
    cluster.keeps(ours[0])
    done = cluster.run("authority", fails=True, _ray_tls_dir=str(here))
    assert "has a ca.key that is encrypted with ansible-vault, and not with a password of this run" in done.failure
    assert cluster.run("authority", "tls", options=vault, _ray_tls_dir=str(here)).changed == {CERTIFICATE}
    cluster.run("authority", options=vault, _ray_tls_dir=str(here), _ray_tls_authority_state="replaced")
    assert (here / "ca.key.previous").read_text() == vaulted
    cluster.run("authority", options=vault, _ray_tls_dir=str(here), _ray_tls_authority_state="restored")
    assert ((here / "ca.pem").read_text(), (here / "ca.key").read_text()) == (ours[0], vaulted)


@pytest.mark.parametrize("on_controller", [True, False])
def test_one_that_was_replaced_can_be_put_back(cluster, on_controller):
    ours = _tls.make("demo")
    cluster.keep(*ours)
    cluster.keeps(ours[0])
    where = {"_ray_tls_dir": str(cluster.authority)} if on_controller else {}
    assert cluster.run("authority", _ray_tls_authority_state="replaced", **where).changed == {AUTHORITY}
    assert cluster.authorities(".previous") == ours
    assert cluster.authorities()[0] != ours[0]
    assert mode(cluster.authority / "ca.key.previous") == 0o600
    if on_controller:
        # That was interrupted before a node had it, and is run again.
        cluster.run("authority", _ray_tls_authority_state="replaced", **where)
        assert cluster.authorities(".previous") == ours
    assert cluster.run("authority", _ray_tls_authority_state="restored", **where).changed == {AUTHORITY}
    assert cluster.authorities() == ours


def test_a_way_back_leaves_the_authority_that_the_nodes_go_back_to(cluster):
    """An upgrade after the one that has replaced it is taken back."""
    first, second = _tls.make("demo"), _tls.make("demo")
    cluster.keep(*second)
    for name, text in zip(("ca.pem.previous", "ca.key.previous"), first):
        (cluster.authority / name).write_text(text)
    where = {"_ray_tls_dir": str(cluster.authority), "_ray_tls_authority_state": "restored"}
    # Also where it was signed anew since, and where the nodes spoke plain text.
    cluster.keeps(_tls.make("demo", second[1])[0])
    assert cluster.run("authority", **where).changed == set()
    (cluster.etc / "previous" / "ca.pem").unlink()
    assert cluster.run("authority", **where).changed == set()
    assert cluster.authorities() == second


def test_a_fresh_host_waits_until_the_head_trusts_who_signs(given):
    own = given.variables["ray_tls_ca_certificate"]
    both = own + _tls.make("before")[0]
    head = json.dumps({"ray_tls_plan": {"kind": "trust"}})
    done = given.run("tls_compare", options=("-e", head), fails=True, ray_tls_ca_certificate=both)
    assert "run this without worker-1 first (--limit 'all:!worker-1'), then with it" in done.failure


@pytest.mark.parametrize(("known", "kind", "said"), [
    ({"unreachable": True}, "", ""),
    ({"unreachable": True}, "expired", "needs a certificate .expired., and the head, which has the authority, does"),
    ({"certificate": ""}, "missing", ""),
    ({"certificate": ""}, "", "has lost its authority"),
])
def test_a_head_that_does_not_answer_has_not_lost_its_authority(known, kind, said):
    action = ActionModule.__new__(ActionModule)
    action.host, action.known = "worker-1", known
    if not said:
        action.refuse_unknown(kind)
        return
    with pytest.raises((AnsibleActionFail, AuthorityError), match=said):
        action.refuse_unknown(kind)


@pytest.mark.parametrize("answer", [
    {"kind": "none of them", "clock": 1.0}, {"kind": ["missing"], "clock": 1.0}, {"clock": 1.0},
    {"kind": "", "clock": "noon"}, {"kind": "", "clock": 1.0, "ends": "never"}, {"failed": True, "msg": "x"},
])
def test_a_host_that_says_something_else_is_not_believed(answer):
    with pytest.raises(AnsibleActionFail):
        vouched(answer)


def test_of_what_a_host_says_nothing_else_is_used():
    found = vouched({"kind": "ending", "clock": 1, "words": "a\x1b[2Jb", "rejected": True, "ansible_facts": {"x": 1}})
    assert set(found) == {"changed", "kind", "rejected", "clock", "ends", "words"}
    assert (found["rejected"], "\x1b" in found["words"]) == (False, False)


def test_an_authority_of_our_own_is_signed_anew_before_it_ends(cluster):
    now = datetime.now(timezone.utc)
    old = _tls.make("demo", now=now - timedelta(days=3650 - 179))
    cluster.keep(*old)
    before = cluster.place(*old)
    done = cluster.run("authority", "tls")
    assert done.changed == {AUTHORITY, CERTIFICATE}
    assert (cluster.authority / "ca.key").read_text() == old[1]
    # Only whom it trusts is new.
    assert Path(cluster.files.certificate).read_text() == before
    assert judge(cluster.files, NAMES, (cluster.authority / "ca.pem").read_text()).kind == ""


@pytest.mark.parametrize(("ahead", "said"), [
    (3600, "ahead of"), (-3600, "behind"), (-1500, ""),
])
def test_a_host_that_lives_at_another_time_is_given_no_certificate(ahead, said):
    action = ActionModule.__new__(ActionModule)
    action.host = "worker-1"
    now = time.time()
    if not said:
        action.refuse_clock(now + ahead, now)
        return
    with pytest.raises(AnsibleActionFail, match=rf"clock of worker-1 is 3\d\d\d s {said} this machine's, .*: set it"):
        action.refuse_clock(now + ahead, now)

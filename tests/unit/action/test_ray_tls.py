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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles, judge
from ansible_collections.rayops.cluster.plugins.plugin_utils import _tls

REPOSITORY = Path(__file__).resolve().parents[3]
TASKS = REPOSITORY / "roles" / "ray" / "tasks"
NAMES = ["10.0.0.7", "worker-1", "localhost", "127.0.0.1"]
DAY = 86400


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
            "_ray_tls_names": NAMES,
        }
        self.etc.parent.mkdir(exist_ok=True)

    @property
    def files(self) -> NodeFiles:
        return NodeFiles.of(str(self.etc))

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
    assert cluster.run("authority", "tls_compare", "tls", _ray_tls_dir=str(here)).changed == set()


def test_an_authority_of_variables(cluster):
    certificate, key = _tls.make("site")
    given = {"ray_tls_ca_certificate": certificate, "ray_tls_ca_key": key}
    done = cluster.run("authority", "tls_compare", "tls", options=("-vvv",), **given)
    assert judge(cluster.files, NAMES, certificate).kind == ""
    assert key.split("\n")[1] not in done.output
    assert not cluster.authority.exists()


@pytest.fixture
def placed(cluster: Cluster) -> Cluster:
    """One that has its certificate, of the authority in its variables."""
    certificate, key = _tls.make("site")
    cluster.variables.update(ray_tls_ca_certificate=certificate, ray_tls_ca_key=key)
    cluster.run("tls")
    return cluster


def test_names_that_change_and_files_that_are_lost_are_mended(placed):
    before = Path(placed.files.certificate).read_text()
    names = [*NAMES, "demo-head"]
    assert CERTIFICATE in placed.run("tls_compare", "tls", _ray_tls_names=names).changed
    assert judge(placed.files, names).kind == ""
    assert Path(placed.files.certificate).read_text() != before
    # Names of before go, too.
    assert placed.run("tls").changed == {CERTIFICATE}
    assert judge(placed.files, NAMES).kind == ""
    Path(placed.files.key).unlink()
    assert placed.run("tls").changed == {CERTIFICATE}
    assert judge(placed.files, NAMES).kind == ""


def test_a_certificate_is_renewed_in_its_last_days_and_not_before(placed):
    for days, changed in ((16, set()), (14, {CERTIFICATE})):
        authority = _tls.read(placed.variables["ray_tls_ca_certificate"], placed.variables["ray_tls_ca_key"])
        leaf = _tls.sign(authority, NAMES, days)
        Path(placed.files.certificate).write_text(leaf.certificate)
        Path(placed.files.key).write_text(leaf.key)
        assert placed.run("tls").changed == changed
    assert judge(placed.files, renew_days=89).kind == ""


def test_another_authority_beside_its_own_leaves_the_certificate(placed):
    before = Path(placed.files.certificate).read_text()
    both = placed.variables["ray_tls_ca_certificate"] + _tls.make("next")[0]
    assert placed.run("tls", ray_tls_ca_certificate=both).changed == {CERTIFICATE}
    assert Path(placed.files.certificate).read_text() == before
    assert Path(placed.files.authority).read_text() == both


@pytest.mark.parametrize(("given", "said"), [
    ({"ray_tls_ca_key": "hunter2"}, "ray_tls_ca_certificate has no private key in PEM: begin it with -----BEGIN"),
    ({"ray_tls_ca_certificate": "hunter2"}, "ray_tls_ca_certificate holds no certificate in PEM: begin it with"),
])
def test_an_authority_that_cannot_sign_is_refused_before_anything_is_touched(placed, given, said):
    done = placed.run("tls_compare", fails=True, **given)
    assert said in done.failure
    assert "hunter2" not in done.output


def test_a_key_that_is_lost_is_missed_only_where_it_is_needed(cluster):
    cluster.run("authority", "tls")
    (cluster.authority / "ca.key").unlink()
    assert cluster.run("authority", "tls_compare", "tls").changed == set()
    Path(cluster.files.key).unlink()
    done = cluster.run("tls_compare", fails=True)
    assert re.search(r"/var/tls on head-1 has lost its ca.key, and worker-1 needs a certificate: put it back from a "
                     r"copy, or run rayops.cluster.upgrade with -e ray_tls_new_authority=true", done.failure)


def test_an_authority_that_is_lost_is_not_replaced_by_the_way(cluster):
    cluster.run("authority", "tls")
    for name in ("ca.pem", "ca.key"):
        (cluster.authority / name).unlink()
    done = cluster.run("tls_compare", fails=True)
    assert "/var/tls on head-1 has lost its authority, which has signed what worker-1 runs with" in done.failure
    done = cluster.run("authority", "tls_compare", "tls", _ray_tls_authority_state="replaced")
    assert done.changed == {AUTHORITY, CERTIFICATE}
    assert judge(cluster.files, NAMES, (cluster.authority / "ca.pem").read_text()).kind == ""


def test_a_host_without_an_authority_to_ask_is_told_what_to_run(cluster):
    done = cluster.run("tls_compare", "tls", fails=True)
    assert "/var/tls on head-1 has no authority yet: run the playbook once with --tags head." in done.failure
    assert not cluster.authority.exists()


def test_an_authority_of_our_own_is_signed_anew_before_it_ends(cluster):
    cluster.run("authority")
    old, key = _tls.make("demo", (cluster.authority / "ca.key").read_text(),
                         now=_tls.datetime.now(_tls.timezone.utc) - _tls.timedelta(days=3650 - 179))
    (cluster.authority / "ca.pem").write_text(old)
    cluster.run("tls")
    assert cluster.run("authority").changed == {AUTHORITY}
    assert (cluster.authority / "ca.key").read_text() == key
    before = Path(cluster.files.certificate).read_text()
    assert cluster.run("tls").changed == {CERTIFICATE}
    assert Path(cluster.files.certificate).read_text() == before


# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command of both READMEs, typed as it stands, from a clean home and a fresh clone, at the scenario's cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.bed.bed import ROOT, Bed
from tests.bed.cluster import Cluster
from tests.bed.execution import execute
from tests.markdown import blocks, commands

READMES = ("README.md", "README.zh-CN.md")
ADDRESS = "https://github.com/rayops/rayops.cluster"
# The cluster is as declared, so nothing changes.
SITE = r"\A(?!.*(?:changed|failed|unreachable)=[1-9]).*failed=0"


@dataclass(frozen=True)
class Typed:
    """How a command is typed: what it must say, a pattern; where; and what is typed in its place, with the reason."""

    says: str
    where: str = "checkout"
    instead: str = ""
    because: str = ""


# In the order in which a newcomer types them. A command that is not here fails the test.
SYNTAX = "ansible-playbook --syntax-check -i huawei_ecs.yml"
ASK_MODEL = 'curl -H "Authorization: Bearer $(cat /etc/ray/serve_api_key)"'
COMMANDS = {
    f"git clone {ADDRESS} && cd rayops.cluster": Typed("Cloning into", "home"),
    "pip install huaweicloudsdkecs": Typed("Requirement already satisfied|Successfully installed"),
    "make demo": Typed("tests.bed up demo", instead="make --dry-run demo", because="it deploys a cluster of its own"),
    "make demo-serve": Typed("tests.bed up demo", instead="make --dry-run demo-serve", because="it deploys one, too"),
    "make clean": Typed("tests.bed down", instead="make --dry-run clean", because="it removes the beds of all"),
    "make test": Typed("tests.bed prepare", instead="make --dry-run ready", because="this test is a part of it"),
    "make matrix": Typed("matrix", instead="make --dry-run matrix", because="this test is a part of it"),
    "ansible-galaxy collection build": Typed("Created collection for rayops.cluster"),
    # The three lines of the installation are typed where the newcomer is: in the checkout.
    "mkdir -p ~/ray && cd ~/ray": Typed(""),
    f"ansible-galaxy collection install git+{ADDRESS}": Typed("installed successfully", "there"),
    "echo 'plugin: rayops.cluster.huawei_ecs' > huawei_ecs.yml": Typed("", "there"),
    "ansible-doc -t role rayops.cluster.ray": Typed(r"/home/\.ansible/collections.*ray_version", "there"),
    "export HUAWEICLOUD_SDK_AK=… HUAWEICLOUD_SDK_SK=…": Typed(""),
    "export HUAWEICLOUD_SDK_REGION=cn-north-4 RAY_CLUSTER_NAME=deepseek": Typed(""),
    "ansible-inventory -i huawei_ecs.yml --graph": Typed("@ray_head:.*--head"),
    "ssh-add key.pem": Typed("Identity added"),
    "RAY_HOST_KEYS=true ansible-playbook rayops.cluster.known_hosts -i huawei_ecs.yml": Typed(r"ok=1 .*failed=0"),
    "ansible-playbook site.yml -i huawei_ecs.yml -u root --check --diff": Typed(SITE),
    "ansible-playbook site.yml -i huawei_ecs.yml -u root": Typed(SITE),
    "ansible-playbook site.yml -i huawei_ecs.yml": Typed(SITE),
    "ansible-playbook site.yml -i huawei_ecs.yml --tags workers": Typed(SITE),
    "ray-env ray status": Typed("Active:", "head"),
    "ansible-playbook rayops.cluster.serve -i huawei_ecs.yml -u root": Typed(
        "playbook: ", "there", f"{SYNTAX} rayops.cluster.serve", "no host has vLLM here: scenario serving"),
    "ansible-playbook rayops.cluster.upgrade -i huawei_ecs.yml -u root": Typed(
        "playbook: ", "there", f"{SYNTAX} rayops.cluster.upgrade", "it takes minutes: scenario lifecycle"),
    f"{ASK_MODEL} http://<head>:8000/deepseek-r1/v1/models": Typed(
        "", instead="test ! -e /etc/ray/serve_api_key", because="no model answers here: scenario serving"),
}


@dataclass
class Newcomer:
    """A shell of somebody who has a home, a key of the cloud, a key of the hosts, and variables of their hosts."""

    home: Path
    cluster: Cluster
    environment: dict[str, str]
    directory: Path

    def type(self, command: str) -> str:
        """What a command says; the shell keeps its directory and its environment."""
        keep = f"pwd > {self.home}/.pwd; env -0 > {self.home}/.env"
        done = subprocess.run(
            ["bash", "-c", f"{command}\nstatus=$?\n{keep}\nexit $status"], cwd=self.directory, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
            check=False,
        )
        assert not done.returncode, f"{command}\n{done.stdout}"
        self.directory = Path((self.home / ".pwd").read_text(encoding="utf-8").strip())
        pairs = (self.home / ".env").read_text(encoding="utf-8").rstrip("\0").split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs)
        return done.stdout

    def fill(self, command: str) -> str:
        """The command with the reader's own values in place of the page's."""
        keys = self.cluster.environment()
        command = re.sub(r"(HUAWEICLOUD_SDK_[AS]K)=…", lambda found: f"{found[1]}={keys[found[1]]}", command)
        return command.replace("RAY_CLUSTER_NAME=deepseek", f"RAY_CLUSTER_NAME={self.cluster.bed.cluster_name}")

    def own_variables(self, directory: Path) -> None:
        """The group_vars that these hosts need: small containers, and a wheelhouse."""
        shutil.copytree(self.cluster.bed.state / "group_vars", directory / "group_vars", dirs_exist_ok=True)


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    cluster = Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-default")))
    with tempfile.TemporaryDirectory(prefix="readme-", ignore_cleanup_errors=True) as name:
        home = Path(name) / "home"
        home.mkdir()
        shutil.copy(cluster.bed.ssh_key, home / "key.pem")
        # What GitHub has: this checkout, with what is not committed yet.
        repository = Path(name) / "repository.git"
        git = ["git", f"--git-dir={repository}", f"--work-tree={ROOT}", "-c", "user.name=a", "-c", "user.email=a@b"]
        for words in (["init", "--initial-branch=main"], ["add", "--all"], ["commit", "--quiet", "-m", "all"]):
            subprocess.run([*git, *words], cwd=ROOT, check=True, capture_output=True)
        subprocess.run([*git, "config", "core.bare", "true"], check=True)
        (home / ".gitconfig").write_text(f'[url "{repository}"]\n\tinsteadOf = {ADDRESS}\n', encoding="utf-8")
        agent = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True).stdout
        variables = dict(re.findall(r"(SSH_\w+)=([^;]+);", agent))
        # The network's, and what stands for the cloud's own addresses; nothing of molecule's or of this test's.
        endpoints = {key: value for key, value in cluster.environment().items()
                     if re.search(r"^HUAWEICLOUD_SDK_(REGION_ECS_|IAM_ENDPOINT)|_proxy$|^PIP_", key, re.IGNORECASE)}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        plain = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "ANSIBLE_NOCOLOR": "1", "PAGER": "cat"}
        try:
            yield Newcomer(home, cluster, {**endpoints, **variables, **plain}, home)
        finally:
            os.kill(int(variables["SSH_AGENT_PID"]), 15)


def of_the_pages() -> list[str]:
    """The commands of both pages."""
    pages = [[command.replace("-i …", "-i huawei_ecs.yml") for command in commands((ROOT / page).read_text("utf-8"))]
             for page in READMES]
    assert sorted(set(pages[0])) == sorted(set(pages[1])), "the two READMEs have different commands"
    return pages[0]


def test_every_command_is_known():
    assert sorted(set(of_the_pages())) == sorted(COMMANDS)
    assert [command for command, typed in COMMANDS.items() if bool(typed.instead) != bool(typed.because)] == []


def test_every_command_typed_in_the_order_of_a_newcomer(newcomer):
    checkout, there = newcomer.home / "rayops.cluster", newcomer.home / "ray"
    for command, typed in COMMANDS.items():
        if typed.where == "head":
            done = execute(newcomer.cluster.container(newcomer.cluster.head), "sh", "-c", newcomer.fill(command))
            assert not done.status and re.search(typed.says, done.stdout), f"{command}\n{done.stdout}{done.stderr}"
            continue
        newcomer.directory = {"home": newcomer.home, "checkout": checkout, "there": there}[typed.where]
        if command.startswith("ssh-add"):
            newcomer.directory = newcomer.home
        said = newcomer.type(newcomer.fill(typed.instead or command))
        assert re.search(typed.says, said, re.DOTALL), f"{command}\n{said}"
        if command.startswith("git clone"):
            newcomer.own_variables(checkout)


def test_the_collection_does_the_same_from_its_own_folder(newcomer):
    newcomer.directory = newcomer.home / "ray"
    newcomer.own_variables(newcomer.directory)
    assert re.search(SITE, newcomer.type("ansible-playbook rayops.cluster.site -i huawei_ecs.yml"), re.DOTALL)
    page = (ROOT / READMES[0]).read_text(encoding="utf-8").partition("## Playbooks")[2]
    playbooks = re.findall(r"^\| `(rayops\.cluster\.\w+)`", page, re.MULTILINE)
    assert len(playbooks) == len(list((ROOT / "playbooks").glob("*.yml")))
    newcomer.type(f"ansible-playbook --syntax-check -i huawei_ecs.yml {' '.join(playbooks)}")


def test_the_file_that_a_build_makes_is_installed_from_any_other_folder(newcomer):
    newcomer.directory = newcomer.home
    file = next((newcomer.home / "rayops.cluster").glob("rayops-cluster-*.tar.gz"))
    # Of somebody who has not installed it yet.
    said = newcomer.type(f"HOME={newcomer.home}/other ansible-galaxy collection install {file}")
    assert "installed successfully" in said


def test_the_way_through_a_bastion(newcomer):
    """The copied inventory, with the lines that both pages add to it."""
    lines = {block for page in READMES for block in blocks((ROOT / page).read_text(encoding="utf-8"))
             if block.startswith("compose:")}
    assert len(lines) == 1
    copy = newcomer.home / "copy"
    shutil.copytree(ROOT / "inventories" / "huawei", copy)
    file = copy / "huawei_ecs.yml"
    file.write_text(file.read_text(encoding="utf-8").replace(
        "cluster_name: deepseek", f"cluster_name: {newcomer.cluster.bed.cluster_name}") + lines.pop(), encoding="utf-8")
    newcomer.directory = newcomer.home
    hosts = json.loads(newcomer.type("ansible-inventory -i copy --list 2>/dev/null"))["_meta"]["hostvars"]
    assert sorted(hosts) == sorted(newcomer.cluster.names)
    assert all("ProxyJump=root@203.0.113.10" in yaml.safe_dump(host) for host in hosts.values())

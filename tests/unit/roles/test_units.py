# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units of the roles ray, head and worker, as they are written to a host, and what systemd says of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.table import unit_text
from tests.rendering import REPOSITORY, play, run, tells

ROLES = REPOSITORY / "roles"
PLAYS = [
    play("ray_head:ray_workers", ["head", "worker"], {
        "ansible.builtin.import_role": {"name": "rayops.cluster.ray", "tasks_from": "files"},
        "check_mode": True, "diff": True,
        "vars": {"_ray_own_files": "{{ _head_files + _head_backup_files if _ray_is_head else [] }}"},
    }, tells("ray_files.diff")),
    play("bad", [], {"ansible.builtin.import_role": {"name": "rayops.cluster.ray", "tasks_from": "preflight"}}),
]
HOSTS = {
    "ray_head": {"head": {"ray_hide_processes": True, "ray_gcs_storage": "rocksdb"}},
    "ray_workers": {
        "plain": {},
        "open": {"ray_sandbox": {"NoNewPrivileges": False}, "ray_journal_max_use": ""},
        "own": {"ray_sandbox": {"RestrictAddressFamilies": "", "RestrictSUIDSGID": True}},
    },
}
# What a host may be exposed to by each, of 100 (systemd-analyze security).
MOST, MOST_OF_A_NODE = 30, 60


@pytest.fixture(scope="module", name="hosts")
def hosts_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The services of each host, by name: the text of the file."""
    # Templates and files beside the play are found as those of role head.
    directory = tmp_path_factory.mktemp("head")
    for name in ("templates", "files"):
        (directory / name).symlink_to(ROLES / "head" / name)
    done = run(directory, PLAYS, HOSTS)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for path in directory.glob("*.json"):
        found[path.stem] = {
            Path(item["after_header"]).name: item["after"] for item in json.loads(path.read_text())
            if item["after_header"].startswith("/etc/systemd/system/")
        }
    return found


def services(hosts: dict[str, dict[str, str]]) -> list[tuple[str, str, list[str]]]:
    return [
        (host, name, text.splitlines()) for host, units in hosts.items() for name, text in units.items()
        if name.endswith(".service")
    ]


def test_which_services_there_are(hosts):
    found = {host: {name for name in units if name.endswith(".service")} for host, units in hosts.items()}
    every = {"ray-agent-port.service", "ray-health.service", "ray-prune.service", "ray-sysctl.service",
             "ray-gpu.service", "ray-hosts.service"}
    worker = every | {"ray-worker.service", "ray-journal.service"}
    assert found == {
        "head": every | {"ray-head.service", "ray-journal.service", "ray-hide-processes.service", "ray-backup.service"},
        "plain": worker, "own": worker, "open": worker - {"ray-journal.service"},
    }


def test_nothing_but_ray_runs_in_a_unit_of_rays(hosts):
    checked = set()
    for _host, name, lines in services(hosts):
        if "User=ray" in lines:
            checked.add(name)
            commands = [line.partition("=")[2] for line in lines if line.startswith("Exec")]
            raised = [command for command in commands if command.lstrip("@-:").startswith(("+", "!"))]
            assert commands and not raised, name
    assert checked == {"ray-head.service", "ray-worker.service", "ray-prune.service", "ray-agent-port.service"}


def test_what_root_starts_is_nobody_elses(hosts):
    for _host, name, lines in services(hosts):
        for command in [line.partition("=")[2].lstrip("-").split() for line in lines if line.startswith("Exec")]:
            if "python" in command[0] and not command[0].startswith("/opt/ray"):
                assert command[1] == "-I", (name, command)
            if "User=ray" not in lines:
                assert command[0].startswith(("/bin/", "/usr/bin/", "/lib/systemd/")), (name, command)


def test_what_root_does_comes_before_ray_at_every_start(hosts):
    for host, name, wanted in (
        ("head", "ray-head.service",
         {"ray-sysctl.service", "ray-gpu.service", "ray-hosts.service", "ray-hide-processes.service"}),
        ("plain", "ray-worker.service", {"ray-sysctl.service", "ray-gpu.service", "ray-hosts.service"}),
        ("plain", "ray-prune.service", {"ray-journal.service"}),
    ):
        lines = hosts[host][name].splitlines()
        for option in ("Wants", "After")[:1 if name == "ray-prune.service" else 2]:
            named = {word for line in lines if line.startswith(f"{option}=") for word in line.partition("=")[2].split()}
            assert wanted <= named, (name, option)
    assert "RemainAfterExit" not in hosts["plain"]["ray-sysctl.service"]
    checks = [line for line in hosts["head"]["ray-head.service"].splitlines() if line.startswith("ExecStartPre=")]
    # systemd takes 1 for success in this unit (SuccessExitStatus=).
    assert len(checks) == 1 and "hidepid=" in checks[0] and "exit 2" in checks[0]


def sandbox(text: str) -> dict[str, str]:
    lines = text.partition("# The sandbox, ray_sandbox.")[2].partition("[Install]")[0].splitlines()
    return dict(line.partition("=")[::2] for line in lines if line[:1].isupper())


def test_a_site_changes_the_sandbox(hosts):
    plain = sandbox(hosts["plain"]["ray-worker.service"])
    assert plain["NoNewPrivileges"] == "yes" and plain["CapabilityBoundingSet"] == ""
    assert plain == sandbox(hosts["head"]["ray-head.service"])
    assert sandbox(hosts["open"]["ray-worker.service"]) == {"ProtectSystem": "full"}
    own = sandbox(hosts["own"]["ray-worker.service"])
    assert own == {name: value for name, value in plain.items() if name != "RestrictAddressFamilies"} | {
        "RestrictSUIDSGID": "yes"}
    # What runs is known by it, so that another sandbox restarts the node.
    sums = {host: next(line for line in units["ray-worker.service"].splitlines() if "RAYOPS_SANDBOX=" in line)
            for host, units in hosts.items() if host != "head"}
    assert len(set(sums.values())) == 3


@pytest.mark.parametrize(("value", "said"), [
    ({"NoNewPrivilege": False}, "ray_sandbox has no directive NoNewPrivilege: did you mean NoNewPrivileges?"),
    ({"ProtectSystem": "ful"}, "ray_sandbox.ProtectSystem is ful: ProtectSystem= takes no 'ful', see systemd.exec(5)."),
])
def test_a_sandbox_that_cannot_work_is_refused_first(tmp_path, value, said):
    bad = {**HOSTS, "ray_workers": {"plain": {}, "bad": {"ray_sandbox": value}}, "bad": {"head": {}}}
    done = run(tmp_path, PLAYS, bad)
    assert done.returncode == 2 and said in done.stdout.replace("\\u0027", "'"), done.stdout


def systemd_analyze(directory: Path, units: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = []
    for name, text in units.items():
        # A user that this host has.
        (directory / name).write_text(text.replace("User=ray", "User=daemon").replace("Group=ray", "Group=daemon"))
        paths.append(str(directory / name))
    return subprocess.run(["systemd-analyze", *arguments, *paths], capture_output=True, text=True, check=False)


@pytest.fixture(name="analyze")
def analyze_fixture(tmp_path):
    shown = shutil.which("systemd-analyze") and subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, check=False).stdout.split()
    if not shown or int(shown[1]) < 250:
        pytest.skip("needs systemd-analyze of systemd 250 or later")
    return lambda units, *arguments: systemd_analyze(tmp_path, units, *arguments)


def test_how_exposed_they_are(hosts, analyze):
    for host in ("head", "plain", "own"):
        units = {name: text for name, text in hosts[host].items() if name.endswith(".service")}
        for name, text in units.items():
            most = MOST_OF_A_NODE if name in ("ray-head.service", "ray-worker.service") else MOST
            done = analyze({name: text}, "security", "--offline=true", "--no-pager", f"--threshold={most}")
            assert done.returncode == 0 and "Overall exposure level" in done.stdout, done.stdout + done.stderr
    assert analyze({"x.service": "[Service]\nExecStart=/bin/true\n"}, "security", "--offline=true", "--no-pager",
                   f"--threshold={MOST_OF_A_NODE}").returncode != 0


def test_the_firewalls_own_unit(analyze):
    """It is written by a module, which keeps it only with its table."""
    units = {"ray-firewall.service": unit_text("/usr/sbin/nft")}
    done = analyze(units, "security", "--offline=true", "--no-pager", f"--threshold={MOST}")
    assert done.returncode == 0 and "Overall exposure level" in done.stdout, done.stdout + done.stderr
    done = analyze(units, "verify", "--man=no")
    assert [line for line in done.stderr.splitlines() if "/ray-" in line and "is not executable" not in line] == []


def test_systemd_understands_every_line(hosts, analyze):
    for units in hosts.values():
        done = analyze(units, "verify", "--man=no")
        wrong = [line for line in done.stderr.splitlines() if "/ray-" in line and "is not executable" not in line]
        assert not wrong
    bad = analyze({"ray-x.service": "[Service]\nExecStart=/bin/true\nProtectSytem=full\n"}, "verify", "--man=no")
    assert "/ray-x.service" in bad.stderr

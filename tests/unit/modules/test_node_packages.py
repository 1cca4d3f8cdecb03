# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is decided of packages; apt and dpkg are stand-ins. test_teardown has the real ones."""

from __future__ import annotations

import fcntl
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.facts.system.pkg_mgr import PkgMgrFactCollector

from ansible_collections.rayops.cluster.plugins.modules.node_packages import distribution, parse, removable

POLICY = Path("/usr/sbin/policy-rc.d")
REPOSITORY = Path(__file__).resolve().parents[3]
KNOWN = """\
installed\tbase\t\t,\x20
installed\tlibc\t\t,\x20
installed\tprometheus\tmetrics-server (= 2), server\t, libc (>= 2.36), libjs:any | jquery, adduser
installed\tlibjs\t\t,\x20
installed\tadduser\t\t, libc
config-files\tpromtool\t\t,\x20
not-installed\tnever\t\t,\x20
"""
APT = """#!/bin/sh
echo "$0" "$@" >> "{calls}"
test "$1" != install || test -e "{policy}" && test "$2" = --yes && touch "{calls}.policy"
case "$*" in
  *--simulate*) echo "Inst redis-server (7 Debian)"; echo "Inst libc [1] (2 Debian)"; echo "Inst tools (1)" ;;
esac
exit 0
"""


@pytest.mark.parametrize(("noted", "more", "going"), [
    ({"prometheus", "libjs", "adduser"}, "", {"prometheus", "libjs", "adduser"}),
    # What was there before, or is not there, is none of ours.
    ({"prometheus", "never", "unknown"}, "", {"prometheus"}),
    ({"promtool"}, "", {"promtool"}),
    # Something needs it, by its own name, by what it provides, or by way of another that stays.
    ({"prometheus", "libjs"}, "installed\tapp\t\t, prometheus (>= 2)\n", set()),
    ({"prometheus", "adduser"}, "installed\tapp\t\tserver,\x20\n", set()),
    ({"libjs", "adduser"}, "", set()),
    # One of two will do.
    ({"libjs"}, "installed\tjquery\t\t,\x20\n", {"libjs"}),
    # What was removed but for its configuration needs nothing.
    ({"prometheus", "libjs", "adduser"}, "config-files\tapp\t\t, prometheus\n", {"prometheus", "libjs", "adduser"}),
])
def test_what_goes(noted, more, going):
    assert removable(parse(KNOWN + more), noted) == going


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose apt and dpkg write down how they were called."""
    for name, text in {
        "apt-get": APT, "apt-cache": "#!/bin/sh\ntest $2 != nowhere\n",
        "dpkg": "#!/bin/sh\necho dpkg \"$@\" >> \"{calls}\"\n", "dpkg-query": "#!/bin/sh\ncat \"{known}\"\n",
    }.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text.replace("{calls}", f"{tmp_path}/calls").replace("{known}", f"{tmp_path}/known")
                           .replace("{policy}", "/usr/sbin/policy-rc.d"))
        program.chmod(0o755)
    (tmp_path / "known").write_text(KNOWN)
    (tmp_path / "calls").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def node_packages(run_module, host):
    return lambda check_mode=False, **options: run_module(
        "node_packages", {"records": f"{host}/records", **options}, check_mode
    )


def test_a_check_names_what_comes_and_writes_nothing(node_packages, host):
    result = node_packages(True, names=["redis-server"], optional=["nowhere", "tools"])
    assert result["changed"] and result["installed"] == ["redis-server", "tools"]
    assert not (host / "records").exists()
    assert [line.split()[1:3] for line in (host / "calls").read_text().splitlines()] == [["install", "--simulate"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="services are kept from starting by a file of root's")
def test_what_comes_is_written_down_first(node_packages, host):
    before = POLICY.read_text() if POLICY.exists() else None
    result = node_packages(names=["redis-server"], optional=["nowhere", "tools"])
    assert result["installed"] == ["redis-server", "tools"]
    # An upgrade is none.
    assert (host / "records" / "packages").read_text() == "redis-server\ntools\n"
    assert (host / "records").stat().st_mode & 0o777 == 0o700
    assert "root" in (host / "records" / "users").read_text().split()
    last = (host / "calls").read_text().splitlines()[-1]
    assert last.endswith("redis-server tools") and "install --yes" in last
    # What the machine had before is there again.
    assert (host / "calls.policy").exists() and (POLICY.read_text() if POLICY.exists() else None) == before


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/var/lib/apt/lists/lock").exists(), reason="the locks are apt's own")
@pytest.mark.parametrize(("lock", "options", "call"), [
    ("/var/lib/apt/lists/lock", {"names": ["redis-server"]}, "update"),
    ("/var/lib/dpkg/lock-frontend", {"state": "absent"}, "--purge"),
])
def test_another_apt_is_waited_for(node_packages, host, lock, options, call):
    """A new host updates its lists by itself, and apt-get update fails meanwhile."""
    (host / "records").mkdir()
    (host / "records" / "packages").write_text("prometheus\n")
    calls = host / "calls"
    with open(lock, "r+b") as stream, ThreadPoolExecutor() as pool:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        run = pool.submit(node_packages, **options)
        time.sleep(2)
        assert not run.done() and call not in calls.read_text()
        with calls.open("a") as written:
            written.write("released\n")
        fcntl.lockf(stream, fcntl.LOCK_UN)
        assert run.result()["changed"]
    assert calls.read_text().index("released") < calls.read_text().index(call)


def test_nothing_is_missing(node_packages, host):
    assert not node_packages(names=["prometheus"])["changed"]
    assert (host / "calls").read_text() == "" and not (host / "records").exists()


def test_a_package_that_apt_does_not_have_is_named(node_packages, host):
    """A check cannot refresh the lists, in which it may be missing."""
    (host / "bin" / "apt-get").write_text('#!/bin/sh\ncase "$*" in *nowhere*) exit 100 ;; esac\n')
    wanted = {"names": ["tools", "nowhere"], "advice": "let ray_system_packages name another"}
    assert node_packages(True, **wanted)["installed"] == ["tools", "nowhere"]
    result = node_packages(**wanted)
    assert result["failed"] and result["msg"].endswith(" has no package nowhere: let ray_system_packages name another.")
    assert not (host / "records").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="services are kept from starting by a file of root's")
@pytest.mark.parametrize("verb", ["update", "install --simulate", "install --yes"])
def test_what_cannot_be_fetched_is_told_with_what_else_to_do(node_packages, host, verb):
    before = POLICY.read_text() if POLICY.exists() else None
    (host / "bin" / "apt-get").write_text(
        f'#!/bin/sh\ncase "$*" in "{verb}"*) echo "E: Unable to connect to 127.0.0.1:9:" >&2; exit 100 ;; esac\n')
    result = node_packages(names=["tools"], advice="set ray_firewall to false for this host")
    assert result["failed"] and result["msg"].startswith(f"apt-get {verb} ")
    assert result["msg"].endswith(" failed on this host: E: Unable to connect to 127.0.0.1:9:. Mend that, or set "
                                  "ray_firewall to false for this host.")
    assert (POLICY.read_text() if POLICY.exists() else None) == before


@pytest.mark.parametrize("check_mode", [True, False])
def test_what_is_written_down_goes(node_packages, host, check_mode):
    (host / "records").mkdir()
    # An earlier version wrote names in one line, too.
    (host / "records" / "packages").write_text("prometheus libjs\nlibc\n")
    result = node_packages(check_mode, state="absent")
    assert (result["changed"], result["removed"], result["kept"]) == (True, ["libjs", "prometheus"], ["libc"])
    assert (host / "calls").read_text() == ("" if check_mode else "dpkg --purge libjs prometheus\n")


def test_a_host_without_apt(node_packages, host, monkeypatch):
    for program in (host / "bin").iterdir():
        program.unlink()
    monkeypatch.setenv("PATH", f"{host}/bin")
    assert node_packages(names=["redis"])["left"] == ["redis"]
    assert (host / "records" / "packages").read_text() == "redis\n"
    assert node_packages(names=["redis"]) and (host / "records" / "packages").read_text() == "redis\n"
    result = node_packages(state="absent")
    assert (result["changed"], result["kept"]) == (False, ["redis"])


@pytest.fixture
def host_with_dnf(host, monkeypatch):
    """A host with rpm and dnf, as far as stand-ins go: redis is in its repository, chrony is installed."""
    for program in (host / "bin").iterdir():
        program.unlink()
    for name, text in {
        "rpm": '#!/bin/sh\ntest "$3" = chrony\n',
        "dnf": '#!/bin/sh\ntest "$4" != redis || echo redis-0:6.2.7-1.x86_64\n',
    }.items():
        (host / "bin" / name).write_text(text)
        (host / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{host}/bin")
    return host


def role_advice(role, file):
    """What a role says to packages that are not there."""
    text = (REPOSITORY / "roles" / role / "tasks" / file).read_text()
    return yaml.safe_load(re.search(r"_ray_packages_advice: (.*)", text)[1])


def test_a_host_with_dnf_that_has_them(node_packages, host_with_dnf):
    result = node_packages(names=["redis", "chrony"])
    assert result["left"] == ["chrony", "redis"] and not result.get("failed")


@pytest.mark.parametrize(("role", "file", "names", "variables"), [
    ("redis", "install.yml", ["redis-server"], ["redis_packages", "redis_service"]),
    ("monitor", "install.yml", ["prometheus", "prometheus-alertmanager"], ["ray_monitor", "monitor_prometheus"]),
    ("ray", "environment.yml", ["python3-venv"], ["ray_python"]),
])
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_host_with_dnf_that_calls_them_otherwise(
    node_packages, host_with_dnf, role, file, names, variables, check_mode
):
    """The names of Debian are refused, before anything is written down, with the variables to set."""
    result = node_packages(check_mode, names=names, advice=role_advice(role, file))
    assert result["failed"] and f"has no package {', '.join(names)}: " in result["msg"]
    assert [name for name in variables if name not in result["msg"]] == []
    assert not (host_with_dnf / "records").exists()


@pytest.mark.parametrize(("name", "called"), [
    ("hce-2.0", "Huawei Cloud EulerOS 2.0 (x86_64)"), ("openeuler-22.03", "openEuler 22.03 (LTS-SP1)"),
    ("openeuler-24.03", "openEuler 24.03 (LTS)"), ("rocky-9", "Rocky Linux 9.6 (Blue Onyx)"),
    ("unknown", "This distribution"),
])
def test_what_recorded_hosts_call_themselves(name, called):
    assert distribution(REPOSITORY / "tests" / "unit" / "data" / "os-release" / name) == called


@pytest.mark.parametrize("family", ["Huawei Cloud EulerOS", "RedHat"])
def test_the_packages_that_are_left_go_to_dnf_whatever_the_family(family, monkeypatch):
    """ansible.builtin.package asks this fact; HCE has a family of its own, and the programs of any host with dnf 4."""
    monkeypatch.setattr(os.path, "exists", {"/usr/bin/dnf", "/usr/bin/dnf-3", "/usr/bin/yum"}.__contains__)
    facts = PkgMgrFactCollector().collect(collected_facts={"ansible_os_family": family})
    assert facts == {"pkg_mgr": "dnf"}


def test_no_role_asks_for_the_family():
    files = [path for path in (REPOSITORY / "roles").rglob("*") if path.suffix in (".yml", ".j2")]
    assert [path for path in files if re.search(r"os_family|ansible_distribution", path.read_text())] == []

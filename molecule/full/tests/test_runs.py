# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`site.yml --tags monitor`: what cannot work is refused before anything is touched, what differs is mended."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

testinfra_hosts = ["ansible://ray_monitor"]

ROOT = Path(__file__).parents[3]
BAD_RULE = {"monitor_rules": [{"name": "mine", "rules": [{"alert": "Mine", "expr": "sum(("}]}]}
GOOD_RULE = {"monitor_rules": [{"name": "mine", "rules": [{"alert": "Mine", "expr": "vector(0) > 1"}]}]}


@pytest.fixture
def site(request):
    """Run site.yml --tags monitor with more variables. Gives its exit status, its output, and the count of changes."""

    def run(variables=None, *arguments):
        inventory = request.config.option.ansible_inventory
        done = subprocess.run(
            ["ansible-playbook", "site.yml", "-i", inventory, "--tags", "monitor", "-e", json.dumps(variables or {}),
             *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )
        changes = sum(int(number) for number in re.findall(r"changed=(\d+)", done.stdout))
        return done.returncode, done.stdout + done.stderr, changes

    return run


def state(host):
    """Everything that a refused run must leave as it is."""
    return host.check_output(
        "find /etc/prometheus /etc/ray /etc/systemd/system /usr/local -type f -exec sha256sum {} + | sort;"
        "systemctl show --property=ActiveEnterTimestampMonotonic ray-monitor prometheus prometheus-alertmanager"
    )


@pytest.mark.parametrize(
    "variables, message",
    [
        (BAD_RULE, "/etc/prometheus/ray/rules/site.yml is not accepted by promtool"),
        ({"monitor_scrape_configs": [{"job_name": "x", "scrape_intervall": "5s"}]}, "not accepted by promtool"),
        ({"monitor_receivers": [{"name": "a", "type": "pager", "url": "http://a"}]}, "pager"),
        ({"monitor_receivers": [{"name": "a", "type": "email", "to": "a@example.com"}]}, "monitor_smtp"),
        ({"monitor_port": 22}, "22 is taken by ssh.service"),
        ({"monitor_port": 9090}, "9090"),
    ],
    ids=["rule", "scrape configuration", "receiver", "email without SMTP", "port in use", "port twice"],
)
def test_what_cannot_work_is_refused(host, site, variables, message):
    before = state(host)
    status, output, changes = site(variables)
    assert status == 2 and changes == 0
    assert message in " ".join(output.replace('\\"', '"').split()), output[-2000:]
    assert state(host) == before


def test_check_mode_names_what_would_change(host, site):
    before = state(host)
    status, output, changes = site({"monitor_retention": "7d"}, "--check", "--diff")
    assert status == 0 and changes > 0 and "retention.time=7d" in output
    assert state(host) == before


def test_a_rule_of_your_own_is_loaded_without_a_restart(host, site, monitor, wait_for):
    pid = host.check_output("systemctl show --value --property=MainPID prometheus")
    status, output, changes = site(GOOD_RULE)
    assert status == 0 and changes == 2, output[-3000:]
    wait_for("the rule", lambda: '"Mine"' in monitor.get(9090, "/api/v1/rules"), 30)
    assert host.check_output("systemctl show --value --property=MainPID prometheus") == pid
    assert site()[2] == 2


def test_what_was_edited_or_stopped_by_hand_is_mended(host, site):
    host.check_output("systemctl stop prometheus-alertmanager; echo '# mine' >> /etc/ray/monitor.yaml")
    status, output, _changes = site({}, "--diff")
    assert status == 0 and "-# mine" in output and "prometheus-alertmanager.service: stopped" in output
    assert host.service("prometheus-alertmanager").is_running


def test_a_file_that_an_interrupted_run_wrote_is_read_by_the_next(host, site):
    host.check_output("touch /etc/ray/monitor.yaml /etc/prometheus/ray/prometheus.yml")
    status, output, changes = site({}, "--diff")
    assert status == 0 and changes == 1
    assert "ray-monitor.service: started before /etc/ray/monitor.yaml was written" in output
    assert "prometheus.service: loaded before /etc/prometheus/ray/prometheus.yml was written" in output


OWN_SCRAPE = {"monitor_scrape_configs": [{
    "job_name": "mine", "static_configs": [{"targets": ["127.0.0.1:1"]}],
    "basic_auth": {"username": "me", "password": "xyzzy-scrape"},
}]}


def test_scrape_configurations_of_your_own_are_closed(host, site):
    path = "/etc/prometheus/ray/prometheus.yml"
    try:
        for arguments in (("--check", "--diff"), ("--diff",)):
            status, output, changes = site(OWN_SCRAPE, *arguments)
            assert status == 0 and changes > 0 and f"--- before: {path}" in output
            # In no diff; the command's own arguments are the test's.
            assert "xyzzy-scrape" not in output
        assert "xyzzy-scrape" in host.file(path).content_string
        assert (host.file(path).user, host.file(path).group, host.file(path).mode) == ("root", "prometheus", 0o640)
    finally:
        status, output, _changes = site({}, "--diff")
    assert status == 0 and "xyzzy-scrape" not in output
    assert host.file(path).mode == 0o640


def test_the_checker_is_root_s_wherever_others_have_been(host, site):
    """Without Prometheus on the host, the checker is unpacked for the run: below root's directory, not in /var/tmp."""
    theirs = "/var/tmp/ray-monitor-check"
    trap = f"mkdir -p {theirs}/usr/bin; cd {theirs}/usr/bin; echo 'id >> /run/trapped' > promtool; chmod 755 promtool"
    host.check_output("mv /usr/bin/promtool /usr/bin/promtool.aside")
    host.check_output("runuser -u nobody -- sh -c %s", trap)
    try:
        status, output, changes = site(BAD_RULE)
        assert status == 2 and changes == 0 and "not accepted by promtool" in output
        assert not host.file("/run/trapped").exists
        assert not host.file("/var/lib/rayops/monitor-check").exists
    finally:
        host.check_output(f"mv /usr/bin/promtool.aside /usr/bin/promtool; rm -rf {theirs} /run/trapped")


def test_grafana_gets_our_dashboards_and_ray_s_own(host, site, monitor):
    """Grafana is in no package of the distribution: what it would read is checked, not Grafana."""
    host.check_output("mkdir -p /etc/grafana/provisioning/datasources /etc/grafana/provisioning/dashboards")
    try:
        status, output, _changes = site()
        assert status == 0, output[-3000:]
        assert site()[2] == 0
        provider = host.file("/etc/grafana/provisioning/dashboards/ray.yml").content_string
        assert "/etc/prometheus/ray/dashboards" in provider
        files = host.check_output("find /etc/prometheus/ray/dashboards -name '*.json'").split()
        assert len([name for name in files if "/ray-2." in name]) >= 8
        # Root wrote them, and what printed them was Ray's user.
        assert host.check_output("find /etc/prometheus/ray/dashboards ! -user root") == ""
        broken = []
        for name in files:
            for query in re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', host.file(name).content_string):
                expression = json.loads(f'"{query}"')
                expression = re.sub(r"\[\$\w+\]|\[\$\{\w+\}\]", "[1m]", expression.replace("$__rate_interval", "1m"))
                try:
                    monitor.query(re.sub(r"\$\{?(\w+)(:\w+)?\}?", ".*", expression))
                except Exception as error:  # the server's 400 says what it cannot parse
                    broken.append((name, expression, str(error)))
        assert broken == []
    finally:
        host.run("rm -rf /etc/grafana")


# Ray's Python as it is, but for the dashboards.
FAKE_PYTHON = """#!/bin/sh
case "$*" in *rayops.cluster.dashboards*) id -un > /tmp/dashboards-ran-as; echo '%s'; exit;; esac
exec %s/bin/python "$@"
"""


def test_root_executes_nothing_of_the_environment_for_dashboards(host, site):
    """An environment whose Python is somebody else's program: it runs as Ray's user, and its answer is looked at."""
    fake, live = "/opt/ray-fake", host.check_output("readlink -f /opt/ray/current")
    hostile = json.dumps({"dashboards": [{"uid": "../../../../run/escaped", "content": "x"}]})
    host.check_output("mkdir -p /etc/grafana/provisioning/datasources /etc/grafana/provisioning/dashboards")
    host.check_output(f"cp -as {live}/. {fake}/ && rm {fake}/bin/python")
    host.check_output("rm -rf /etc/prometheus/ray/dashboards/ray-2*")
    host.check_output(f"printf %%s %s > {fake}/bin/python; chmod 755 {fake}/bin/python", FAKE_PYTHON % (hostile, live))
    try:
        status, output, _changes = site({"ray_environment_path": fake})
        told = " ".join(output.split())
        assert status == 2 and "has printed something else than Ray's dashboards" in told, output[-2000:]
        assert host.file("/tmp/dashboards-ran-as").content_string == "ray\n"
        assert not host.file("/run/escaped.json").exists
    finally:
        host.run(f"rm -rf /etc/grafana {fake} /tmp/dashboards-ran-as")
        assert site()[0] == 0


def test_a_support_bundle_tells_no_secret(host, at, request, tmp_path):
    inventory = request.config.option.ansible_inventory
    done = subprocess.run(
        ["ansible-playbook", "rayops.cluster.support_bundle", "-i", inventory, "-e", f"support_bundle_dest={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(re.findall(r"changed=(\d+)", done.stdout)) == {"0"}
    (archive,) = tmp_path.glob("support-bundle-demo-*.tar.gz")
    assert archive.stat().st_mode & 0o077 == 0
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar.getmembers() if member.isfile()}
    hosts = {name.split("/")[1] for name in files if name.endswith("/manifest.txt")}
    assert hosts == {"head", "monitor", "redis", "worker-1", "worker-2"}
    redis = at("redis").check_output("awk '$1 == \"requirepass\" {print $2}' /etc/rayops/redis.conf")
    for secret in (host.check_output("cat /etc/prometheus/ray/token"), redis, "hunter2"):
        assert [name for name, content in files.items() if secret.encode() in content] == []


def test_a_run_after_all_of_them_changes_nothing(site):
    status, output, changes = site()
    assert (status, changes) == (0, 0), output[-3000:]

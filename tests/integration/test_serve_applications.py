# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve applications on a cluster that changes: what is interrupted is named first, and two replicas lose nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.long import long

ROOT = Path(__file__).parents[2]
PROBE = (ROOT / "roles" / "serve" / "files" / "ray_model.py").read_text(encoding="utf-8")
PROGRAM = (Path(__file__).parents[1] / "workload" / "serve_application.py").read_text(encoding="utf-8")
ASK = ("--extra-vars", "ray_interrupt=ask")
STARTED = "systemctl show --value --property=ActiveEnterTimestampMonotonic ray-worker"
WIDE = "Serve application wide (the only replica of Model on worker-1, worker-2)"


# What role serve leaves on a host of a model that is a unit, with another program in it.
UNIT = """
printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' \
    > /etc/systemd/system/vllm@.service
systemctl daemon-reload
systemctl enable --now --quiet vllm@v3
echo '{"models": [], "applications": [], "units": ["v3"]}' > /etc/ray/models.yaml
"""
WAIT = "Wait until the models serve again"


def program(cluster, *words: str) -> str:
    cluster.sh(cluster.head, "cat > /var/tmp/models.py", stdin=PROGRAM)
    return cluster.sh(cluster.head, f"ray-env python /var/tmp/models.py {' '.join(words)}")


def changed(number: int) -> tuple[str, str]:
    """A setting of the workers alone."""
    return "--extra-vars", json.dumps({"worker_config": {"environment": {"RAYOPS_TEST": str(number)}}})


def unknown_package(cluster) -> dict[str, list]:
    return {"ray_extra_packages": [*cluster.bed.variables["ray_extra_packages"], "no-such-package==1"]}


def spoken(run) -> str:
    """The output without the line breaks of Ansible's warnings."""
    return " ".join(run.output.split())


@pytest.fixture(scope="module")
def models(deployed):
    """Two replicas, each on a node of its own."""
    program(deployed, "pair")
    return deployed


@pytest.fixture
def declare(models) -> Iterator[Callable[[str], None]]:
    """Write what the token probe asks on the head, as role serve does for models that are declared."""
    models.sh(models.head, "mkdir -p /usr/local/libexec; cat > /usr/local/libexec/ray-model.py", stdin=PROBE)
    models.sh(models.head, "echo a-key > /etc/ray/test.key; chgrp ray /etc/ray/test.key; chmod 640 /etc/ray/test.key")

    def write(name: str) -> None:
        model = {"name": name, "model": name, "engine": "serve", "replicas": 1, "api_key_file": "/etc/ray/test.key",
                 "url": f"http://127.0.0.1:8000/{name}/v1"}
        models.sh(models.head, "cat > /etc/ray/models.yaml; chmod 644 /etc/ray/models.yaml",
                  stdin=json.dumps({"models": [model], "applications": [], "units": []}))

    yield write
    models.sh(models.head, "rm -f /etc/ray/models.yaml /etc/ray/test.key /usr/local/libexec/ray-model.py")


@pytest.fixture
def asked(models):
    """Requests through the head's proxy until the test ends, counted by the test itself."""
    unit = "systemd-run --quiet --collect --unit=asking --property=TimeoutStopSec=60 ray-env python /var/tmp/models.py"
    models.sh(models.head, f"rm -f /var/tmp/asked; {unit} ask http://127.0.0.1:8000/pair /var/tmp/asked")

    def stop() -> dict:
        models.sh(models.head, "systemctl stop asking")
        return json.loads(models.sh(models.head, "cat /var/tmp/asked"))

    yield stop
    models.sh(models.head, "systemctl stop asking", check=False)


@long
def test_two_replicas_lose_no_request_while_all_workers_restart(models, asked):
    before = models.pids()
    time.sleep(3)
    # Nothing is interrupted, and so nothing is asked.
    run = models.site(*changed(1), *ASK).must_succeed()
    time.sleep(3)
    found = asked()
    assert found["asked"] > 200 and found["failed"] == [], found
    after = models.pids()
    assert {name for name in before if before[name] != after[name]} == set(models.workers)
    assert "This would interrupt" not in spoken(run) and "This interrupts" not in spoken(run), run.output[-3000:]
    # Between the two, the first one's replica serves again.
    assert run.ends(WAIT) == ["skipping", "ok", "ok"], run.output[-3000:]


def test_an_upgrade_stops_all_replicas(models):
    packages = json.dumps(unknown_package(models))
    for arguments, said in (
        # Before the time that it takes to make an environment.
        (ASK, "This would interrupt Serve application pair (all 2 replicas of Model on"),
        (("--extra-vars", "ray_interrupt=models"), "no-such-package"),
    ):
        run = models.play("rayops.cluster.upgrade", "--extra-vars", packages, *arguments)
        assert run.status != 0 and said in spoken(run), run.output[-3000:]


@long
def test_an_upgrade_of_one_pool_stops_all_replicas_too(models):
    """The head's own packages stay as they are, and it stops with all the others."""
    own = models.bed.state / "host_vars" / "worker-2.yml"
    own.parent.mkdir(exist_ok=True)
    own.write_text(json.dumps(unknown_package(models)), encoding="utf-8")
    try:
        run = models.play("rayops.cluster.upgrade", *ASK)
    finally:
        own.unlink()
    said = "This would interrupt Serve application pair (all 2 replicas of Model on"
    assert run.status != 0 and said in spoken(run), run.output[-3000:]


@long
def test_the_workers_wait_for_the_models_that_a_head_before_them_has_interrupted(models, declare):
    """While Serve's controller is away nobody says what runs, and each batch is to wait for it."""
    declare("pair")
    before = models.pids()
    settings = {
        "head_config": {"system_config": {"memory_monitor_refresh_ms": 500}},
        "worker_config": {"environment": {"RAYOPS_TEST": "3"}},
    }
    # Both replicas may be on one worker by now.
    run = models.site("--extra-vars", json.dumps({**settings, "ray_interrupt": "models"})).must_succeed()
    after = models.pids()
    assert {name for name in before if before[name] != after[name]} == set(models.names)
    assert run.ends(WAIT) == ["ok", "ok", "ok"], run.output[-6000:]


def test_verify_asks_the_models_also_as_a_part_of_site(models, declare):
    declared = {"ray_serve_models": [{"name": "pair", "repository": "owner/pair"}], "ray_serve_timeout": 5}
    verify = ("--tags", "verify", "--extra-vars", json.dumps(declared))
    declare("pair")
    run = models.site(*verify).must_succeed()
    assert "TASK [Ask each model for a token]" in run.output
    declare("silent")
    run = models.site(*verify)
    assert run.status != 0 and "No token came within 5 s: model silent" in spoken(run), run.output[-3000:]


def test_a_model_that_cannot_be_served_is_refused_before_anything_is_touched(models):
    """The playbook by itself and site, each where it declares the first model."""
    declared = ("--extra-vars", json.dumps({"ray_serve_models": [{"name": "r1", "path": "/srv/none"}]}))
    before = models.pids()
    for playbook in ("rayops.cluster.serve", "site.yml"):
        run = models.play(playbook, *declared)
        assert run.status != 0 and "/srv/none is not there: copy the model to it" in spoken(run), run.output[-3000:]
        assert run.changed == 0 and "Write the models' files" not in run.output
    assert models.pids() == before and models.sh(models.head, "ls /etc/ray/models || true") == ""


@pytest.fixture
def wide(models):
    """The one application, for it ties both workers together."""
    program(models, "delete", "pair")
    program(models, "wide")
    yield models
    program(models, "delete", "wide")


def test_a_model_over_two_nodes_is_named_and_restarts_once(wide):
    before = wide.pids()
    check = wide.site("--check", *changed(2), *ASK).must_succeed()
    assert f"This would interrupt {WIDE}" in spoken(check), check.output[-3000:]
    for playbook, arguments in (
        ("site.yml", changed(2)), ("rayops.cluster.restart", ()), ("rayops.cluster.restart", ("--limit", "worker-2")),
        ("rayops.cluster.remove_worker", ("--extra-vars", "remove_worker_hosts=worker-2")),
        ("site.yml", (*changed(2), "--extra-vars", "ray_interrupt=jobs")),
    ):
        run = wide.play(playbook, *ASK, *arguments)
        assert run.status != 0 and f"This would interrupt {WIDE}" in spoken(run), run.output[-3000:]
    assert wide.pids() == before
    wide.site(*changed(2), "--extra-vars", "ray_interrupt=models").must_succeed()
    after = wide.pids()
    # Of the head a test before this has changed a setting, which goes here.
    assert {name for name in before if before[name] != after[name]} - {wide.head} == set(wide.workers)
    first, second = sorted(int(wide.sh(name, STARTED)) / 1e6 for name in wide.workers)
    # One after the other, the second drains for 30 s more.
    assert second - first < 20, "they did not restart together"
    # It serves again, before the run has ended.
    url = "http://127.0.0.1:8000/wide"
    assert wide.sh(wide.head, (
        f"ray-env python -c 'from urllib.request import urlopen as u; print(u(\"{url}\", timeout=10).read().decode())'"
    )) == "token"


def test_a_job_is_named(models):
    models.sh("worker-1", "systemd-run --quiet --collect --unit=job ray-env python -c "
              "'import ray, time; ray.init(log_to_driver=False); time.sleep(600)'")
    try:
        deadline = time.monotonic() + 60
        while True:
            check = models.play("rayops.cluster.restart", "--check", "--limit", "worker-1", *ASK).must_succeed()
            if "whose driver is on worker-1" in spoken(check) or time.monotonic() > deadline:
                break
        assert "(python, pid" in spoken(check), check.output[-3000:]
        before = models.pids()
        run = models.play("rayops.cluster.restart", "--limit", "worker-1", *ASK)
        assert run.status != 0 and "-e ray_interrupt=jobs" in spoken(run), run.output[-3000:]
        assert models.pids() == before
    finally:
        models.sh("worker-1", "systemctl stop job")


@long
def test_a_worker_that_is_removed_keeps_no_unit_of_a_model(models, declare):
    """Its models' units end with it, and what is left elsewhere is asked for a token."""
    program(models, "pair")
    models.sh("worker-2", UNIT)
    declare("pair")
    # Forced: Serve may keep an object there that no other node has.
    wanted = "remove_worker_hosts=worker-2 remove_worker_force=true"
    run = models.play("rayops.cluster.remove_worker", "--extra-vars", wanted, *ASK).must_succeed()
    assert run.ends(WAIT) == ["ok"], run.output[-3000:]
    assert models.sh("worker-2", "systemctl is-active vllm@v3 || true") == "inactive"
    assert models.sh("worker-2", "ls /etc/systemd/system/*/vllm@v3.service /etc/ray/models.yaml || true") == ""

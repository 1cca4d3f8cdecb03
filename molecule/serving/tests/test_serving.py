# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model over two workers answers, whatever is done to them, and every request is counted. BED_NAME names the bed."""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests import serving
from tests.bed.bed import ROOT, Bed
from tests.bed.cluster import Cluster
from tests.bed.containers import address
from tests.bed.firewall import closed
from tests.bed.outside import outside
from tests.faults import served
from tests.faults.fault import TOLERANCE
from tests.faults.served import PIPELINE, TENSOR, ServedFault, ServedTrial
from tests.long import BUILD_SERVER, long
from tests.workload.client import Client

# Of each kind one: each of the others loads the model once more, and is done by `make faults`.
KINDS = ("model-gcs", "model-raylet") if BUILD_SERVER else ("model-gcs", "model-raylet", "model-variable")
CHOSEN = [fault for fault in served.FAULTS if fault.name in KINDS]
STAGE = next(fault for fault in served.FAULTS if fault.model == PIPELINE)
# The watchdog of a unit has three minutes of patience with a slow model, and looks again after half a minute.
IMPATIENT = r"""
set -e
cd /etc/systemd/system
unit=vllm-health@.service
mkdir -p $unit.d vllm-health@.timer.d
printf '[Timer]\nOnUnitInactiveSec=2\n' > vllm-health@.timer.d/test.conf
printf '[Service]\nExecStart=\n' > $unit.d/test.conf
sed -n 's/^\(ExecStart=.*\) --timeout 60 --tries 3 /\1 --timeout 10 /p' $unit >> $unit.d/test.conf
grep -q -- '--timeout 10' $unit.d/test.conf
systemctl daemon-reload
"""
PATIENT = "rm -rf /etc/systemd/system/vllm-health@.*.d; systemctl daemon-reload"
MAIN_PID = f"systemctl show --value --property=MainPID vllm@{PIPELINE}"
# Both ways in which vLLM's ranks are called.
RANKS = "pgrep --count --full '^(ray::[R]ayWorker|VLLM::[W]orker)' || true"


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster(Bed.load(os.environ.get("BED_NAME", "molecule-serving")))


def post(url: str, key: str, authority: str = "", **body: object) -> dict:
    """As a user's curl; authority: a certificate that is trusted, in PEM."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    trust = [urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority))] if authority else []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *trust)
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)


def assert_survived(cluster: Cluster, fault: ServedFault) -> None:
    with served.client(cluster, fault.model) as asking:
        outcome = ServedTrial(cluster, asking).run(fault)
    assert not outcome.failed, "\n".join(outcome.failed)
    # Others use the machine, too: docs/faults.md has the time of a quiet one beside the promise.
    assert outcome.silence <= TOLERANCE * fault.promise, outcome


def test_the_models_were_brought(cluster: Cluster) -> None:
    """They are whole, root's, and everybody's to read."""
    for name in cluster.workers:
        for path in (serving.SENT["path"], serving.SHARED["path"]):
            assert cluster.sh(name, f"diff --recursive {serving.MODEL} {path}") == ""
            assert cluster.sh(name, f"find {path} ! -user root -o ! -perm -o+r -o -perm /go+w") == ""


def test_it_answers_who_has_the_key(cluster: Cluster) -> None:
    url = f"{served.declared(cluster, TENSOR)['url']}/chat/completions"
    key = cluster.sh(cluster.head, "cat /etc/ray/serve_api_key")
    question = {"model": TENSOR, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    said = post(url, key, **question)
    assert said["usage"]["completion_tokens"] >= 1 and said["choices"][0]["message"]["role"] == "assistant"
    for other in ("", "x" * 48):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(url, other, **question)
        assert refused.value.code == 401
    # It is one model, on both.
    assert "0" not in [cluster.sh(name, RANKS) for name in cluster.workers]


def test_the_proxy_leads_to_it_with_the_same_key(cluster: Cluster) -> None:
    url = f"https://{cluster.gcs.partition(':')[0]}/models/{TENSOR}/v1/chat/completions"
    authority = cluster.sh(cluster.head, "cat /etc/ray/tls/ca.pem")
    key = cluster.sh(cluster.head, "cat /etc/ray/serve_api_key")
    question = {"model": TENSOR, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    assert post(url, key, authority, **question)["usage"]["completion_tokens"] >= 1
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(url, "x" * 48, authority, **question)
    assert refused.value.code == 401


def test_nodes_of_a_model_speak_tls_and_strangers_reach_ssh_and_the_proxy_alone(cluster: Cluster) -> None:
    """The scenario `transit` looks at what that keeps out."""
    process = "tr '\\0' '\\n' < /proc/$(pgrep -x raylet)/environ"
    assert [cluster.sh(name, f"{process} | grep RAY_USE_TLS") for name in cluster.names] == ["RAY_USE_TLS=1"] * 3
    with outside(cluster.bed) as stranger:
        for name in cluster.names:
            found = stranger.run(ROOT / "tests" / "nft.py", address(cluster.bed, name)).split()
            assert found == (["22", "443"] if name == cluster.head else ["22"]), name


def test_a_second_run_changes_nothing_and_interrupts_nothing(cluster: Cluster) -> None:
    pids = cluster.pids()
    with served.client(cluster, TENSOR) as asking:
        asking.wait_for_tokens(time.time(), 60)
        run = cluster.again()
        asking.wait_for_tokens(time.time(), 60)
        asking.settle(60)
        report = asking.report()
    assert run.changed == 0, run.output
    assert cluster.pids() == pids
    assert not report.lost and report.asked > 20, report.summary()


def test_a_backup_is_made_while_it_serves(cluster: Cluster, tmp_path: Path) -> None:
    pids = cluster.pids()
    cluster.play("rayops.cluster.backup", "-e", f"backup_dest={tmp_path}").must_succeed()
    assert len(list(tmp_path.glob("ray-backup-*.tar.gz"))) == 1 and cluster.pids() == pids


def test_nodes_that_do_not_reach_each_other_are_named_before_anything_is_touched(cluster: Cluster) -> None:
    with closed(cluster, "worker-2", "worker-1"):
        run = cluster.play("rayops.cluster.serve")
    assert run.status != 0 and "worker-1 cannot reach worker-2 on" in run.output, run.output[-3000:]
    assert "Write the models' files" not in run.output
    assert served.probe(cluster, TENSOR, 30)["answered"]


@pytest.mark.parametrize("fault", CHOSEN, ids=lambda fault: fault.name)
def test_fault(cluster: Cluster, fault: ServedFault) -> None:
    before = cluster.pids()
    assert_survived(cluster, fault)
    after = cluster.pids()
    if fault.name == "model-variable":
        assert {name for name in before if before[name] != after[name]} == set(cluster.workers)


def test_another_model_takes_its_place(cluster: Cluster) -> None:
    """What goes frees the accelerators that the other one waits for; and a file that is damaged is brought again."""
    url = f"{served.declared(cluster, TENSOR)['url']}/completions"
    key = cluster.sh(cluster.head, "cat /etc/ray/serve_api_key")
    weights = f"{serving.SHARED['path']}/model.safetensors"
    cluster.sh("worker-2", f"echo >> {weights}")
    served.declare(cluster, serving.PIPELINE)
    assert cluster.sh("worker-2", f"cmp {serving.MODEL}/model.safetensors {weights}") == ""
    assert not served.serve_whole(cluster, TENSOR)
    with pytest.raises(urllib.error.URLError):
        post(url, key, model=TENSOR, prompt="hello", max_tokens=1)
    assert cluster.sh(cluster.head, "ls /etc/ray/models") == f"{PIPELINE}.key"
    assert served.probe(cluster, PIPELINE, 30)["answered"]
    assert "0" not in [cluster.sh(name, RANKS) for name in cluster.workers]


def test_a_stage_that_dies_is_noticed_by_the_token_probe(cluster: Cluster) -> None:
    before = cluster.sh("worker-1", MAIN_PID)
    try:
        cluster.sh("worker-1", IMPATIENT)
        assert_survived(cluster, STAGE)
    finally:
        cluster.sh("worker-1", PATIENT)
    assert cluster.sh("worker-1", MAIN_PID) != before


def test_the_cluster_is_as_declared_after_all_of_it(cluster: Cluster) -> None:
    changed = {} if BUILD_SERVER else served.CHANGED
    run = cluster.again(*served.variables(ray_serve_models=[serving.PIPELINE], **changed))
    assert run.changed == 0, run.output


@long
def test_a_unit_that_does_not_start_keeps_nobody_waiting(cluster: Cluster) -> None:
    """The other hosts do not go on to ask for a token, for as long as all models may take."""
    broken = {**serving.PIPELINE, "engine_args": {**serving.ENGINE_ARGS, "max_model_len": "long"}}
    run = cluster.play("rayops.cluster.serve", *served.variables(ray_serve_models=[broken], ray_serve_timeout=600))
    assert run.status != 0 and f"vllm@{PIPELINE}" in run.output, run.output[-3000:]
    assert "Ask each model for a token" not in run.output and run.seconds < 400


def test_a_model_that_is_no_longer_declared_goes(cluster: Cluster) -> None:
    served.declare(cluster)
    assert cluster.sh("worker-1", f"systemctl is-active vllm@{PIPELINE} || true") == "inactive"
    # Neither on who had its unit, nor on who asked it.
    assert [cluster.sh(name, "find /etc/ray/models -type f || true") for name in ("worker-1", cluster.head)] == ["", ""]
    cluster.wait_whole()


@long
def test_two_replicas_lose_no_request_while_both_workers_restart(cluster: Cluster) -> None:
    """Nothing is asked, for nothing is interrupted: each worker has a replica of all that the model consists of."""
    served.declare(cluster, serving.PAIR)
    model = served.declared(cluster, str(serving.PAIR["name"]))
    key = cluster.sh(cluster.head, f"cat {model['api_key_file']}")
    before = cluster.pids()
    environment = {"worker_config": {**serving.WORKER_CONFIG, "environment": {"RAYOPS_TEST": "2"}}}
    with Client(model["model"], key, [model["url"]]) as asking:
        asking.wait_for_tokens(time.time(), 60)
        run = cluster.again(*served.variables(ray_serve_models=[serving.PAIR], ray_interrupt="ask", **environment))
        asking.settle(60)
        report = asking.report()
    assert not report.lost and report.asked > 20, report.summary()
    after = cluster.pids()
    assert {name for name in before if before[name] != after[name]} == set(cluster.workers)
    # Between the two, the first one's replica serves again.
    assert run.ends("Wait until the models serve again") == ["skipping", "ok", "ok"], run.output[-3000:]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the exporter does without a cluster: its config, its certificates, and figures that no small cluster has."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import urllib.error
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles
from ansible_collections.rayops.cluster.plugins.plugin_utils import _tls
from tests.unit.model_server import PROGRAM, declare, serving
from tests.unit.monitor.exporter import config, until


def test_certificates(start, tmp_path):
    pem, key, absent = tmp_path / "x.pem", tmp_path / "x.key", tmp_path / "absent.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=demo", "-keyout", key, "-out", pem], check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as mute:
        threading.Thread(target=greet, args=(server, context), daemon=True).start()
        listener, silent = (f"127.0.0.1:{each.getsockname()[1]}" for each in (server, mute))
        # The one that never answers comes last, and blocks nothing.
        names = [str(pem), listener, str(absent), silent]
        exporter = start(config(certificates=names))
        until(lambda: len(exporter.samples("ray_certificate_readable")) == 3, 10)
        readable = {(str(pem),): 1, (listener,): 1, (str(absent),): 0}
        assert exporter.samples("ray_certificate_readable") == readable
    # ssl says "Jan 30 12:00:00 2027 GMT".
    expires = ssl.cert_time_to_seconds(ssl._ssl._test_decode_cert(pem)["notAfter"])
    assert exporter.samples("ray_certificate_expiry_timestamp_seconds") == {(str(pem),): expires, (listener,): expires}
    assert f"the certificate {absent} cannot be read: No such file" in exporter.log.read_text()


def test_certificates_of_nodes(start, tmp_path):
    """What a node has read, by a handshake in which it asks for ours. One that is down is none of these."""
    authority, files = _tls.read(*_tls.make("demo")), NodeFiles.of(str(tmp_path))
    leaf = _tls.issue(authority, ["127.0.0.1"], 90)
    for path, text in ((files.certificate, leaf.certificate), (files.key, leaf.key),
                       (files.authority, authority.certificate)):
        Path(path).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.authority)
    context.verify_mode, asked = ssl.CERT_REQUIRED, []

    def meet(server: socket.socket) -> None:
        with context.wrap_socket(server.accept()[0], server_side=True) as connection:
            asked.append(connection.getpeercert())

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=meet, args=(server,), daemon=True).start()
        node = f"127.0.0.1:{server.getsockname()[1]}"
        nodes = {"up": {"pool": "head", "tls": node}, "down": {"pool": "worker", "tls": "127.0.0.1:1"}}
        exporter = start(config(nodes=nodes, tls_directory=str(tmp_path), certificates=[files.certificate]))
        until(lambda: len(exporter.samples("ray_certificate_warning_seconds")) == 3, 10)
    ends = ssl.cert_time_to_seconds(asked[0]["notAfter"])
    found = exporter.samples("ray_certificate_expiry_timestamp_seconds")
    assert found == {(node,): ends, (files.certificate,): ends}
    assert exporter.samples("ray_certificate_warning_seconds") == {
        (node,): 14 * 86400, ("127.0.0.1:1",): 14 * 86400, (files.certificate,): 21 * 86400,
    }
    assert exporter.samples("ray_certificate_readable") == {(files.certificate,): 1}


def test_models(start, tmp_path):
    declared = tmp_path / "models.yaml"
    settings = config(models={"file": str(declared), "program": str(PROGRAM)}, first_token_limit=2.5)
    exporter = start(settings)
    # Nothing is declared: nobody is asked, and no series claims that a model is silent.
    assert "ray_model_answering" not in exporter.text() and exporter.text("/vllm-targets") == "[]"
    assert exporter.value("ray_model_first_token_limit_seconds") == 2.5
    # Before the first reading Prometheus goes on with the targets that it knew.
    with pytest.raises(urllib.error.HTTPError, match="503"):
        exporter.text("/ray-targets")
    exporter.close()
    with serving() as server:
        good, broken, beside, sleeper = declare(tmp_path, server, "good", "broken", "empty", "hangs")
        beside.update(name="beside@worker-1", engine="vllm", metrics=["10.0.0.11:8001"])
        models = [{**good, "replicas": 2}, broken, {**sleeper, "replicas": 0}, beside]
        declared.write_text(json.dumps({"models": models}))
        exporter = start(settings)
        until(lambda: exporter.samples("ray_model_answering"))
        assert exporter.samples("ray_model_answering") == {("good",): 1, ("broken",): 0, ("beside@worker-1",): 0}
        ((name, seconds),) = exporter.samples("ray_model_token_seconds").items()
        assert name == ("good",) and 0 < seconds < 10
        assert exporter.samples("ray_model_replicas_declared") == {
            ("serve", "good"): 2, ("serve", "broken"): 1, ("serve", "hangs"): 0, ("vllm", "beside@worker-1"): 1,
        }
        targets = [{"targets": ["10.0.0.11:8001"], "labels": {"model": "beside@worker-1"}}]
        assert json.loads(exporter.text("/vllm-targets")) == targets
        assert sorted({path for path, _body in server.asked}) == [f"/{kind}/v1/completions" for kind in (
            "broken", "empty", "good")]
    silent = ("the model broken does not answer: answered with status 500; the model beside@worker-1 does not answer: "
              "answered without a token")
    assert f"ray-monitor: {silent}\n" in exporter.log.read_text()
    exporter.close()
    # Where they cannot be asked, they count as silent: that nobody knows is no good news.
    del good["url"]
    declared.write_text(json.dumps({"models": models[1:] + [good]}))
    exporter = start(settings)
    until(lambda: exporter.samples("ray_model_answering"))
    assert exporter.samples("ray_model_answering") == {("good",): 0, ("broken",): 0, ("beside@worker-1",): 0}
    assert "ray-monitor: the models cannot be asked: KeyError: 'url'\n" in exporter.log.read_text()


def test_what_others_say_is_one_line_of_the_log(in_ray):
    said = in_ray("from ray_monitor import one_line\nprint(json.dumps(one_line('gave no\\nanswer')))")
    assert said == "gave no answer"


def greet(server: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(server.accept()[0], server_side=True):
        pass


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"interval": None}, "interval must be a number of seconds above 0, not None."),
        ({"timeout": "10 s"}, "timeout must be a number of seconds above 0, not '10 s'."),
        ({"adress": 1}, "adress is unknown; the keys are cluster_name, address, "),
        ({"address": "head"}, "address must be host:port, for example demo-head:6379, not 'head'."),
        ({"listen": {"address": "0.0.0.0"}}, "listen.port is missing; it must be a port, 0 to 65535."),
        ({"nodes": {"w": {"gpus": 4}}}, "nodes.w.pool is missing; it must be a name."),
        ({"nodes": {"w": None}}, "nodes.w must be a mapping with the keys pool, gpus, npus, tls."),
        ({"nodes": {"w": {"pool": "p", "tls": "10.0.0.7"}}}, "nodes.w.tls must be host:port, not '10.0.0.7'."),
        ({"nodes": {"w": {"pool": "p", "gpus": True}}}, "nodes.w.gpus must be a number, not True."),
        ({"models": {"file": "models.yaml"}}, "models.file must be an absolute path, not 'models.yaml'."),
        ({"first_token_limit": 0}, "first_token_limit must be a number of seconds above 0, not 0."),
        ({"certificates": ["x.pem"]}, "certificates must be absolute paths of PEM files or host:port, not 'x.pem'."),
        ({"auth_token_path": "/nonexistent"},
         "the token file /nonexistent (auth_token_path) cannot be read: No such file or directory."),
        ({"auth_token_path": "/dev/null"}, "the token file /dev/null (auth_token_path) is empty."),
    ],
)
def test_a_config_that_cannot_work(ray_environment, programs, tmp_path, change, sentence):
    assert refused(ray_environment, programs, tmp_path, json.dumps(config(**change))).startswith(sentence)


def test_a_config_that_is_none(ray_environment, programs, tmp_path):
    assert refused(ray_environment, programs, tmp_path, "{").startswith("it is not YAML: ")
    assert refused(ray_environment, programs, tmp_path, "[]").startswith("the file must be a mapping with the keys ")
    assert refused(ray_environment, programs, tmp_path, None) == "it cannot be read: No such file or directory."


def refused(environment: str, programs: Path, directory: Path, text: str | None) -> str:
    file = directory / "monitor.yaml"
    file.unlink(missing_ok=True)
    if text is not None:
        file.write_text(text)
    command = [f"{environment}/bin/python", str(programs / "ray_monitor.py"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    return line.removeprefix(f"ray-monitor: {file}: ")


def test_an_address_that_is_taken(ray_environment, programs, tmp_path):
    file = tmp_path / "monitor.yaml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        file.write_text(json.dumps(config(listen={"address": "127.0.0.1", "port": port})))
        command = [f"{ray_environment}/bin/python", str(programs / "ray_monitor.py"), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (
        1, f"ray-monitor: cannot listen on 127.0.0.1:{port}: Address already in use.\n",
    )


def test_many_shapes_and_odd_names(in_ray):
    """What a small cluster does not show: a bound on the shapes, names that need quoting, two nodes of one name."""
    text, shapes = in_ray(
        "import ray_monitor_metrics as m\n"
        "def node(name, number, state, gpus=0):\n"
        "    available = {'GPU': gpus - 1.5} if gpus else {}\n"
        "    return {'node_name': name, 'node_id': str(number), 'ip': f'10.0.0.{number}', 'state': state,\n"
        "            'is_head': False, 'death': None, 'start_time': f'2026-01-01T00:00:0{number}+00:00',\n"
        "            'resources': {'total': {'GPU': gpus, 'CPU': 4}, 'available': available}}\n"
        "nodes = [node('moved', 1, 'ALIVE'), node('moved', 2, 'ALIVE', 3), node('odd \"\\n', 3, 'ALIVE')]\n"
        "demands = [{'kind': 'task_or_actor', 'resources': {'CPU': n}, 'count': 200 - n} for n in range(1, 121)]\n"
        "group = {'CPU_group_0_1f': 1, 'CPU_group_1f': 1, 'bundle_group_1f': 0.001}\n"
        "demands.append({'kind': 'task_or_actor', 'resources': group, 'count': 500})\n"
        "status = {'nodes': nodes, 'demands': demands, 'ray_version': '2', 'python_version': '3',\n"
        "          'session_name': 's'}\n"
        "reading = {'status': status, 'tasks': None, 'storage_seconds': None, 'token_auth': None, 'groups': None}\n"
        "metrics = m.ClusterMetrics({'nodes': {'moved': {'pool': 'p'}}, 'cluster_name': 'c', 'gcs_storage': 'redis'})\n"
        "text = metrics.families(reading).text().decode()\n"
        "print(json.dumps([text, [[*key, value] for key, value in m.shapes(demands).items()]]))"
    )
    assert len(shapes) == 101
    assert shapes[:2] == [["task_or_actor", "CPU_group:1", 500], ["task_or_actor", "CPU:1", 199]]
    assert shapes[-1] == ["task_or_actor", "other", sum(range(80, 101))]
    assert 'ray_cluster_infeasible_demands{kind="task_or_actor",resources="CPU:5"}' in text
    assert 'ray_cluster_infeasible_demands{kind="task_or_actor",resources="CPU:4"}' not in text
    assert 'ray_cluster_infeasible_demands{kind="task_or_actor",resources="CPU_group:1"}' not in text
    assert text.count("\nray_node_up{") == 2
    assert 'ray_node_up{node="moved",node_ip="10.0.0.2",pool="p"} 1.0' in text
    assert 'ray_node_up{node="odd \\"\\n",node_ip="10.0.0.3",pool="undeclared"} 1.0' in text
    usage = [line.split()[-1] for line in text.splitlines() if line.startswith("ray_node_gpu_usage{")]
    assert usage == ["1.0", "0.5", "0.0"]
    # A node that has not reported yet has claimed nothing.
    assert 'ray_node_cpu_usage{node_ip="10.0.0.3"} 0.0' in text
    assert "ray_gcs_storage_up 0.0" in text and "ray_cluster_token_auth" not in text

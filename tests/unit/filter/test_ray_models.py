# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What declared models come to: applications in Serve's own schema, units, and what the token probe reads."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.filter.ray_model_problems import ray_model_problems
from ansible_collections.rayops.cluster.plugins.filter.ray_models import ray_models
from ansible_collections.rayops.cluster.plugins.module_utils._serving import compile as compile_models
from tests.long import long

REPOSITORY = Path(__file__).resolve().parents[3]
VLLM, PROBE = REPOSITORY / ".cache/serving/bin/python", REPOSITORY / "roles/serve/files/ray_model.py"
KEY = "abcdefghijklmnopqrstuvwx"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
HOSTS = [
    {"inventory_hostname": "head", "group_names": ["ray_head"], "ray_node_ip_address": "10.0.0.1"},
    {"inventory_hostname": "w1", "group_names": ["ray_pool_gpu", "ray_workers"], "ecs_private_ip": "10.0.0.11"},
    {"inventory_hostname": "w2", "group_names": ["ray_pool_gpu", "ray_workers"], "ansible_host": "10.0.0.12"},
    {"inventory_hostname": "10.0.0.13", "group_names": ["ray_pool_cpu", "ray_workers"]},
]
CLUSTER = {
    "head": "head", "hosts": HOSTS, "monitors": ["monitor"], "port": "8000", "environment": "/opt/ray/2.60.0",
    "config_dir": "/etc/ray", "modules": "/usr/local/lib/rayops-serving", "user": "ray", "python_path": "/cann",
    "modules_sum": "5a", "ray_version": "2.60.0",
}
SERVE = {"name": "r1", "path": "/srv/r1", "tensor_parallel_size": 2}
UNIT = {"name": "v3", "path": "/srv/v3", "engine": "vllm", "pool": "gpu"}


def compiled(*models, key=KEY, found=None, cluster=None):
    result = ray_models(list(models), CLUSTER if cluster is None else cluster, key, found)
    assert result["problems"] == []
    return result


def content(result, host, path):
    (entry,) = [entry for entry in result["hosts"][host]["files"] if entry["path"] == path]
    return entry.get("content", entry.get("secret"))


def goes(result, host, name):
    """Whether a file beside the keys is one that goes."""
    (entry,) = [entry for entry in result["hosts"][host]["files"] if "only" in entry]
    return entry["path"] == "/etc/ray/models" and bool(re.fullmatch(entry["only"], name))


def exec_start(result, host, name="v3"):
    text = content(result, host, f"/etc/systemd/system/vllm@{name}.service.d/model.conf")
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart="))


def test_an_application():
    declared = {**SERVE, "engine_args": {"max-model-len": 1024}, "environment": {"A": 1}}
    (application,) = compiled(declared)["applications"]
    assert application == {
        "name": "r1", "route_prefix": "/r1", "import_path": "ray.serve.llm:build_openai_app",
        "runtime_env": {"py_modules": ["local:///usr/local/lib/rayops-serving"],
                        "env_vars": {"RAYOPS_MODULES_SHA256": "5a"}},
        "args": {
            "llm_configs": [{
                "model_loading_config": {"model_id": "r1", "model_source": "/srv/r1"},
                "engine_kwargs": {"tensor_parallel_size": 2, "pipeline_parallel_size": 1,
                                  "distributed_executor_backend": "ray", "max_model_len": 1024},
                "placement_group_config": {"bundles": [{"GPU": 1}, {"GPU": 1}], "strategy": "PACK"},
                "deployment_config": {"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}},
                "runtime_env": {"env_vars": {"VLLM_CONFIGURE_LOGGING": "0", "VLLM_NO_USAGE_STATS": "1", "A": "1"}},
            }],
            "ingress_cls_config": {"ingress_cls": "rayops_ingress:KeyedIngress",
                                   "ingress_extra_kwargs": {"api_key_sha256": DIGEST}},
            "ingress_deployment_config": {
                "autoscaling_config": {"min_replicas": 1, "max_replicas": 1}, "max_replicas_per_node": 1},
        },
    }


@pytest.mark.parametrize(("keys", "least", "most"), [
    ({"replicas": 2}, 2, 2), ({"replicas": 8}, 3, 3), ({"replicas": 8, "pool": "gpu"}, 2, 2),
    ({"autoscaling_config": {"min_replicas": 0, "max_replicas": 2}}, 0, 2),
    ({"autoscaling_config": {"min_replicas": "2", "max_replicas": "9"}}, 2, 3),
])
def test_each_replica_has_an_ingress_on_a_host_of_its_own(keys, least, most):
    """Where there are so many hosts: one that is lost or restarts takes one with it, and no other."""
    labelled = [{**host, "worker_config": {"labels": {"pool": "gpu"}}} for host in HOSTS]
    (application,) = compiled({**SERVE, **keys}, cluster={**CLUSTER, "hosts": labelled})["applications"]
    assert application["args"]["ingress_deployment_config"] == {
        "autoscaling_config": {"min_replicas": least, "max_replicas": most}, "max_replicas_per_node": 1}


def test_a_key_stands_in_its_files_alone():
    """Neither in the application, which the dashboard shows, nor in a unit, nor in what the probe reads."""
    result = compiled(SERVE, {**UNIT, "environment": {"HF_TOKEN": "hf_secret"}})
    for host, entry in result["hosts"].items():
        for file in entry["files"]:
            shown = json.dumps({name: value for name, value in file.items() if name != "secret"})
            assert KEY not in shown and "hf_secret" not in shown, host
            assert "secret" not in file or file["mode"] in ("0640", "0600")
    units = [entry["units"] + entry["rolling"] for entry in result["hosts"].values()]
    assert KEY not in json.dumps([result["applications"], result["models"], units])


def test_a_pool_is_found_by_its_label():
    labelled = [{**host, "worker_config": {"labels": {"pool": "gpu"}}} for host in HOSTS]
    pooled = {**SERVE, "pool": "gpu"}
    (application,) = compiled(pooled, cluster={**CLUSTER, "hosts": labelled})["applications"]
    config = application["args"]["llm_configs"][0]["deployment_config"]
    assert config["placement_group_bundle_label_selector"] == [{"pool": "gpu"}]
    # By this Serve builds it there, too, and not on a head without vLLM.
    ingress = {"name": "KeyedIngress", "ray_actor_options": {"label_selector": {"pool": "gpu"}}}
    assert application["deployments"] == [ingress]
    (problem,) = ray_models([pooled], CLUSTER)["problems"]
    assert problem == ("ray_serve_models, r1: pool is gpu, and w1, w2 has no label that says so to Ray: set "
                       "worker_config: {labels: {pool: gpu}} in group_vars/ray_pool_gpu.yml.")


@pytest.mark.parametrize(("model", "said"), [
    ({**SERVE, "pool": "npu"}, "group ray_pool_npu has no worker: name one that has (cpu, gpu), or leave it out."),
    ({**UNIT, "replicas": 3}, "replicas wants its unit on 3 hosts, and there are 2: lower it, or add hosts."),
    ({**UNIT, "data_parallel_size": 8, "data_parallel_size_local": 2},
     "data_parallel_size wants its unit on 4 hosts, and there are 2"),
])
def test_what_does_not_fit_the_inventory(model, said):
    (problem,) = ray_models([model], CLUSTER)["problems"]
    assert said in problem


def test_two_units_on_one_port():
    (problem,) = ray_models([UNIT, {**UNIT, "name": "v4"}], CLUSTER)["problems"]
    assert problem == "ray_serve_models: v3 and v4 both have port 8001 on w1: give each its own."


RANKS = {**UNIT, "data_parallel_size": 2}


@pytest.mark.parametrize(("models", "said"), [
    ([SERVE, {**UNIT, "port": 8000}], "ray_serve_port and v3 both have port 8000 on w1: give"),
    ([RANKS, {**RANKS, "name": "v4", "port": 8002}],
     "v3 and v4 both have port 29550 on w1 (data_parallel_rpc_port in engine_args): give"),
    ([RANKS, {**UNIT, "name": "v4", "port": 29550}], "v3 and v4 both have port 29550 on w1: give"),
    ([{**RANKS, "port": 29550}], "v3 and v3 both have port 29550 on w1 (data_parallel_rpc_port in engine_args): give"),
])
def test_ports_of_other_things(models, said):
    (problem,) = ray_models(models, CLUSTER)["problems"]
    assert problem.startswith(f"ray_serve_models: {said}")


def test_ports_that_do_not_meet():
    other = {**RANKS, "name": "v4", "port": 8002, "engine_args": {"--data-parallel-rpc-port": "29551"}}
    assert ray_models([RANKS, other, {**UNIT, "name": "v5", "port": 8000}], CLUSTER)["problems"] == []


def test_a_unit():
    result = compiled({**UNIT, "tensor_parallel_size": 2, "environment": {"A": 'a "$b"'},
                       "engine_args": {"enforce_eager": True, "enable_prefix_caching": False,
                                       "hf_overrides": {"a": 1}}})
    assert exec_start(result, "w1") == [
        "/opt/ray/2.60.0/bin/vllm", "serve", "/srv/v3", "--served-model-name=v3", "--tensor-parallel-size=2",
        "--pipeline-parallel-size=1", "--host=10.0.0.11", "--port=8001", "--middleware=rayops_api_key.RequireKey",
        "--enforce-eager", "--no-enable-prefix-caching", '--hf-overrides={"a": 1}',
        "--distributed-executor-backend=ray",
    ]
    text = content(result, "w1", "/etc/systemd/system/vllm@v3.service.d/model.conf")
    assert f"Environment=RAYOPS_API_KEY_SHA256={DIGEST}\nEnvironmentFile=/etc/ray/models/v3.env\n" in text
    assert content(result, "w1", "/etc/ray/models/v3.env") == (
        'VLLM_NO_USAGE_STATS="1"\nA="a \\"\\$b\\""\nPYTHONPATH="/usr/local/lib/rayops-serving:/cann"\n')
    (unit,) = result["hosts"]["w1"]["units"]
    assert unit["name"] == "vllm@v3.service"
    assert unit["listens"] == [{"address": "10.0.0.11", "port": 8001, "variable": "port of v3 in ray_serve_models"}]
    # Its other hosts have Ray's workers of it, and nothing of ours.
    assert result["hosts"]["w2"]["units"] == [] and result["applications"] == []


ARGUMENTS = {
    "cudagraph_capture_sizes": [1, 2], "lora_modules": [{"name": "a", "path": "/a"}, {"name": "b", "path": "/b c"}],
    "disable_log_stats": False, "enable_prefix_caching": False, "disable_hybrid_kv_cache_manager": False,
    "allowed_origins": ["https://a"], "ignore_patterns": [], "max_model_len": "8k", "seed": None,
    "compilation_config": {"cudagraph_capture_sizes": [4]},
}


def test_options_are_written_as_vllm_reads_them():
    assert exec_start(compiled({**UNIT, "engine_args": ARGUMENTS}), "w1")[9:-1] == [
        "--cudagraph-capture-sizes", "1", "2",
        "--lora-modules", '{"name": "a", "path": "/a"}', '{"name": "b", "path": "/b c"}',
        "--no-enable-prefix-caching", "--no-disable-hybrid-kv-cache-manager", '--allowed-origins=["https://a"]',
        "--max-model-len=8k", '--compilation-config={"cudagraph_capture_sizes": [4]}',
    ]


# In a Python with vLLM: the options that are read from a command line, and what has no twin that turns it off.
PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
found = vars(parser.parse_args(sys.argv[1:]))
print("\\n" + json.dumps({
    "on": sorted(each.dest for each in parser._actions if type(each).__name__ == "_StoreTrueAction"),
    "one": sorted(each.dest for each in parser._actions if getattr(each.type, "__name__", "") == "loads"
                  and each.dest.startswith("allowed")),
    "read": {name: value for name, value in found.items() if isinstance(value, (bool, int, list)) and name in (
        "cudagraph_capture_sizes", "disable_log_stats", "enable_prefix_caching", "disable_hybrid_kv_cache_manager",
        "allowed_origins", "max_model_len")},
    "lora": [each.path for each in found["lora_modules"]],
}))
"""


@pytest.mark.skipif(not VLLM.exists(), reason="make serving has not been run: no vLLM is here")
@long
def test_vllm_reads_them_so():
    words = exec_start(compiled({**UNIT, "engine_args": ARGUMENTS}), "w1")[2:]
    done = subprocess.run([str(VLLM), "-c", PARSE, *words], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.strip().rpartition("\n")[2])
    assert said["read"] == {
        "cudagraph_capture_sizes": [1, 2], "disable_log_stats": False, "enable_prefix_caching": False,
        "disable_hybrid_kv_cache_manager": False, "allowed_origins": ["https://a"], "max_model_len": 8000,
    }
    assert said["lora"] == ["/a", "/b c"]
    assert said["on"] == sorted(compile_models._ONLY_ON) and said["one"] == sorted(compile_models._JSON_LISTS)


def test_replicas_that_were_there_before_do_not_restart_together():
    """What they share with other units restarts none of them unasked."""
    found = {host: {"units": ["v3"]} for host in ("w1", "w2")}
    result = compiled({**UNIT, "replicas": 2}, found=found)
    for host in ("w1", "w2"):
        (unit,) = result["hosts"][host]["rolling"]
        assert result["hosts"][host]["units"] == [] and unit["name"] == "vllm@v3.service"
        assert unit["ask_files"] == ["/etc/systemd/system/vllm@.service"] and unit["listens"]
        assert not set(unit["ask_files"]) & set(unit["restart_files"])
    # On the first day together; and so do those that are one model.
    for keys, said in (({"replicas": 2}, {}), ({"data_parallel_size": 2}, found), ({}, found)):
        result = compiled({**UNIT, **keys}, found=said)
        assert result["hosts"]["w1"]["rolling"] == [] and len(result["hosts"]["w1"]["units"]) == 1


def test_a_unit_stays_where_it_is():
    """However the inventory was read."""
    backwards = compiled(UNIT, cluster={**CLUSTER, "hosts": HOSTS[::-1]})
    assert [host for host, entry in backwards["hosts"].items() if entry["units"]] == ["w1"]


def test_data_parallelism_over_hosts():
    result = compiled({**UNIT, "data_parallel_size": 4, "data_parallel_size_local": 2, "tensor_parallel_size": 2})
    shared = ["--data-parallel-size=4", "--data-parallel-size-local=2", "--data-parallel-address=10.0.0.11"]
    first, second = exec_start(result, "w1"), exec_start(result, "w2")
    assert first[6:] == [*shared, "--host=10.0.0.11", "--port=8001", "--middleware=rayops_api_key.RequireKey"]
    assert second[6:] == [*shared, "--headless", "--data-parallel-start-rank=2"]
    assert [model["url"] for model in result["models"]] == ["http://10.0.0.11:8001/v1"]
    assert result["hosts"]["w2"]["units"][0]["listens"] == []
    # The watchdog of each asks the first, and all files change where one rank does: they start again together.
    place = "/etc/systemd/system/vllm@v3.service.d/model.conf"
    for host in ("w1", "w2"):
        (asked,) = json.loads(content(result, host, "/etc/ray/models.yaml"))["models"]
        assert (asked["name"], asked["url"]) == ("v3", "http://10.0.0.11:8001/v1")
        assert content(result, host, asked["api_key_file"]) == f"{KEY}\n"
        assert "# Its ranks: w1 10.0.0.11, w2 10.0.0.12\n[Service]\n" in content(result, host, place)
    moved = [{**host, "ansible_host": "10.0.0.99"} if host["inventory_hostname"] == "w2" else host for host in HOSTS]
    other = compiled({**UNIT, "data_parallel_size": 2}, cluster={**CLUSTER, "hosts": moved})
    assert "w2 10.0.0.99" in content(other, "w1", place)


@pytest.mark.parametrize("keys", [{"data_parallel_size": 4, "data_parallel_size_local": 2}, {"replicas": 2}])
def test_the_watchdog_is_where_the_model_can_be_asked(keys):
    """It asks by the record of its own host, and restarts the unit where that does not have the model."""
    result = compiled({**UNIT, **keys})
    for host in ("w1", "w2"):
        (asked,) = json.loads(content(result, host, "/etc/ray/models.yaml"))["models"]
        assert "v3" in (asked["name"], asked["model"])
        # A rank without an API asks the first one's.
        assert asked["url"] == f"http://10.0.0.1{host[1] if 'replicas' in keys else 1}:8001/v1"


def test_who_asks_whom():
    result = compiled(SERVE, {**UNIT, "replicas": 2})
    names = {host: [model["name"] for model in json.loads(content(result, host, "/etc/ray/models.yaml"))["models"]]
             for host in result["hosts"]}
    every = ["r1", "v3@w1", "v3@w2"]
    assert names == {"head": every, "monitor": every, "w1": ["v3@w1"], "w2": ["v3@w2"], "10.0.0.13": []}
    assert result["models"][0] == {
        "name": "r1", "model": "r1", "engine": "serve", "url": "http://10.0.0.1:8000/r1/v1", "replicas": 1,
        "api_key_file": "/etc/ray/models/r1.key", "metrics": [],
    }
    assert result["models"][2]["url"] == "http://10.0.0.12:8001/v1"
    assert result["models"][2]["metrics"] == ["10.0.0.12:8001"]
    # A key is where it is asked with.
    keys = {host for host, entry in result["hosts"].items()
            if "/etc/ray/models/r1.key" in [file["path"] for file in entry["files"]]}
    assert keys == {"head", "monitor"}


def test_a_worker_that_asks_all_watches_its_own(tmp_path):
    """Its watchdog asks by the model's name: a replica that is silent elsewhere is none of its business."""
    both = {**CLUSTER, "monitors": ["w2"], "config_dir": str(tmp_path)}
    result = compiled(SERVE, {**UNIT, "replicas": 2}, cluster=both)
    (tmp_path / "models.yaml").write_text(content(result, "w2", f"{tmp_path}/models.yaml"))
    done = subprocess.run([sys.executable, "-I", str(PROBE), "--config", f"{tmp_path}/models.yaml", "--name", "v3"],
                          check=False, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["name"] == "v3@w2"
    names = [model["name"] for model in json.loads((tmp_path / "models.yaml").read_text())["models"]]
    assert names == ["v3@w2", "r1", "v3@w1"]


def test_without_a_key_nothing_is_served():
    result = compiled(SERVE, UNIT, key="")
    assert result["applications"] == []
    assert [entry["files"] + entry["units"] + entry["rolling"] for entry in result["hosts"].values()] == [[]] * 5
    assert result["hosts"]["w1"]["check"]["engine"]


def test_a_key_of_digits_is_a_key():
    digits = 12345678901234567890
    result = compiled(SERVE, key=digits)
    assert content(result, "head", "/etc/ray/models/r1.key") == f"{digits}\n"
    (problem,) = ray_models([SERVE], CLUSTER, 12345)["problems"]
    assert problem.startswith("ray_serve_api_key is too short")


def test_a_short_key_of_all():
    (problem,) = ray_models([SERVE], CLUSTER, "s3cret")["problems"]
    assert problem.startswith("ray_serve_api_key is too short") and "s3cret" not in problem


def test_what_is_no_longer_declared_goes():
    found = {"head": {"applications": ["r1", "old", "../x", 5]}, "w2": {"units": ["v3", "gone", "a/b"]}}
    result = compiled(SERVE, UNIT, found=found)
    assert result["removed"] == [{"name": "old"}]
    assert result["hosts"]["w2"]["units"] == [{"name": "vllm@v3.service", "state": "stopped"},
                                              {"name": "vllm@gone.service", "state": "stopped"}]
    absent = {file["path"] for file in result["hosts"]["w2"]["files"] if file.get("state") == "absent"}
    assert "/etc/systemd/system/vllm@gone.service.d" in absent and goes(result, "w2", "gone.key")
    assert not [path for path in absent if ".." in path or "a/b" in path]
    # What the head asks with stays.
    assert goes(result, "head", "old.key") and not goes(result, "head", "v3.key")


def test_a_record_says_what_was_tried_on_its_host():
    found = {"w1": {"tried": ["serve", "vllm"]}, "w2": {"tried": ["vllm"], "units": ["gone"]}}
    result = compiled(SERVE, found=found)
    tried = {host: json.loads(content(result, host, "/etc/ray/models.yaml"))["tried"] for host in result["hosts"]}
    assert tried == {"w1": ["serve", "vllm"], "w2": ["vllm"], "head": [], "10.0.0.13": [], "monitor": []}
    (after,) = result["hosts"]["w2"]["forgotten"]
    assert json.loads(after["content"])["tried"] == ["vllm"]


@pytest.mark.parametrize("host", ["monitor", "head", "w1"])
def test_keys_are_where_a_model_is_asked_and_nowhere_else(run_module, tmp_path, host):
    """Also on a host whose record nobody reads, such as the monitor's."""
    own = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}

    def left(*models) -> list[str]:
        compiled_here = compiled(*models, cluster={**CLUSTER, "config_dir": str(tmp_path)})
        files = [{**entry, **own} for entry in compiled_here["hosts"][host]["files"]
                 if entry["path"].startswith(str(tmp_path))]
        result = run_module("node_files", {"files": files, "record": f"{tmp_path}/directories"})
        assert not result.get("failed"), result
        again = run_module("node_files", {"files": files, "record": f"{tmp_path}/directories"})
        assert not again["changed"], again
        return sorted(path.name for path in tmp_path.glob("models/*"))

    everywhere, unit = ["r1.key", "v3.key"], ["v3.env", "v3.key"]
    assert left(SERVE, UNIT) == (unit if host == "w1" else everywhere)
    (tmp_path / "models" / "mine.txt").write_text("")
    assert left(UNIT) == (["mine.txt", *unit] if host == "w1" else ["mine.txt", "v3.key"])
    (tmp_path / "models" / "mine.txt").unlink()
    assert left(SERVE) == ([] if host == "w1" else ["r1.key"])
    assert left() == []


def test_what_goes_is_known_until_it_has_gone():
    """A run whose removal fails is followed by one that removes it."""
    found = {"head": {"applications": ["r1", "old"]}, "w2": {"units": ["gone"]}}
    result = compiled(SERVE, UNIT, found=found)
    again = {host: json.loads(content(result, host, "/etc/ray/models.yaml")) for host in found}
    assert again["head"]["applications"] == ["r1", "old"] and again["w2"]["units"] == ["gone"]
    assert [model["name"] for model in again["head"]["models"]] == ["r1", "v3"]
    second = compiled(SERVE, UNIT, found=again)
    assert second["removed"] == [{"name": "old"}] and len(second["hosts"]["w2"]["units"]) == 1
    for host, key, left in (("head", "applications", ["r1"]), ("w2", "units", [])):
        (entry,) = second["hosts"][host]["forgotten"]
        assert entry["path"] == "/etc/ray/models.yaml" and entry["mode"] == "0640"
        again[host] = json.loads(entry["content"])
        assert again[host][key] == left
    last = compiled(SERVE, UNIT, found=again)
    assert last["removed"] == [] and [entry["forgotten"] for entry in last["hosts"].values()] == [[]] * 5


def test_what_a_host_looks_for():
    result = compiled(SERVE, UNIT)
    assert result["hosts"]["w1"]["check"] == {
        "paths": {"r1": "/srv/r1", "v3": "/srv/v3"}, "brought": {}, "engine": True, "serve": True,
        "builds": [], "proxy": True,
        "ports": [{"port": 8000, "unit": "", "variable": "ray_serve_port"},
                  {"port": 8001, "unit": "vllm@v3.service", "variable": "port of v3 in ray_serve_models"}],
    }
    assert result["hosts"]["head"]["check"] == {
        "paths": {}, "brought": {}, "engine": False, "serve": False, "builds": ["r1"], "proxy": True,
        "ports": [{"port": 8000, "unit": "", "variable": "ray_serve_port"}],
    }


def test_a_proxy_is_where_models_are_served_by_serve():
    assert not any(entry["check"]["proxy"] for entry in compiled(UNIT)["hosts"].values())


@pytest.mark.parametrize(("pool", "label", "ray", "builds"), [
    ("", "", "2.60.0", ["r1"]), ("gpu", "", "2.60.0", ["r1"]), ("gpu", "gpu", "2.60.0", []),
    ("gpu", "gpu", "2.61.0", []), ("gpu", "other", "2.60.0", ["r1"]), ("gpu", "gpu", "2.59.0", ["r1"])])
def test_a_label_keeps_a_model_off_the_head(pool, label, ray, builds):
    """Also where its pool is all there is: the head is no worker."""
    labelled = [{**host, "worker_config": {"labels": {"pool": label}} if label else {}} for host in HOSTS[:3]]
    result = compiled({**SERVE, "pool": pool}, cluster={**CLUSTER, "hosts": labelled, "ray_version": ray})
    assert result["hosts"]["head"]["check"]["builds"] == builds
    assert bool(result["applications"][0].get("deployments")) == (pool == label == "gpu")


def answer(gpus, **files):
    return {"problems": [], "accelerators": {"GPU": gpus}, "files": files}


def problems(models, checks):
    return ray_model_problems(models, CLUSTER, checks)


def test_sizes_that_no_placement_satisfies():
    checks = {"w1": answer(1), "w2": answer(1), "10.0.0.13": answer(0)}
    assert problems([SERVE], checks) == []
    (problem,) = problems([{**SERVE, "tensor_parallel_size": 4}], checks)
    assert problem == (
        "ray_serve_models, r1 wants 4 GPUs (tensor_parallel_size x pipeline_parallel_size x replicas), and the workers "
        "have 2 (10.0.0.13 0, w1 1, w2 1): lower one of them, add workers, or declare what they have "
        "(worker_config.resources).")
    (problem,) = problems([SERVE, {**SERVE, "name": "r2"}], checks)
    assert problem.startswith("ray_serve_models: r1, r2 together want 4 GPUs")
    # Who is not asked may have what lacks.
    assert problems([{**SERVE, "tensor_parallel_size": 4}], {"w1": answer(1)}) == []


def test_data_parallelism_wants_what_one_host_has():
    model = {**UNIT, "data_parallel_size": 4, "data_parallel_size_local": 2, "tensor_parallel_size": 4}
    checks = {"w1": answer(8), "w2": answer(4), "10.0.0.13": answer(0)}
    (problem,) = problems([model], checks)
    assert "wants 8 GPUs on each of its hosts" in problem and "w2 has 4" in problem
    assert problems([model], {**checks, "w2": answer(8)}) == []


def test_what_data_parallelism_takes_is_not_there_for_others():
    """Ray does not see it. The order in which they are declared says nothing."""
    ranks = {**UNIT, "data_parallel_size": 2, "tensor_parallel_size": 8}
    other = {**SERVE, "pool": "gpu", "tensor_parallel_size": 8}
    checks = {"w1": answer(8), "w2": answer(8), "10.0.0.13": answer(0)}
    for models in ([ranks, other], [other, ranks]):
        (problem,) = problems(models, checks)
        assert problem == (
            "ray_serve_models, r1 wants 8 GPUs (tensor_parallel_size x pipeline_parallel_size x replicas), and the "
            "workers of pool gpu have 0 beside what v3 takes (w1 0, w2 0): lower one of them, add workers, or declare "
            "what they have (worker_config.resources).")
    (problem,) = problems([ranks, {**ranks, "name": "v4"}], checks)
    assert "v4 wants 8 GPUs on each of its hosts" in problem and "w1 has 0 beside what v3 takes: " in problem
    # On another kind, or where there is room, nothing is taken.
    assert problems([ranks, {**ranks, "name": "v4", "accelerator": "NPU"}], {
        host: {**found, "accelerators": {"GPU": 8, "NPU": 8}} for host, found in checks.items()}) == []
    assert problems([ranks, other], {**checks, "w2": answer(16)}) == []


def test_files_that_differ():
    same = [["config.json", 10], ["a.safetensors", 20]]
    checks = {"w1": answer(1, r1=same), "w2": answer(1, r1=[["config.json", 10], ["a.safetensors", 19]])}
    assert problems([SERVE], checks) == [
        "ray_serve_models, r1: /srv/r1/a.safetensors is 20 bytes on w1 and 19 bytes on w2: copy the model anew, the "
        "same to each."]
    checks["w2"]["files"]["r1"].pop()
    assert "is 20 bytes on w1 and missing on w2" in problems([SERVE], checks)[0]
    checks["w2"]["files"]["r1"] = same
    assert problems([SERVE], checks) == []


@pytest.mark.parametrize("lie", [
    {"accelerators": "x", "files": 5, "problems": []},
    {"accelerators": {"GPU": "9"}, "files": {"r1": [[1], ["x", "y"], 4]}, "problems": None},
    {"accelerators": {"GPU": True}, "files": {"r1": "x"}},
    {},
])
def test_a_host_that_answers_something_else(lie):
    checks = {"w1": answer(2), "w2": lie, "10.0.0.13": answer(0)}
    for problem in problems([{**SERVE, "tensor_parallel_size": 3}], checks):
        assert problem.startswith("ray_serve_models, r1")


def test_what_a_host_said_is_named_with_it():
    checks = {"w1": {**answer(2), "problems": ["model r1: /srv/r1 is not there\x1b[2J"]}}
    assert problems([SERVE], checks) == ["w1: model r1: /srv/r1 is not there?[2J"]


def test_files_whose_content_differs():
    """Of one size: a share that does not give the same to all hosts."""
    checks = {name: {**answer(1, r1=[["a.safetensors", 20]]), "digests": {"r1": [["a.safetensors", digit * 64]]}}
              for name, digit in (("w1", "a"), ("w2", "b"))}
    assert problems([SERVE], checks) == [
        "ray_serve_models, r1: /srv/r1/a.safetensors has another content on w1 than on w2 (SHA-256): remove it where "
        "it is wrong, and run again."]
    for said in ({"r1": [["a.safetensors", "a" * 64]]}, {"r1": [["b", "c"]]}, {"r1": "x"}, {"r1": [[1], 5]}, 5, None):
        assert problems([SERVE], {**checks, "w2": {**checks["w2"], "digests": said}}) == []


BROUGHT = [{"path": "/srv/r1", "share": "/mnt/r1"}, {"path": "/srv/v3", "source": "v3", "pools": ["cpu"]},
           {"path": "/srv/x", "checksums": "x.sha256"}]


def test_models_that_are_brought_need_not_be_there_yet():
    in_place = {**SERVE, "name": "x", "path": "/srv/x", "route_prefix": "/x"}
    result = compiled(SERVE, UNIT, in_place, cluster={**CLUSTER, "brought": BROUGHT})
    checks = {host: result["hosts"][host]["check"] for host in ("w1", "10.0.0.13", "head")}
    assert checks["w1"]["paths"] == {"r1": "/srv/r1", "v3": "/srv/v3", "x": "/srv/x"}
    # v3 is brought to another pool than the one that uses it, and x lies where it is used.
    assert checks["w1"]["brought"] == checks["10.0.0.13"]["brought"] == {"r1": "/srv/r1"}
    assert checks["head"]["brought"] == {}
    assert compiled(SERVE)["hosts"]["w1"]["check"]["brought"] == {}


@pytest.mark.parametrize(("entry", "said"), [
    ({"path": "/srv/r1"}, "ray_models[0]: set source, a directory on the controller, share, one that the hosts have"),
    ({**BROUGHT[0], "pools": ["h20"]}, "ray_models, /srv/r1: pools has h20, and group ray_pool_h20 has no worker: name "
                                       "one that has (cpu, gpu), or leave it out."),
])
def test_what_is_brought_nowhere(entry, said):
    (problem,) = ray_models([SERVE], {**CLUSTER, "brought": [entry]})["problems"]
    assert problem.startswith(said)


def test_the_ports_of_models_on_their_hosts():
    arguments = {"data-parallel-rpc-port": "30100", "kv_transfer_config": {"kv_port": 14579, "kv_ip": "10.0.0.5"},
                 "max_model_len": 8192, "transport": 5, "ports": [1]}
    model = {**RANKS, "port": 8100, "engine_args": arguments, "environment": {"MASTER_PORT": "29501", "REPORT": "7"}}
    hosts = compiled(model)["hosts"]
    assert hosts["w1"]["ports"] == {
        "clients": ["8100"], "cluster": ["14579", "14580", "29501", "29502", "30100", "30101"]}
    assert hosts["head"]["ports"] == {"clients": [], "cluster": []}
    # Without a word of the user's, vLLM's own.
    assert compiled(RANKS)["hosts"]["w1"]["ports"]["cluster"] == ["29550", "29551"]

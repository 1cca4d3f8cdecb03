# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.module_utils._node import config as _ray_config
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import (
    RayConfigError,
    load,
    resources_of,
    storage_of,
    validate,
)

REPOSITORY = Path(__file__).resolve().parents[3]
DATA = Path(__file__).parents[1] / "data"
ADDRESS = {"network": {"head_address": "demo-head:6379"}}


def head(**keys) -> None:
    validate(keys, "head")


def worker(**keys) -> None:
    validate({**ADDRESS, **keys}, "worker")


def test_the_guides_files_are_accepted():
    validate(yaml.safe_load((DATA / "guide-head-node.yaml").read_text()), "head")
    guide = yaml.safe_load((DATA / "guide-worker-node.yaml").read_text())
    validate({**guide, **ADDRESS}, "worker")
    assert resources_of(guide, "worker") == {"GPU": 4, "CPU": 64, "memory": 256000000000}


def test_a_section_left_empty_is_one_that_is_not_given():
    head(
        head_node=None, network={"ports": None, "no_proxy": None}, redis=None, labels=None, system_config=None, gcs=None
    )
    worker(resources=None, object_store=None, environment=None, ray={"options": None, "node_name": None})


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"object_stor": {}}, "Unknown key 'object_stor': did you mean 'object_store'?"),
        ({"object_store": {"memroy": 1}}, "Unknown key 'object_store.memroy': did you mean 'memory'?"),
        ({"network": {"ports": {"dashbord": 1}}}, "Unknown key 'network.ports.dashbord': did you mean 'dashboard'?"),
        ({"auth": {"zzz": 1}}, "Unknown key 'auth.zzz': known keys: allow_unauthenticated, token_path."),
        ({1: 2}, "Unknown key '1': known keys: auth, "),
        (
            {"worker_nodes": {"worker_node_types": {"gpu": {"min_worker": 0}}}},
            "Unknown key 'worker_nodes.worker_node_types.gpu.min_worker': did you mean 'min_workers'?",
        ),
        ({"resources": {"CPU": 1}}, "Unknown key 'resources'"),
        ({"cluster_name": 7}, "cluster_name must be a string, not 7."),
        ({"cluster_name": True}, "cluster_name must be a string, not True."),
        ({"object_store": {"memory": "128GB"}}, "object_store.memory must be an integer, not '128GB'."),
        ({"object_store": {"memory": True}}, "object_store.memory must be an integer, not True."),
        ({"object_store": {"memory": -5}}, "object_store.memory must not be negative, but is -5."),
        (
            {"object_store": {"memory": 1000}},
            "object_store.memory is 1000 bytes: Ray needs 78643200 (75 MiB).",
        ),
        ({"network": {"no_proxy": "a,b"}}, "network.no_proxy must be a list, not 'a,b'."),
        ({"network": []}, "network must be a map of keys and values, not []."),
        ({"system_config": "x"}, "system_config must be a map of keys and values, not 'x'."),
        (
            {"worker_nodes": {"worker_node_types": {"gpu": 3}}},
            "worker_nodes.worker_node_types.gpu must be a map of keys and values, not 3.",
        ),
    ],
)
def test_what_is_misspelt_or_of_the_wrong_type_is_named(keys, sentence):
    with pytest.raises(RayConfigError) as error:
        validate(keys, "head")
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("content", [["a"], "a", 3])
def test_a_file_must_be_a_map(content):
    with pytest.raises(RayConfigError, match=r"^The file must be a map of keys and values, not of type "):
        validate(content, "head")


@pytest.mark.parametrize("redis", [{"password": 4711471147}, "hunter2hunter2", {"password": ["hunter2hunter2"]}])
def test_a_password_stands_in_no_message(redis):
    with pytest.raises(RayConfigError) as error:
        head(redis=redis)
    assert "4711" not in str(error.value) and "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        ({"GPU": 0.5}, "resources.GPU must be a whole number, not 0.5"),
        ({"NPU": 1.5}, "resources.NPU must be a whole number, not 1.5"),
        ({"CPU": "64"}, "resources.CPU must be a number of 0 or more, not '64'."),
        ({"CPU": True}, "resources.CPU must be a number of 0 or more, not True."),
        ({"CPU": None}, "resources.CPU must be a number of 0 or more, not None."),
        ({"NPU": -1}, "resources.NPU must be a number of 0 or more, not -1."),
        ({"CPU": float("inf")}, "resources.CPU must be a number of 0 or more, not inf."),
        ({"CPU": float("nan")}, "resources.CPU must be a number of 0 or more, not nan."),
        ({910: 8}, "The resource resources.910 must have a name: write '910' in quotes."),
        ({"gpu": 4}, "Unknown resource 'resources.gpu': did you mean 'GPU'?"),
        ({"Memory": 4}, "Unknown resource 'resources.Memory': did you mean 'memory'?"),
        ({"object_store_memory": 4}, "resources.object_store_memory is not a resource here: set object_store.memory."),
    ],
)
def test_resources_that_ray_would_refuse(resources, sentence):
    with pytest.raises(RayConfigError) as error:
        worker(resources=resources)
    assert str(error.value).startswith(sentence)
    with pytest.raises(RayConfigError) as error:
        head(head_node={"resources": resources})
    assert "head_node.resources." in str(error.value)
    with pytest.raises(RayConfigError) as error:
        head(worker_nodes={"worker_node_types": {"gpu": {"resources": resources}}})
    assert "worker_nodes.worker_node_types.gpu.resources." in str(error.value)


def test_resources_that_ray_takes():
    worker(resources={"CPU": 0, "GPU": 4.0, "NPU": 8, "memory": 2**40, "ssd": 1})


@pytest.mark.parametrize(
    ("ports", "sentence"),
    [
        (
            {"gcs": 6379, "dashboard": 6379},
            "network.ports.dashboard and gcs are both 6379: give each a port of its own.",
        ),
        ({"gcs": 0}, "network.ports.gcs must lie between 1 and 65535, but is 0."),
        ({"gcs": 65536}, "network.ports.gcs must lie between 1 and 65535, but is 65536."),
        (
            {"gcs": 10000, "worker_min": 10000, "worker_max": 20000},
            "network.ports.gcs is 10000, which lies in the workers' range 10000-20000.",
        ),
        (
            {"gcs": 20000, "worker_min": 10000, "worker_max": 20000},
            "network.ports.gcs is 20000, which lies in the workers' range 10000-20000.",
        ),
        ({"worker_min": 10000}, "network.ports.worker_min and worker_max must be set together, the lower one first."),
        ({"worker_max": 10000}, "network.ports.worker_min and worker_max must be set together, the lower one first."),
        ({"worker_min": 20000, "worker_max": 10000}, "network.ports.worker_min and worker_max must be set together"),
        ({"worker_min": 10000, "worker_max": 10000}, "network.ports.worker_min and worker_max must be set together"),
    ],
)
def test_ports_that_collide(ports, sentence):
    with pytest.raises(RayConfigError) as error:
        head(network={"ports": ports})
    assert str(error.value).startswith(sentence)


def test_ports_that_do_not_collide():
    head(
        network={
            "ports": {"gcs": 9999, "dashboard": 20001, "worker_min": 10000, "worker_max": 20000, "metrics_export": None}
        }
    )


def test_the_guides_redis_port_is_the_heads_and_collides_too():
    with pytest.raises(RayConfigError, match="network.ports.gcs and dashboard are both 8265"):
        head(redis={"port": 8265}, network={"ports": {"dashboard": 8265}})
    with pytest.raises(RayConfigError, match="network.ports.gcs is 10500, which lies in the workers' range"):
        head(redis={"port": 10500}, network={"ports": {"worker_min": 10000, "worker_max": 11000}})
    # A Redis server on another host may use any.
    head(redis={"host": "r", "port": 8265}, gcs={"storage": "redis"}, network={"ports": {"dashboard": 8265}})


@pytest.mark.parametrize("network", [None, {}, {"head_address": ""}])
def test_a_worker_needs_the_heads_address(network):
    with pytest.raises(RayConfigError, match=r"^network.head_address is missing: .* host:6379\.$"):
        validate({"network": network}, "worker")
    validate({"network": network}, "head")


@pytest.mark.parametrize("address", ["demo-head", "demo-head:", "demo-head:ray", ":6379"])
def test_the_heads_address_has_a_port(address):
    with pytest.raises(RayConfigError, match="network.head_address is"):
        worker(network={"head_address": address})


@pytest.mark.parametrize("address", ["10.0.0.300", "node-1", "10.0.0.1/24", "0.0.0.0", "::"])
def test_the_nodes_address_is_one_that_others_reach(address):
    with pytest.raises(RayConfigError, match=f"network.node_ip_address is '?{address}'?, which .*ray_node_ip_address"):
        head(network={"node_ip_address": address})


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_addresses_of_both_families(address):
    head(network={"node_ip_address": address})


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"gcs": {"storage": "etcd"}}, "gcs.storage must be one of rocksdb, redis, memory, not 'etcd'."),
        ({"gcs": {"storage": "rocksdb"}}, "gcs.path is missing: RocksDB needs a directory on a local disk"),
        ({"gcs": {"storage": "redis"}}, "redis.host is missing: gcs.storage is redis"),
        ({"redis": {"host": "10.0.0.9"}}, "redis.host is set, but gcs.storage is memory"),
        (
            {"gcs": {"storage": "redis"}, "redis": {"host": "10.0.0.9", "password": "x"}},
            "redis.password cannot stand in this file",
        ),
        ({"redis": {"url": "redis://r"}}, "redis.url is set, but gcs.storage is memory: set it to redis, or drop"),
        (
            {"gcs": {"storage": "redis"}, "redis": {"url": "rediss://r", "password_file": "/p"}},
            "ray_redis_url (redis.url) begins with rediss://, and the CA of its certificate is not known: name a file",
        ),
        (
            {"gcs": {"storage": "redis"}, "redis": {"url": "redis://ann@r"}},
            "The user ann of Redis has no password, with which Ray ends: set ray_redis_password.",
        ),
        (
            {"gcs": {"storage": "redis"}, "redis": {"url": "redis://:secret@r"}},
            "ray_redis_url (redis.url) holds a password, which would stand in files and logs: leave it out, and set",
        ),
        (
            {"gcs": {"storage": "redis"}, "redis": {"url": "redis://r", "ca_file": "ca.pem"}},
            "redis.ca_file is 'ca.pem': give the whole path, from / on.",
        ),
    ],
)
def test_storage_has_what_it_needs(keys, sentence):
    with pytest.raises(RayConfigError) as error:
        head(**keys)
    assert str(error.value).startswith(sentence)


def test_storages_that_work():
    assert storage_of({}) == "memory"
    head(gcs={"storage": "memory"})
    head(gcs={"storage": "rocksdb", "path": "/var/lib/ray/gcs"})
    head(gcs={"storage": "redis"}, redis={"host": "10.0.0.9", "password": "x", "password_file": "/etc/ray/redis.env"})


@pytest.mark.parametrize(
    "keys",
    [
        {"object_store": {"plasma_directory": "plasma"}},
        {"object_store": {"spilling_directory": "./spill"}},
        {"ray": {"temp_dir": "ray"}},
        {"ray": {"environment": "~/venv"}},
        {"auth": {"token_path": "token"}},
        {"system_config": {"plasma_directory": "plasma"}},
    ],
)
def test_paths_are_absolute(keys):
    with pytest.raises(RayConfigError, match="give the whole path, from / on"):
        worker(**keys)


@pytest.mark.parametrize(
    "labels", [{"zone": "a,b=c"}, {"zone": "a b"}, {"zo ne": "a"}, {"": "a"}, {"-a": "b"}, {"a": "x" * 64}]
)
def test_labels_that_ray_would_refuse(labels):
    with pytest.raises(RayConfigError, match="^labels."):
        worker(labels=labels)


def test_labels_that_ray_takes():
    worker(labels={"zone": "cn-north-4a", "example.com/rack": 7, "empty": "", "none": None})


@pytest.mark.parametrize("name", ["HF-HOME", "1A", "A B", "", True])
@pytest.mark.parametrize("section", ["environment", "system_config"])
def test_variables_that_systemd_would_drop(section, name):
    with pytest.raises(RayConfigError, match=f"^{section}.{name} is no name of a variable"):
        worker(**{section: {name: "x"}})


def test_a_file_is_loaded(tmp_path):
    path = tmp_path / "head-node.yaml"
    path.write_text("# Köpfe\ncluster_name: demo\n", encoding="utf-8")
    assert load(str(path)) == {"cluster_name": "demo"}
    path.write_text("")
    assert load(str(path)) == {}


def test_a_file_that_cannot_be_loaded(tmp_path):
    path = tmp_path / "head-node.yaml"
    with pytest.raises(RayConfigError, match="does not exist: run the playbook's head or workers tag"):
        load(str(path))
    path.write_text("a: [1\nb: 2\n")
    with pytest.raises(RayConfigError, match="is not valid YAML: ") as error:
        load(str(path))
    assert "\n" not in str(error.value)
    path.write_text("- a\n")
    with pytest.raises(RayConfigError, match="must hold keys and values, not a list"):
        load(str(path))
    path.write_bytes(b"cluster_name: \xff\n")
    with pytest.raises(RayConfigError, match="cannot be read|is not valid YAML"):
        load(str(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(RayConfigError, match="cannot be read: Is a directory"):
        load(str(path))


def test_the_environments_python_reads_it_where_the_system_has_no_yaml(tmp_path):
    """A Python without PyYAML runs load(); the one of these tests, which has it, stands for the environment's."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "venv" / "bin" / "python").chmod(0o755)
    (tmp_path / "good.yaml").write_text("cluster_name: demo\n")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    program = f"""
import importlib.util, os, pwd, sys
sys.modules["yaml"] = None
spec = importlib.util.spec_from_file_location("config", {_ray_config.__file__!r})
config = importlib.util.module_from_spec(spec)
spec.loader.exec_module(config)
# As root, for nobody else reads where these tests lie.
user = pwd.getpwuid(os.geteuid()).pw_name
print(config.load("{tmp_path}/good.yaml", ("{tmp_path}/absent", "{tmp_path}/venv"), user))
for path, environments in (("bad.yaml", ("{tmp_path}/venv",)), ("good.yaml", ())):
    try:
        config.load("{tmp_path}/" + path, environments, user)
    except config.RayConfigError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"},
    )
    good, bad, without = done.stdout.splitlines()
    assert good == "{'cluster_name': 'demo'}"
    assert "bad.yaml is not valid YAML" in bad
    assert "good.yaml cannot be read: install python3-yaml, or pass the module its config option." in without

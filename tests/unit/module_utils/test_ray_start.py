# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.module_utils._node import compile as _ray_start
from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import parse_argv
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import PORTS, RayConfigError

DATA = Path(__file__).parents[1] / "data"
HEAD_ADDRESS = {"network": {"head_address": "demo-head:6379"}}
# What the head hands to every node, whatever is declared.
KEEPALIVE = {"grpc_client_keepalive_time_ms": 65000, "grpc_client_keepalive_timeout_ms": 30000}
# Every key that reaches the command line, with values that differ from Ray's defaults.
COMMON = {
    "cluster_name": "demo",
    "labels": {"zone": "cn-north-4a", "rack": 7},
    "object_store": {"memory": 100000000, "plasma_directory": "/dev/shm", "spilling_directory": "/var/lib/ray/spill"},
    "ray": {"node_name": "one", "temp_dir": "/var/lib/ray", "drain_timeout": 90, "environment": "/opt/ray/2.60.0"},
    "auth": {"token_path": "/etc/ray/auth_token"},
}
NETWORK = {
    "node_ip_address": "10.0.0.5",
    "dashboard_host": "10.0.0.5",
    "no_proxy": ["10.0.0.0/24"],
    "ports": {name: 7000 + number for number, name in enumerate(PORTS)},
}
HEAD = {
    **COMMON,
    "head_node": {"resources": {"CPU": 2, "GPU": 1, "memory": 1000000000, "NPU": 8}},
    "network": NETWORK,
    "gcs": {"storage": "redis"},
    "redis": {"host": "10.0.0.9", "port": 6380, "username": "ray", "password_file": "/etc/ray/redis.env"},
    "system_config": {"memory_monitor_refresh_ms": 500},
}
WORKER = {
    **COMMON,
    "resources": {"CPU": 2, "GPU": 1, "memory": 1000000000, "NPU": 8},
    "network": {**NETWORK, "head_address": "demo-head:6379"},
    "system_config": {"memory_monitor_refresh_ms": 500, "object_spilling_directory": "/ignored"},
}


def guide(node_type: str) -> dict:
    return yaml.safe_load((DATA / f"guide-{node_type}-node.yaml").read_text(encoding="utf-8"))


def compile_start(config: dict, node_type: str):
    """With the token that the roles declare."""
    return _ray_start.compile_start({"auth": COMMON["auth"], **config}, node_type)


def read_by_ray(environment: str, argv: list[str]) -> dict:
    """What Ray's own command line makes of the arguments; it refuses unknown options and wrong types."""
    program = (
        "import json, sys; from ray.scripts.scripts import start; "
        "print(json.dumps(start.make_context('start', sys.argv[1:]).params))"
    )
    done = subprocess.run(
        [f"{environment}/bin/python", "-Ic", program, *argv[2:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_guides_head_compiles_to_what_todays_ray_accepts(ray_environment):
    start = compile_start(guide("head"), "head")
    assert start.argv == [
        "/opt/ray/current/bin/ray",
        "start",
        "--block",
        "--log-color=false",
        "--head",
        "--dashboard-host=127.0.0.1",
        "--num-cpus=32",
        "--memory=64000000000",
        "--object-store-memory=128000000000",
        "--plasma-directory=/mnt/deepseek-shared/ray-plasma",
        "--system-config=" + json.dumps({**KEEPALIVE, "memory_monitor_refresh_ms": 500}, separators=(",", ":")),
        "--port=6379",
    ]
    assert [warning.partition(" ")[0] for warning in start.warnings] == ["redis.password"]
    assert "StrongRedisPassword123!" not in repr(start)
    read = read_by_ray(ray_environment, start.argv)
    assert (read["head"], read["block"], read["num_cpus"], read["memory"]) == (True, True, 32, 64000000000)
    assert read["system_config"] == {**KEEPALIVE, "memory_monitor_refresh_ms": 500}


def test_the_guides_worker_compiles_to_what_todays_ray_accepts(ray_environment):
    start = compile_start({**guide("worker"), **HEAD_ADDRESS}, "worker")
    assert start.argv == [
        "/opt/ray/current/bin/ray",
        "start",
        "--block",
        "--log-color=false",
        "--address=demo-head:6379",
        "--num-gpus=4",
        "--num-cpus=64",
        "--memory=256000000000",
        "--object-store-memory=128000000000",
        "--plasma-directory=/mnt/deepseek-shared/ray-plasma",
    ]
    # A worker may not have --system-config; the raylet reads the same setting from its environment.
    assert start.environment["RAY_memory_monitor_refresh_ms"] == "500"
    read = read_by_ray(ray_environment, start.argv)
    assert (read["address"], read["num_gpus"], read["num_cpus"]) == ("demo-head:6379", 4, 64)


def test_the_guides_worker_without_the_heads_address_says_so():
    with pytest.raises(RayConfigError, match="network.head_address is missing"):
        compile_start(guide("worker"), "worker")


@pytest.mark.parametrize(("config", "node_type"), [(HEAD, "head"), (WORKER, "worker")])
def test_every_option_is_one_of_rays(ray_environment, config, node_type):
    start = compile_start(config, node_type)
    read = read_by_ray(ray_environment, start.argv)
    for option, value in start.options.items():
        found = read[option[2:].replace("-", "_")]
        assert found is True if value is None else str(found) == value or found == json.loads(value), option


def test_the_tests_reach_every_option():
    """Each option that the compiler names in its source stands in one of the two configurations above."""
    source = Path(_ray_start.__file__).read_text(encoding="utf-8")
    named = set(re.findall(r'"(--[a-z][a-z-]+)"', source)) - set(_ray_start._BOOLEAN_OPTIONS)
    compiled = set(compile_start(HEAD, "head").options) | set(compile_start(WORKER, "worker").options)
    assert named - compiled == set()


def test_extra_options_are_flags_or_have_values(ray_environment):
    extra = {
        "include_dashboard": True,
        "include-log-monitor": False,
        "--system-reserved-memory": 2,
        "no_redirect_output": True,
        "ray_debugger_external": False,
        "log_style": "record",
        "cgroup_path": None,
    }
    start = compile_start({"ray": {"options": extra}}, "head")
    plain = compile_start({}, "head").options
    assert {option: value for option, value in start.options.items() if option not in plain} == {
        "--include-dashboard": "true",
        "--include-log-monitor": "false",
        "--system-reserved-memory": "2",
        "--no-redirect-output": None,
        "--log-style": "record",
    }
    read = read_by_ray(ray_environment, start.argv)
    assert (read["include_dashboard"], read["include_log_monitor"], read["no_redirect_output"]) == (True, False, True)
    assert (read["system_reserved_memory"], read["log_style"]) == (2, "record")


def test_only_these_options_of_rays_are_boolean_values(ray_environment):
    program = (
        "from ray.scripts.scripts import start; "
        "print(*[p.opts[0] for p in start.params if p.type.name == 'boolean' and not p.is_flag])"
    )
    done = subprocess.run([f"{ray_environment}/bin/python", "-Ic", program], capture_output=True, text=True, check=True)
    assert tuple(done.stdout.split()) == _ray_start._BOOLEAN_OPTIONS


def test_a_worker_has_nothing_that_only_a_head_may_have():
    options = compile_start(WORKER, "worker").options
    for option in (
        "--head",
        "--port",
        "--system-config",
        "--dashboard-host",
        "--dashboard-port",
        "--ray-client-server-port",
    ):
        assert option not in options
    environment = compile_start(WORKER, "worker").environment
    assert not {"AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT", "RAY_REDIS_ADDRESS"} & set(environment)
    assert "--address" not in compile_start(HEAD, "head").options


def test_resources_are_split_between_their_options():
    options = compile_start(
        {"head_node": {"resources": {"NPU": 8, "CPU": 4.0, "GPU": 0, "memory": 2**33, "ssd": 1.0}}}, "head"
    ).options
    assert (options["--num-cpus"], options["--num-gpus"], options["--memory"]) == ("4", "0", "8589934592")
    assert json.loads(options["--resources"]) == {"NPU": 8, "ssd": 1}
    assert "--resources" not in compile_start({"head_node": {"resources": {"CPU": 0}}}, "head").options


def test_the_order_of_keys_is_no_difference():
    one = {"head_node": {"resources": {"NPU": 8, "ssd": 1}}, "system_config": {"a": 1, "b": 2}}
    other = {"head_node": {"resources": {"ssd": 1, "NPU": 8}}, "system_config": {"b": 2, "a": 1}}
    assert compile_start(one, "head").options == compile_start(other, "head").options


def test_an_object_store_of_size_0_is_left_to_ray():
    options = compile_start({"object_store": {"memory": 0, "plasma_directory": ""}}, "head").options
    assert not {"--object-store-memory", "--plasma-directory"} & set(options)


def test_labels_are_sorted_and_empty_ones_left_out():
    options = compile_start({"labels": {"zone": "a", "rack": 7, "gone": None}}, "head").options
    assert options["--labels"] == "rack=7,zone=a"


@pytest.mark.parametrize("value", [500, True, 0.5, "text", {"a": [1, None]}])
def test_a_system_config_reaches_both_kinds_of_node(value):
    head = compile_start({"system_config": {"some_setting": value, "gone": None}}, "head")
    assert json.loads(head.options["--system-config"]) == {**KEEPALIVE, "some_setting": value}
    worker = compile_start({"system_config": {"some_setting": value, "gone": None}, **HEAD_ADDRESS}, "worker")
    text = worker.environment["RAY_some_setting"]
    assert (text if isinstance(value, str) else json.loads(text)) == value
    assert "RAY_gone" not in worker.environment


def test_a_system_config_of_the_users_own_wins():
    head = compile_start({"system_config": {"grpc_client_keepalive_time_ms": 20000}}, "head")
    assert json.loads(head.options["--system-config"]) == {**KEEPALIVE, "grpc_client_keepalive_time_ms": 20000}


def test_directories_in_the_guides_system_config_become_options():
    config = {"system_config": {"plasma_directory": "/a", "object_spilling_directory": "/b"}}
    head = compile_start(config, "head").options
    assert (head["--plasma-directory"], head["--object-spilling-directory"]) == ("/a", "/b")
    assert json.loads(head["--system-config"]) == KEEPALIVE
    # The key of its own wins.
    head = compile_start({**config, "object_store": {"plasma_directory": "/c"}}, "head").options
    assert head["--plasma-directory"] == "/c"


def test_no_proxy_holds_what_is_reached_directly():
    environment = compile_start({**WORKER, "cluster_name": None}, "worker").environment
    assert environment["no_proxy"].split(",") == [
        "localhost",
        "127.0.0.1",
        "::1",
        "ray-head",
        "demo-head",
        "10.0.0.5",
        "10.0.0.0/24",
    ]
    assert environment["NO_PROXY"] == environment["no_proxy"]
    once = compile_start(WORKER, "worker").environment["no_proxy"].split(",")
    assert len(once) == len(set(once))


def test_storages():
    environment = compile_start({"gcs": {"storage": "rocksdb", "path": "/var/lib/ray/gcs"}}, "head").environment
    assert (environment["RAY_gcs_storage"], environment["RAY_gcs_storage_path"]) == ("rocksdb", "/var/lib/ray/gcs")
    assert not {"RAY_gcs_storage", "RAY_REDIS_ADDRESS"} & set(compile_start({}, "head").environment)
    start = compile_start(HEAD, "head")
    assert start.environment["RAY_REDIS_ADDRESS"] == "10.0.0.9:6380"
    assert start.environment["RAY_external_storage_namespace"] == "demo"
    assert start.options["--redis-password"] == "${RAY_REDIS_PASSWORD}"
    # With a Redis server, redis.port is that server's and not the head's.
    assert start.options["--port"] == str(NETWORK["ports"]["gcs"])
    default = compile_start({"gcs": {"storage": "redis"}, "redis": {"host": "r"}}, "head")
    assert default.environment["RAY_REDIS_ADDRESS"] == "r:6379"
    assert "--redis-password" not in default.options and "--port" not in default.options


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("redis://r", {"RAY_REDIS_ADDRESS": "r:6379"}),
        ("redis://ann@[fd00::9]:6390/0", {"RAY_REDIS_ADDRESS": "[fd00::9]:6390"}),
        ("rediss://ann@10.0.0.9", {"RAY_REDIS_ADDRESS": "rediss://10.0.0.9:6379", "RAY_REDIS_CA_CERT": "/ca.pem"}),
        ("rediss://dcs.example:6390", {
            "RAY_REDIS_ADDRESS": "rediss://dcs.example:6390", "RAY_REDIS_CA_CERT": "/ca.pem",
            "RAY_REDIS_SERVER_NAME": "dcs.example"}),
    ],
)
def test_a_redis_of_somebody_else(url, environment):
    redis = {"url": url, "ca_file": "/ca.pem", "password_file": "/etc/ray/redis.env"}
    start = compile_start({"gcs": {"storage": "redis"}, "redis": redis}, "head")
    assert {name: value for name, value in start.environment.items() if name.startswith("RAY_REDIS")} == environment
    assert start.options.get("--redis-username") == ("ann" if "ann@" in url else None)
    assert start.options["--redis-password"] == "${RAY_REDIS_PASSWORD}"


def test_a_password_that_is_not_used_is_named_but_not_shown():
    for config in ({"redis": {"password": "hunter2"}}, {**HEAD, "redis": {**HEAD["redis"], "password": "hunter2"}}):
        start = compile_start(config, "head")
        assert len(start.warnings) == 1 and start.warnings[0].startswith("redis.password is not used: ")
        assert "hunter2" not in repr(start)


def test_the_guides_redis_port_and_another_gcs_port_contradict_each_other():
    assert compile_start({"redis": {"port": 6400}}, "head").options["--port"] == "6400"
    compile_start({"redis": {"port": 6400}, "network": {"ports": {"gcs": 6400}}}, "head")
    with pytest.raises(RayConfigError, match="redis.port is 6400 and network.ports.gcs is 6379: .*ray_ports.gcs"):
        compile_start({"redis": {"port": 6400}, "network": {"ports": {"gcs": 6379}}}, "head")


def test_a_head_whose_gcs_ended_is_not_waited_for():
    variable = "RAY_py_gcs_connect_timeout_s"
    assert compile_start({}, "head").environment[variable] == "3"
    assert compile_start({"environment": {variable: "9"}}, "head").environment[variable] == "9"
    assert variable not in compile_start(WORKER, "worker").environment


def test_the_environment():
    start = compile_start({**COMMON, "environment": {"HF_HOME": "/data", "DEBUG": True, "N": 3, "GONE": None}}, "head")
    assert start.environment["RAY_AUTH_MODE"] == "token"
    assert start.environment["RAY_AUTH_TOKEN_PATH"] == "/etc/ray/auth_token"
    assert start.environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "90"
    assert (start.environment["HF_HOME"], start.environment["DEBUG"], start.environment["N"]) == ("/data", "true", "3")
    assert "GONE" not in start.environment
    assert all(isinstance(value, str) for value in start.environment.values())
    assert compile_start(WORKER, "worker").environment["VLLM_HOST_IP"] == "10.0.0.5"
    zero = compile_start({"ray": {"drain_timeout": 0}}, "head").environment
    assert zero["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "0"


def test_the_interface_of_the_nodes_address_is_given_to_all_that_would_choose_one():
    config = {**HEAD_ADDRESS, "network": {**HEAD_ADDRESS["network"], "node_ip_address": "10.0.0.5"}}
    environment = _ray_start.compile_start({**COMMON, **config}, "worker", interface="eth1").environment
    found = {name: value for name, value in environment.items() if name.endswith(("IFNAME", "IF_IP", "FAMILY"))}
    assert found == {"GLOO_SOCKET_IFNAME": "eth1", "TP_SOCKET_IFNAME": "eth1", "NCCL_SOCKET_IFNAME": "=eth1"}
    # The users' own win.
    own = {"NCCL_SOCKET_IFNAME": "ib0,ib1", "GLOO_SOCKET_IFNAME": "bond0"}
    config["environment"] = own
    environment = _ray_start.compile_start({**COMMON, **config}, "worker", interface="e").environment
    assert environment["NCCL_SOCKET_IFNAME"] == "ib0,ib1" and environment["GLOO_SOCKET_IFNAME"] == "bond0"
    assert environment["TP_SOCKET_IFNAME"] == "e"
    # Read on this host, which has no such address; and none is known without one.
    del config["environment"]
    assert "GLOO_SOCKET_IFNAME" not in _ray_start.compile_start({**COMMON, **config}, "worker").environment
    assert "GLOO_SOCKET_IFNAME" not in _ray_start.compile_start(COMMON, "head", interface="eth1").environment
    network = {"network": {"head_address": "demo-head:6379", "node_ip_address": "127.0.0.1"}}
    assert _ray_start.compile_start({**COMMON, **network}, "worker").environment["GLOO_SOCKET_IFNAME"] == "lo"


@pytest.mark.parametrize("npu", [{"resources": {"NPU": 8}}, {"environment": {"ASCEND_HOME_PATH": "/a"}}])
def test_a_host_with_npus_gets_hccls_too(npu):
    for address, family in (("10.0.0.5", None), ("fd00::5", "AF_INET6")):
        config = {**COMMON, **npu, "network": {"head_address": "demo-head:6379", "node_ip_address": address}}
        environment = _ray_start.compile_start(config, "worker", interface="eth1").environment
        assert environment["HCCL_SOCKET_IFNAME"] == "=eth1" and environment["HCCL_IF_IP"] == address
        assert environment.get("HCCL_SOCKET_FAMILY") == family


def test_what_people_on_the_host_share_with_the_node():
    network = {**NETWORK, "node_ip_address": "fd00::5"}
    config = {**HEAD, "network": network, "environment": {"HF_HOME": "/data", "RAYOPS_SANDBOX": "1"}}
    start = _ray_start.compile_start(config, "head", interface="eth1")
    shared = start.user_environment(config)
    assert shared["RAY_ADDRESS"] == f"[fd00::5]:{NETWORK['ports']['gcs']}"
    assert shared["RAY_AUTH_TOKEN_PATH"] == COMMON["auth"]["token_path"] and shared["HF_HOME"] == "/data"
    assert shared["VLLM_HOST_IP"] == "fd00::5" and shared["GLOO_SOCKET_IFNAME"] == "eth1"
    # With these a program of a user's would open the state of the cluster, or take the ports of the head.
    assert {name for name in start.environment if name not in shared} == {
        "RAY_REDIS_ADDRESS", "RAY_external_storage_namespace", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S",
        "AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT", "RAYOPS_SANDBOX", "RAYOPS_VARIABLES",
    }
    assert "RAY_ADDRESS" not in start.environment
    worker = compile_start(WORKER, "worker")
    assert worker.user_environment(WORKER)["RAY_ADDRESS"] == "demo-head:6379"


@pytest.mark.parametrize("name", ["block", "--block", "node_ip_address", "--node-ip-address"])
def test_an_extra_option_does_not_override_the_collections(name):
    with pytest.raises(RayConfigError, match=f"^ray.options.{name} is set by the collection already"):
        compile_start({"network": {"node_ip_address": "10.0.0.5"}, "ray": {"options": {name: "x"}}}, "head")


@pytest.mark.parametrize(
    "argv",
    [
        [
            "/opt/ray/bin/python",
            "/opt/ray/bin/ray",
            "start",
            "--head",
            "--port=6379",
            "--labels=a=b,c=d",
            "--resources={}",
        ],
        ["ray", "start", "--head", "--port", "6379", "--labels", "a=b,c=d", "--resources", "{}"],
        ["--port", "6379", "--head", "--labels=a=b,c=d", "--resources", "{}"],
    ],
)
def test_a_live_command_is_read_in_both_spellings(argv):
    assert parse_argv(argv) == {"--head": None, "--port": "6379", "--labels": "a=b,c=d", "--resources": "{}"}


def test_a_flag_takes_no_word_of_its_neighbours():
    assert parse_argv(["start", "--head", "--block", "--x="]) == {"--head": None, "--block": None, "--x": ""}
    assert parse_argv(["start", "--port=6379", "stray"]) == {"--port": "6379"}
    assert parse_argv([]) == {}


@pytest.mark.parametrize(("config", "node_type"), [(HEAD, "head"), (WORKER, "worker")])
def test_what_is_compiled_is_read_back(config, node_type):
    start = compile_start(config, node_type)
    assert parse_argv(["/opt/ray/2.60.0/bin/python", *start.argv]) == start.options


OFF = (
    "{}, with which everybody who reaches port 6379 or 8265 of the head can run code on every node: leave it out, or "
    "set ray_allow_unauthenticated: true (auth.allow_unauthenticated) to run without authentication."
)


@pytest.mark.parametrize(("keys", "off"), [
    ({"auth": None}, "auth.token_path is empty"),
    ({"auth": {"token_path": None}}, "auth.token_path is empty"),
    ({"auth": {"token_path": ""}, "network": {"dashboard_host": "0.0.0.0"}}, "auth.token_path is empty"),
    ({"environment": {"RAY_AUTH_MODE": "disabled"}}, "environment.RAY_AUTH_MODE is 'disabled'"),
    ({"environment": {"RAY_AUTH_MODE": "Disabled"}}, "environment.RAY_AUTH_MODE is 'Disabled'"),
    ({"environment": {"RAY_AUTH_MODE": " token"}}, "environment.RAY_AUTH_MODE is ' token'"),
    ({"environment": {"RAY_AUTH_MODE": False}}, "environment.RAY_AUTH_MODE is 'false'"),
    ({"environment": {"RAY_AUTH_MODE": ""}}, "environment.RAY_AUTH_MODE is ''"),
    ({"system_config": {"AUTH_MODE": "disabled"}}, "system_config.AUTH_MODE is 'disabled'"),
    ({"system_config": {"auth_mode": "no"}}, "system_config.auth_mode is 'no'"),
])
@pytest.mark.parametrize("node_type", ["head", "worker"])
def test_authentication_does_not_go_off_without_a_word(keys, off, node_type):
    config = {**keys, "network": {**HEAD_ADDRESS["network"], **keys.get("network", {})}}
    with pytest.raises(RayConfigError) as error:
        compile_start(config, node_type)
    assert str(error.value) == OFF.format(off)
    # What is only to be stopped is not refused.
    assert _ray_start.compile_start(config, node_type, to_run=False).warnings == []
    auth = config["auth"] if "auth" in config else COMMON["auth"]
    allowed = compile_start({**config, "auth": {**(auth or {}), "allow_unauthenticated": True}}, node_type)
    (warning,) = allowed.warnings
    assert warning.startswith(f"The cluster runs without authentication ({off}): everybody who reaches port 6379 or ")
    # The ports are the declared ones.
    config["network"]["ports"] = {"gcs": 7001, "dashboard": 7002}
    with pytest.raises(RayConfigError, match="port 7001 or 7002 of the head"):
        compile_start(config, node_type)


TLS = {
    "RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": "/etc/ray/tls/node.pem", "RAY_TLS_SERVER_KEY": "/etc/ray/tls/node.key",
    "RAY_TLS_CA_CERT": "/etc/ray/tls/ca.pem",
}


@pytest.mark.parametrize("node_type", ["head", "worker"])
def test_a_node_with_a_certificate_speaks_tls_and_so_do_the_people_on_its_host(node_type):
    config = {**HEAD_ADDRESS, "tls": {"directory": "/etc/ray/tls"}}
    start = compile_start(config, node_type)
    assert {name: value for name, value in start.environment.items() if "TLS" in name} == TLS
    assert TLS.items() <= start.user_environment(config).items()
    for off in ({}, {"tls": None}, {"tls": {}}, {"tls": {"directory": ""}}):
        assert not [name for name in compile_start({**HEAD_ADDRESS, **off}, node_type).environment if "TLS" in name]


@pytest.mark.parametrize("keys", [
    {"environment": {"RAY_USE_TLS": "0"}}, {"environment": {"RAY_TLS_CA_CERT": "/x"}},
    {"system_config": {"USE_TLS": False}}, {"system_config": {"tls_server_key": "/x"}},
])
@pytest.mark.parametrize("tls", [{}, {"tls": {"directory": "/etc/ray/tls"}}])
def test_certificates_from_elsewhere(keys, tls):
    ((section, names),) = keys.items()
    sentence = (
        f"{section}.{next(iter(names))} would take the place of the cluster's certificates: leave it out, and set "
        "ray_tls: true (tls.directory), which gives each node its own."
    )
    for node_type in ("head", "worker"):
        with pytest.raises(RayConfigError) as error:
            compile_start({**HEAD_ADDRESS, **keys, **tls}, node_type)
        assert str(error.value) == sentence


def test_the_directory_of_a_certificate_is_a_whole_path():
    with pytest.raises(RayConfigError, match="^tls.directory is 'tls': give the whole path, from / on.$"):
        compile_start({**HEAD_ADDRESS, "tls": {"directory": "tls"}}, "worker")


def test_authentication_that_is_on_is_not_warned_of():
    for mode in ("token", "TOKEN"):
        config = {"auth": {**COMMON["auth"], "allow_unauthenticated": True}, "environment": {"RAY_AUTH_MODE": mode}}
        assert compile_start({**config, "system_config": {"AUTH_MODE": "token"}}, "head").warnings == []
    same = {"environment": {"RAY_AUTH_TOKEN_PATH": "/etc/ray/auth_token"}}
    assert compile_start(same, "head").warnings == []


@pytest.mark.parametrize(("keys", "sentence"), [
    ({"environment": {"RAY_AUTH_TOKEN": "x"}},
     "environment.RAY_AUTH_TOKEN would take the place of the cluster's token: set ray_auth_token instead."),
    ({"environment": {"RAY_AUTH_TOKEN_PATH": "/tmp/x"}},
     "environment.RAY_AUTH_TOKEN_PATH would take the place of the cluster's token: set auth.token_path instead."),
    ({"ray": {"options": {"system_config": '{"AUTH_MODE":"disabled"}'}}},
     "ray.options.system-config is the head's alone: write what it holds as system_config."),
    ({"ray": {"options": {'system-config={"AUTH_MODE":"disabled"}': True}}},
     "ray.options.system-config={\"AUTH_MODE\":\"disabled\"} is no name of an option: "),
])
def test_a_token_or_an_option_from_elsewhere(keys, sentence):
    with pytest.raises(RayConfigError) as error:
        compile_start({**HEAD_ADDRESS, **keys}, "worker")
    assert str(error.value).startswith(sentence)
    with pytest.raises(RayConfigError):
        compile_start({"auth": {**COMMON["auth"], "allow_unauthenticated": True}, **keys}, "head")

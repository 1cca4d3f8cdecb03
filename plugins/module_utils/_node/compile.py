# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a node is started: from its declared state to the arguments and the environment of `ray start`.

Each key goes where Ray 2.57 and later want it. Ray's own sources, python/ray/scripts/scripts.py and
python/ray/_private/node.py, say which option is refused where.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.tls import tls_variables
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import (
    RayConfigError,
    redis_namespace,
    redis_of,
    resources_of,
    storage_of,
    validate,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import bracketed, interface_of

# The unit reads the password from this variable of its EnvironmentFile, so that neither the unit nor the
# journal holds it. Ray itself still hands it to gcs_server and raylet as an argument.
REDIS_PASSWORD_VARIABLE = "RAY_REDIS_PASSWORD"

# The names of the user's own variables: how one that was taken out again is told from those that systemd sets.
NAMES_VARIABLE = "RAYOPS_VARIABLES"

# Port name -> option of `ray start`.
_NODE_PORTS = {
    "node_manager": "--node-manager-port",
    "object_manager": "--object-manager-port",
    "dashboard_agent_grpc": "--dashboard-agent-grpc-port",
    "dashboard_agent_listen": "--dashboard-agent-listen-port",
    "runtime_env_agent": "--runtime-env-agent-port",
    "metrics_export": "--metrics-export-port",
    "worker_min": "--min-worker-port",
    "worker_max": "--max-worker-port",
}
# A worker would silently ignore or refuse these.
_HEAD_PORTS = {
    "gcs": "--port",
    "client_server": "--ray-client-server-port",
    "dashboard": "--dashboard-port",
}
# What the nodes of a cluster connect to on each other: the others are for their own host, for users and for Prometheus.
_MESH_PORTS = (
    "--node-manager-port", "--object-manager-port", "--dashboard-agent-grpc-port", "--dashboard-agent-listen-port",
)
_HEAD_PORT_VARIABLES = {
    "autoscaler_metrics": "AUTOSCALER_METRIC_PORT",
    "dashboard_metrics": "DASHBOARD_METRIC_PORT",
}
# `ray start` refuses these as --resources: they have options of their own.
_RESOURCE_OPTIONS = {"CPU": "--num-cpus", "GPU": "--num-gpus", "memory": "--memory"}
# Options of `ray start` with a value true or false; all its other switches are flags.
_BOOLEAN_OPTIONS = ("--include-dashboard", "--include-log-monitor")
# Whatever else could bring a value of its own.
_OPTION = re.compile(r"--[A-Za-z0-9][A-Za-z0-9-]*")
# The guide's system_config keys that are options today.
_SYSTEM_CONFIG_OPTIONS = {
    "plasma_directory": "--plasma-directory",
    "object_spilling_directory": "--object-spilling-directory",
}
# A call to a host that vanished without a word ends after the sum of both, 420 s with Ray's own values. Any server of
# Ray's takes one ping a minute (grpc_server.cc), and closes the connections of clients that send more.
_SYSTEM_CONFIG = {"grpc_client_keepalive_time_ms": 65000, "grpc_client_keepalive_timeout_ms": 30000}
# Each wants the name of the interface in its own way: {0} is the name.
_INTERFACE_VARIABLES = {
    "GLOO_SOCKET_IFNAME": "{0}",
    "TP_SOCKET_IFNAME": "{0}",
    # Without the equals sign these two take it for the beginning of a name, and eth1 for eth10 as well.
    "NCCL_SOCKET_IFNAME": "={0}",
    "HCCL_SOCKET_IFNAME": "={0}",
}
# What is the node's alone: where the GCS keeps its state, its ports, its end, and marks for later runs.
_OF_THE_NODE = (
    "RAY_gcs_storage", "RAY_REDIS_", "RAY_external_storage_namespace", "RAY_GRACEFUL_SHUTDOWN", "RAYOPS_",
    *_HEAD_PORT_VARIABLES.values(),
)


@dataclass
class RayStart:
    """A compiled node.

    executable: path of `ray`; options: option -> value, None for a flag; environment: variables of the unit;
    warnings: keys that were accepted but do nothing, one sentence each.
    """

    executable: str
    options: dict[str, str | None] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def argv(self) -> list[str]:
        """The whole command; ``${RAY_REDIS_PASSWORD}`` stands for the password."""
        return [self.executable, "start"] + [
            name if value is None else f"{name}={value}" for name, value in self.options.items()
        ]

    def user_environment(self, config: dict[str, Any]) -> dict[str, str]:
        """What people and programs on the host share with the node, and how they find the cluster."""
        shared = {name: value for name, value in self.environment.items() if not name.startswith(_OF_THE_NODE)}
        return {"RAY_ADDRESS": gcs_address(config, self), **shared}

    @property
    def mesh_ports(self) -> list[str]:
        """The pinned ports that other nodes connect to, the workers' as a range: ``10002-19999``."""
        # A worker's --port is not set.
        found = [self.options[name] for name in ("--port", *_MESH_PORTS) if self.options.get(name)]
        low, high = map(self.options.get, ("--min-worker-port", "--max-worker-port"))
        return [str(port) for port in found] + ([f"{low}-{high}"] if low and high else [])


def gcs_address(config: dict[str, Any], start: RayStart) -> str:
    """Where the cluster's GCS listens, host:port.

    :arg config: the content of the node's file.
    :arg start: what it is compiled to.
    """
    network = config.get("network") or {}
    own = network.get("node_ip_address") or "127.0.0.1"
    return network.get("head_address") or f"{bracketed(own)}:{start.options.get('--port') or 6379}"


def _given(section: dict[str, Any] | None) -> dict[str, Any]:
    """A map with free keys, without those that YAML leaves empty."""
    return {key: value for key, value in (section or {}).items() if value is not None}


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(amount: float) -> str:
    return str(int(amount)) if int(amount) == amount else str(amount)


def _text(value: object) -> str:
    """A value as Ray reads it from an environment variable: JSON's spelling of true and false."""
    return value if isinstance(value, str) else _json(value)


def _compile_address(start: RayStart, config: dict[str, Any], node_type: str) -> None:
    network = config.get("network") or {}
    ports = network.get("ports") or {}
    if node_type == "head":
        start.options["--head"] = None
        own = network.get("node_ip_address") or "127.0.0.1"
        start.options["--dashboard-host"] = network.get("dashboard_host") or own
    else:
        start.options["--address"] = network["head_address"]
    if network.get("node_ip_address"):
        start.options["--node-ip-address"] = network["node_ip_address"]
        # vLLM refuses to place its engine unless its own idea of the address is the node's.
        start.environment["VLLM_HOST_IP"] = network["node_ip_address"]
    for name, option in {**(_HEAD_PORTS if node_type == "head" else {}), **_NODE_PORTS}.items():
        if ports.get(name) is not None:
            start.options[option] = str(ports[name])
    if node_type == "head":
        for name, variable in _HEAD_PORT_VARIABLES.items():
            if ports.get(name) is not None:
                start.environment[variable] = str(ports[name])
    # The head's address stays out: a head that moves must not restart its workers.
    direct = ["localhost", "127.0.0.1", "::1", f"{config.get('cluster_name') or 'ray'}-head"]
    direct += [network["head_address"].rpartition(":")[0]] if network.get("head_address") else []
    direct += [network["node_ip_address"]] if network.get("node_ip_address") else []
    direct += [str(item) for item in network.get("no_proxy") or []]
    start.environment["no_proxy"] = start.environment["NO_PROXY"] = ",".join(dict.fromkeys(direct))


def _compile_resources(start: RayStart, config: dict[str, Any], node_type: str) -> None:
    custom = {}
    for name, amount in resources_of(config, node_type).items():
        if name in _RESOURCE_OPTIONS:
            start.options[_RESOURCE_OPTIONS[name]] = _plain(amount)
        else:
            custom[name] = amount
    if custom:
        start.options["--resources"] = _json(custom)
    store = config.get("object_store") or {}
    for key, option in (
        ("memory", "--object-store-memory"),
        ("plasma_directory", "--plasma-directory"),
        ("spilling_directory", "--object-spilling-directory"),
    ):
        if store.get(key):
            start.options[option] = str(store[key])
    labels = _given(config.get("labels"))
    if labels:
        start.options["--labels"] = ",".join(f"{key}={labels[key]}" for key in sorted(labels))


def _compile_system_config(start: RayStart, config: dict[str, Any], node_type: str) -> None:
    system = _given(config.get("system_config"))
    for key, option in _SYSTEM_CONFIG_OPTIONS.items():
        if system.get(key):
            start.options.setdefault(option, str(system[key]))
        system.pop(key, None)
    if node_type == "head":
        # The GCS hands these to every node and driver, where they win over the environment.
        start.options["--system-config"] = _json({**_SYSTEM_CONFIG, **system})
        # Where a new GCS ends, as without its Redis, `ray start` asks it for so many seconds before it looks whether it
        # still runs: with Ray's own 30 a start in vain takes 40 s, with this 13. One that lives is asked again.
        start.environment["RAY_py_gcs_connect_timeout_s"] = "3"
    else:
        for key, value in sorted(system.items()):
            start.environment[f"RAY_{key}"] = _text(value)


def _compile_storage(start: RayStart, config: dict[str, Any]) -> None:
    storage = storage_of(config)
    redis = config.get("redis") or {}
    if storage == "rocksdb":
        start.environment["RAY_gcs_storage"] = "rocksdb"
        start.environment["RAY_gcs_storage_path"] = config["gcs"]["path"]
    server = redis_of(config)
    if server:
        start.environment["RAY_REDIS_ADDRESS"] = ("rediss://" if server.tls else "") + server.address
        start.environment["RAY_external_storage_namespace"] = redis_namespace(config)
        if server.tls:
            start.environment["RAY_REDIS_CA_CERT"] = server.ca_file
        if server.tls and server.name:
            start.environment["RAY_REDIS_SERVER_NAME"] = server.name
        if server.username:
            start.options["--redis-username"] = server.username
        if redis.get("password_file"):
            start.options["--redis-password"] = "${%s}" % REDIS_PASSWORD_VARIABLE
        if redis.get("password"):
            start.warnings.append("redis.password is not used: the password in redis.password_file is.")
        return
    if redis.get("password"):
        start.warnings.append(
            "redis.password is not used: without a Redis server it protects nothing in today's Ray; "
            "the cluster's token does (auth.token_path)."
        )
    if redis.get("port"):
        # In the guide this is the port that the head listens on, the GCS port of today.
        port = start.options.setdefault("--port", str(redis["port"]))
        if port != str(redis["port"]):
            raise RayConfigError(
                f"redis.port is {redis['port']} and network.ports.gcs is {port}: without a Redis server both name the "
                "head's port, so set ray_ports.gcs and leave redis.port out."
            )


def _compile_interface(start: RayStart, config: dict[str, Any], node_type: str, interface: str | None) -> None:
    """Libraries that choose one by themselves take the first that is up: a bridge of Docker's, or another network."""
    address = (config.get("network") or {}).get("node_ip_address") or ""
    npus = "NPU" in resources_of(config, node_type) or "ASCEND_HOME_PATH" in (config.get("environment") or {})
    if npus and address:
        start.environment["HCCL_IF_IP"] = address
        if ":" in address:
            start.environment["HCCL_SOCKET_FAMILY"] = "AF_INET6"
    name = interface_of(address) if interface is None else interface
    for variable, form in _INTERFACE_VARIABLES.items() if name and address else ():
        if npus or not variable.startswith("HCCL"):
            start.environment[variable] = form.format(name)


def _compile_environment(start: RayStart, config: dict[str, Any]) -> None:
    ray = config.get("ray") or {}
    token_path = (config.get("auth") or {}).get("token_path")
    start.environment["RAY_AUTH_MODE"] = "token" if token_path else "disabled"
    if token_path:
        start.environment["RAY_AUTH_TOKEN_PATH"] = token_path
    start.environment.update(tls_variables(config))
    start.environment["RAY_USAGE_STATS_ENABLED"] = "0"
    # A raylet waits this long, in seconds, for a head that restarts; Ray's own 60 loses every actor before that.
    start.environment["RAY_gcs_rpc_server_reconnect_timeout_s"] = "600"
    # By default Ray refuses a node whose Python differs in its patch level, which a security update of one host brings.
    start.environment["RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL"] = "minor"
    if ray.get("drain_timeout") is not None:
        start.environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = str(ray["drain_timeout"])
    own = _given(config.get("environment"))
    for name, value in own.items():
        start.environment[name] = _text(value)
    if own:
        start.environment[NAMES_VARIABLE] = ",".join(sorted(own))


def _compile_extra_options(start: RayStart, config: dict[str, Any]) -> None:
    for name, value in _given((config.get("ray") or {}).get("options")).items():
        option = "--" + str(name).lstrip("-").replace("_", "-")
        if not _OPTION.fullmatch(option):
            raise RayConfigError(f"ray.options.{name} is no name of an option: use letters, digits and '-'.")
        if option in start.options:
            raise RayConfigError(f"ray.options.{name} is set by the collection already: use its own key for {option}.")
        if not isinstance(value, bool) or option in _BOOLEAN_OPTIONS:
            start.options[option] = _text(value)
        elif value:
            start.options[option] = None


def _check_tls(config: dict[str, Any]) -> None:
    """Each setting of Ray's is a variable as well, and what the GCS hands out wins over it."""
    for section, prefix in (("environment", "RAY_"), ("system_config", "")):
        for name in _given(config.get(section)):
            if str(name).upper().startswith((f"{prefix}USE_TLS", f"{prefix}TLS_")):
                raise RayConfigError(
                    f"{section}.{name} would take the place of the cluster's certificates: leave it out, and set "
                    "ray_tls: true (tls.directory), which gives each node its own."
                )


def _check_authentication(start: RayStart, config: dict[str, Any]) -> None:
    """Ray itself takes a node without authentication, and most spellings of it, without a word (tried on 2.60)."""
    auth = config.get("auth") or {}
    for name, key in (("RAY_AUTH_TOKEN", "ray_auth_token"), ("RAY_AUTH_TOKEN_PATH", "auth.token_path")):
        if start.environment.get(name) != ((auth.get("token_path") or None) if name.endswith("_PATH") else None):
            raise RayConfigError(
                f"environment.{name} would take the place of the cluster's token: set {key} instead."
            )
    if "--system-config" in start.options and "--head" not in start.options:
        raise RayConfigError("ray.options.system-config is the head's alone: write what it holds as system_config.")
    off = ""
    if not auth.get("token_path"):
        off = "auth.token_path is empty"
    elif start.environment["RAY_AUTH_MODE"].lower() != "token":
        off = f"environment.RAY_AUTH_MODE is {start.environment['RAY_AUTH_MODE']!r}"
    for key, value in _given(config.get("system_config")).items():
        if str(key).upper().endswith("AUTH_MODE") and str(value).lower() != "token" and not off:
            off = f"system_config.{key} is {value!r}"
    if not off:
        return
    ports = (config.get("network") or {}).get("ports") or {}
    reach = f"port {ports.get('gcs') or 6379} or {ports.get('dashboard') or 8265} of the head"
    if not auth.get("allow_unauthenticated"):
        raise RayConfigError(
            f"{off}, with which everybody who reaches {reach} can run code on every node: leave it out, or set "
            "ray_allow_unauthenticated: true (auth.allow_unauthenticated) to run without authentication."
        )
    start.warnings.append(
        f"The cluster runs without authentication ({off}): everybody who reaches {reach} can run code on every node. "
        "Let nobody reach them, or give it its token back and set ray_allow_unauthenticated: false."
    )


def compile_start(
    config: dict[str, Any], node_type: str, to_run: bool = True, interface: str | None = None
) -> RayStart:
    """Compile the declared state of a node.

    :arg config: the content of head-node.yaml or worker-node.yaml.
    :arg node_type: ``head`` or ``worker``.
    :arg to_run: whether it is to run, and not only to be stopped: then it is refused without authentication.
    :arg interface: the one that carries the node's address, or what stands for it; by default it is read on this host.
    :raises RayConfigError: the declared state cannot work; one sentence with the fix.
    """
    validate(config, node_type)
    ray = config.get("ray") or {}
    start = RayStart(executable=f"{ray.get('environment') or '/opt/ray/current'}/bin/ray")
    start.options["--block"] = None
    start.options["--log-color"] = "false"
    _compile_address(start, config, node_type)
    if ray.get("node_name"):
        start.options["--node-name"] = ray["node_name"]
    if ray.get("temp_dir"):
        start.options["--temp-dir"] = ray["temp_dir"]
    _compile_resources(start, config, node_type)
    _compile_system_config(start, config, node_type)
    if node_type == "head":
        _compile_storage(start, config)
    _compile_interface(start, config, node_type, interface)
    _compile_environment(start, config)
    _compile_extra_options(start, config)
    if to_run:
        _check_tls(config)
        _check_authentication(start, config)
    return start


def ports_of(start: RayStart) -> dict[str, int]:
    """The ports that a node listens on, by their names in ``ray_ports``; without those that Ray chooses itself."""
    found = {name: start.options.get(option) for name, option in {**_HEAD_PORTS, **_NODE_PORTS}.items()}
    found.update((name, start.environment.get(variable)) for name, variable in _HEAD_PORT_VARIABLES.items())
    own = {name: port for name, port in found.items() if name not in ("worker_min", "worker_max")}
    return {name: int(port) for name, port in own.items() if port and port.isdigit()}


def parse_argv(argv: list[str]) -> dict[str, str | None]:
    """Read the options of a live `ray start`, whichever way they were written.

    :arg argv: the process's arguments, from /proc/PID/cmdline.
    :returns: option -> value, None for a flag.
    """
    options: dict[str, str | None] = {}
    words = iter(argv[argv.index("start") + 1:] if "start" in argv else argv)
    last = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            options[name] = value if equals else None
            last = None if equals else name
        elif last:
            options[last] = word
            last = None
    return options


def systemd_quote(word: str, expand: bool = False) -> str:
    """Quote one word for a unit file (systemd.syntax(7)).

    :arg expand: the word stands in ExecStart=, where systemd expands variables: all but the password's stay literal.
    """
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    text = text.replace("\n", "\\n").replace("\r", "\\r")
    if expand:
        password = "${%s}" % REDIS_PASSWORD_VARIABLE
        text = text.replace("$", "$$").replace(f"${password}", password)
    return f'"{text}"' if not word or any(character in word for character in " \t\n\r\"';") else text

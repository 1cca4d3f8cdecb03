# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The declared state of a node: the shape of head-node.yaml and worker-node.yaml, and how it is checked."""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import os
import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._node.redis import DEFAULT_PORT, RedisServer, read_url
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, run

NODE_TYPES = ("head", "worker")
STORAGES = ("rocksdb", "redis", "memory")

PORTS = (
    "gcs", "client_server", "dashboard", "node_manager", "object_manager", "dashboard_agent_grpc",
    "dashboard_agent_listen", "runtime_env_agent", "metrics_export", "autoscaler_metrics", "dashboard_metrics",
    "worker_min", "worker_max",
)

# Every key that a node's file may hold. A type is a leaf, a dict is a section, None is a map with free keys.
_COMMON: dict[str, Any] = {
    "cluster_name": str,
    "labels": None,
    "object_store": {"memory": int, "plasma_directory": str, "spilling_directory": str},
    "system_config": None,
    "network": {
        "node_ip_address": str, "head_address": str, "dashboard_host": str, "no_proxy": list,
        "ports": {name: int for name in PORTS},
        # The deployment guide keeps its SSH login here. Ansible's inventory holds it now; Ray never used it.
        "ssh_user": str, "ssh_private_key": str,
    },
    "ray": {
        "environment": str, "temp_dir": str, "node_name": str, "drain_timeout": int, "options": None,
    },
    "auth": {"token_path": str, "allow_unauthenticated": bool},
    "tls": {"directory": str},
    "limits": {"nofile": int, "memlock": str},
    "environment": None,
}
_SCHEMA: dict[str, dict[str, Any]] = {
    "head": dict(
        _COMMON,
        head_node={"resources": None},
        worker_nodes={"worker_node_types": None},
        redis={
            "url": str, "host": str, "port": int, "username": str, "password": str, "password_file": str,
            "ca_file": str, "namespace": str,
        },
        gcs={"storage": str, "path": str},
    ),
    "worker": dict(_COMMON, resources=None),
}
_WORKER_TYPE: dict[str, Any] = {"min_workers": int, "max_workers": int, "resources": None}
# Under systemd no working directory is meant.
_PATHS = (
    "auth.token_path", "gcs.path", "object_store.plasma_directory", "object_store.spilling_directory",
    "ray.environment", "ray.temp_dir", "redis.password_file", "redis.ca_file", "system_config.plasma_directory",
    "system_config.object_spilling_directory", "tls.directory",
)
# Ray's own rules: python/ray/_private/label_utils.py and ray_constants.py (OBJECT_STORE_MINIMUM_MEMORY_BYTES).
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL_KEY = re.compile(rf"([a-zA-Z0-9_.-]{{1,253}}/)?{_LABEL}")
_LABEL_VALUE = re.compile(rf"({_LABEL})?")
_MINIMUM_OBJECT_STORE = 75 * 1024 * 1024
# systemd drops an assignment to any other name.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class RayConfigError(Exception):
    """The declared state cannot work. The message is one sentence with the fix in it."""


def _nearest(key: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"did you mean '{match[0]}'?" if match else f"known keys: {', '.join(sorted(known))}."


def _quoted(path: str, value: object) -> str:
    """A wrong value in a message; only its type where it may hold a password."""
    return f"of type {type(value).__name__}" if not path or path.startswith("redis") else repr(value)


def _check_leaf(path: str, value: Any, kind: type) -> None:
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
        names = {int: "an integer", str: "a string", list: "a list", bool: "true or false"}
        raise RayConfigError(f"{path} must be {names[kind]}, not {_quoted(path, value)}.")
    if isinstance(value, int) and value < 0:
        raise RayConfigError(f"{path} must not be negative, but is {value}.")


def _check_section(path: str, section: object, schema: dict[str, Any]) -> None:
    if not isinstance(section, dict):
        raise RayConfigError(f"{path or 'The file'} must be a map of keys and values, not {_quoted(path, section)}.")
    for key, value in section.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in schema:
            raise RayConfigError(f"Unknown key '{where}': {_nearest(str(key), schema)}")
        if value is None:
            continue
        if isinstance(schema[key], dict):
            _check_section(where, value, schema[key])
        elif schema[key] is None:
            if not isinstance(value, dict):
                raise RayConfigError(f"{where} must be a map of keys and values, not {value!r}.")
        else:
            _check_leaf(where, value, schema[key])


def _check_resources(path: str, resources: dict[str, Any]) -> None:
    for name, amount in resources.items():
        if not isinstance(name, str):
            raise RayConfigError(f"The resource {path}.{name} must have a name: write '{name}' in quotes.")
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < math.inf:
            raise RayConfigError(f"{path}.{name} must be a number of 0 or more, not {amount!r}.")
        if int(amount) != amount:
            raise RayConfigError(f"{path}.{name} must be a whole number, not {amount!r}: Ray refuses a part of one.")
        if name == "object_store_memory":
            raise RayConfigError(f"{path}.object_store_memory is not a resource here: set object_store.memory.")
        if name.lower() in ("cpu", "gpu", "memory") and name not in ("CPU", "GPU", "memory"):
            proper = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}[name.lower()]
            raise RayConfigError(f"Unknown resource '{path}.{name}': did you mean '{proper}'?")


def _check_ports(ports: dict[str, Any]) -> None:
    low, high = ports.get("worker_min"), ports.get("worker_max")
    if (low is None) != (high is None) or (low is not None and low >= high):
        raise RayConfigError("network.ports.worker_min and worker_max must be set together, the lower one first.")
    seen: dict[int, str] = {}
    for name, port in ports.items():
        if not 1 <= port <= 65535:
            raise RayConfigError(f"network.ports.{name} must lie between 1 and 65535, but is {port}.")
        if port in seen:
            raise RayConfigError(f"network.ports.{name} and {seen[port]} are both {port}: give each a port of its own.")
        if low is not None and name not in ("worker_min", "worker_max") and low <= port <= high:
            raise RayConfigError(f"network.ports.{name} is {port}, which lies in the workers' range {low}-{high}.")
        seen[port] = name


def _check_names(config: dict[str, Any]) -> None:
    """What stands in maps with free keys: labels, variables and paths."""
    for key, value in (config.get("labels") or {}).items():
        if not _LABEL_KEY.fullmatch(str(key)) or not _LABEL_VALUE.fullmatch("" if value is None else str(value)):
            raise RayConfigError(
                f"labels.{key} is {value!r}: in its name and value Ray takes letters, digits, '-', '_' and '.', 63 at "
                "most, a letter or a digit first and last."
            )
    for section in ("environment", "system_config"):
        for name in config.get(section) or {}:
            if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
                raise RayConfigError(f"{section}.{name} is no name of a variable: use letters, digits and '_'.")
    for path in _PATHS:
        section, dot, key = path.partition(".")
        value = (config.get(section) or {}).get(key)
        if value and not os.path.isabs(str(value)):
            raise RayConfigError(f"{path} is '{value}': give the whole path, from / on.")


def _check_network(config: dict[str, Any], node_type: str) -> None:
    network = config.get("network") or {}
    ports = {name: port for name, port in (network.get("ports") or {}).items() if port is not None}
    redis = config.get("redis") or {}
    if redis.get("port") and storage_of(config) != "redis":
        ports.setdefault("gcs", redis["port"])
    _check_ports(ports)
    address = network.get("head_address")
    if node_type == "worker" and not address:
        raise RayConfigError("network.head_address is missing: a worker needs the head's name and GCS port, host:6379.")
    if address and not re.fullmatch(r".+:[0-9]+", address):
        raise RayConfigError(f"network.head_address is '{address}': give the head's name and GCS port, host:6379.")
    if network.get("node_ip_address"):
        _check_ip_address(network["node_ip_address"])


def _check_storage(config: dict[str, Any]) -> None:
    storage, redis = storage_of(config), config.get("redis") or {}
    if storage not in STORAGES:
        raise RayConfigError(f"gcs.storage must be one of {', '.join(STORAGES)}, not '{storage}'.")
    if storage == "rocksdb" and not (config.get("gcs") or {}).get("path"):
        raise RayConfigError("gcs.path is missing: RocksDB needs a directory on a local disk, say /var/lib/ray/gcs.")
    if storage == "redis" and not redis.get("host") and not redis.get("url"):
        raise RayConfigError(
            "redis.host is missing: gcs.storage is redis, so give group ray_redis a host, or set ray_redis_url "
            "(redis.url) to the address of your own."
        )
    for key in ("host", "url"):
        if storage != "redis" and redis.get(key):
            raise RayConfigError(
                f"redis.{key} is set, but gcs.storage is {storage}: set it to redis, or drop redis.{key}."
            )
    server = redis_of(config)
    if server and server.tls and not server.ca_file:
        raise RayConfigError(
            "ray_redis_url (redis.url) begins with rediss://, and the CA of its certificate is not known: name a file "
            "with it in ray_redis_ca_file (redis.ca_file)."
        )
    if server and server.username and not redis.get("password_file"):
        raise RayConfigError(
            f"The user {server.username} of Redis has no password, with which Ray ends: set ray_redis_password."
        )
    if storage == "redis" and redis.get("password") and not redis.get("password_file"):
        raise RayConfigError(
            "redis.password cannot stand in this file: put RAY_REDIS_PASSWORD=... into a file that only root reads, "
            "and name it as redis.password_file."
        )


def resources_of(config: dict[str, Any], node_type: str) -> dict[str, Any]:
    """The declared resources of this node, `{name: amount}`; memory in bytes."""
    section = (config.get("head_node") or {}) if node_type == "head" else config
    return section.get("resources") or {}


def storage_of(config: dict[str, Any]) -> str:
    """Where the head keeps the cluster's state: rocksdb, redis or memory."""
    return (config.get("gcs") or {}).get("storage") or "memory"


def redis_of(config: dict[str, Any]) -> RedisServer | None:
    """The Redis server that keeps the cluster's state; None for none.

    :raises RayConfigError: redis.url is none.
    """
    redis = config.get("redis") or {}
    if storage_of(config) != "redis":
        return None
    if redis.get("url"):
        try:
            return read_url(redis["url"], redis.get("ca_file") or "")
        except ValueError as error:
            raise RayConfigError(f"ray_redis_url (redis.url) {error}.") from None
    ca_file = redis.get("ca_file") or ""
    return RedisServer(
        redis["host"], redis.get("port") or DEFAULT_PORT, redis.get("username") or "", bool(ca_file), ca_file
    )


def redis_namespace(config: dict[str, Any]) -> str:
    """What the keys of this cluster begin with in Redis, where others may have theirs."""
    return (config.get("redis") or {}).get("namespace") or config.get("cluster_name") or "ray"


def validate(config: dict[str, Any], node_type: str) -> None:
    """Check the declared state of a node.

    :arg config: the content of head-node.yaml or worker-node.yaml.
    :arg node_type: ``head`` or ``worker``.
    :raises RayConfigError: naming the key, what is wrong with it, and the nearest known key.
    """
    _check_section("", config, _SCHEMA[node_type])
    _check_resources("head_node.resources" if node_type == "head" else "resources", resources_of(config, node_type))
    for name, kind in ((config.get("worker_nodes") or {}).get("worker_node_types") or {}).items():
        path = f"worker_nodes.worker_node_types.{name}"
        _check_section(path, kind, _WORKER_TYPE)
        _check_resources(f"{path}.resources", kind.get("resources") or {})
    memory = (config.get("object_store") or {}).get("memory") or _MINIMUM_OBJECT_STORE
    if memory < _MINIMUM_OBJECT_STORE:
        raise RayConfigError(f"object_store.memory is {memory} bytes: Ray needs {_MINIMUM_OBJECT_STORE} (75 MiB).")
    _check_names(config)
    _check_network(config, node_type)
    _check_storage(config)


def _check_ip_address(value: str) -> None:
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        raise RayConfigError(
            f"network.node_ip_address is '{value}', which is no IP address: set ray_node_ip_address for this host."
        ) from None
    if found.is_unspecified:
        raise RayConfigError(
            f"network.node_ip_address is {value}, which no other node can reach: set ray_node_ip_address for this host."
        )


def load(path: str, environments: tuple[str, ...] = (), user: str | None = None) -> dict[str, Any]:
    """Read a node's file.

    :arg path: head-node.yaml or worker-node.yaml.
    :arg environments: Ray environments whose Python reads YAML where the system's Python lacks PyYAML.
    :arg user: whom that Python runs as where this is root; by default nobody.
    :raises RayConfigError: the file is missing, is no YAML, or cannot be read here.
    """
    if not os.path.exists(path):
        raise RayConfigError(f"{path} does not exist: run the playbook's head or workers tag on this host first.")
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except OSError as error:
        raise RayConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise RayConfigError(f"{path} cannot be read: {error}.") from None
    try:
        import yaml  # pylint: disable=import-outside-toplevel
    except ImportError:
        return _as_map(path, _load_by_environment(path, text, environments, user or "nobody"))
    try:
        return _as_map(path, yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise RayConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _as_map(path: str, content: object) -> dict[str, Any]:
    if content and not isinstance(content, dict):
        raise RayConfigError(f"{path} must hold keys and values, not a {type(content).__name__}.")
    return dict(content) if isinstance(content, dict) else {}


def _load_by_environment(path: str, text: str, environments: tuple[str, ...], user: str) -> object:
    """The environment may be anybody's: its Python is given the text, and nothing of root's."""
    code = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin.buffer.read().decode('utf-8'))))"
    for environment in environments:
        python = os.path.join(environment, "bin", "python")
        if not os.path.exists(python):
            continue
        try:
            returned, output, errors = run([python, "-I", "-c", code], user if os.geteuid() == 0 else None, 30, text)
        except (GuestError, OSError) as error:
            words = getattr(error, "strerror", None) or str(error).rstrip(".") or "it did not end"
            raise RayConfigError(f"{path} cannot be read by {python}: {words}.") from None
        if returned:
            words = (errors.strip().splitlines() or [f"{python} ended with {returned}"])[-1]
            raise RayConfigError(f"{path} is not valid YAML: {words}")
        try:
            return json.loads(output)
        except ValueError:
            raise RayConfigError(f"{path} cannot be read by {python}: it answers no JSON.") from None
    raise RayConfigError(f"{path} cannot be read: install python3-yaml, or pass the module its config option.")

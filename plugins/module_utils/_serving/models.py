# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models that are declared in ray_serve_models, and what is wrong with how they are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VARIABLE = "ray_serve_models"
# Ray Serve LLM, which survives the head; and plain vLLM as a unit of systemd.
SERVE, VLLM = "serve", "vllm"
# Ray's names of accelerators.
GPU, NPU = "GPU", "NPU"
# Shorter ones are guessed from their digest, which stands in the application's arguments.
LEAST_KEY = 20
# A part of the names of files and units.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# What the compile says itself: by vLLM's own names.
_OURS = {
    "model": "path or repository", "served_model_name": "name", "tensor_parallel_size": "tensor_parallel_size",
    "pipeline_parallel_size": "pipeline_parallel_size", "data_parallel_size": "data_parallel_size",
    "data_parallel_size_local": "data_parallel_size_local", "host": "ray_node_ip_address", "port": "port",
    "api_key": "api_key", "middleware": "api_key",
}
# What everybody on the host, or who sees the dashboard, would read: vLLM's own hf_token, and what its extra
# configurations are given. How many tokens are no secret.
_SECRET = re.compile(r"(^|_)(token|secret|password|passwd|credentials?|(api|access|private|secret)_key)$", re.I)
# What vLLM and torch are told to listen on, by vLLM's names of arguments and by those of variables.
_PORT = re.compile(r"(^|[_-])port$", re.I)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[\x21-\x7e]*")
_ROUTE = re.compile(r"(/[A-Za-z0-9._~-]+)+|/")
_COUNTS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "data_parallel_size_local",
           "replicas")


@dataclass(frozen=True)
class Model:
    """One model.

    path: a directory on each of its hosts; repository: where vLLM gets it itself; one of both is empty.
    pool: the group ray_pool_<pool>, empty for all workers. replicas, and autoscaling_config in Serve's own words.
    """

    name: str
    path: str = ""
    repository: str = ""
    engine: str = SERVE
    pool: str = ""
    accelerator: str = GPU
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    data_parallel_size_local: int = 1
    replicas: int = 1
    autoscaling_config: Mapping[str, Any] = field(default_factory=dict)
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = 8001
    route_prefix: str = ""
    api_key: str = ""

    @property
    def source(self) -> str:
        """What vLLM loads."""
        return self.path or self.repository

    @property
    def route(self) -> str:
        """Where Serve answers for it."""
        return self.route_prefix or f"/{self.name}"

    @property
    def world_size(self) -> int:
        """How many accelerators one replica, or one rank of data parallelism, takes."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def least_replicas(self) -> int:
        return int(self.autoscaling_config.get("min_replicas", 1)) if self.autoscaling_config else self.replicas

    @property
    def most_replicas(self) -> int:
        return int(self.autoscaling_config.get("max_replicas", 1)) if self.autoscaling_config else self.replicas

    @property
    def rpc_port(self) -> int:
        """Where the ranks of data parallelism meet, on their first host; 0 without it. By default vLLM's own."""
        given = {str(key).lstrip("-").replace("-", "_"): value for key, value in self.engine_args.items()}
        port = _number(given.get("data_parallel_rpc_port", 29550))
        return port if self.data_parallel_size > 1 and isinstance(port, int) else 0

    @property
    def inner_ports(self) -> set[int]:
        """The ports that its own arguments and variables name, for its processes among themselves. Where each rank has
        one, vLLM counts up from the first."""
        ranks = self.world_size * self.data_parallel_size
        named = [*_ports(self.engine_args), *_ports(self.environment), *filter(None, [self.rpc_port])]
        return {port for first in named for port in range(first, min(first + ranks, 65536))}

    @property
    def hosts_needed(self) -> int:
        """How many hosts have its unit; with Ray Serve none has."""
        ranks = self.data_parallel_size // self.data_parallel_size_local
        return 0 if self.engine == SERVE else ranks if self.data_parallel_size > 1 else self.replicas


KEYS = tuple(Model.__dataclass_fields__)
_TYPES: dict[str, tuple[type, str]] = {
    **{key: (str, "text") for key in ("name", "path", "repository", "engine", "pool", "accelerator", "route_prefix",
                                      "api_key")},
    **{key: (int, "a whole number") for key in (*_COUNTS, "port")},
    **{key: (Mapping, "a dictionary") for key in ("autoscaling_config", "engine_args", "environment")},
}


def read(declared: Sequence[Any]) -> tuple[list[Model], list[str]]:
    """The models, and what is wrong, a sentence each with the fix in it. Where something is wrong the models are those
    that can be read."""
    models: list[Model] = []
    problems: list[str] = []
    for number, each in enumerate(declared):
        found = list(_of_entry(each, f"{VARIABLE}[{number}]"))
        problems += found
        if not found:
            models.append(_model(each))
    return models, problems + list(_of_all(models))


def _model(entry: Mapping[str, Any]) -> Model:
    values = {key: _number(value) if _TYPES[key][0] is int else value for key, value in entry.items()}
    environment = {name: str(value) for name, value in values.pop("environment", {}).items()}
    return Model(**{**values, "environment": environment})


def _number(value: Any) -> Any:
    """A whole number, also where a template made a text of it."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def _of_entry(entry: Any, place: str) -> Iterator[str]:
    """What is wrong with one entry by itself. No value of it is shown that may be secret."""
    if not isinstance(entry, Mapping):
        yield f"{place} is no dictionary: write {{name: deepseek-r1, path: /srv/models/deepseek-r1}}."
        return
    name = entry.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        yield f"{place} has no name that can be used: write name with lower-case letters, digits and hyphens."
        return
    place = f"{VARIABLE}, {name}"
    for key in entry:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1, cutoff=0.6)
            yield f"{place}: {key} is no key of a model: " + (
                f"did you mean {near[0]}?" if near else "options of vLLM's own go below engine_args.")
    for key, (kind, words) in _TYPES.items():
        value = _number(entry[key]) if kind is int and key in entry else entry.get(key)
        if key in entry and (not isinstance(value, kind) or isinstance(value, bool)):
            yield f"{place}: {key} is not {words}: write it so, or leave it out."
            return
    yield from _of_values(entry, place)


def _of_values(entry: Mapping[str, Any], place: str) -> Iterator[str]:
    path, repository = entry.get("path", ""), entry.get("repository", "")
    if bool(path) == bool(repository):
        yield (f"{place}: set path, a directory with the model on each of its hosts, or repository, an id such as "
               "deepseek-ai/DeepSeek-R1; one of both.")
    if path and not re.fullmatch(r"/[^\x00-\x1f\x7f]*", path):
        yield f"{place}: path {path!r} is no absolute path: begin it with a slash."
    if repository and not _REPOSITORY.fullmatch(repository):
        yield f"{place}: repository {repository!r} is no id: write owner/name, or set path to a directory."
    engine = entry.get("engine", SERVE)
    if engine not in (SERVE, VLLM):
        yield f"{place}: engine is {engine}: use {SERVE} (Ray Serve LLM) or {VLLM} (a unit of systemd)."
    if entry.get("accelerator", GPU) not in (GPU, NPU):
        yield f"{place}: accelerator is {entry['accelerator']}: use {GPU} or {NPU}."
    for key in _COUNTS:
        if key in entry and _number(entry[key]) < 1:
            yield f"{place}: {key} is {entry[key]}: use 1 or more."
    if not 1 <= _number(entry.get("port", 8001)) <= 65535:
        yield f"{place}: port is {entry['port']}: use 1 to 65535."
    yield from bad_key(entry.get("api_key", ""), f"{place}: api_key")
    for key in entry.get("engine_args", {}):
        name = str(key).lstrip("-").replace("-", "_")
        if name in _OURS:
            yield f"{place}: engine_args has {key}: leave it out, {_OURS[name]} says it."
    for name in _secrets(entry.get("engine_args", {})):
        yield (f"{place}: engine_args has {name}, which is a secret, and others see the arguments: set "
               f"{name.upper()} in environment.")
    for name, value in entry.get("environment", {}).items():
        if not _VARIABLE.fullmatch(str(name)):
            yield f"{place}: environment has {name}, which is no name of a variable: use letters, digits and _."
        elif isinstance(value, (Mapping, list)) or value is None or re.search(r"[\x00\n\r]", str(value)):
            yield f"{place}: the value of {name} in environment is not one line of text: write it so."
    yield from _of_engine(entry, place, engine)


def _secrets(arguments: Any) -> Iterator[str]:
    """The names of what is secret among arguments, however deep, by vLLM's own names."""
    for key, value in arguments.items() if isinstance(arguments, Mapping) else ():
        name = str(key).lstrip("-").replace("-", "_")
        if _SECRET.search(name) and isinstance(value, str) and name not in _OURS:
            yield name
        yield from _secrets(value)
    for value in arguments if isinstance(arguments, list) else ():
        yield from _secrets(value)


def _ports(arguments: Any) -> Iterator[int]:
    """The ports that arguments or variables name, however deep: data_parallel_rpc_port, kv_port, MASTER_PORT."""
    for key, value in arguments.items() if isinstance(arguments, Mapping) else ():
        port = _number(value)
        if _PORT.search(str(key)) and isinstance(port, int) and 0 < port < 65536 and not isinstance(port, bool):
            yield port
        yield from _ports(value)
    for value in arguments if isinstance(arguments, list) else ():
        yield from _ports(value)


def names_in(found: Any, key: str) -> list[str]:
    """The names of models that a host has from an earlier run. They become parts of paths: what is none is left out."""
    said = found.get(key) if isinstance(found, Mapping) else None
    return [name for name in said if isinstance(name, str) and NAME.fullmatch(name)] if isinstance(said, list) else []


def bad_key(key: str, variable: str) -> Iterator[str]:
    """What is wrong with a key, without the key. Empty is none."""
    if key and (len(key) < LEAST_KEY or not _KEY.fullmatch(key)):
        yield (f"{variable} is too short, or has blanks or other than ASCII characters: use {LEAST_KEY} letters and "
               "digits or more, or leave it out, and one is made on the head.")


def _of_engine(entry: Mapping[str, Any], place: str, engine: str) -> Iterator[str]:
    wrong = {SERVE: ("port", "data_parallel_size", "data_parallel_size_local"),
             VLLM: ("route_prefix", "autoscaling_config")}
    for key in wrong.get(engine, ()):
        if key in entry:
            yield (f"{place}: {key} is for engine {VLLM if engine == SERVE else SERVE}: leave it out, or change "
                   "engine.")
    if engine == SERVE and entry.get("accelerator") == NPU:
        # It looks for GPUs in the placement group, and runs what has none in one process on CPUs.
        yield f"{place}: accelerator is NPU, which Ray Serve LLM takes for a CPU: use engine: {VLLM}."
    logging = str(entry.get("environment", {}).get("VLLM_CONFIGURE_LOGGING", 0))
    if engine == SERVE and logging != "0":
        yield (f"{place}: environment has VLLM_CONFIGURE_LOGGING, with which Ray Serve ends replicas that are well "
               "when its controller starts anew: leave it out.")
    if "replicas" in entry and "autoscaling_config" in entry:
        yield f"{place}: replicas and autoscaling_config are both set: leave one of them out."
    scaling = entry.get("autoscaling_config", {})
    least, most = (_number(scaling.get(key, 1)) for key in ("min_replicas", "max_replicas"))
    if scaling and not (isinstance(least, int) and isinstance(most, int) and 0 <= least <= most and most):
        yield f"{place}: autoscaling_config needs min_replicas and max_replicas, the first not above the second."
    route = entry.get("route_prefix", "")
    if route and not _ROUTE.fullmatch(route):
        yield f"{place}: route_prefix is {route}: begin it with a slash and end it without one, such as /deepseek."
    every, local = (_number(entry.get(key, 1)) for key in ("data_parallel_size", "data_parallel_size_local"))
    if every % max(local, 1) or local > every:
        yield (f"{place}: data_parallel_size is {every} and data_parallel_size_local {local}: the first is the ranks "
               "of all hosts, the second those of one, and divides it.")
    if every > 1 and _number(entry.get("replicas", 1)) > 1:
        yield f"{place}: data_parallel_size and replicas are both set: leave one of them out."


def _of_all(models: list[Model]) -> Iterator[str]:
    names: set[str] = set()
    routes: dict[str, str] = {}
    for model in models:
        if model.name in names:
            yield f"{VARIABLE} has two models that are called {model.name}: give each a name of its own."
        elif model.engine == SERVE and model.route in routes:
            yield (f"{VARIABLE}: {routes[model.route]} and {model.name} both have the route_prefix {model.route}: give "
                   "each its own.")
        names.add(model.name)
        if model.engine == SERVE:
            routes.setdefault(model.route, model.name)

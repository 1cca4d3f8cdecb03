# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a declared model comes to: an application of Ray Serve LLM, or units of systemd on its hosts.

Written against Ray 2.60 (python/ray/llm/_internal/serve/core) and vLLM 0.32 (vllm/engine/arg_utils.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.compat.version import LooseVersion

from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import systemd_quote
from ansible_collections.rayops.cluster.plugins.module_utils._serving.models import SERVE, VARIABLE, VLLM, Model
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import bracketed

# What the modules for the key are called on each node; Serve calls the deployment by its class.
INGRESS, INGRESS_NAME = "rayops_ingress:KeyedIngress", "KeyedIngress"
MIDDLEWARE = "rayops_api_key.RequireKey"
DIGEST_VARIABLE = "RAYOPS_API_KEY_SHA256"
# Nobody reads it: with other modules for the key it is another declaration, and what runs starts again.
MODULES_VARIABLE = "RAYOPS_MODULES_SHA256"
# vLLM's own logging breaks the recovery of Serve's controller, which then ends replicas that are well.
SERVE_VARIABLES = {"VLLM_CONFIGURE_LOGGING": "0", "VLLM_NO_USAGE_STATS": "1"}
VLLM_VARIABLES = {"VLLM_NO_USAGE_STATS": "1"}
# Of vLLM's options these switches have no twin that turns them off, and these lists are one word.
_ONLY_ON = ("headless", "grpc", "data_parallel_multi_port_external_lb", "disable_log_stats", "aggregate_engine_logging")
_JSON_LISTS = ("allowed_origins", "allowed_methods", "allowed_headers")
# The label of a node that says its pool. The first Ray that builds an application where a label lets its ingress run:
# 2.57 builds it anywhere (serve/_private/application_state.py).
POOL_LABEL, BUILDS_BY_LABEL = "pool", "2.60.0"


@dataclass(frozen=True)
class Cluster:
    """What of the inventory a model needs.

    head: the host whose Serve proxy is asked; monitors: hosts that ask, too; addresses: host -> its private address;
    pools: pool -> its workers, the empty one for all; environment: the virtual environment; modules: the directory with
    the modules for the key, modules_sum: what tells one content of it from another; labels: worker -> the labels that
    are declared for its node.
    """

    head: str
    addresses: Mapping[str, str]
    pools: Mapping[str, Sequence[str]]
    port: int
    environment: str
    config_dir: str
    modules: str
    monitors: Sequence[str] = ()
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    modules_sum: str = ""
    ray_version: str = BUILDS_BY_LABEL

    @property
    def probing(self) -> set[str]:
        """The hosts that ask all models for a token, and have their keys."""
        return {self.head, *self.monitors}

    def hosts(self, model: Model) -> list[str]:
        """The workers that a model may use."""
        return list(self.pools.get(model.pool, ()))

    def unit_hosts(self, model: Model) -> list[str]:
        """The workers that have its unit, the one with rank 0 first."""
        return self.hosts(model)[:model.hosts_needed]

    def unlabelled(self, model: Model) -> list[str]:
        """The workers of its pool that are not declared with the pool's label."""
        return [host for host in self.hosts(model) if str(self.labels.get(host, {}).get(POOL_LABEL, "")) != model.pool]

    def selector(self, model: Model) -> dict[str, str]:
        """The label by which Ray finds the nodes of a model; empty where they have none in common."""
        return {POOL_LABEL: model.pool} if model.pool and not self.unlabelled(model) else {}

    def builds_anywhere(self, model: Model) -> bool:
        """Whether Ray Serve may build a model's application on a node that is not its own."""
        return not self.selector(model) or LooseVersion(self.ray_version) < LooseVersion(BUILDS_BY_LABEL)


def digest(key: str) -> str:
    """What is known of a key where it is asked for."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_file(cluster: Cluster, name: str) -> str:
    return f"{cluster.config_dir}/models/{name}.key"


def environment_file(cluster: Cluster, name: str) -> str:
    return f"{cluster.config_dir}/models/{name}.env"


def record_file(cluster: Cluster) -> str:
    """What a host serves and asks; what is no longer declared is known by it."""
    return f"{cluster.config_dir}/models.yaml"


def drop_in_directory(name: str) -> str:
    return f"/etc/systemd/system/vllm@{name}.service.d"


def application(model: Model, cluster: Cluster, key: str) -> dict[str, Any]:
    """A Serve application, in Serve's own schema."""
    scaling = dict(model.autoscaling_config) or {"min_replicas": model.replicas, "max_replicas": model.replicas}
    deployment: dict[str, Any] = {"autoscaling_config": scaling}
    selector = cluster.selector(model)
    if selector:
        deployment["placement_group_bundle_label_selector"] = [selector]
        # The ingress imports vLLM, too; and Serve builds the application where all of its deployments are to run.
        steered = {"deployments": [{"name": INGRESS_NAME, "ray_actor_options": {"label_selector": selector}}]}
    return {
        "name": model.name,
        "route_prefix": model.route,
        "import_path": "ray.serve.llm:build_openai_app",
        "runtime_env": {
            "py_modules": [f"local://{cluster.modules}"], "env_vars": {MODULES_VARIABLE: cluster.modules_sum},
        },
        "args": {
            "llm_configs": [{
                "model_loading_config": {"model_id": model.name, "model_source": model.source},
                "engine_kwargs": {
                    "tensor_parallel_size": model.tensor_parallel_size,
                    "pipeline_parallel_size": model.pipeline_parallel_size,
                    "distributed_executor_backend": "ray",
                    **_by_name(model.engine_args),
                },
                # Serve adds the CPU of the replica's own actor to the first.
                "placement_group_config": {
                    "bundles": [{model.accelerator: 1} for _rank in range(model.world_size)], "strategy": "PACK",
                },
                "deployment_config": deployment,
                "runtime_env": {"env_vars": {**SERVE_VARIABLES, **model.environment}},
            }],
            "ingress_cls_config": {
                "ingress_cls": INGRESS, "ingress_extra_kwargs": {"api_key_sha256": digest(key)},
            },
            "ingress_deployment_config": _ingress(model, cluster),
        },
        **(steered if selector else {}),
    }


def _ingress(model: Model, cluster: Cluster) -> dict[str, Any]:
    """Serve has one ingress unless it is told: with its node all replicas would fall silent, and not that node's alone.

    On each host one at most: where they may be together they are, after the first host was drained.
    """
    hosts = len(cluster.hosts(model))
    least, most = (min(replicas, hosts) for replicas in (model.least_replicas, model.most_replicas))
    return {"autoscaling_config": {"min_replicas": least, "max_replicas": most}, "max_replicas_per_node": 1}


def _by_name(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """By the names of vLLM's fields: --max-model-len is max_model_len."""
    return {str(name).lstrip("-").replace("-", "_"): value for name, value in arguments.items()}


def command(model: Model, cluster: Cluster, host: str) -> list[str]:
    """What the unit on a host runs."""
    hosts = cluster.unit_hosts(model)
    rank = hosts.index(host)
    words = [
        f"{cluster.environment}/bin/vllm", "serve", model.source, f"--served-model-name={model.name}",
        f"--tensor-parallel-size={model.tensor_parallel_size}",
        f"--pipeline-parallel-size={model.pipeline_parallel_size}",
    ]
    if model.data_parallel_size > 1:
        words += [
            f"--data-parallel-size={model.data_parallel_size}",
            f"--data-parallel-size-local={model.data_parallel_size_local}",
            f"--data-parallel-address={cluster.addresses[hosts[0]]}",
        ]
    if rank and model.data_parallel_size > 1:
        words += ["--headless", f"--data-parallel-start-rank={rank * model.data_parallel_size_local}"]
    else:
        words += [f"--host={cluster.addresses[host]}", f"--port={model.port}", f"--middleware={MIDDLEWARE}"]
    arguments = _by_name(model.engine_args)
    if model.data_parallel_size == 1:
        # Ray knows then what is taken, and places what one host cannot hold.
        arguments.setdefault("distributed_executor_backend", "ray")
    return words + [word for name, value in arguments.items() for word in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if value is None or value == [] or value is False and name in _ONLY_ON:
        return []
    if isinstance(value, bool):
        # vLLM's other switches have a twin that turns them off.
        return [option if value else f"--no-{option[2:]}"]
    if isinstance(value, list) and name not in _JSON_LISTS:
        return [option, *map(_text, value)]
    return [f"{option}={_text(value)}"]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (Mapping, list)) else str(value)


def drop_in(model: Model, cluster: Cluster, host: str, key: str) -> str:
    """What vllm@.service does not say: the model's own lines. Nothing of it is secret."""
    words = " ".join(systemd_quote(word, expand=True) for word in command(model, cluster, host))
    # The ranks of data parallelism start together: another one anywhere is another file for all of them.
    ranks = ", ".join(f"{each} {cluster.addresses[each]}" for each in cluster.unit_hosts(model))
    together = f"# Its ranks: {ranks}\n" if model.data_parallel_size > 1 else ""
    return (
        f"# Managed by rayops.cluster: compiled from ray_serve_models.\n{together}[Service]\n"
        f"Environment={MODULES_VARIABLE}={cluster.modules_sum}\n"
        f"Environment={DIGEST_VARIABLE}={digest(key)}\nEnvironmentFile={environment_file(cluster, model.name)}\n"
        f"ExecStart={words}\n"
    )


def environment_lines(model: Model, cluster: Cluster, python_path: str = "") -> str:
    """The variables of its unit, which may be secret. python_path: what the host needs there for its accelerators."""
    path = ":".join(part for part in (cluster.modules, model.environment.get("PYTHONPATH", python_path)) if part)
    variables = {**VLLM_VARIABLES, **model.environment, "PYTHONPATH": path}
    return "".join(f"{name}={_shell(value)}\n" for name, value in variables.items())


def _shell(value: str) -> str:
    """A value as systemd reads it in an EnvironmentFile, systemd.exec(5)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
    return f'"{escaped}"'


def declarations(models: Sequence[Model], cluster: Cluster, host: str) -> list[dict[str, Any]]:
    """For the token probe of a host, without keys: all models where all are asked, elsewhere those of its units. With
    data parallelism the first rank answers for all. Its own come first: a unit's watchdog takes the first of a model.

    replicas: declared; 0 may sleep.
    """
    found = [(model, place) for model in models for place in places(model, cluster)]
    return [
        {"name": name, "model": model.name, "engine": model.engine, "url": f"http://{place}/v1",
         "replicas": model.least_replicas if model.engine == SERVE else 1,
         "api_key_file": key_file(cluster, model.name), "metrics": [place] if model.engine == VLLM else []}
        for model, (name, there, place) in sorted(found, key=lambda each: each[1][1] != host)
        if host in cluster.probing or host == there and model.engine == VLLM
        or host in cluster.unit_hosts(model) and model.data_parallel_size > 1
    ]


def places(model: Model, cluster: Cluster) -> Iterator[tuple[str, str, str]]:
    """Each place where a model answers: its name there, the host, and address:port with the route."""
    if model.engine == SERVE:
        address = bracketed(cluster.addresses[cluster.head])
        yield model.name, cluster.head, f"{address}:{cluster.port}{model.route.rstrip('/')}"
        return
    hosts = cluster.unit_hosts(model)
    hosts = hosts[:1] if model.data_parallel_size > 1 else hosts
    for host in hosts:
        # Each replica is asked: no proxy stands before them.
        name = model.name if len(hosts) == 1 else f"{model.name}@{host}"
        yield name, host, f"{bracketed(cluster.addresses[host])}:{model.port}"


def ports(models: Sequence[Model], cluster: Cluster, host: str) -> dict[str, list[str]]:
    """The ports that models have on a host: those that people ask, and those between their processes."""
    asked = {model.port for model in models if host in cluster.unit_hosts(model)}
    inner = {port for model in models if host in cluster.hosts(model) for port in model.inner_ports}
    return {"clients": list(map(str, sorted(asked))), "cluster": list(map(str, sorted(inner)))}


def misplaced(models: Sequence[Model], cluster: Cluster) -> Iterator[str]:
    """What of the models does not fit the inventory."""
    for model in models:
        place, hosts = f"{VARIABLE}, {model.name}", cluster.hosts(model)
        if model.pool and not hosts:
            known = ", ".join(sorted(filter(None, cluster.pools))) or "none"
            yield (f"{place}: pool is {model.pool}, and group ray_pool_{model.pool} has no worker: name one that has "
                   f"({known}), or leave it out.")
            continue
        if not hosts:
            yield f"{place}: group ray_workers has no host: a model needs one."
        if model.hosts_needed > len(hosts):
            why = "data_parallel_size" if model.data_parallel_size > 1 else "replicas"
            yield (f"{place}: {why} wants its unit on {model.hosts_needed} hosts, and there are {len(hosts)}: lower "
                   "it, or add hosts.")
        lacking = cluster.unlabelled(model)
        if model.engine == SERVE and set(hosts) != set(cluster.pools[""]) and lacking:
            labelled = f"worker_config: {{labels: {{{POOL_LABEL}: {model.pool}}}}}"
            yield (f"{place}: pool is {model.pool}, and {', '.join(lacking)} has no label that says so to Ray: set "
                   f"{labelled} in group_vars/ray_pool_{model.pool}.yml.")
    yield from _same_ports(models, cluster)


def _same_ports(models: Sequence[Model], cluster: Cluster) -> Iterator[str]:
    served = cluster.pools[""] if any(model.engine == SERVE for model in models) else ()
    taken: dict[tuple[str, int], str] = {(host, cluster.port): "ray_serve_port" for host in served}
    for model in models:
        hosts = cluster.unit_hosts(model)
        wanted = [(host, model.port, "") for host in hosts]
        wanted += [(host, model.rpc_port, " (data_parallel_rpc_port in engine_args)") for host in hosts[:1]
                   if model.rpc_port]
        for host, port, where in wanted:
            other = taken.setdefault((host, port), model.name)
            if other != model.name or (where and port == model.port):
                yield f"{VARIABLE}: {other} and {model.name} both have port {port} on {host}{where}: give each its own."
                break

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ray_models
short_description: What the declared models come to
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Compiles C(ray_serve_models) to applications of Ray Serve, to units of systemd, and to what the token probe reads.
  - Without a key for each model there are neither applications nor files.
positional: cluster, key, found
options:
  _input: {description: "The models, as in C(ray_serve_models).", type: list, elements: dict, required: true}
  cluster:
    description:
      - C(head), a host's name; C(hosts), the variables of the head and the workers; C(monitors), hosts that ask, too.
      - C(port), of Serve's proxies; C(environment), C(config_dir), C(modules), paths on the nodes; C(user), Ray's;
        C(ray_version);
        C(python_path), what accelerators need there; C(modules_sum), what tells one content of C(modules) from another;
        C(brought), the models of C(ray_models).
    type: dict
    required: true
  key: {description: The key of models that have none of their own., type: str, default: ""}
  found: {description: "By the names of the hosts, what M(rayops.cluster.ray_model_check) returned there: what is no
      longer declared goes.", type: dict, default: {}}
"""

EXAMPLES = r"""
- name: The models are compiled
  ansible.builtin.debug:
    msg: "{{ (ray_serve_models | rayops.cluster.ray_models(my_cluster)).models }}"
"""

RETURN = r"""
_value:
  description: The compiled models.
  type: dict
  contains:
    problems: {description: "What cannot work, a sentence each with the fix in it.", type: list, elements: str}
    models: {description: "For the token probe, which of them answers where.", type: list, elements: dict}
    applications: {description: "Applications, in the schema of Ray Serve.", type: list, elements: dict}
    removed: {description: "Applications that are no longer declared, by their names.", type: list, elements: dict}
    hosts:
      description:
        - By host, C(check), what M(rayops.cluster.ray_model_check) is to look for; C(files), as
          M(rayops.cluster.node_files) takes them; C(units) and C(rolling), as M(rayops.cluster.node_units) does. Those
          of C(rolling) are replicas that were there before, which restart one host after the other. C(forgotten) is
          for M(rayops.cluster.node_files) again, when what is no longer declared has gone. C(ports) are those that
          the models have there, by who may use them, as M(rayops.cluster.node_firewall) takes them.
      type: dict
    spanning: {description: "Whether a model may use more than one host.", type: bool}
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.sources import address_of
from ansible_collections.rayops.cluster.plugins.module_utils._serving import sources
from ansible_collections.rayops.cluster.plugins.module_utils._serving.compile import (
    Cluster,
    application,
    declarations,
    drop_in,
    drop_in_directory,
    environment_file,
    environment_lines,
    key_file,
    misplaced,
    places,
    ports,
    record_file,
)
from ansible_collections.rayops.cluster.plugins.module_utils._serving.models import (
    SERVE,
    VARIABLE,
    Model,
    bad_key,
    names_in,
    read,
)

_POOL = "ray_pool_"


def ray_models(
    declared: Sequence[Any], cluster: Mapping[str, Any], key: str = "", found: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The compiled models; see the documentation above."""
    where = cluster_of(cluster)
    models, problems = read(declared)
    # One of digits alone is a number to YAML.
    key = str(key)
    brought, wrong = sources.read(cluster.get("brought", []))
    problems += [*bad_key(key, "ray_serve_api_key"), *wrong]
    problems += [] if problems else [*misplaced(models, where), *unknown_pools(brought, where)]
    if problems:
        return {"problems": problems, "models": [], "applications": [], "removed": [], "hosts": {}, "spanning": False}
    keys = {model.name: model.api_key or key for model in models}
    serve = [model for model in models if model.engine == SERVE]
    # Without a key nothing is served, and nothing is written.
    whole = all(keys.values())
    recorded = names_in((found or {}).get(where.head), "applications")
    return {
        "problems": [],
        "models": declarations(models, where, where.head),
        "applications": [application(model, where, keys[model.name]) for model in serve if whole],
        "removed": [{"name": name} for name in recorded if name not in {model.name for model in serve}],
        "hosts": {
            host: {
                "check": check(host, models, where, brought),
                "ports": ports(models, where, host),
                "files": files(host, models, where, keys, cluster, (found or {}).get(host)) if whole else [],
                "forgotten": forgotten(host, models, where, cluster, (found or {}).get(host)) if whole else [],
                **(units(host, models, where, (found or {}).get(host)) if whole else {"units": [], "rolling": []}),
            } for host in {*where.addresses, *where.probing}
        },
        "spanning": any(len(where.hosts(model)) > 1 and (model.world_size > 1 or model.data_parallel_size > 1)
                        for model in models),
    }


def cluster_of(cluster: Mapping[str, Any]) -> Cluster:
    """The part of it that a compile needs."""
    hosts = cluster["hosts"]
    # Sorted: what is on the first of them stays there, however the inventory was read.
    workers = sorted((host for host in hosts if host["inventory_hostname"] != cluster["head"]),
                     key=lambda host: str(host["inventory_hostname"]))
    pools: dict[str, list[str]] = {"": [host["inventory_hostname"] for host in workers]}
    for host in workers:
        for group in host["group_names"]:
            if group.startswith(_POOL):
                pools.setdefault(group[len(_POOL):], []).append(host["inventory_hostname"])
    return Cluster(
        head=cluster["head"], addresses={host["inventory_hostname"]: address_of(host) for host in hosts}, pools=pools,
        port=int(cluster["port"]), environment=cluster["environment"], config_dir=cluster["config_dir"],
        modules=cluster["modules"], monitors=cluster["monitors"],
        labels={host["inventory_hostname"]: labels_of(host) for host in workers},
        modules_sum=str(cluster.get("modules_sum", "")), ray_version=str(cluster["ray_version"]),
    )


def labels_of(host: Mapping[str, Any]) -> Mapping[str, Any]:
    """The labels that are declared for a worker's node."""
    declared = host.get("worker_config")
    labels = declared.get("labels") if isinstance(declared, Mapping) else None
    return labels if isinstance(labels, Mapping) else {}


def files(
    host: str, models: Sequence[Model], where: Cluster, keys: Mapping[str, str], cluster: Mapping[str, Any], found: Any
) -> list[dict[str, Any]]:
    """Of one host: what the token probe and its units read."""
    own = [model.name for model in models if host in where.unit_hosts(model)]
    asked = {each["model"] for each in declarations(models, where, host)}
    shared = {"group": cluster["user"], "mode": "0640"}
    directory = f"{where.config_dir}/models"
    wanted: list[dict[str, Any]] = [{"path": directory, "state": "directory", "own": True, "group": cluster["user"],
                                     "mode": "0750"}] if asked or own else []
    for model in models:
        if model.name in asked:
            wanted.append({"path": key_file(where, model.name), "secret": keys[model.name] + "\n", **shared})
        if model.name in own:
            folder = drop_in_directory(model.name)
            lines = environment_lines(model, where, cluster["python_path"])
            wanted += [
                {"path": environment_file(where, model.name), "secret": lines, "mode": "0600"},
                {"path": folder, "state": "directory"},
                {"path": f"{folder}/model.conf", "content": drop_in(model, where, host, keys[model.name])},
            ]
    wanted += [{"path": drop_in_directory(name), "state": "absent"} for name in names_in(found, "units")
               if name not in own]
    # Whatever earlier runs have left, also on hosts of which nothing is known. With the last one the directory goes.
    kept = "|".join([f"{name}[.]key" for name in sorted(asked)] + [f"{name}[.]env" for name in own])
    wanted.append({"path": directory, "state": "absent", "only": f"(?!({kept})$)[a-z0-9-]+[.](key|env)"})
    # Last: what it does not name is not there yet. What is no longer declared it names until that has gone.
    return [*wanted, record(host, models, where, cluster, found)]


def record(
    host: str, models: Sequence[Model], where: Cluster, cluster: Mapping[str, Any], found: Any
) -> dict[str, Any]:
    """The file by which a host knows its models, and a later run what there is to remove. found: what it has of earlier
    runs."""
    serve = [model.name for model in models if model.engine == SERVE] if host == where.head else []
    own = [model.name for model in models if host in where.unit_hosts(model)]
    content = {
        "environment": where.environment, "tried": names_in(found, "tried"),
        "models": declarations(models, where, host),
        **{key: list(dict.fromkeys([*declared, *names_in(found, key)]))
           for key, declared in (("applications", serve), ("units", own))},
    }
    return {"path": record_file(where), "content": json.dumps(content, indent=2) + "\n", "group": cluster["user"],
            "mode": "0640"}


def forgotten(
    host: str, models: Sequence[Model], where: Cluster, cluster: Mapping[str, Any], found: Any
) -> list[dict[str, Any]]:
    """The same file without what has been removed; nothing where nothing was."""
    after = record(host, models, where, cluster, {"tried": names_in(found, "tried")})
    return [after] if after != record(host, models, where, cluster, found) else []


def units(host: str, models: Sequence[Model], where: Cluster, found: Any) -> dict[str, list[dict[str, Any]]]:
    """The units of one host, those that go first: they may have what the others need. rolling: replicas that an earlier
    run has started, which do not restart together."""
    own = [model for model in models if host in where.unit_hosts(model)]
    before = names_in(found, "units")
    found_units: dict[str, list[dict[str, Any]]] = {"rolling": [], "units": [
        {"name": f"vllm@{name}.service", "state": "stopped"} for name in before
        if name not in {model.name for model in own}]}
    answering = {(there, model.name) for model in own for _name, there, _place in places(model, where)}
    for model in own:
        rolls = model.replicas > 1 and model.name in before
        found_units["rolling" if rolls else "units"].append({
            "name": f"vllm@{model.name}.service",
            "restart_files": [f"{drop_in_directory(model.name)}/model.conf", environment_file(where, model.name)],
            # It is rendered from what is set for the nodes: drain timeout, limits, sandbox.
            "ask_files": ["/etc/systemd/system/vllm@.service"],
            "listens": [{"address": where.addresses[host], "port": model.port,
                         "variable": f"port of {model.name} in {VARIABLE}"}]
            if (host, model.name) in answering else [],
        })
    return found_units


def unknown_pools(brought: Sequence[sources.Source], where: Cluster) -> Iterator[str]:
    """Pools of ray_models that have no worker."""
    known = ", ".join(sorted(filter(None, where.pools))) or "none"
    for source in brought:
        for pool in source.pools:
            if not where.pools.get(pool):
                yield (f"{sources.VARIABLE}, {source.path}: pools has {pool}, and group {_POOL}{pool} has no worker: "
                       f"name one that has ({known}), or leave it out.")


def check(
    host: str, models: Sequence[Model], where: Cluster, brought: Sequence[sources.Source] = ()
) -> dict[str, Any]:
    """What a host must have for the models that may run there, or be brought."""
    own = [model for model in models if host in where.hosts(model)]
    pools = [pool for pool, hosts in where.pools.items() if pool and host in hosts]
    copied = [source for source in brought if source.is_copied and source.is_for(pools, models)]
    taken = [
        {"port": model.port, "unit": f"vllm@{model.name}.service", "variable": f"port of {model.name} in {VARIABLE}"}
        for model in own if host in where.unit_hosts(model)
    ]
    if any(model.engine == SERVE for model in models):
        taken.insert(0, {"port": where.port, "unit": "", "variable": "ray_serve_port"})
    # Of those that no label keeps off the head. All other hosts that may build them have their engine anyway.
    built = [model.name for model in models if model.engine == SERVE and where.builds_anywhere(model)]
    return {
        "paths": {model.name: model.path for model in own if model.path},
        "brought": {model.name: source.path for model in own for source in copied if source.holds(model.path)},
        "ports": taken,
        "engine": bool(own),
        "builds": built if host == where.head else [],
        "serve": any(model.engine == SERVE for model in own),
        # Serve has a proxy also where it has no replica of theirs.
        "proxy": any(model.engine == SERVE for model in models),
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"ray_models": ray_models}

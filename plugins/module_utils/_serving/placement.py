# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the hosts of the models have, against what the models want. What a host says is used as numbers and names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._serving.compile import Cluster
from ansible_collections.rayops.cluster.plugins.module_utils._serving.models import SERVE, VARIABLE, Model
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless


@dataclass(frozen=True)
class Host:
    """What one host said. accelerators: kind -> how many; files: model -> file -> bytes; digests: -> SHA-256."""

    accelerators: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def host_of(answer: Mapping[str, Any]) -> Host:
    """What a host said, without all that is not what was asked."""
    accelerators = answer.get("accelerators")
    counts = {
        str(kind): float(count) for kind, count in (accelerators.items() if isinstance(accelerators, Mapping) else ())
        if isinstance(count, (int, float)) and not isinstance(count, bool) and 0 <= count < 1e6
    }
    return Host(counts, _of_files(answer.get("files"), int), _of_files(answer.get("digests"), str))


def _of_files(said: Any, kind: type) -> dict[str, dict[str, Any]]:
    """By model, what was said of each of its files."""
    return {
        str(name): {str(pair[0]): pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2
                    and isinstance(pair[1], kind)}
        for name, pairs in (said.items() if isinstance(said, Mapping) else ()) if isinstance(pairs, list)
    }


def unplaceable(models: Sequence[Model], cluster: Cluster, hosts: Mapping[str, Host]) -> Iterator[str]:
    """Models that no placement satisfies, the smallest pools first: what is there, and what is wanted."""
    wanted: dict[tuple[frozenset[str], str], list[tuple[Model, int]]] = {}
    # Ray does not see what the ranks of data parallelism take: they come first.
    ranks: dict[str, list[tuple[Model, int]]] = {}
    for model in sorted(models, key=lambda each: each.data_parallel_size == 1):
        there = [host for host in cluster.hosts(model) if host in hosts]
        if len(there) < len(cluster.hosts(model)):
            # One that is down or left out by --limit may have what is lacking.
            continue
        before = {host: [each for each in ranks.get(host, []) if each[0].accelerator == model.accelerator]
                  for host in there}
        counts = {host: int(hosts[host].accelerators.get(model.accelerator, 0))
                  - sum(number for _other, number in before[host]) for host in there}
        beside = sorted({other.name for host in there for other, _number in before[host]})
        if model.engine != SERVE and model.data_parallel_size > 1:
            yield from _of_ranks(model, cluster, counts, beside)
            for host in cluster.unit_hosts(model):
                ranks.setdefault(host, []).append((model, model.world_size * model.data_parallel_size_local))
            continue
        key = frozenset(there), model.accelerator
        wanted.setdefault(key, []).append((model, model.world_size * max(1, model.least_replicas)))
        total, needs = sum(max(0, count) for count in counts.values()), sum(number for _model, number in wanted[key])
        if needs > total:
            yield _too_many(model, wanted[key], needs, counts, beside)


def _of_ranks(model: Model, cluster: Cluster, counts: Mapping[str, int], beside: list[str]) -> Iterator[str]:
    needs = model.world_size * model.data_parallel_size_local
    for host in cluster.unit_hosts(model):
        if counts.get(host, 0) < needs:
            yield (f"{VARIABLE}, {model.name} wants {_amount(needs, model.accelerator)} on each of its hosts "
                   f"(data_parallel_size_local x tensor_parallel_size x pipeline_parallel_size), and {host} has "
                   f"{max(0, counts.get(host, 0))}{_beside(beside)}: lower one of them, or give it to another pool.")
            return


def _beside(names: list[str]) -> str:
    return f" beside what {', '.join(names)} takes" if names else ""


def _too_many(
    model: Model, all_of_them: list[tuple[Model, int]], needs: int, counts: Mapping[str, int], beside: list[str]
) -> str:
    counts = {host: max(0, count) for host, count in counts.items()}
    there = ", ".join(f"{host} {count}" for host, count in counts.items())
    pool = f"the workers of pool {model.pool}" if model.pool else "the workers"
    what = (f"{VARIABLE}, {model.name} wants" if len(all_of_them) == 1 else
            f"{VARIABLE}: {', '.join(other.name for other, _number in all_of_them)} together want")
    return (f"{what} {_amount(needs, model.accelerator)} (tensor_parallel_size x pipeline_parallel_size x replicas), "
            f"and {pool} have {sum(counts.values())}{_beside(beside)} ({there}): lower one of them, add workers, or "
            "declare what they have (worker_config.resources).")


def _amount(number: int, kind: str) -> str:
    return f"{number} {kind}" if number == 1 else f"{number} {kind}s"


def unequal(models: Sequence[Model], cluster: Cluster, hosts: Mapping[str, Host]) -> Iterator[str]:
    """Models whose files are not the same on all their hosts: the first of each that differs."""
    for model in models:
        there = [host for host in cluster.hosts(model) if model.name in hosts.get(host, Host()).files]
        for host in there[1:]:
            first, other = hosts[there[0]].files[model.name], hosts[host].files[model.name]
            name = next((name for name in sorted({*first, *other}) if first.get(name) != other.get(name)), None)
            if name is not None:
                yield (f"{VARIABLE}, {model.name}: {model.path}/{harmless(name)} is {_size(first.get(name))} on "
                       f"{there[0]} and {_size(other.get(name))} on {host}: copy the model anew, the same to each.")
                break
            read, too = (hosts[each].digests.get(model.name, {}) for each in (there[0], host))
            name = next((name for name in sorted({*read} & {*too}) if read[name] != too[name]), None)
            if name is not None:
                yield (f"{VARIABLE}, {model.name}: {model.path}/{harmless(name)} has another content on {there[0]} "
                       f"than on {host} (SHA-256): remove it where it is wrong, and run again.")
                break


def _size(size: int | None) -> str:
    return "missing" if size is None else f"{size} bytes"

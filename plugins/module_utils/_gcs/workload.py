# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the stop of nodes would interrupt, and in which batches they stop so that it interrupts least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple


class Interruption(NamedTuple):
    """kind: models or jobs, as a user allows it. said: what of it runs where, without a full stop."""

    kind: str
    said: str


@dataclass(frozen=True)
class Deployment:
    """A deployment of a Serve application: the nodes of each of its replicas that answers."""

    application: str
    name: str
    replicas: tuple[frozenset[str], ...]

    def ends_with(self, nodes: frozenset[str]) -> bool:
        """Whether no replica is left without the nodes."""
        return bool(self.replicas) and all(replica & nodes for replica in self.replicas)


@dataclass(frozen=True)
class Job:
    """A running job. driver: its node; nodes: those with actors or placement groups that end with them."""

    name: str
    driver: str
    nodes: frozenset[str]


@dataclass(frozen=True)
class Workload:
    """What runs on a cluster, by the names of the nodes."""

    deployments: tuple[Deployment, ...] = ()
    jobs: tuple[Job, ...] = ()
    actors: tuple[tuple[str, str], ...] = ()
    spans: tuple[frozenset[str], ...] = ()
    # The names of the applications that Serve calls RUNNING, and of those of which it says nothing now.
    running: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @classmethod
    def read(cls, answer: dict[str, Any]) -> Workload:
        """answer: see RayCluster.workload.

        :raises TypeError, KeyError: it is none.
        """
        deployments = tuple(
            Deployment(str(application["name"]), str(deployment["name"]), tuple(
                frozenset(map(str, replica["nodes"])) for replica in deployment["replicas"] if replica["serves"]
            ))
            for application in answer["applications"] for deployment in application["deployments"]
        )
        every = [
            frozenset(map(str, replica["nodes"])) for application in answer["applications"]
            for deployment in application["deployments"] for replica in deployment["replicas"]
        ]
        return cls(
            deployments,
            tuple(Job(str(job["name"]), str(job["driver"]), frozenset(map(str, job["nodes"])))
                  for job in answer["jobs"]),
            tuple((str(actor["name"]), str(actor["node"])) for actor in answer["actors"]),
            (*every, *(frozenset(map(str, nodes)) for nodes in answer["groups"])),
            *(tuple(str(application["name"]) for application in answer["applications"]
                    if application["status"] == status) for status in ("RUNNING", "")),
        )

    def serving(self, gone: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
        """What has to be there again after a stop: [{name, deployments: [{name, replicas: how many}]}].

        An application of which Serve says nothing, as while its controller is away, counts as RUNNING.
        gone: nodes that do not come back. Applications that end with them are left out.
        """
        ends = {each.application for each in self.deployments if each.ends_with(gone)}
        return [
            {"name": name, "deployments": [
                {"name": each.name, "replicas": sum(not replica & gone for replica in each.replicas)}
                for each in self.deployments if each.application == name]}
            for name in sorted({*self.running, *self.unknown} - ends)
        ]

    def interrupted_by(self, nodes: frozenset[str]) -> Iterator[Interruption]:
        """What ends where nodes stop together."""
        for deployment in self.deployments:
            if deployment.ends_with(nodes):
                count = len(deployment.replicas)
                which = "the only replica" if count == 1 else f"all {count} replicas"
                where = _names(frozenset().union(*deployment.replicas))
                yield Interruption("models", (
                    f"Serve application {deployment.application} ({which} of {deployment.name} on {where})"))
        for job in self.jobs:
            if job.driver in nodes:
                yield Interruption("jobs", f"job {job.name}, whose driver is on {job.driver}")
            elif job.nodes & nodes:
                yield Interruption("jobs", (
                    f"job {job.name}, with actors that Ray does not restart, or a placement group, on "
                    f"{_names(job.nodes)}"))
        for name, node in self.actors:
            if node in nodes:
                yield Interruption("jobs", f"actor {name} on {node}, which Ray does not restart")

    def interrupted(self, batches: list[list[str]]) -> list[Interruption]:
        """What ends where batches of nodes stop one after the other, each once."""
        return list(dict.fromkeys(found for batch in batches for found in self.interrupted_by(frozenset(batch))))

    def batches(self, nodes: list[str], size: int) -> list[list[str]]:
        """The nodes in the order in which they stop: those that stop together in one list.

        What spans nodes is hit once, as they are in one batch, however many there are. Nodes that carry nothing come
        first, so that what moves off the others finds them done. Two replicas of a deployment are never hit at once,
        unless size is that of all.

        :arg size: the most nodes of a batch.
        """
        if size >= len(nodes):
            return [sorted(nodes)] if nodes else []
        found: list[list[str]] = []
        taken: frozenset[str] = frozenset()
        for unit in sorted(self._units(nodes), key=lambda unit: (bool(self._carries(unit)), sorted(unit))):
            last = found[-1] if found else []
            if last and len(last) + len(unit) <= size and not taken & self._carries(unit):
                last += sorted(unit)
            else:
                found.append(sorted(unit))
                taken = frozenset()
            taken |= self._carries(unit)
        return found

    def _units(self, nodes: list[str]) -> list[frozenset[str]]:
        """The nodes, those together that something spans."""
        units = [frozenset([node]) for node in sorted(set(nodes))]
        for span in self.spans:
            joined = frozenset().union(*(unit for unit in units if unit & span))
            units = [unit for unit in units if not unit & span] + ([joined] if joined else [])
        return units

    def _carries(self, unit: frozenset[str]) -> frozenset[str]:
        """What would be hit with nodes, by names that no other thing has."""
        return frozenset([
            *(f"serve {each.application} {each.name}" for each in self.deployments
              if any(replica & unit for replica in each.replicas)),
            *(f"job {job.name}" for job in self.jobs if unit & (job.nodes | {job.driver})),
            *(f"actor {name}" for name, node in self.actors if node in unit),
        ])


def batch_size(wanted: str, nodes: int) -> int:
    """A number of nodes, or a percentage of them, as Ansible's serial reads it.

    :raises ValueError: it is neither.
    """
    number, percent = int(wanted.rstrip("%")), wanted.endswith("%")
    return max(1, nodes * number // 100 if percent else number)


def _names(nodes: frozenset[str]) -> str:
    found = sorted(nodes)
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")

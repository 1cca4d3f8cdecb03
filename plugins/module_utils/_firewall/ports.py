# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ports of a host that are the cluster's, and which of them others than its hosts may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

# Of the ports that Ray's own options name: what people use, what is scraped. The rest is the nodes' alone.
_CLIENTS = ("dashboard", "client_server")
_MONITORS = ("metrics_export", "autoscaler_metrics", "dashboard_metrics")


@dataclass(frozen=True)
class Ports:
    """Ports by who may use them, beside the cluster's hosts; open: never shut, though they lie among them.

    cluster: nobody else; clients: ray_firewall_clients; monitors: ray_firewall_monitors.
    """

    cluster: frozenset[int] = frozenset()
    clients: frozenset[int] = frozenset()
    monitors: frozenset[int] = frozenset()
    open: frozenset[int] = frozenset()

    @classmethod
    def of(cls, texts: Mapping[str, Iterable[str]]) -> Ports:
        """From ports and ranges as text, ``6379`` or ``10002-19999``.

        :raises ValueError: one of them is none.
        """
        return cls(**{name: numbers(map(str, texts.get(name) or [])) for name in cls.__dataclass_fields__})

    def texts(self) -> dict[str, list[str]]:
        """The reverse of `of`, in order."""
        return {name: spans(getattr(self, name)) for name in self.__dataclass_fields__}

    @property
    def named(self) -> frozenset[int]:
        """What is declared, one way or the other."""
        return self.cluster | self.clients | self.monitors | self.open

    def sharing(self, ports: frozenset[int], others: Iterable[int]) -> Ports:
        """These, with ports out of which the nodes take some as they go: the cluster's, but for what others have."""
        free = ports - self.named
        return replace(self, cluster=self.cluster | free, open=self.open | (free & frozenset(others)))

    @property
    def closed(self) -> frozenset[int]:
        """What is shut to strangers."""
        return (self.cluster | self.clients | self.monitors) - self.open

    def keeping(self, before: Ports) -> Ports:
        """These, with nothing opened that was shut before: what listens there has not been stopped yet."""
        shut, own = before.closed, self.cluster | self.clients | self.monitors
        clients = (self.clients - (shut - before.clients)) | (before.clients - own)
        monitors = (self.monitors - (shut - before.monitors)) | (before.monitors - own)
        return Ports(self.cluster | ((shut | own) - clients - monitors), clients, monitors, self.open - shut)

    def listening(self, before: Ports, ports: Iterable[int]) -> frozenset[int]:
        """What was shut before, is not declared any more, and has somebody who listens there still."""
        return (before.closed - self.cluster - self.clients - self.monitors - self.open) & frozenset(ports)


def numbers(texts: Iterable[str]) -> frozenset[int]:
    """The ports of ports and ranges as text.

    :raises ValueError: one of them is none.
    """
    return frozenset().union(*map(_span, texts))


def _span(text: str) -> frozenset[int]:
    first, _dash, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not found or found[0] < 1 or found[-1] > 65535:
        raise ValueError(f"{text} is no port and no range of ports")
    return frozenset(found)


def spans(ports: Iterable[int]) -> list[str]:
    """Ports as ports and ranges, in order."""
    found: list[list[int]] = []
    for port in sorted(ports):
        if found and port == found[-1][1] + 1:
            found[-1][1] = port
        else:
            found.append([port, port])
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]


def declared(parts: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a host's parts in the cluster come to.

    :arg parts: node, the ports of its node by their names in ray_ports; mesh, those that other nodes connect to; redis,
        monitor and serve, ports; models, {clients, cluster}; open, ports that stay as they are. What it has not is
        empty.
    :returns: as Ports.texts, and shared: ranges of the mesh, which no one service has to itself.
    """
    node: Mapping[str, int] = parts.get("node") or {}
    models: Mapping[str, list[str]] = parts.get("models") or {}
    known = (*_CLIENTS, *_MONITORS)
    mesh: list[str] = parts.get("mesh") or []
    shared = [text for text in mesh if "-" in text]
    found = {
        "cluster": [*(port for name, port in node.items() if name not in known),
                    *(text for text in mesh if text not in shared), *(parts.get("redis") or []),
                    *(models.get("cluster") or [])],
        "clients": [*(node[name] for name in _CLIENTS if name in node), *(parts.get("serve") or []),
                    *(models.get("clients") or [])],
        "monitors": [*(node[name] for name in _MONITORS if name in node), *(parts.get("monitor") or [])],
        "open": parts.get("open") or [],
    }
    return {**Ports.of(found).texts(), "shared": spans(numbers(shared))}

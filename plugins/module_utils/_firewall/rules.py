# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of nftables, as text: compiled from who may come, and from the ports that are the cluster's.

No rule looks at a connection's state: whoever asks for a connection sends SYN alone, and every other packet belongs to
one that is there. So connections from before the table stay, the host's own are never touched, and nothing of conntrack
is needed, which costs time and is missing in some containers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.rayops.cluster.plugins.module_utils._firewall.ports import Ports, spans
from ansible_collections.rayops.cluster.plugins.module_utils._firewall.sources import networks

TABLE = "inet rayops"
# By this a table is known as ours.
MARK = "rayops.cluster"
# First an empty one, which is no error where there is none: so what was there goes in the same transaction.
_AWAY = f"table {TABLE}\ndelete table {TABLE}\n"


@dataclass(frozen=True)
class Rules:
    """What the table says. cluster, clients, monitors: addresses and networks of either version of IP."""

    ports: Ports
    cluster: Sequence[str]
    clients: Sequence[str] = ()
    monitors: Sequence[str] = ()

    def render(self) -> str:
        """The file that `nft -f` loads in one transaction.

        :raises ValueError: a source is no network.
        """
        sources = {"cluster": self.cluster, "clients": self.clients, "monitors": self.monitors}
        ports = {"closed": self.ports.closed, "for_clients": self.ports.clients - self.ports.open,
                 "for_monitors": self.ports.monitors - self.ports.open}
        sets = [_set(f"{name}{version}", f"ipv{version}_addr", networks(own, version))
                for name, own in sources.items() for version in (4, 6)]
        sets += [_set(name, "inet_service", spans(own)) for name, own in ports.items()]
        return f"# Managed by rayops.cluster: ray_firewall.\n{_AWAY}table {TABLE} {{\n{''.join(sets)}{_CHAIN}}}\n"


# What comes to the last rule is TCP that asks for a connection to a port of the cluster's; or a packet that cannot be
# read so far, with a header that is cut off, which no host takes either.
_CHAIN = f"""\
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "lo" accept comment "{MARK}"
        # A packet's first fragment has its ports: without it the others come to nothing.
        ip frag-off & 0x1fff != 0 accept
        frag frag-off != 0 accept
        meta l4proto != tcp accept
        tcp flags & (syn | ack) != syn accept
        tcp dport != @closed accept
        ip saddr @cluster4 accept
        ip6 saddr @cluster6 accept
        ip saddr @clients4 tcp dport @for_clients accept
        ip6 saddr @clients6 tcp dport @for_clients accept
        ip saddr @monitors4 tcp dport @for_monitors accept
        ip6 saddr @monitors6 tcp dport @for_monitors accept
        drop
    }}
"""


def _set(name: str, kind: str, elements: Sequence[str]) -> str:
    lines = ",\n            ".join(elements)
    listed = f"        elements = {{\n            {lines}\n        }}\n" if lines else ""
    return f"    set {name} {{\n        type {kind}\n        flags interval\n{listed}    }}\n"


def replacing(listing: str) -> str:
    """A file that brings a table back as it was listed; with none it takes ours away."""
    return _AWAY + listing

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for the hosts of a bed with other dates, or of another authority: nobody turns a clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ansible_collections.rayops.cluster.plugins.plugin_utils._tls import Authority, make, read, sign
from tests.bed.cluster import Cluster

DIRECTORY = "/etc/ray/tls"
# The authority that the first run makes.
OWN = "/var/lib/rayops/tls"
NAMES = f"openssl x509 -in {DIRECTORY}/node.pem -noout -ext subjectAltName | tail -n +2"
# The key first, and as node_files does: a file is there whole or not at all.
PUT = f"""
set -e
cd {DIRECTORY}
install -m 0640 -o root -g ray /dev/null .new
for name in node.key node.pem; do
  sed "/BEGIN $name/,/END $name/!d; /BEGIN $name/d; /END $name/d" /run/leaf > .new && cp -p .new $name
done
rm -f .new /run/leaf
"""


@dataclass(frozen=True)
class Signer:
    """An authority that signs what it is told."""

    authority: Authority

    @classmethod
    def of(cls, cluster: Cluster) -> Signer:
        """The one that the cluster's nodes trust."""
        certificate, key = (cluster.sh(cluster.head, f"cat {OWN}/{name}") + "\n" for name in ("ca.pem", "ca.key"))
        return cls(read(certificate, key))

    @classmethod
    def foreign(cls) -> Signer:
        """One that nobody knows, with the name of ours."""
        return cls(read(*make("demo")))

    def files(self, names: list[str], ends: float, begins: float = -1 / 24) -> tuple[str, str]:
        """A certificate and its key in PEM.

        :arg begins, ends: in days from now.
        """
        # What signs goes an hour back.
        now = datetime.now(timezone.utc) + timedelta(days=begins, hours=1)
        leaf = sign(self.authority, names, ends - begins - 1 / 24, now)
        return leaf.certificate, leaf.key

    def put(self, cluster: Cluster, host: str, ends: float, begins: float = -1 / 24) -> None:
        """Replace a node's certificate by one with the same names. Its processes read it when they start anew."""
        listed = cluster.sh(host, NAMES).replace("IP Address:", "").replace("DNS:", "").split(",")
        certificate, key = self.files([name.strip() for name in listed], ends, begins)
        text = "".join(f"BEGIN {name}\n{part}END {name}\n" for name, part in
                       (("node.pem", certificate), ("node.key", key)))
        cluster.sh(host, f"umask 077; cat > /run/leaf; {PUT}", stdin=text)


@contextmanager
def kept(cluster: Cluster, host: str) -> Iterator[None]:
    """Give a host its certificate back at the end, with the times of its files."""
    cluster.sh(host, f"rm -rf /root/tls && cp -a {DIRECTORY} /root/tls")
    try:
        yield
    finally:
        cluster.sh(host, f"cp -a /root/tls/. {DIRECTORY}/ && rm -rf /root/tls")

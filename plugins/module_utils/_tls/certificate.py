# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a node's certificate is worth, by a handshake in memory: as OpenSSL judges it, by this host's clock.

Python's standard library is enough for it, so hosts need nothing. Nothing is changed, and no secret is returned.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DAY = 86400
# What OpenSSL says of a chain (x509_vfy.h). All else is that no authority which is trusted has signed it.
_CODES = {9: "not_yet", 10: "expired", 47: "names", 48: "names"}
# A node with one of these is refused by the others, or has none: it cannot wait for its turn.
REJECTED = frozenset(("missing", "key", "expired", "not_yet", "authority", "foreign", "names"))


@dataclass(frozen=True)
class NodeFiles:
    """Where a node's certificate (with what is between it and the root), its key and the trusted authorities lie."""

    certificate: str
    key: str
    authority: str

    @classmethod
    def of(cls, directory: str) -> NodeFiles:
        """Those of a directory, by the names that the roles give them."""
        return cls(*(os.path.join(directory, name) for name in ("node.pem", "node.key", "ca.pem")))


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a node's certificate.

    kind: empty (nothing is), missing (one of the three files is), key (it does not belong to the certificate, or cannot
    be read), expired, not_yet (by this host's clock), authority (of the one that this node trusts, where another is
    declared: all nodes change together), foreign (of one that nobody trusts), names (it lacks one of the node's),
    surplus (it has one that is not the node's), trust (other authorities are to be trusted beside its own), issuer
    (another of those that are trusted signs now) or ending (its last days).
    words: OpenSSL's own, or what is missing. ends: the second in which the certificate ends, None where it is not
    valid. rejected: the other nodes refuse it, so it cannot wait.
    """

    kind: str = ""
    words: str = ""
    ends: float | None = None

    @property
    def rejected(self) -> bool:
        return self.kind in REJECTED


def judge(
    files: NodeFiles, names: Sequence[str] = (), authority: str = "", chain: str = "", renew_days: int = 0
) -> Verdict:
    """What is wrong with the certificate of this host's node; the first thing that is.

    :arg names: what the node is called, names and addresses; none are looked for without.
    :arg authority: the authorities that are to be trusted, in PEM; those of the node's own file without.
    :arg chain: the one that signs now, with those above it, in PEM.
    """
    gone = [path for path in (files.certificate, files.key, files.authority) if not os.path.isfile(path)]
    if gone:
        return Verdict("missing", f"{gone[0]} is not there")
    try:
        own = _text(files.authority)
        peer = handshake(files, authority or own)
    except ssl.SSLCertVerificationError as error:
        kind = _CODES.get(error.verify_code) or ("authority" if authority and verifies(files, own) else "foreign")
        return Verdict(kind, error.verify_message.rstrip("."))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        return Verdict("key", str(getattr(error, "strerror", "") or error).rstrip("."))
    ends = ssl.cert_time_to_seconds(peer["notAfter"])
    has, wanted = names_of(peer), {normal(name) for name in names}
    if names and wanted - has:
        return Verdict("names", ", ".join(sorted(wanted - has)), ends)
    if authority and blocks(own) != blocks(authority):
        return Verdict("trust", "", ends)
    if chain and not verifies(files, chain):
        return Verdict("issuer", "", ends)
    if names and has - wanted:
        return Verdict("surplus", ", ".join(sorted(has - wanted)), ends)
    if ends - time.time() < renew_days * DAY:
        return Verdict("ending", "", ends)
    return Verdict(ends=ends)


def verifies(files: NodeFiles, authority: str) -> bool:
    """Whether a certificate is of these authorities."""
    try:
        handshake(files, authority)
    except ssl.SSLError:
        return False
    return True


def shown_by(address: str, port: int, authority: str, seconds: float) -> bool:
    """Whether what listens there shows a certificate of these authorities: what it has read may be older than the file.

    :arg authority: the path of what is trusted.
    :arg seconds: the most that each answer may take.
    :raises OSError: nothing listens there, or it speaks no TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags &= ~(ssl.VERIFY_X509_STRICT | _PARTIAL)
    context.load_verify_locations(authority)
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((address, port), timeout=seconds) as plain:
            context.wrap_socket(plain).close()
    except ssl.SSLCertVerificationError as error:
        # One of theirs that has ended is theirs.
        return error.verify_code in _CODES
    return True


def handshake(files: NodeFiles, authority: str, strict: bool = False) -> dict[str, Any]:
    """Let a node meet itself, each side with its certificate: what Ray's servers and clients do. Returns what the
    other side shows.

    :arg authority: who is trusted, in PEM.
    :arg strict: with the flags that Python 3.13 sets by default.
    :raises ssl.SSLCertVerificationError: the certificate is not to be trusted.
    :raises OSError, ValueError: a file cannot be used.
    """
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags &= ~(ssl.VERIFY_X509_STRICT | _PARTIAL)
        if strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT | _PARTIAL
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        context.load_verify_locations(cadata=authority)
        contexts.append(context)
    return _met(*contexts)


# Since Python 3.10. Not set, for Redis does not set it either: a chain ends at its root.
_PARTIAL = getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0)


def _no_password() -> str:
    """Instead of asking whoever sits at the terminal."""
    raise ValueError("the key has a passphrase")


def _met(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, Any]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    waiting = list(sides)
    # A side needs three turns; one that gets no answer would wait for ever.
    for _turn in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    if waiting:
        raise ValueError("the handshake does not end")
    return sides[0].getpeercert() or {}


def names_of(peer: Mapping[str, Any]) -> set[str]:
    """The names and addresses in a certificate."""
    return {normal(value) for kind, value in peer.get("subjectAltName", ()) if kind in ("DNS", "IP Address")}


def normal(name: str) -> str:
    """A name or an address, as others may have written it."""
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return name.lower().rstrip(".")


def blocks(text: str) -> list[bytes]:
    """The certificates of a PEM file, in their order, without what is written around them."""
    head, foot = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return [ssl.PEM_cert_to_DER_cert(head + part.partition(foot)[0] + foot)
            for part in text.split(head)[1:] if foot in part]


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read(1 << 20)

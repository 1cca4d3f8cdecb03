# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate authority of a cluster, and the certificates that it signs. The controller's side."""

from __future__ import annotations

import ipaddress
import re
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Union

from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles, handshake

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:  # ansible-core needs it itself; only its test of imports does without.
    pass

if TYPE_CHECKING:
    Key = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]

# Ten years; the key stays, and the certificate is signed anew in time.
_AUTHORITY_DAYS = 3650
# Clocks of hosts differ, and a certificate that is not valid yet is none.
_BEFORE = timedelta(hours=1)
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}([.]{_LABEL})*")


class AuthorityError(Exception):
    """Why an authority cannot be used: the second half of a sentence, with the fix in it."""


@dataclass(frozen=True)
class Authority:
    """Who signs.

    issuer: whose key signs; chain: it, and those above it up to the root; bundle: all that the nodes are to trust.
    """

    key: Key
    chain: tuple[x509.Certificate, ...]
    bundle: tuple[x509.Certificate, ...]

    @property
    def issuer(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def begins(self) -> datetime:
        return max(map(begins_of, self.chain))

    @property
    def ends(self) -> datetime:
        """When the first one of the chain ends."""
        return min(map(ends_of, self.chain))

    @property
    def certificate(self) -> str:
        """What the nodes trust, in PEM."""
        return _pem(self.bundle)

    @property
    def chain_certificate(self) -> str:
        """The one that signs and those above it, in PEM."""
        return _pem(self.chain)


@dataclass(frozen=True)
class Leaf:
    """A node's certificate, with what is between it and the root, and its key, in PEM."""

    certificate: str
    key: str


def certificates_in(text: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text.

    :raises AuthorityError: there are none, or one of them is damaged.
    """
    found = re.findall("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    if not found:
        raise AuthorityError("holds no certificate in PEM: begin it with -----BEGIN CERTIFICATE-----")
    try:
        return tuple(x509.load_pem_x509_certificate(part.encode()) for part in found)
    except ValueError:
        raise AuthorityError("holds a certificate that is damaged: copy it again") from None


def knows(trusted: str, certificate: str) -> bool:
    """Whether an authority's key is one of those that are trusted, of texts in PEM; it may have been signed anew since.

    :raises AuthorityError: one of them holds no certificate.
    """
    return _public(certificates_in(certificate)[0]) in map(_public, certificates_in(trusted))


def begins_of(certificate: x509.Certificate) -> datetime:
    """When a certificate begins."""
    return _utc(certificate, "before")


def ends_of(certificate: x509.Certificate) -> datetime:
    """When a certificate ends."""
    return _utc(certificate, "after")


def key_in(text: str) -> Key:
    """A private key of a PEM text.

    :raises AuthorityError: it cannot sign.
    """
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except TypeError:
        raise AuthorityError(
            "has a key with a passphrase: take it off (openssl pkey -in ca.key), and keep the key in a vault"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise AuthorityError("has no private key in PEM: begin it with -----BEGIN PRIVATE KEY-----") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise AuthorityError("has a key of a kind that Ray's gRPC does not know: use one of EC (P-256) or RSA")
    return key


def read(certificate: str, key: str, now: datetime | None = None) -> Authority:
    """The authority of two PEM texts. More certificates than those of the chain are trusted beside it.

    :raises AuthorityError: it cannot sign, or not now.
    """
    bundle, secret = certificates_in(certificate), key_in(key)
    issuers = [one for one in bundle if _public(one) == _public(secret)]
    if not issuers:
        raise AuthorityError("has a key that belongs to none of its certificates: name the two that belong together")
    authority = Authority(secret, _chain(issuers[0], bundle), bundle)
    now = now or datetime.now(timezone.utc)
    if authority.begins > now:
        raise AuthorityError(
            f"is not valid before {authority.begins:%F %T} UTC: set this machine's clock, or use another authority"
        )
    if authority.ends <= now:
        raise AuthorityError(f"ended at {authority.ends:%F %T} UTC: have it signed anew, or use another authority")
    return authority


def make(name: str, key: str = "", now: datetime | None = None) -> tuple[str, str]:
    """A new authority, or one whose key is given signed anew: certificate and key, in PEM.

    :arg name: the cluster's.
    """
    secret = key_in(key) if key else ec.generate_private_key(ec.SECP256R1())
    now = now or datetime.now(timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} Ray CA"[:64])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(secret.public_key())
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(secret, hashes.SHA256())
    )
    return _pem([certificate]), _key_pem(secret)


def issue(authority: Authority, names: Iterable[str], days: float, renew_days: float = 0) -> Leaf:
    """A certificate for a node, tried in a handshake.

    :arg renew_days: with less than this left the authority would have it renewed by each run.
    :raises AuthorityError: the authority does not last, or what it signs is not to be trusted.
    """
    if authority.ends <= datetime.now(timezone.utc) + timedelta(days=renew_days):
        raise AuthorityError(
            f"ends at {authority.ends:%F %T} UTC, less than ray_tls_renew_days ({renew_days:g}) from now: have it "
            "signed anew, or use another authority"
        )
    leaf = sign(authority, names, days)
    try:
        met(leaf, authority.certificate)
    except ssl.SSLError as error:
        code, words = getattr(error, "verify_code", error.reason), getattr(error, "verify_message", error.reason)
        raise AuthorityError(
            f"signs what OpenSSL does not trust ({words}): {_FIXES.get(code, _OTHER_FIX)}"
        ) from None
    return leaf


def sign(authority: Authority, names: Iterable[str], days: float, now: datetime | None = None) -> Leaf:
    """A certificate for a node, as server and as client, and a key of its own.

    :arg names: its names and addresses; the first is its subject's.
    """
    now = now or datetime.now(timezone.utc)
    ends = min(now + timedelta(days=days), authority.ends)
    known = alternative_names(names)
    secret = ec.generate_private_key(ec.SECP256R1())
    common = str(known[0].value)[:64]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
        .issuer_name(authority.issuer.subject).public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - _BEFORE, authority.begins)).not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                       critical=False)
        .add_extension(x509.SubjectAlternativeName(known), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(secret.public_key()), critical=False)
        .add_extension(_identifier_of(authority.issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    between = [one for one in authority.chain if one.subject != one.issuer]
    return Leaf(_pem([certificate, *between]), _key_pem(secret))


_OTHER_FIX = "use one that may sign certificates of servers and clients"
_ROOT_FIX = "let its certificates go up to the root"
_SIGNS_FIX = "use one with basicConstraints CA:TRUE and keyUsage keyCertSign"
_NAMES_FIX = "use one whose nameConstraints allow the hosts' addresses and names, localhost and 127.0.0.1"
_LENGTH_FIX = "use one with a longer key, EC (P-256) or RSA of 2048 bits"
_DIGEST_FIX = "use one that is signed with SHA-256"
# By OpenSSL's codes (x509_vfy.h), of which 3.0 has changed one; by its reasons, where it does not even load them.
_FIXES: dict[int | str | None, str] = {
    2: _ROOT_FIX, 20: _ROOT_FIX, 21: _ROOT_FIX,
    24: _SIGNS_FIX, 32: _SIGNS_FIX, 79: _SIGNS_FIX,
    25: "use one whose pathlen, and that of those above it, allows what it signs",
    26: "use one whose extendedKeyUsage has serverAuth and clientAuth, or none",
    47: _NAMES_FIX, 48: _NAMES_FIX,
    66: _LENGTH_FIX, 67: _LENGTH_FIX, "CA_KEY_TOO_SMALL": _LENGTH_FIX,
    68: _DIGEST_FIX, "CA_MD_TOO_WEAK": _DIGEST_FIX,
}


def met(leaf: Leaf, authority: str) -> None:
    """Try a certificate against the authorities that are trusted, in PEM.

    :raises ssl.SSLError: they do not trust it.
    """
    with tempfile.TemporaryDirectory(prefix="rayops-") as directory:
        files = NodeFiles.of(directory)
        for path, text in ((files.certificate, leaf.certificate), (files.key, leaf.key)):
            Path(path).touch(mode=0o600)
            Path(path).write_text(text, encoding="ascii")
        handshake(files, authority)


def alternative_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Names and addresses as a certificate holds them, each once; what is neither is left out."""
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            known: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
        except ValueError:
            if not _HOST_NAME.fullmatch(name):
                continue
            known = x509.DNSName(name.lower())
        if known not in found:
            found.append(known)
    return found


def _chain(issuer: x509.Certificate, bundle: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """An authority and those above it, as far as they are known."""
    chain = [issuer]
    while chain[-1].subject != chain[-1].issuer:
        above = next((one for one in bundle if one not in chain and _signed(chain[-1], one)), None)
        if above is None:
            break
        chain.append(above)
    return tuple(chain)


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    if certificate.issuer != by.subject:
        return False
    key, digest = by.public_key(), certificate.signature_hash_algorithm
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and digest:
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey) and digest:
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), digest)
    except InvalidSignature:
        return False
    # Of another kind, or RSA with PSS: the handshake tells.
    return True


def _identifier_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )


def _utc(certificate: x509.Certificate, end: str) -> datetime:
    """When a certificate begins (before) or ends (after)."""
    name = f"not_valid_{end}"
    # Before cryptography 42 without a zone.
    found = getattr(certificate, f"{name}_utc", None) or getattr(certificate, name).replace(tzinfo=timezone.utc)
    return found if isinstance(found, datetime) else datetime.max.replace(tzinfo=timezone.utc)


def _public(of: x509.Certificate | Key) -> bytes:
    return of.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _pem(certificates: Iterable[x509.Certificate]) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def _key_pem(key: Key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All of module proxy_certificate: keys are made and certificates read here, where ansible-core has cryptography."""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.rayops.cluster.plugins.plugin_utils._controller_files import UnreadableError, text_of
from ansible_collections.rayops.cluster.plugins.plugin_utils._tls import begins_of, ends_of

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:  # ansible-core needs it itself; only its test of imports does without.
    pass

_PEM = "-----BEGIN "
# Clocks differ.
_SLACK = timedelta(hours=1)


def general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Addresses as addresses, all else as names."""
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name.lower()))
    return found


def self_signed(names: Sequence[str], days: int, now: datetime) -> str:
    """A certificate for a server, which it has signed itself, and its key, in PEM. The first name is its subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
              "crl_sign", "encipher_only", "decipher_only")
    builder = x509.CertificateBuilder(
        issuer_name=subject, subject_name=subject, public_key=key.public_key(),
        serial_number=x509.random_serial_number(), not_valid_before=now - _SLACK, not_valid_after=now + timedelta(days),
    )
    public = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(digital_signature=True, **dict.fromkeys(unused, False)), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName(general_names(names)), False),
        (public, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(public), False),
    ):
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key, hashes.SHA256())
    return (certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())).decode()


def is_for(certificate: x509.Certificate, name: str) -> bool:
    """Whether a browser takes a certificate for that of a name or an address: by its alternative names alone."""
    wanted, = general_names([name])
    if isinstance(wanted, x509.IPAddress):
        return wanted in alternatives(certificate)
    # A wildcard stands for one label, the first.
    wild = f"*.{wanted.value.partition('.')[2]}"
    return any(isinstance(each, x509.DNSName) and each.value.lower() in (wanted.value, wild)
               for each in alternatives(certificate))


def alternatives(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (ValueError, x509.ExtensionNotFound):
        return []


def checked(certificate: str, key: str, name: str, now: datetime) -> str:
    """A certificate and a key that are given, as one text.

    :arg name: by which browsers reach the server.
    :raises ValueError: they cannot work; the message says what to do, and nothing of the key.
    """
    try:
        first = x509.load_pem_x509_certificates(certificate.encode())[0]
    except (ValueError, IndexError):
        raise ValueError("ray_proxy_certificate is no certificate in PEM: give one, or the name of its file.") from None
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except TypeError:
        raise ValueError("ray_proxy_key is encrypted, and nobody could type its passphrase at a boot: decrypt it with "
                         "`openssl pkey`, and keep it in a vault.") from None
    except ValueError:
        raise ValueError("ray_proxy_key is no key in PEM: give one, or the name of its file.") from None
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != first.public_key().public_bytes(*form):
        raise ValueError("ray_proxy_key is not the key of ray_proxy_certificate: give both of one pair, the server's "
                         "own certificate first.")
    if not is_for(first, name):
        named = ", ".join(str(each.value) for each in alternatives(first)[:5]) or "no name (subjectAltName)"
        raise ValueError(f"ray_proxy_certificate is for {named}, and browsers reach this proxy as {name}: give one for "
                         "that, or set ray_proxy_name of this host to a name that it has.")
    if ends_of(first) <= now:
        raise ValueError(f"ray_proxy_certificate has expired on {ends_of(first):%F}: give a new one.")
    if begins_of(first) > now + _SLACK:
        raise ValueError(f"ray_proxy_certificate is valid from {begins_of(first):%F} on: give one that is now, or set "
                         "this machine's clock.")
    return f"{certificate.strip()}\n{key.strip()}\n"


def kind(text: str, names: Sequence[str], now: datetime, renew: timedelta) -> str:
    """What is wrong with one that was made; empty for nothing. text: what the host has, which may be anything."""
    try:
        found = x509.load_pem_x509_certificates(text.encode())[0]
    except (ValueError, IndexError):
        return "missing"
    if ends_of(found) <= now:
        return "expired"
    if begins_of(found) > now:
        return "not_yet"
    if set(alternatives(found)) != set(general_names(names)):
        return "names"
    return "ending" if ends_of(found) <= now + renew else ""


class ActionModule(ActionBase):
    """Reads what the host has, and lets node_files write what it is to have."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _all, options = self.validate_argument_spec({
            "path": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "certificate": {"type": "str", "default": ""},
            "key": {"type": "str", "default": "", "no_log": True},
            "days": {"type": "int", "default": 90},
            "renew_days": {"type": "int", "default": 15},
        })
        now = datetime.now(timezone.utc).replace(microsecond=0)
        found = self._execute_module("ansible.builtin.slurp", {"src": options["path"]}, task_vars=task_vars)
        if found.get("unreachable"):
            return {**result, **found}
        try:
            there = base64.b64decode(found.get("content") or "").decode(errors="replace")
            text, said = self.wanted(options, there, now)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        entry = {"path": options["path"], "secret": text, "mode": "0600"}
        if not text:
            return {**result, "changed": False, "kind": said}
        written = self._execute_module("rayops.cluster.node_files", {"files": [entry]}, task_vars=task_vars)
        return {**result, **written, "kind": said}

    def wanted(self, options: dict[str, Any], there: str, now: datetime) -> tuple[str, str]:
        """What the file is to hold, empty for what it has; and why.

        :raises ValueError: what is given cannot work.
        """
        if bool(options["certificate"]) != bool(options["key"]):
            raise ValueError("ray_proxy_certificate and ray_proxy_key belong together: set both, or none.")
        if options["certificate"]:
            pair = [self.given(name, options[name]) for name in ("certificate", "key")]
            text = checked(*pair, options["names"][0], now)
            return text, "" if text == there else "given"
        said = kind(there, options["names"], now, timedelta(options["renew_days"]))
        return (self_signed(options["names"], options["days"], now) if said else ""), said

    def given(self, name: str, value: str) -> str:
        """A text in PEM, as it stands or in a file of this machine.

        :raises ValueError: there is no such file.
        """
        if _PEM in value:
            return value
        shown = f" {value}" if name == "certificate" else ""
        try:
            return text_of(self._loader, os.path.join(os.environ.get("PWD", ""), os.path.expanduser(value)))
        except UnreadableError as error:
            raise ValueError(f"ray_proxy_{name}{shown} {error}.") from None
        except (OSError, ValueError):
            raise ValueError(f"ray_proxy_{name}{shown} is no file on this machine, and no PEM: name a file, or put the "
                             "text itself into a vault.") from None

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real certificates and keys. That a browser's side accepts one is seen in tests/unit/roles/test_proxy.py."""

from __future__ import annotations

import ssl
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultSecret

from ansible_collections.rayops.cluster.plugins.action.proxy_certificate import ActionModule, checked, kind, self_signed

NOW = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
NAMES = ["ray.example.com", "10.0.0.1", "fd00::1"]
WEEKS = timedelta(15)


def action_with(loader: DataLoader) -> ActionModule:
    action = ActionModule.__new__(ActionModule)
    action._loader = loader
    return action


def parts(text: str) -> tuple[str, str]:
    certificate, marker, key = text.partition("-----BEGIN PRIVATE KEY-----")
    return certificate, marker + key


def test_one_that_is_made():
    text = self_signed(NAMES, 90, NOW)
    certificate, key = parts(text)
    shown = subprocess.run(["openssl", "x509", "-noout", "-text"], input=certificate, capture_output=True, text=True,
                           check=True).stdout
    for said in ("ecdsa-with-SHA256", "ASN1 OID: prime256v1", "DNS:ray.example.com, IP Address:10.0.0.1", "CA:FALSE",
                 "TLS Web Server Authentication", "Not After : Feb 25 12:00:00 2027 GMT"):
        assert said in shown
    assert checked(certificate, key, NAMES[0], NOW) and kind(text, NAMES, NOW, WEEKS) == ""
    # Python 3.13 is stricter than OpenSSL alone.
    flags = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context = ssl.create_default_context(cadata=certificate)
    context.verify_flags |= flags


@pytest.mark.parametrize(("days", "names", "said"), [
    (0, NAMES, ""), (74, NAMES, ""), (76, NAMES, "ending"), (91, NAMES, "expired"), (-1, NAMES, "not_yet"),
    (0, NAMES[:2], "names"), (0, [*reversed(NAMES)], ""), (0, [*NAMES, "other"], "names"),
])
def test_when_another_is_made(days, names, said):
    assert kind(self_signed(NAMES, 90, NOW), names, NOW + timedelta(days), WEEKS) == said


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_none_is_made(text):
    assert kind(text, NAMES, NOW, WEEKS) == "missing"


def test_what_is_given_is_refused_before_it_is_written():
    certificate, key = parts(self_signed(NAMES, 90, NOW))
    encrypted = subprocess.run(["openssl", "pkey", "-aes256", "-passout", "pass:x"], input=key, capture_output=True,
                               text=True, check=True).stdout
    for first, second, now, said in (
        ("nonsense", key, NOW, "ray_proxy_certificate is no certificate in PEM"),
        (certificate, "nonsense", NOW, "ray_proxy_key is no key in PEM"),
        (certificate, encrypted, NOW, "ray_proxy_key is encrypted"),
        (certificate, parts(self_signed(NAMES, 90, NOW))[1], NOW, "ray_proxy_key is not the key of"),
        (certificate, key, NOW + timedelta(91), "ray_proxy_certificate has expired on 2027-02-25: give a new one."),
        (certificate, key, NOW - timedelta(2), "ray_proxy_certificate is valid from 2026-11-27 on"),
    ):
        with pytest.raises(ValueError, match=said) as found:
            checked(first, second, NAMES[0], now)
        assert "PRIVATE" not in str(found.value)


@pytest.mark.parametrize(("has", "name", "fits"), [
    (["ray.example.com"], "ray.example.com", True), (["ray.example.com"], "RAY.example.com", True),
    (["*.example.com"], "ray.example.com", True), (["*.example.com"], "a.ray.example.com", False),
    (["*.example.com"], "example.com", False), (["other.com", "10.0.0.1"], "10.0.0.1", True),
    (["fd00::1"], "fd00:0::1", True), (["*.0.0.1"], "10.0.0.1", False), (["ray.example.com"], "10.0.0.1", False),
])
def test_what_is_given_is_for_the_name_that_browsers_use(has, name, fits):
    certificate, key = parts(self_signed(has, 90, NOW))
    if fits:
        assert checked(certificate, key, name, NOW)
        return
    with pytest.raises(ValueError, match="^ray_proxy_certificate is for ") as found:
        checked(certificate, key, name, NOW)
    assert str(found.value) == (
        f"ray_proxy_certificate is for {', '.join(has)}, and browsers reach this proxy as {name}: give one for that, "
        "or set ray_proxy_name of this host to a name that it has.")


def test_a_name_that_stands_in_the_subject_alone_counts_for_no_browser(tmp_path):
    """As from openssl req without -addext."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "2", "-subj", "/CN=ray.example.com", "-keyout", "key", "-out", "cert"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(ValueError, match="is for no name .subjectAltName., and browsers reach this proxy as ray[.]"):
        checked((tmp_path / "cert").read_text(), (tmp_path / "key").read_text(), NAMES[0], datetime.now(timezone.utc))


def test_a_text_or_a_file_of_the_controller(tmp_path, monkeypatch):
    certificate, key = parts(self_signed(NAMES, 90, datetime.now(timezone.utc)))
    (tmp_path / "proxy.pem").write_text(certificate)
    monkeypatch.setenv("PWD", str(tmp_path))
    action = action_with(DataLoader())
    options = {"certificate": "proxy.pem", "key": key, "names": NAMES, "days": 90, "renew_days": 15}
    text, said = action.wanted(options, "", datetime.now(timezone.utc))
    assert said == "given" and text == certificate + key
    assert action.wanted(options, text, datetime.now(timezone.utc)) == (text, "")
    for changed, message in (
        ({"key": ""}, "belong together: set both, or none."),
        ({"certificate": "none.pem"}, "ray_proxy_certificate none.pem is no file on this machine"),
        ({"key": "hunter2"}, "^ray_proxy_key is no file on this machine"),
        ({"certificate": "."}, "ray_proxy_certificate . cannot be read [(]Is a directory[)]"),
    ):
        with pytest.raises(ValueError, match=message):
            action.wanted({**options, **changed}, "", datetime.now(timezone.utc))


def test_a_key_in_a_file_that_is_vaulted(tmp_path):
    certificate, key = parts(self_signed(NAMES, 90, datetime.now(timezone.utc)))
    (tmp_path / "password").write_text("vaulted-by-us")
    (tmp_path / "proxy.key").write_text(key)
    subprocess.run(["ansible-vault", "encrypt", "--vault-password-file", "password", "proxy.key"], cwd=tmp_path,
                   check=True, capture_output=True)
    assert (tmp_path / "proxy.key").read_text().startswith("$ANSIBLE_VAULT;")
    loader = DataLoader()
    options = {"certificate": certificate, "key": str(tmp_path / "proxy.key"), "names": NAMES}
    with pytest.raises(ValueError, match="^ray_proxy_key is encrypted with ansible-vault, and not with a password of "):
        action_with(loader).wanted(options, "", datetime.now(timezone.utc))
    loader.set_vault_secrets([("default", VaultSecret(b"vaulted-by-us"))])
    assert action_with(loader).wanted(options, "", datetime.now(timezone.utc)) == (certificate + key, "given")

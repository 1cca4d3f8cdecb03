# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The authority of a cluster and what it signs: real certificates, in real handshakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles, judge
from ansible_collections.rayops.cluster.plugins.plugin_utils import _tls
from ansible_collections.rayops.cluster.plugins.plugin_utils._tls import Authority, AuthorityError

REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = ("10.0.0.7", "worker-1", "localhost", "127.0.0.1", "::1")
NOW = datetime.now(timezone.utc)


def an_authority(name: str = "demo", **made: Any) -> Authority:
    return _tls.read(*_tls.make(name, **made))


def node(directory: Path, authority: Authority, names: Sequence[str] = NAMES, **issued: Any) -> NodeFiles:
    """The three files of a node."""
    leaf = _tls.sign(authority, names, issued.pop("days", 90), **issued)
    files = NodeFiles.of(str(directory))
    for path, text in ((files.certificate, leaf.certificate), (files.key, leaf.key),
                       (files.authority, authority.certificate)):
        Path(path).write_text(text)
    return files


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def site_authority(
    directory: Path, *extensions: str, key: str = "ec", root: str = "basicConstraints=critical,CA:TRUE", days: int = 30,
) -> tuple[str, str]:
    """An authority as a site makes its own, below a root: the certificates up to the root, and the key."""
    kinds = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "rsa": ["rsa:2048"], "short": ["rsa:1024"],
             "ed25519": ["ed25519"]}
    texts = []
    for name, more in (("root", (root,)), ("own", extensions)):
        signed = ["-CA", "root.pem", "-CAkey", "root.key"] if name == "own" else []
        openssl(directory, "req", "-x509", "-newkey", *kinds[key], "-nodes", "-days", str(days), "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem", *signed,
                *(word for extension in more for word in ("-addext", extension)))
        texts.insert(0, (directory / f"{name}.pem").read_text())
    return "".join(texts), (directory / "own.key").read_text()


SIGNS = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")


# --- The authority, and what it signs

def test_what_a_node_gets_is_good_for_every_verifier(tmp_path):
    authority = an_authority()
    files = node(tmp_path, authority)
    assert _tls.issue(authority, NAMES, 90, 15).certificate
    verdict = judge(files, NAMES, renew_days=15)
    assert (verdict.kind, verdict.rejected) == ("", False)
    assert verdict.ends == pytest.approx(time.time() + 90 * 86400, abs=60)
    for purpose in ("sslserver", "sslclient"):
        openssl(tmp_path, "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem", "node.pem")
    openssl(tmp_path, "verify", "-verify_ip", "10.0.0.7", "-CAfile", "ca.pem", "node.pem")
    shown = subprocess.run(["openssl", "x509", "-in", "node.pem", "-noout", "-text"], cwd=tmp_path, check=True,
                           capture_output=True, text=True).stdout
    for said in ("ecdsa-with-SHA256", "prime256v1", "CA:FALSE", "Digital Signature",
                 "TLS Web Server Authentication, TLS Web Client Authentication"):
        assert said in shown


PYTHONS = sorted(Path(os.path.expanduser("~/.pyenv/versions")).glob("3.*/bin/python3"))


@pytest.mark.parametrize("python", [path for path in PYTHONS if path.parts[-3].startswith(("3.9.", "3.10.", "3.13."))],
                         ids=lambda path: path.parts[-3])
def test_each_python_judges_alike_with_its_own_flags(tmp_path, python):
    """Python 3.13 verifies strictly by default; hosts have 3.9 and later."""
    authority = an_authority()
    node(tmp_path, authority)
    code = """
import json, ssl, sys
sys.path.insert(0, sys.argv[1])
import certificate
files = certificate.NodeFiles.of(sys.argv[2])
certificate.handshake(files, open(files.authority).read(), strict=True)
default = ssl.create_default_context(cafile=files.authority)
default.load_cert_chain(files.certificate, files.key)
server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.authority)
server.verify_mode = ssl.CERT_REQUIRED
server.load_cert_chain(files.certificate, files.key)
default.check_hostname = False
certificate._met(default, server)
print(json.dumps([bool(default.verify_flags & ssl.VERIFY_X509_STRICT), certificate.judge(files, sys.argv[3:]).kind]))
"""
    folder = REPOSITORY / "plugins" / "module_utils" / "_tls"
    done = subprocess.run([python, "-c", code, folder, tmp_path, *NAMES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [python.parts[-3].startswith("3.13."), ""]


def test_names_are_what_a_certificate_can_hold():
    known = _tls.alternative_names(["Worker-1", "10.0.0.7", "[fd00::7]", "two words", "worker-1", "", "a_b.c"])
    assert [str(name.value) for name in known] == ["worker-1", "10.0.0.7", "fd00::7", "a_b.c"]


def test_an_authority_that_is_signed_anew_keeps_what_it_signed(tmp_path):
    certificate, key = _tls.make("demo", now=NOW - timedelta(days=3600))
    files = node(tmp_path, _tls.read(certificate, key), days=30)
    anew, same = _tls.make("demo", key)
    assert same == key
    assert judge(files, NAMES, anew).kind == "trust"


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_a_sites_authority_below_its_root(tmp_path, key):
    certificate, secret = site_authority(tmp_path, *SIGNS, key=key)
    authority = _tls.read(certificate, secret)
    files = node(tmp_path, authority)
    assert Path(files.certificate).read_text().count("BEGIN CERTIFICATE") == 2
    assert judge(files, NAMES, authority.certificate, authority.chain_certificate, 15).kind == ""
    # It signs no longer than it lasts itself.
    assert judge(files).ends < time.time() + 31 * 86400


@pytest.mark.parametrize(("extensions", "root", "said"), [
    (("basicConstraints=critical,CA:FALSE",), {}, "use one with basicConstraints CA:TRUE and keyUsage keyCertSign"),
    (SIGNS, {"root": "basicConstraints=critical,CA:TRUE,pathlen:0"}, "use one whose pathlen, and that of those above"),
    ((*SIGNS, "nameConstraints=critical,permitted;DNS:.corp"), {}, "use one whose nameConstraints allow the hosts'"),
    ((*SIGNS, "nameConstraints=critical,excluded;IP:10.0.0.0/255.0.0.0"), {}, "use one whose nameConstraints allow"),
    (SIGNS, {"key": "short"}, "use one with a longer key, EC (P-256) or RSA of 2048 bits"),
    ((*SIGNS, "extendedKeyUsage=codeSigning"), {}, "use one whose extendedKeyUsage has serverAuth and clientAuth"),
])
def test_an_authority_whose_certificates_nobody_would_trust_signs_none(tmp_path, extensions, root, said):
    certificate, key = site_authority(tmp_path, *extensions, **root)
    with pytest.raises(AuthorityError) as caught:
        _tls.issue(_tls.read(certificate, key), NAMES, 10)
    assert "signs what OpenSSL does not trust" in str(caught.value)
    assert said in str(caught.value)


def test_the_chain_goes_up_to_the_root(tmp_path):
    certificate, key = site_authority(tmp_path, *SIGNS)
    alone = certificate.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    with pytest.raises(AuthorityError, match="let its certificates go up to the root"):
        _tls.issue(_tls.read(alone, key), NAMES, 10)


def encrypted(key: str) -> str:
    return subprocess.run(["openssl", "pkey", "-aes256", "-passout", "pass:x"], input=key, text=True, check=True,
                          capture_output=True).stdout


@pytest.mark.parametrize(("certificate", "key", "said"), [
    (lambda own: own[0], lambda own: encrypted(own[1]), "has a key with a passphrase: take it off"),
    (lambda own: own[0], lambda own: _tls.make("other")[1], "has a key that belongs to none of its certificates"),
    (lambda own: own[0], lambda own: "hunter2", "has no private key in PEM: begin it with"),
    (lambda own: "hunter2", lambda own: own[1], "holds no certificate in PEM: begin it with"),
    (lambda own: own[0].replace("M", "N"), lambda own: own[1], "holds a certificate that is damaged: copy it again"),
])
def test_an_authority_that_cannot_be_read(certificate, key, said):
    own = _tls.make("demo")
    with pytest.raises(AuthorityError) as caught:
        _tls.read(certificate(own), key(own))
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_key_of_a_kind_that_grpc_does_not_know(tmp_path):
    with pytest.raises(AuthorityError, match="of a kind that Ray's gRPC does not know: use one of EC"):
        _tls.read(*site_authority(tmp_path, *SIGNS, key="ed25519"))


@pytest.mark.parametrize(("now", "said"), [
    (timedelta(days=-2), "is not valid before .* UTC: set this machine's clock, or use another authority"),
    (timedelta(days=3651), "ended at .* UTC: have it signed anew, or use another authority"),
])
def test_an_authority_at_another_time(now, said):
    own = _tls.make("demo")
    with pytest.raises(AuthorityError, match=said):
        _tls.read(*own, now=NOW + now)


def test_the_end_of_those_above_counts_too(tmp_path):
    certificate, key = site_authority(tmp_path, *SIGNS, days=10)
    with pytest.raises(AuthorityError, match=r"ends at .* UTC, less than ray_tls_renew_days \(15\) from now"):
        _tls.issue(_tls.read(certificate, key), NAMES, 90, 15)


# --- What a node's certificate is worth

def gone(directory: Path, files: NodeFiles) -> None:
    Path(files.key).unlink()


def of_another_key(directory: Path, files: NodeFiles) -> None:
    (directory / "other").mkdir()
    shutil.copy(node(directory / "other", an_authority()).key, files.key)


def with_a_passphrase(directory: Path, files: NodeFiles) -> None:
    Path(files.key).write_text(encrypted(Path(files.key).read_text()))


def cut_off(directory: Path, files: NodeFiles) -> None:
    Path(files.certificate).write_text(Path(files.certificate).read_text()[:200])


def of_another_authority(directory: Path, files: NodeFiles) -> None:
    Path(files.authority).write_text(an_authority("other").certificate)


@pytest.mark.parametrize(("spoil", "kind"), [
    (gone, "missing"), (of_another_key, "key"), (with_a_passphrase, "key"), (cut_off, "key"),
    (of_another_authority, "foreign"),
])
def test_files_that_are_no_good(tmp_path, spoil, kind):
    files = node(tmp_path, an_authority())
    spoil(tmp_path, files)
    verdict = judge(files)
    assert (verdict.kind, verdict.rejected, verdict.ends) == (kind, True, None)
    assert verdict.words


@pytest.mark.parametrize(("issued", "kind", "rejected"), [
    ({"now": NOW - timedelta(days=91)}, "expired", True),
    ({"now": NOW + timedelta(days=1)}, "not_yet", True),
    ({"now": NOW - timedelta(days=76)}, "ending", False),
    ({"names": ["10.0.0.8", *NAMES[1:]]}, "names", True),
    ({"names": [*NAMES, "demo-head"]}, "surplus", False),
    ({}, "", False),
])
def test_certificates_in_time_and_by_name(tmp_path, issued, kind, rejected):
    authority = an_authority(now=NOW - timedelta(days=100))
    verdict = judge(node(tmp_path, authority, **issued), NAMES, authority.certificate, authority.chain_certificate, 15)
    assert (verdict.kind, verdict.rejected) == (kind, rejected)


def test_from_one_authority_to_another_without_a_stop(tmp_path):
    """Trust both, let the new one sign, trust it alone: at each step all nodes take each other."""
    old, new = an_authority("old"), an_authority("new")
    certificate, key = _tls.make("new")
    new = _tls.read(certificate, key)
    both = _tls.read(certificate + old.certificate, key)
    assert (both.chain, len(both.bundle)) == (new.chain, 2)
    files = node(tmp_path, old)
    assert judge(files, NAMES, new.certificate, new.chain_certificate).kind == "authority"
    assert judge(files, NAMES, both.certificate, both.chain_certificate).kind == "trust"
    Path(files.authority).write_text(both.certificate)
    assert judge(files, NAMES, both.certificate, both.chain_certificate).kind == "issuer"
    files = node(tmp_path, both)
    assert judge(files, NAMES, both.certificate, both.chain_certificate).kind == ""
    assert judge(files, NAMES, new.certificate, new.chain_certificate).kind == "trust"


def test_a_verdict_holds_no_secret(tmp_path):
    files = node(tmp_path, an_authority())
    secret = Path(files.key).read_text().split("\n")[1]
    of_another_authority(tmp_path, files)
    assert secret not in json.dumps(asdict(judge(files)))

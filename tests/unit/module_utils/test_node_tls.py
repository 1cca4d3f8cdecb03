# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node that speaks something else than is declared, or with an older certificate: real ones, and a real process."""

from __future__ import annotations

import os
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node.difference import (
    all_differences,
    can_wait,
    other_tls,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import PREVIOUS, LiveNode
from ansible_collections.rayops.cluster.plugins.module_utils._system.differences import Differences
from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles, judge
from ansible_collections.rayops.cluster.plugins.plugin_utils import _tls
from tests.unit.module_utils.live_node import Host

NAMES = ["10.0.0.11", "localhost", "127.0.0.1"]
FIRST, SECOND = (_tls.read(*_tls.make("demo")) for _authority in range(2))


def write(directory: Path, authority: _tls.Authority, trusted: str = "", age: float = 60) -> None:
    """The files of a node, written so many seconds ago."""
    directory.mkdir(exist_ok=True)
    leaf, files = _tls.issue(authority, NAMES, 90), NodeFiles.of(str(directory))
    trusts = trusted or authority.certificate
    texts = {files.authority: trusts, files.certificate: leaf.certificate, files.key: leaf.key}
    for path, text in texts.items():
        Path(path).write_text(text)
        touch(path, age)


def touch(path: str, age: float) -> None:
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path) -> Iterator[Host]:
    """A worker with a certificate."""
    found = Host(tmp_path)
    write(tmp_path / "tls", FIRST)
    found.config["tls"] = {"directory": str(tmp_path / "tls")}
    yield found
    if found.process:
        found.process.kill()
        found.process.communicate()


@pytest.fixture(name="raylet")
def raylet_fixture(host: Host) -> Iterator[int]:
    """What listens where the node's raylet does, with the certificate of the first authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = NodeFiles.of(host.config["tls"]["directory"])
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(cadata=FIRST.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server = create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                with context.wrap_socket(server.accept()[0], server_side=True) as connection:
                    connection.recv(1)
            except ssl.SSLError:
                continue  # The other side has no certificate, or does not trust this one.
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    port = server.getsockname()[1]
    host.config["network"].update(node_ip_address="127.0.0.1", ports={"node_manager": port})
    yield port
    server.close()


def kinds(node: LiveNode, certificate: dict | None = None) -> dict[str, str]:
    found, _action = all_differences(node, certificate=certificate)
    return {item.option: item.kind for item in found if item.kind != "health"}


def aged(node: LiveNode, monkeypatch: pytest.MonkeyPatch, seconds: float = 30) -> LiveNode:
    """The same, started some time ago."""
    for module in ("difference", "live"):
        monkeypatch.setattr(
            f"ansible_collections.rayops.cluster.plugins.module_utils._node.{module}.started_at",
            lambda _pid: time.time() - seconds,
        )
    return node


def test_a_node_with_its_certificate_does_not_differ(host):
    host.run()
    node = host.live()
    assert kinds(node) == {} and node.tls_directory == node.spoken_tls == host.config["tls"]["directory"]
    assert node.describe()["tls"] is True


def test_a_node_that_speaks_plain_where_tls_is_declared(host):
    tls = host.config.pop("tls")
    host.run()
    assert kinds(host.live()) == {} and host.live().describe()["tls"] is False
    host.config["tls"] = tls
    found, action = all_differences(host.live())
    assert action == "restart" and {item.kind for item in found} - {"health"} == {"other_tls"}
    assert other_tls(found, host.live()) == "plain" and not can_wait(found, action)
    # With this it is asked, until it stops.
    assert host.live().spoken_tls == ""


def test_a_node_that_speaks_tls_where_plain_is_declared(host):
    host.run()
    tls = host.config.pop("tls")
    found, _action = all_differences(host.live())
    assert other_tls(found, host.live()) == "tls" and host.live().spoken_tls == tls["directory"]


def test_one_that_does_not_run_speaks_nothing(host):
    found, action = all_differences(host.live(), certificate={"kind": "missing", "rejected": True})
    assert action == "start" and other_tls(found, host.live()) == "" and host.live().describe()["tls"] is None
    assert not {item.kind for item in found} & {"certificate", "rejected_certificate"}


@pytest.mark.parametrize(
    ("kind", "rejected", "found", "waits"),
    [
        ("ending", False, "certificate", True),
        ("issuer", False, "certificate", True),
        ("surplus", False, "certificate", True),
        ("trust", False, "trust", True),
        ("expired", True, "rejected_certificate", False),
        ("foreign", True, "rejected_certificate", False),
        ("names", True, "rejected_certificate", False),
        ("missing", True, "rejected_certificate", False),
        ("authority", True, "other_tls", False),
    ],
)
def test_what_is_found_before_a_certificate_is_written(host, kind, rejected, found, waits):
    """Its workers reject a head with some of them: it restarts before they do, with others after them."""
    host.run()
    differences = [item for item in all_differences(host.live(), certificate={"kind": kind, "rejected": rejected})[0]
                   if item.kind != "health"]
    assert [item.kind for item in differences] == [found]
    assert can_wait(Differences(differences), "restart") is waits
    assert other_tls(Differences(differences), host.live()) == ("authority" if kind == "authority" else "")


def test_a_certificate_that_is_newer_than_the_process(host, monkeypatch):
    host.run()
    node = aged(host.live(), monkeypatch)
    assert kinds(node) == {}
    touch(f"{node.tls_directory}/node.pem", 5)
    assert kinds(node) == {"certificate": "certificate"}


def test_more_authorities_than_the_process_has_read(host, raylet, monkeypatch):
    host.run()
    node = aged(host.live(), monkeypatch)
    write(host.directory / "tls", FIRST, trusted=FIRST.certificate + SECOND.certificate)
    touch(f"{node.tls_directory}/ca.pem", 5)
    assert kinds(node) == {"trusted authorities": "trust"}


def test_another_authority_than_the_process_has_read(host, raylet, monkeypatch):
    host.run()
    node = aged(host.live(), monkeypatch)
    # An upgrade has kept the first one, and was interrupted.
    shutil.copytree(node.tls_directory, f"{node.tls_directory}/{PREVIOUS}")
    write(host.directory / "tls", SECOND, age=5)
    found, _action = all_differences(node)
    assert "other_tls" in {item.kind for item in found} and other_tls(found, node) == "authority"
    assert node.spoken_tls == f"{node.tls_directory}/{PREVIOUS}"
    # Of an upgrade that is long over.
    monkeypatch.undo()
    os.utime(f"{node.tls_directory}/{PREVIOUS}/ca.pem")
    later = time.time() + 60
    monkeypatch.setattr(
        "ansible_collections.rayops.cluster.plugins.module_utils._node.live.started_at", lambda _pid: later
    )
    assert node.spoken_tls == node.tls_directory


def test_a_raylet_that_shows_nothing_is_not_of_another_authority(host, monkeypatch):
    host.config["network"].update(node_ip_address="127.0.0.1", ports={"node_manager": 9})
    host.run()
    node = aged(host.live(), monkeypatch)
    touch(f"{node.tls_directory}/ca.pem", 5)
    assert kinds(node) == {"trusted authorities": "trust"}


def test_an_authority_that_is_replaced_is_told_from_one_that_nobody_knows(tmp_path):
    write(tmp_path / "node", FIRST)
    files = NodeFiles.of(str(tmp_path / "node"))
    assert judge(files, NAMES, FIRST.certificate).kind == ""
    assert judge(files, NAMES, SECOND.certificate).kind == "authority"
    assert judge(files, NAMES, SECOND.certificate).rejected
    Path(files.authority).write_text(SECOND.certificate)
    assert judge(files, NAMES, SECOND.certificate).kind == "foreign"
    assert judge(files, NAMES, FIRST.certificate + SECOND.certificate).kind == "trust"

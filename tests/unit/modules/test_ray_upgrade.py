# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs is kept, and put back; what is kept is tried, and never by root."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node.live import ray_version
from tests.unit.conftest import OWN_USER

upgrade = importlib.import_module("ansible_collections.rayops.cluster.plugins.modules.ray_upgrade")
OLD, NEW = "/opt/ray/2.60.0", "/opt/ray/2.61.0"


class Module:
    """As much of an AnsibleModule as is asked of it."""

    def __init__(self, directory: Path, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.params: dict[str, Any] = {
            "node_type": "head", "config_dir": str(directory / "etc"),
            "environment": NEW, "user": OWN_USER, "variables": {}, "files": [], "tls": False,
        }

    def preserved_copy(self, source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes())
        os.chmod(target, os.stat(source).st_mode & 0o777)


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A head that runs the old environment and makes backups."""
    monkeypatch.setattr(upgrade, "UNITS", str(tmp_path / "units"))
    for name in ("units", "etc"):
        (tmp_path / name).mkdir()
    write(tmp_path, OLD)
    (tmp_path / "etc" / "head-node.yaml").chmod(0o640)
    return tmp_path


def write(host: Path, environment: str) -> None:
    """The files of a head."""
    (host / "units" / "ray-head.service").write_text(f"[Service]\nExecStart={environment}/bin/ray start --head\n")
    (host / "units" / "ray-backup.service").write_text(f"[Service]\nExecStart=save --version {environment}\n")
    (host / "etc" / "head-node.yaml").write_text(f"environment: {environment}\n")


def node(host: Path, check_mode: bool = False) -> Any:
    return upgrade.Previous(Module(host, check_mode))


def test_what_runs_is_kept_and_put_back(host):
    kept = host / "etc" / "previous"
    assert len(node(host, check_mode=True).keep()) == 3 and not kept.exists()
    assert len(node(host).keep()) == 3 and node(host).keep() == []
    assert sorted(os.listdir(kept)) == ["head-node.yaml", "ray-backup.service", "ray-head.service", "upgraded-to"]
    assert kept.stat().st_mode & 0o777 == 0o750 and (kept / "head-node.yaml").stat().st_mode & 0o777 == 0o640
    write(host, NEW)
    # A run that was interrupted has written the new files: what is kept is still what ran.
    assert node(host).keep() == [] and node(host).environment() == OLD
    assert len(node(host, check_mode=True).restore()) == 3
    assert NEW in (host / "units" / "ray-head.service").read_text()
    assert len(node(host).restore()) == 3 and node(host).restore() == []
    for path in (*(host / "units").iterdir(), host / "etc" / "head-node.yaml"):
        assert OLD in path.read_text()
    assert len(os.listdir(host / "units")) == 2


def test_a_node_whose_environment_stays_does_not_go_back_to_an_older_one(host):
    """Another pool has other packages: all nodes stop and start, and this one's environment is the same as before."""
    node(host).keep()
    write(host, NEW)
    assert node(host).keep() == [] and node(host).environment() == OLD
    node(host).finish()
    assert node(host).environment() == OLD
    assert len(node(host).keep()) == 3 and node(host).environment() == NEW


def test_a_host_without_a_node_has_nothing_to_keep(host):
    (host / "units" / "ray-head.service").unlink()
    assert node(host).keep() == [] and node(host).environment() is None


def test_there_is_something_to_go_back_to(host, ray_environment):
    with pytest.raises(upgrade.UnusableError, match="are kept"):
        node(host).check()
    node(host).keep()
    with pytest.raises(upgrade.UnusableError, match=f"{OLD}/bin/python cannot be run"):
        node(host).check()
    write(host, ray_environment)
    node(host).keep()
    node(host).check()
    (host / "etc" / "previous" / "head-node.yaml").unlink()
    with pytest.raises(upgrade.UnusableError, match="are kept"):
        node(host).check()


def speaking(host: Path, serial: str = "", check_mode: bool = False, **options: Any) -> Any:
    """The node of an upgrade that only changes what it speaks; with a serial, its certificate was written already."""
    if serial:
        (host / "etc" / "tls").mkdir(exist_ok=True)
        for name in ("ca.pem", "node.pem", "node.key"):
            (host / "etc" / "tls" / name).write_text(f"{name} {serial}")
    found = node(host, check_mode)
    found.module.params.update({"environment": OLD, "tls": True, **options})
    return upgrade.Previous(found.module)


def let_speak(host: Path) -> None:
    """The unit, as an upgrade to TLS writes it."""
    unit = host / "units" / "ray-head.service"
    unit.write_text(unit.read_text() + "Environment=RAY_USE_TLS=1\n")


def test_a_switch_to_tls_is_kept_and_put_back(host):
    assert speaking(host).keep() and speaking(host).speaks_tls() is False
    let_speak(host)
    speaking(host, "1")
    # Interrupted: what is kept is what ran.
    assert speaking(host).keep() == [] and speaking(host).speaks_tls() is False
    speaking(host).finish()
    # The way back is an upgrade, too, and keeps the certificate where Ray's user reads it.
    assert len(speaking(host, tls=False).keep()) == 4 and speaking(host).speaks_tls() is True
    kept = host / "etc" / "tls" / "previous"
    assert sorted(os.listdir(kept)) == ["ca.pem", "node.key", "node.pem"] and kept.stat().st_mode & 0o777 == 0o750
    assert kept.stat().st_gid == (host / "etc" / "tls").stat().st_gid
    write(host, OLD)
    assert len(speaking(host).restore()) == 1 and upgrade.speaks_tls(str(host / "units" / "ray-head.service"))


def test_another_authority_is_put_back_as_new(host):
    """What has read a file since is to be started anew, by the time of the file."""
    let_speak(host)
    speaking(host, "1").keep()
    os.utime(host / "etc" / "tls" / "ca.pem", (1, 1))
    speaking(host, "2")
    assert speaking(host, check_mode=True).restore() and (host / "etc" / "tls" / "ca.pem").read_text() == "ca.pem 2"
    before = time.time()
    assert len(speaking(host).restore()) == 3
    assert (host / "etc" / "tls" / "ca.pem").read_text() == "ca.pem 1"
    assert (host / "etc" / "tls" / "ca.pem").stat().st_mtime > before - 1


def test_what_was_not_there_is_not_put_back(host):
    """An upgrade before had a certificate, or a password, and this one has none."""
    secret = host / "etc" / "redis.env"
    secret.write_text("old")
    speaking(host, "1", files=[str(secret)]).keep()
    assert (host / "etc" / "previous" / "redis.env").read_text() == "old"
    secret.unlink()
    speaking(host, files=[str(secret)], environment=NEW).keep()
    assert speaking(host, files=[str(secret)]).restore() == [] and not secret.exists()


def test_redis_goes_back_with_the_nodes(host):
    conf, certificate = host / "redis" / "redis.conf", host / "redis" / "tls" / "node.pem"
    certificate.parent.mkdir(parents=True)
    conf.write_text("port 6380")
    certificate.write_text("of before")
    options = {"node_type": None, "files": [str(conf), str(certificate)], "config_dir": str(host / "redis")}
    assert speaking(host, **options).keep() == [str(conf), str(certificate)]
    # Root's alone, as Redis has another user than Ray.
    assert sorted(os.listdir(host / "redis" / "previous")) == ["node.pem", "redis.conf", "upgraded-to"]
    conf.write_text("tls-port 6380")
    assert speaking(host, **options).keep() == []
    assert len(speaking(host, **options).restore()) == 1 and conf.read_text() == "port 6380"
    speaking(host, **options).finish()
    # A version that changes while Redis stays: what is kept is of the last upgrade.
    conf.write_text("port 6381")
    assert speaking(host, **options).keep() and speaking(host, **options).restore() == []


class Live:
    """As much of a LiveNode as is asked."""

    def __init__(self, environment: str = OLD, tls: str = "", spoken: str | None = None, running: bool = True) -> None:
        self.running, self.executable = running, f"{environment}/bin/ray"
        self.tls_directory, self.spoken_tls = tls, tls if spoken is None else spoken


def test_an_upgrade_that_was_interrupted_is_seen(host):
    assert not speaking(host).is_unfinished(Live())
    speaking(host).keep()
    assert not speaking(host).is_unfinished(Live())
    let_speak(host)
    assert speaking(host).is_unfinished(Live()) and not speaking(host).is_unfinished(Live(tls="/etc/ray/tls"))
    assert speaking(host).is_unfinished(Live(NEW, tls="/etc/ray/tls"))
    # Another authority: the files look the same.
    assert speaking(host).is_unfinished(Live(tls="/etc/ray/tls", spoken="/etc/ray/tls/previous"))
    assert not speaking(host).is_unfinished(Live(running=False))
    speaking(host).finish()
    assert not speaking(host).is_unfinished(Live())
    # And a way back.
    speaking(host).restore()
    assert speaking(host).is_unfinished(Live(tls="/etc/ray/tls")) and not speaking(host).is_unfinished(Live())


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a link to another user, which only root can")
def test_a_link_that_others_made_is_not_followed(host):
    elsewhere = host / "elsewhere"
    elsewhere.mkdir()
    (host / "etc" / "previous").symlink_to(elsewhere)
    os.chown(host / "etc" / "previous", 65534, -1, follow_symlinks=False)
    with pytest.raises(upgrade.PathError):
        node(host).keep()
    assert os.listdir(elsewhere) == []


def test_packages_are_imported(ray_environment):
    assert upgrade.imported_version(ray_environment, OWN_USER, ["PyYAML>=5", "click"]) == ray_version(ray_environment)
    with pytest.raises(upgrade.UnusableError, match="no-such-package==1 cannot be imported: PackageNotFoundError"):
        upgrade.imported_version(ray_environment, OWN_USER, ["click", "no-such-package==1"])


def test_the_module_refuses_another_version(run_module, ray_environment):
    options, version = {"environment": ray_environment, "user": OWN_USER}, ray_version(ray_environment)
    options["state"] = "tried"
    assert run_module("ray_upgrade", {**options, "version": version})["environment"] == ray_environment
    answer = run_module("ray_upgrade", {**options, "version": "2.1.0"})
    assert answer["failed"] and f"holds Ray {version}, not 2.1.0" in answer["msg"]

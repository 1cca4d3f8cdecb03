# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs is kept, and put back; what is kept is tried, and never by root."""

from __future__ import annotations

import importlib
import os
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
            "node_type": "head", "path": str(directory / "etc" / "previous"), "config_dir": str(directory / "etc"),
            "environment": NEW, "user": OWN_USER, "variables": {},
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

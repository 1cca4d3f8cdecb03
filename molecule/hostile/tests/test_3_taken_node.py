# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose root is somebody else: its answers are forged. It must get nothing from the controller."""

from __future__ import annotations

import base64
import io
import tarfile

import pytest

FORGED_ANSWER = """[Service]
ExecStartPost=/bin/sh -c 'for file in $(ls -d /var/backups/ray/*latest*.json); do \\
  echo "{\\\\"archive\\\\": \\\\"/root/ansible.cfg\\\\", \\\\"bytes\\\\": 1, \\\\"pause_ms\\\\": 0}" > $file; done'
"""
# Puts its own archive in the place of each that a verb makes, as soon as it is whole.
FORGER = """
import glob, os, shutil, time
deadline, done = time.monotonic() + 90, set()
while time.monotonic() < deadline:
    found = glob.glob('/var/tmp/support-bundle-*.tar.gz')
    for path in found + glob.glob('/var/lib/rayops/**/*.tar.gz', recursive=True):
        if path not in done:
            shutil.copyfile('/root/forged.tar.gz', path + '.f')
            os.rename(path + '.f', path)
            done.add(path)
    time.sleep(0.01)
"""


@pytest.fixture
def home(tmp_path):
    """The operator's, on the controller."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "precious").write_text("mine\n")
    return home


@pytest.fixture
def dest(tmp_path):
    dest = tmp_path / "dest"
    dest.mkdir()
    return dest


@pytest.fixture
def forged(cluster):
    """Let hosts ship archives of their own: {host: members}."""

    def forge(archives: dict[str, list[tarfile.TarInfo]]) -> None:
        for name, members in archives.items():
            data = io.BytesIO()
            with tarfile.open(fileobj=data, mode="w:gz") as archive:
                for member in members:
                    archive.addfile(member, io.BytesIO(b"x" * member.size))
            cluster.sh(name, "base64 -d > /root/forged.tar.gz", stdin=base64.b64encode(data.getvalue()).decode())
            cluster.sh(name, f'systemd-run --quiet --unit=forger python3 -c "{FORGER}"')

    yield forge
    for name in cluster.names:
        cluster.sh(name, "systemctl stop forger; rm -f /root/forged.tar.gz", check=False)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


def test_it_names_no_file_of_the_controller(cluster, play, dest):
    (dest / "ansible.cfg").write_text("[defaults]\n")
    cluster.sh(cluster.head, "mkdir -p /run/systemd/system/ray-backup.service.d; echo forged > /root/ansible.cfg")
    cluster.sh(cluster.head, "cat > /run/systemd/system/ray-backup.service.d/taken.conf", stdin=FORGED_ANSWER)
    cluster.sh(cluster.head, "systemctl daemon-reload")
    try:
        status, output = play("rayops.cluster.backup", "-e", f"backup_dest={dest}")
    finally:
        cluster.sh(cluster.head, "rm -r /run/systemd/system/ray-backup.service.d; systemctl daemon-reload")
    assert status != 0, output
    assert (dest / "ansible.cfg").read_text() == "[defaults]\n"
    assert [path.name for path in dest.iterdir()] == ["ansible.cfg"]


def test_archives_of_two_nodes_do_not_meet(cluster, play, forged, home, dest, worker):
    """One ships a link, the other a file through it."""
    forged({
        cluster.head: [entry("door", tarfile.SYMTYPE, str(home))],
        worker: [entry("door/taken", size=5)],
    })
    status, output = play("rayops.cluster.support_bundle", "-e", f"support_bundle_dest={dest}")
    assert [path.name for path in home.iterdir()] == ["precious"]
    assert status == 0, output


def test_nothing_of_an_archive_leaves_its_hosts_directory(cluster, play, forged, home, dest, worker):
    forged({
        cluster.head: [entry("head/kept.txt", size=5), entry("head/hard", tarfile.LNKTYPE, "/etc/passwd"),
                       entry("head/fifo", tarfile.FIFOTYPE), entry("/head/absolute", size=5)],
        worker: [entry("../taken", size=5), entry(f"{home}/taken", size=5), entry("head/kept.txt", size=7)],
    })
    # And a cluster's name is what an instance's tag says.
    arguments = ("-e", f"support_bundle_dest={dest}", "-e", "ray_cluster_name=../demo")
    status, output = play("rayops.cluster.support_bundle", *arguments)
    assert status == 0, output
    assert [path.name for path in home.iterdir()] == ["precious"]
    (archive,) = dest.iterdir()
    with tarfile.open(archive) as bundle:
        members = {member.name: member for member in bundle}
    assert all(member.isfile() and ".." not in name and not name.startswith("/") for name, member in members.items())
    sizes = {name.split("/", 1)[1]: member.size for name, member in members.items() if name.endswith("kept.txt")}
    # What the worker says is below the worker's name, whatever it calls it.
    assert sorted(sizes.values()) == [5, 7], sizes
    assert all(name.split("/")[0] == {5: cluster.head, 7: worker}[size] for name, size in sizes.items()), sizes

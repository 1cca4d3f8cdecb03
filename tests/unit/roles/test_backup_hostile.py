# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that backs up a head's state, where a job has changed the state, or somebody the archive."""

from __future__ import annotations

import getpass
import gzip
import io
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
import yaml

from tests.unit.conftest import install_backup_program

HEAD = Path(__file__).resolve().parents[3] / "roles" / "head"
# Holds a lock on a file, as a GCS does ("posix") or as only somebody else would ("ofd"), until it is killed.
HOLDER = """
import fcntl, os, struct, sys, time
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[3]))
stream = open(sys.argv[1], "r+b")
command = {"posix": fcntl.F_SETLK, "ofd": 37}[sys.argv[2]]
fcntl.fcntl(stream, command, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
print("locked", flush=True)
time.sleep(120)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")


class Head:
    """A head with a state in files that a job may have changed; its user is another one where root runs this."""

    def __init__(self, directory: Path) -> None:
        self.user = "nobody" if os.geteuid() == 0 else getpass.getuser()
        self.directory = directory
        self.program = install_backup_program(directory / "libexec")
        self.sandbox: list[str] = []
        self.guest = directory / "ray"
        self.state = self.guest / "gcs"
        self.token = directory / "auth_token"
        self.backups = directory / "backups"
        self.token.write_text("a token")
        for database in ("kv", "tables"):
            (self.state / database).mkdir(parents=True)
            (self.state / database / "CURRENT").write_text(f"{database}\n")
            (self.state / database / "LOCK").touch()
        (self.state / "session_name").write_text("session_1\n")
        self.give(self.guest)
        self.holders: list[subprocess.Popen[str]] = []

    def give(self, path: Path) -> None:
        """To the user whom jobs run as."""
        if os.geteuid() == 0:
            uid, gid = pwd.getpwnam(self.user)[2:4]
            for directory, directories, names in os.walk(path):
                for name in (".", *directories, *names):
                    os.chown(os.path.join(directory, name), uid, gid, follow_symlinks=False)

    def hold(self, path: Path, kind: str = "posix") -> subprocess.Popen[str]:
        command = [sys.executable, "-Ic", HOLDER, path, kind, *map(str, pwd.getpwnam(self.user)[2:4])]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.holders.append(holder)
        assert holder.stdout and holder.stdout.readline() == "locked\n"
        return holder

    def run(self, verb: str, *arguments: object) -> dict:
        command = [*self.sandbox, sys.executable, "-I", self.program, verb, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, umask=0o077)
        assert done.stderr == "", done.stderr
        return json.loads(done.stdout)

    def save(self, *more: object, cluster: str = "demo", keep: int = 1) -> dict:
        return self.run("save", "--gcs", self.state, "--token", self.token, "--dest", self.backups, "--keep", keep,
                        "--cluster", cluster, "--version", "2.60.0", "--user", self.user, *more)

    def inspect(self) -> dict:
        return self.run("inspect", "--gcs", self.state, "--token", self.token, "--user", self.user)

    def restore(self, archive: object, state: Path) -> dict:
        return self.run("restore", "--archive", archive, "--gcs", state, "--token", self.token, "--user", self.user)

    def check(self, archive: object) -> dict:
        return self.run("check", "--archive", archive, "--cluster", "demo", "--version", "2.60.0")


@pytest.fixture(name="head")
def head_fixture() -> Iterator[Head]:
    # pytest's own directories are closed to other users.
    directory = Path(tempfile.mkdtemp(prefix="backup"))
    directory.chmod(0o755)
    head = Head(directory)
    yield head
    for holder in head.holders:
        holder.kill()
        holder.communicate()
    shutil.rmtree(directory)


def runs(process: subprocess.Popen[str]) -> bool:
    """Whether it was never stopped: a signal that arrived shows within the time."""
    time.sleep(0.2)
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T"


def test_a_lock_that_no_process_holds_signals_nobody(head):
    """The kernel answers with process -1, which is everybody for kill(2)."""
    holder = head.hold(head.state / "kv" / "LOCK", "ofd")
    assert "Something that is no GCS holds the lock" in head.save("--unit", "")["error"]
    assert runs(holder) and os.listdir(head.backups) == []


def test_a_process_of_another_unit_is_not_stopped(head):
    holder = head.hold(head.state / "tables" / "LOCK")
    said = head.save()["error"]
    assert f"Process {holder.pid} holds the lock of {head.state} and is no GCS of ray-head.service" in said
    assert runs(holder) and os.listdir(head.backups) == []
    assert head.save("--unit", "")["pause_ms"] > 0 and runs(holder)


@needs_root
def test_a_process_of_another_user_is_not_stopped(head):
    head.user = "root"
    holder = head.hold(head.state / "kv" / "LOCK")
    head.user = "nobody"
    assert f"Process {holder.pid} holds the lock" in head.save("--unit", "")["error"] and runs(holder)


def test_a_lock_that_is_a_link_or_a_pipe(head):
    lock = head.directory / "daemon.lock"
    lock.touch()
    head.give(head.directory / "ray")
    os.chmod(lock, 0o666)
    holder = head.hold(lock)
    (head.state / "kv" / "LOCK").unlink()
    (head.state / "kv" / "LOCK").symlink_to(lock)
    assert "Too many levels of symbolic links" in head.save("--unit", "")["error"] and runs(holder)
    (head.state / "kv" / "LOCK").unlink()
    os.mkfifo(head.state / "kv" / "LOCK")
    assert "LOCK is no file that RocksDB writes" in head.save()["error"]
    # A restore would hang as well.
    assert "LOCK is no file that RocksDB writes" in head.restore("/dev/null", head.state)["error"]


@pytest.mark.parametrize("name", ["session_name", "kv/CURRENT", "kv/000004.log"])
def test_a_file_that_is_a_link_or_a_pipe(head, name):
    path = head.state / name
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/hostname")
    for answer in (head.save(), head.inspect()):
        assert "Too many levels of symbolic links" in answer["error"]
    path.unlink()
    os.mkfifo(path)
    for answer in (head.save(), head.inspect()):
        assert "is no file that RocksDB writes" in answer["error"]
    assert os.listdir(head.backups) == []


def test_what_a_state_began_as_is_no_way_to_read_files(head):
    secret = head.directory / "secret"
    secret.write_text("0123456789abcdef" * 4)
    marker = head.state / ".restored"
    marker.write_text(secret.read_text() + "\n")
    assert head.inspect()["restored"] == secret.read_text()
    marker.write_text("root:x:0:0\n")
    assert head.inspect()["restored"] == ""
    for way in (lambda: marker.symlink_to(secret), lambda: os.mkfifo(marker), marker.mkdir):
        marker.unlink()
        way()
        assert head.inspect()["restored"] == ""


def test_a_time_that_a_job_gave_is_no_later_than_now(head):
    os.utime(head.state / "kv" / "CURRENT", (1 << 40, 1 << 40))
    assert time.time() - 60 < head.inspect()["written"] <= time.time()
    assert head.save()["written"] <= time.time()


@needs_root
def test_a_state_is_read_with_its_users_rights_alone(head):
    (head.state / "kv" / "000004.log").write_text("root's")
    (head.state / "kv" / "000004.log").chmod(0o600)
    assert "Permission denied" in head.save()["error"] and "Permission denied" in head.inspect()["error"]
    head.give(head.guest)
    answer = head.save()
    status = os.stat(answer["archive"])
    assert (status.st_uid, status.st_mode & 0o777, os.stat(head.backups).st_mode & 0o777) == (0, 0o600, 0o700)
    assert answer["session"] == "session_1"


@needs_root
def test_root_of_the_unit_may_enter_nothing_of_rays(head):
    """ray-backup.service leaves root none of its rights on files."""
    head.sandbox = ["setpriv", "--bounding-set=-all,+setuid,+setgid,+kill", "--inh-caps=-all"]
    head.state.chmod(0o700)
    assert "error" not in head.save() and head.inspect()["state"]


@needs_root
def test_a_state_that_is_a_link_is_not_followed_unless_it_is_roots(head):
    elsewhere = head.directory / "disk"
    head.state.rename(elsewhere)
    head.state.symlink_to(elsewhere)
    os.chown(head.state, pwd.getpwnam(head.user).pw_uid, -1, follow_symlinks=False)
    for answer in (head.save(), head.inspect(), head.restore("/dev/null", head.state)):
        assert "goes through the link 'gcs', which nobody can have made" in answer["error"]
    # Root's, but where anybody can put one.
    os.chown(head.state, 0, 0, follow_symlinks=False)
    assert "goes through the link" in head.inspect()["error"]
    os.chown(head.guest, 0, 0)
    archive = head.save()["archive"]
    assert head.inspect()["state"]
    aside = head.restore(archive, head.state)["aside"]
    assert head.state.is_symlink() and Path(aside).parent == elsewhere.parent and (elsewhere / ".restored").is_file()


@needs_root
def test_a_state_without_its_user_is_read_as_its_owner(head):
    uid = pwd.getpwnam(head.user).pw_uid
    head.user = "no-such-user"
    assert head.inspect()["state"]
    (head.state / "kv" / "000004.log").touch(0o600)
    assert "Permission denied" in head.inspect()["error"]
    os.chown(head.state, 0, 0)
    assert "There is no user no-such-user on this host" in head.inspect()["error"]
    os.chown(head.state, uid, uid)
    shutil.rmtree(head.state)
    assert not head.inspect()["state"]


def test_clusters_share_a_directory(head):
    other = [f"ray-backup-demo-{name}-20260101T000000Z.tar.gz" for name in ("2", "latest")]
    others = {*other, *(f".{name}" for name in other), "ray-backup-demo-2-latest.json", "ray-backup-demo-x.tar.gz"}
    others |= {"latest.json"}
    old = ["ray-backup-demo-20260101T000000Z.tar.gz", ".ray-backup-demo-20260102T000000Z.tar.gz"]
    head.backups.mkdir()
    for name in (*others, *old):
        (head.backups / name).touch()
    # One whose last write was cut off.
    (head.backups / ".ray-backup-demo-latest.json").symlink_to(head.directory / "elsewhere")
    head.hold(head.state / "kv" / "LOCK")
    answer = head.save("--unit", "")
    left = set(os.listdir(head.backups))
    assert left == {*others, Path(answer["archive"]).name, "ray-backup-demo-latest.json"}
    assert not (head.directory / "elsewhere").exists()
    # What a teardown takes is what this cluster left.
    expression = yaml.safe_load((HEAD / "vars" / "main" / "backup.yml").read_text())["_head_backup_names"]
    environment = jinja2.Environment()
    environment.filters["regex_escape"] = re.escape
    ours = re.compile(environment.from_string(expression).render(ray_cluster_name="demo"))
    mine = left - others | {f".{name}" for name in left - others} | set(old)
    assert {name for name in left | mine if ours.fullmatch(name)} == mine


@needs_root
def test_a_restore_gives_away_nothing_of_roots(head):
    archive = head.save()["archive"]
    (head.directory / "mine").mkdir()
    (head.directory / "mine" / "file").touch()
    before = [os.stat(head.directory / "mine").st_uid, os.stat(head.directory / "mine" / "file").st_uid]
    # What a job left where the new state is made, in a directory that is its own.
    (head.guest / ".gcs.new").symlink_to(head.directory / "mine")
    assert "error" in head.restore(archive, head.state)
    (head.guest / ".gcs.new").unlink()
    (head.guest / ".gcs.new").mkdir()
    assert "in the way" in head.restore(archive, head.state)["error"]
    (head.guest / ".gcs.new").rmdir()
    assert [os.stat(head.directory / "mine").st_uid, os.stat(head.directory / "mine" / "file").st_uid] == before
    # Directories that are missing can be entered, whatever mask root has.
    place = head.directory / "data" / "deep" / "gcs"
    head.token.unlink()
    assert head.restore(archive, place) == {"state_id": head.inspect()["state_id"], "aside": ""}
    uid, gid = pwd.getpwnam(head.user)[2:4]
    assert [os.stat(path).st_mode & 0o777 for path in (place.parent.parent, place.parent)] == [0o755, 0o755]
    assert {os.stat(path).st_uid for path in (place, *place.rglob("*"))} == {uid}
    assert os.stat(place).st_mode & 0o777 == 0o700
    assert os.stat(place.parent).st_uid == 0 and os.listdir(place.parent) == ["gcs"]
    token = os.stat(head.token)
    assert (token.st_uid, token.st_gid, token.st_mode & 0o777) == (0, gid, 0o640)
    assert head.token.read_text() == "a token"
    # A run that was killed left a half.
    (place.parent / ".gcs.new" / "gcs").mkdir(parents=True)
    (place.parent / ".gcs.new").chmod(0o700)
    aside = Path(head.restore(archive, place)["aside"])
    assert sorted(os.listdir(place.parent)) == ["gcs", aside.name] and (aside / ".restored").is_file()


@needs_root
def test_a_child_that_a_job_stops_or_ends_is_not_waited_for(head):
    """It is the user's process, so a job may signal it."""
    with (head.state / "kv" / "000004.sst").open("wb") as stream:
        stream.truncate(20 << 30)
    head.give(head.guest)
    command = [sys.executable, "-I", head.program, "inspect", "--gcs", head.state, "--token", head.token]
    command += ["--user", head.user]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert os.stat(f"/proc/{child}/mem").st_uid == 0  # None of that user's processes can look into it.
    subprocess.run(["kill", "-KILL", child], check=True)
    assert "ended without an answer" in process.communicate(timeout=10)[0]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    subprocess.run(["kill", "-STOP", child], check=True)
    process.terminate()
    assert process.wait(timeout=15) == 143 and not Path(f"/proc/{child}").exists()


def archive(path: Path, *entries: tarfile.TarInfo, data: bytes = b"", kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=kind) as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(data.ljust(entry.size)) if entry.isreg() else None)
    return path


def entry(name: str, size: int = 0, **attributes: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size = size
    for attribute, value in attributes.items():
        setattr(found, attribute, value)
    return found


@pytest.mark.parametrize("forged", [
    [entry("gcs/kv", type=tarfile.SYMTYPE, linkname="/etc")],
    [entry("gcs/kv", type=tarfile.LNKTYPE, linkname="auth_token")],
    [entry("gcs/kv", type=tarfile.FIFOTYPE)],
    [entry("gcs/kv", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    [entry("gcs/../../evil")], [entry("/gcs/evil")], [entry("gcs//evil")], [entry("gcs/./evil")], [entry("gcs/\nevil")],
    [entry("gcs/CURRENT"), entry("gcs/CURRENT")],
    [entry("gcs/sparse", pax_headers={"GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,0"})],
])
def test_an_archive_that_holds_what_no_backup_has(head, forged):
    path = archive(head.directory / "forged", *forged)
    for answer in (head.check(path), head.restore(path, head.directory / "new" / "gcs")):
        assert "is no backup: it holds " in answer["error"]
    assert not any((head.directory / "new").iterdir())


def test_an_archive_that_would_take_all_there_is(head):
    # A header of a gigabyte, one whose size is below zero, and a manifest whose brackets have no end.
    whole = head.save()["archive"]
    with gzip.open(head.directory / "long", "wb", compresslevel=1) as stream:
        stream.write(entry("x", 1 << 30, type=tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT))
        for _number in range(64):
            stream.write(b"1" * (1 << 20))
    archive(head.directory / "back", entry("gcs/CURRENT", pax_headers={"size": "-1024"}))
    deep = b"[" * 200000
    archive(head.directory / "deep", entry("manifest.json", len(deep)), data=deep)
    forged = json.dumps({"cluster_name": ["demo"], "files": {}}).encode()
    archive(head.directory / "kinds", entry("manifest.json", len(forged)), data=forged)
    for name in ("long", "back", "deep", "kinds"):
        assert "is no whole backup" in head.check(head.directory / name)["error"], name
    # A sum that is broken only at its end.
    broken = bytearray(Path(whole).read_bytes())
    broken[-6] ^= 255
    (head.directory / "sum").write_bytes(broken)
    assert "is no whole backup" in head.check(head.directory / "sum")["error"]
    assert "error" not in head.check(whole)

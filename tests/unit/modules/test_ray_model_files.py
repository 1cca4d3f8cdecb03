# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models that are brought to this machine, from a directory of it that is a share, with real files."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.rayops.cluster.plugins.module_utils._serving import copies
from ansible_collections.rayops.cluster.plugins.module_utils._serving.copies import Copy, aside
from ansible_collections.rayops.cluster.plugins.module_utils._serving.sources import INCOMING
from ansible_collections.rayops.cluster.plugins.modules import ray_model_files

GUEST = pwd.getpwnam("nobody")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that are not root's")
FILES = {"config.json": "{}", "model-1.safetensors": "one", "model-2.safetensors": "two", "inference/model.py": "pass"}


@pytest.fixture
def directory():
    """Where others get through: pytest's own directories are closed."""
    with tempfile.TemporaryDirectory(prefix="rm", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))
    return folder


@pytest.fixture
def share(directory):
    return write(directory / "share", {**FILES, ".git/config": "hidden", "inference/.hidden": "hidden"})


class Place:
    """A host's model, and what the module says of it."""

    def __init__(self, directory: Path, share: Path):
        self.records, self.share, self.path = directory / "records", share, directory / "models" / "r1"

    def run(self, check: bool = False, **changes):
        """As on a host, but in this process: a new one takes half a second."""
        entry = {"path": str(self.path), "share": str(self.share), **changes}
        options = {"models": [entry], "records": str(self.records), "owner": os.geteuid(), "_ansible_check_mode": check}
        output, mask = io.StringIO(), os.umask(0o077)
        try:
            with patch_module_args(options), redirect_stdout(output), pytest.raises(SystemExit):
                ray_model_files.main()
        finally:
            os.umask(mask)
        return json.loads(output.getvalue())

    def copy(self) -> Copy:
        """What the module makes of it, looked at."""
        copy = Copy({"path": str(self.path), "share": str(self.share), "source": "", "sums": None, "files": None,
                     "digests": None}, str(self.records))
        copy.look()
        return copy

    def content(self):
        return {str(path.relative_to(self.path)): path.read_text() for path in self.path.rglob("*") if path.is_file()}

    def record(self):
        (path,) = self.records.glob("*.json")
        return json.loads(path.read_text())


@pytest.fixture
def place(directory, share):
    return Place(directory, share)


def sums(files=None):
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in (files or FILES).items()}


def test_a_model_is_copied_once(place):
    before = place.run(check=True)
    assert before["changed"] and before["lacks"] and not place.path.exists() and not place.records.exists()
    assert before["models"][0] == {"path": str(place.path), "files": 4, "bytes": 12, "lacking": 4, "awaited": []}
    result = place.run()
    assert result["changed"] and not result["lacks"] and place.content() == FILES
    assert f"{place.path}/inference/model.py: 4 bytes\n" in result["diff"]["after"] and result["diff"]["before"] == ""
    # Nobody but root writes there, everybody reads it, and nothing is left aside.
    for path in [place.path, *place.path.rglob("*")]:
        status = path.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o755 if path.is_dir() else 0o644)
    assert {name: found[2] for name, found in place.record()["files"].items()} == sums()
    again = place.run()
    assert not again["changed"] and again["diff"]["after"] == "" and not place.run(check=True)["lacks"]


def test_a_second_run_reads_no_file(place):
    """Hundreds of GB: size and time say that a file is as it was."""
    place.run()
    inode = (place.path / "model-1.safetensors").stat().st_ino
    path = place.path / "model-1.safetensors"
    path.write_text("ONE")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert not place.run(check=True)["lacks"]
    # It was read, and differs: another time is seen.
    os.utime(path, (1_700_000_001, 1_700_000_001))
    result = place.run()
    assert result["changed"] and place.content() == FILES
    assert "model-1.safetensors: 3 bytes, of another time\n" in result["diff"]["before"]
    assert path.stat().st_ino != inode


def test_what_was_copied_by_other_means_is_read_and_stays(place):
    """As by rsync -t, or before a teardown that took the record."""
    write(place.path, FILES)
    (place.path / "model-1.safetensors").chmod(0o600)
    inodes = {path: path.stat().st_ino for path in place.path.rglob("*")}
    assert place.run(check=True)["lacks"]
    assert not place.run()["lacks"] and not place.run(check=True)["lacks"]
    assert {path: path.stat().st_ino for path in place.path.rglob("*")} == inodes
    assert {name: found[2] for name, found in place.record()["files"].items()} == sums()
    assert stat.S_IMODE((place.path / "model-1.safetensors").stat().st_mode) == 0o644
    shutil.rmtree(place.records)
    # Nothing but the record was made.
    assert not place.run()["changed"] and place.record()["whole"]


def test_checksums_decide(place):
    """They tell a copy of another time from another content, and exactly what they name is brought."""
    named = {name: FILES[name] for name in ("config.json", "model-1.safetensors")}
    write(place.path, {**named, "model-1.safetensors": "ONE"})
    os.utime(place.path / "config.json", (5, 5))
    inode = (place.path / "config.json").stat().st_ino
    assert place.run(sums=sums(named))["changed"]
    assert place.content() == named and (place.path / "config.json").stat().st_ino == inode


def test_a_file_that_is_not_what_checksums_say(place):
    (place.share / "model-2.safetensors").write_text("TWO")
    result = place.run(sums=sums())
    assert result["failed"] and f"ray_models, {place.path}: model-2.safetensors has the SHA-256 " in result["msg"]
    assert result["msg"].endswith("get the file anew, or correct checksums.")
    # Nothing is seen half. What is right is not copied again.
    assert place.content().keys() == {f"{INCOMING}/{aside(name)}" for name in FILES if name != "model-2.safetensors"}
    inode = (place.path / INCOMING / aside("model-1.safetensors")).stat().st_ino
    write(place.share, FILES)
    assert place.run(sums=sums())["changed"] and place.content() == FILES
    assert (place.path / "model-1.safetensors").stat().st_ino == inode


def test_a_file_that_checksums_name_and_the_share_lacks(place):
    result = place.run(sums={**sums(), "model-3.safetensors": "a" * 64})
    assert result["failed"] and not place.path.exists()
    assert "model-3.safetensors is missing: get the model anew, or correct checksums" in result["msg"]


def test_a_new_model_takes_the_old_ones_place_at_once(place, monkeypatch):
    place.run()
    write(place.share, {"model-1.safetensors": "ONE+", "model-2.safetensors": "TWO+"})
    shown = place.run(check=True)
    assert shown["changed"] and shown["models"][0]["lacking"] == 2
    before = f"{place.path}/model-1.safetensors: 3 bytes\n{place.path}/model-2.safetensors: 3 bytes\n"
    assert shown["diff"]["before"] == before and shown["diff"]["after"] == before.replace("3 bytes", "4 bytes")
    # Until the last of it is there, all of the old one is.
    copy = place.copy()
    verify, seen = Copy._verify, []

    def seen_by_an_engine(self, name, *rest):
        seen.append((place.path / "model-1.safetensors").read_text() + (place.path / "model-2.safetensors").read_text())
        verify(self, name, *rest)

    monkeypatch.setattr(Copy, "_verify", seen_by_an_engine)
    assert copy.bring(os.geteuid(), lambda: None) == [] and copy.problems == []
    replaced = {"model-1.safetensors": "ONE+", "model-2.safetensors": "TWO+"}
    assert seen == ["onetwo"] * 2 and place.content() == {**FILES, **replaced}


def test_a_run_that_dies_is_continued(place, monkeypatch):
    """What was copied is there, by file; what was half copied begins anew."""
    copy = place.copy()
    copied = copies._copied

    def disk_full(reading, writing, size, beat):
        if os.pread(reading, 3, 0) == b"two":
            os.write(writing, b"t")
            raise OSError(28, "No space left on device")
        return copied(reading, writing, size, beat)

    monkeypatch.setattr(copies, "_copied", disk_full)
    monkeypatch.setattr(copies, "STREAMS", 1)
    copy.bring(os.geteuid(), lambda: None)
    assert copy.problems == [f"ray_models, {place.path}: No space left on device: see to that, and run again, what was "
                             "copied stays."]
    there = {path.name: path.stat().st_ino for path in (place.path / INCOMING).iterdir()}
    assert aside("config.json") in there and aside("model-2.safetensors") not in there
    monkeypatch.undo()
    assert place.run()["changed"] and place.content() == FILES
    assert (place.path / "config.json").stat().st_ino == there[aside("config.json")]


def test_a_run_that_dies_between_two_files_is_known(place, monkeypatch):
    copy = place.copy()
    rename, renamed = os.rename, []

    def once(*args, **options):
        # The record's own does not count.
        if args[0].startswith(".ansible-") or not renamed:
            renamed.extend([] if args[0].startswith(".ansible-") else [args])
            return rename(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", once)
    with pytest.raises(KeyboardInterrupt):
        copy.bring(os.geteuid(), lambda: None)
    monkeypatch.undo()
    assert place.record()["whole"] is False
    assert place.run()["changed"] and place.content() == FILES and place.record()["whole"]


def test_a_disk_that_is_too_small(place):
    with open(place.share / "model-3.safetensors", "wb") as stream:
        stream.truncate(1 << 42)
    for check in (True, False):
        result = place.run(check=check)
        assert result["failed"] and not place.path.exists()
        assert " left, and 4399.0 GB for the model in " in result["msg"] and "path in ray_models" in result["msg"]


def test_a_share_that_went_away(place, directory):
    """A model that was brought needs it no more; a host that has none says so."""
    place.run()
    place.share.rename(directory / "away")
    assert not place.run(check=True)["lacks"] and not place.run(check=True, sums=sums())["lacks"]
    # Where nothing is mounted is an empty directory.
    place.share.mkdir()
    assert not place.run(check=True)["lacks"]
    empty = f"ray_models, {place.path}: share {place.share} is empty: see whether it is mounted on this host."
    assert place.run(check=True, sums={**sums(), "config.json": "a" * 64})["msg"] == empty
    (place.path / "config.json").unlink()
    for check in (True, False):
        assert place.run(check=check)["msg"] == empty
    shutil.rmtree(place.records)
    assert place.run()["msg"] == empty
    place.share.rmdir()
    assert place.run()["msg"] == (f"ray_models, {place.path}: share {place.share} cannot be read (No such file or "
                                  "directory): see whether it is mounted on this host.")


def test_a_share_that_changes_for_the_worse(place):
    """It is there, and so what was brought is not all that is wanted."""
    place.run()
    (place.share / "model-3.safetensors").symlink_to("model-1.safetensors")
    assert f"share {place.share} cannot be used, model-3.safetensors is a link" in place.run(check=True)["msg"]
    assert place.run(sums=sums())["changed"] is False


def test_a_new_model_whose_source_goes_away(place, directory, monkeypatch):
    """While it is copied: the old one is not taken for it."""
    place.run()
    write(place.share, {"model-1.safetensors": "ONE+", "model-2.safetensors": "TWO+"})
    copy = place.copy()
    monkeypatch.setattr(Copy, "_commit", lambda *_given: copy.refuse("it died"))
    copy.bring(os.geteuid(), lambda: None)
    monkeypatch.undo()
    place.share.rename(directory / "away")
    assert "cannot be read (No such file or directory)" in place.run(check=True)["msg"]
    (directory / "away").rename(place.share)
    assert place.run()["changed"] and place.content()["model-1.safetensors"] == "ONE+"


@pytest.mark.parametrize("target", ["/etc/passwd", "model-1.safetensors", "."])
def test_no_link_of_a_share_is_followed(place, target):
    (place.share / "model-3.safetensors").symlink_to(target)
    result = place.run()
    assert result["failed"] and not place.path.exists()
    assert "model-3.safetensors is a link, or no file: get the model with the files themselves" in result["msg"]
    # Nor one that comes after the look.
    (place.share / "model-3.safetensors").unlink()
    write(place.share, {"model-3.safetensors": "three"})
    copy = place.copy()
    (place.share / "model-3.safetensors").unlink()
    (place.share / "model-3.safetensors").symlink_to(target)
    copy.bring(os.geteuid(), lambda: None)
    assert copy.problems and "model-3.safetensors" not in place.content()


def test_a_pipe_in_a_share_is_not_waited_for(place):
    os.mkfifo(place.share / "model-3.safetensors")
    assert "model-3.safetensors is a link, or no file" in place.run()["msg"]


@root_only
def test_another_name_of_a_file_of_roots(place, directory):
    """Who may write to the share may have made it, where the kernel lets him."""
    secret = directory / "secret"
    secret.write_text("secret")
    os.link(secret, place.share / "model-3.safetensors")
    os.chown(place.share, GUEST.pw_uid, GUEST.pw_gid)
    result = place.run()
    assert result["failed"] and "model-3.safetensors of " in result["msg"] and "has another name" in result["msg"]
    assert "model-3.safetensors" not in place.content()


@root_only
def test_a_directory_that_others_may_change_gets_no_model(place):
    for make in (lambda path: os.chown(path, GUEST.pw_uid, GUEST.pw_gid), lambda path: path.chmod(0o777)):
        for which in (place.path, place.path.parent):
            shutil.rmtree(place.path.parent, ignore_errors=True)
            place.path.mkdir(parents=True)
            make(which)
            result = place.run(check=True)
            assert result["failed"] and f"{which} can be changed by others than root: let it belong to root" in (
                result["msg"])


def test_a_directory_that_nobody_gets_through(place):
    place.path.mkdir(parents=True)
    place.path.parent.chmod(0o700)
    assert f"nobody but root and its group gets through {place.path.parent}: let others go through it (chmod o+x)" in (
        place.run()["msg"])


@root_only
def test_a_file_of_somebody_elses_is_read_before_it_is_roots(place):
    place.run()
    path = place.path / "model-1.safetensors"
    path.write_text("ONE")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    os.chown(path, GUEST.pw_uid, GUEST.pw_gid)
    # Its owner may have given it its old time.
    assert place.run(sums=sums())["changed"]
    assert place.content() == FILES and path.stat().st_uid == 0


def test_a_model_that_is_used_where_it_lies(place):
    place.path = place.share
    assert place.run(check=True, share=None, sums=sums())["lacks"]
    assert not place.run(share=None, sums=sums())["changed"]
    assert not place.run(check=True, share=None, sums=sums())["lacks"]
    (place.share / "model-1.safetensors").write_text("ONE")
    for _time in range(2):
        result = place.run(share=None, sums=sums())
        assert result["failed"] and "model-1.safetensors has the SHA-256 " in result["msg"]
    # What is known of it is refused before anything is touched, too.
    assert place.run(check=True, share=None, sums=sums())["failed"]
    assert (place.share / "model-1.safetensors").read_text() == "ONE"
    place.path = place.share / "no"
    assert "it is not there, on this host: mount it, or correct path" in place.run(share=None, sums=sums())["msg"]


def test_two_runs_at_once(place):
    place.records.mkdir(mode=0o700)
    with open(place.records / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = place.run()
    assert result["failed"] and "Another run brings models to this host: let it end" in result["msg"]
    assert place.run()["changed"]


def test_a_copy_that_hangs_is_ended(place):
    """A share whose server is gone blocks who reads: the module ends in its time."""
    program = """
import time
from ansible_collections.rayops.cluster.plugins.module_utils._serving import copies
from ansible_collections.rayops.cluster.plugins.modules import ray_model_files
ray_model_files.SILENCE = 0.5
copies._copied = lambda *_given: time.sleep(600)
import sys, json
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    ray_model_files.main()
"""
    root = Path(__file__).resolve().parents[3]
    options = {"models": [{"path": str(place.path), "share": str(place.share)}], "records": str(place.records)}
    done = subprocess.run([shutil.which("python"), "-c", program], input=json.dumps(options), capture_output=True,
                          text=True, timeout=60, check=False,
                          env={**os.environ, "PYTHONPATH": f"{root}/.ansible/collections"})
    said = json.loads(done.stdout)["msg"]
    assert said == ("ray_models: No sign of life came for 0.5 s: see whether share and disk answer, or set "
                    "ray_models_timeout higher. What was copied stays.")
    assert place.run()["changed"] and place.content() == FILES


class TestTheControllersFiles:
    """What the action plugin does, in two steps, by hand."""

    @pytest.fixture
    def entry(self, share):
        files = {name: [len(text), 1_700_000_000] for name, text in FILES.items()}
        return {"share": None, "source": "/data/r1", "files": files}

    def test_they_are_awaited_and_then_put_into_their_places(self, place, entry):
        first = place.run(**entry)
        assert first["changed"] and dict(map(tuple, first["models"][0]["awaited"])) == dict.fromkeys(FILES, False)
        for name, text in FILES.items():
            (place.path / INCOMING / aside(name)).write_text(text)
        second = place.run(**entry)
        assert dict(map(tuple, second["models"][0]["awaited"])) == dict.fromkeys(FILES, True)
        third = place.run(**entry, digests=sums())
        assert third["models"][0]["awaited"] == [] and place.content() == FILES
        assert not place.run(check=True, **entry)["lacks"]

    def test_one_that_was_damaged_goes_and_is_sent_again(self, place, entry):
        place.run(**entry)
        for name, text in FILES.items():
            (place.path / INCOMING / aside(name)).write_text(text.swapcase())
        assert "and its source " in place.run(**entry, digests=sums())["msg"]
        awaited = dict(map(tuple, place.run(**entry)["models"][0]["awaited"]))
        # What has no letters is right.
        assert awaited == {**dict.fromkeys(FILES, False), "config.json": True}

    def test_a_link_that_was_put_aside(self, place, entry):
        place.run(**entry)
        for name, text in FILES.items():
            (place.path / INCOMING / aside(name)).write_text(text)
        (place.path / INCOMING / aside("config.json")).unlink()
        (place.path / INCOMING / aside("config.json")).symlink_to("/etc/hostname")
        assert dict(map(tuple, place.run(**entry, digests=sums())["models"][0]["awaited"]))["config.json"] is False

    def test_without_its_source_a_host_that_has_the_model_goes_on(self, place, entry):
        assert "source /data/r1 is not there, on the controller, or is empty" in place.run(
            **{**entry, "files": None})["msg"]
        place.run(**entry)
        for name, text in FILES.items():
            (place.path / INCOMING / aside(name)).write_text(text)
        place.run(**entry, digests=sums())
        assert not place.run(check=True, **{**entry, "files": None})["lacks"]
        (place.path / "config.json").unlink()
        for check in (True, False):
            assert "source /data/r1 is not there" in place.run(check=check, **{**entry, "files": None})["msg"]

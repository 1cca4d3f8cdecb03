# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A support bundle of a host on which a job has changed what is gathered."""

from __future__ import annotations

import getpass
import itertools
import os
import pwd
import random
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._bundle.redaction import Redactor, secrets_of

USER = "nobody" if os.geteuid() == 0 else getpass.getuser()
SESSION = "session_2026-11-23_08-00-00_000001_100"
CLOSED = "what root alone reads"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")


class Host:
    """Ray's directory belongs to its user, in a directory of root's. closed: a file of root's alone."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.temp_dir = directory, directory / "ray"
        self.logs = self.temp_dir / SESSION / "logs"
        self.logs.mkdir(parents=True)
        (self.temp_dir / "session_latest").symlink_to(SESSION)
        (self.logs / "raylet.out").write_text("a true log\n")
        self.secrets = directory / "root"
        self.secrets.mkdir(mode=0o755)
        self.closed = self.secrets / "shadow"
        self.closed.write_text(CLOSED)
        self.closed.chmod(0o600)
        self.give()

    def give(self) -> None:
        if os.geteuid() == 0:
            uid, gid = pwd.getpwnam(USER)[2:4]
            for path in (self.temp_dir, *self.temp_dir.rglob("*")):
                os.chown(path, uid, gid, follow_symlinks=False)

    def bundle(self, run_module: Any, **options: Any) -> tuple[str, dict[str, str]]:
        """All bytes of it, and the notes by their names."""
        path = self.directory / "made" / "bundle.tar.gz"
        names = {name: str(self.directory / "no") for name in ("config_dir", "environment")}
        result = run_module("support_bundle", {
            "path": str(path), "name": "head", "temp_dir": str(self.temp_dir), "user": USER, **names, **options,
        })
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with tarfile.open(path) as archive:
            everything = b"".join(archive.extractfile(entry).read() for entry in archive if "/host/" not in entry.name)
        return everything.decode(errors="replace"), {entry["name"]: entry["note"] for entry in result["files"]}


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    # pytest's own directories are closed to other users; and no command is needed here.
    directory = Path(tempfile.mkdtemp(prefix="bundle"))
    directory.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    yield Host(directory)
    shutil.rmtree(directory)


def test_logs_that_are_what_they_seem(host, run_module):
    everything, notes = host.bundle(run_module)
    assert "a true log" in everything and notes["ray/logs/raylet.out"] == ""


@pytest.mark.parametrize("link", ["logs", "session", "latest", "below", "file"])
def test_a_link_is_not_followed(host, run_module, link):
    secrets = host.secrets
    (secrets / "logs").mkdir()
    # Also what that user could read: whoever follows a link of a job's reads what the job chose.
    for place in (secrets, secrets / "logs"):
        (place / "raylet.out").write_text(CLOSED)
    if link == "logs":
        shutil.rmtree(host.logs)
        host.logs.symlink_to(secrets)
    elif link == "session":
        shutil.rmtree(host.temp_dir / SESSION)
        (host.temp_dir / SESSION).symlink_to(secrets)
    elif link == "latest":
        (host.temp_dir / "session_latest").unlink()
        (host.temp_dir / "session_latest").symlink_to(secrets)
    elif link == "below":
        (host.logs / "old").symlink_to(secrets)
    else:
        (host.logs / "worker.out").symlink_to(secrets / "raylet.out")
    host.give()
    everything, notes = host.bundle(run_module)
    assert CLOSED not in everything
    if link in ("logs", "session"):
        assert notes["ray/logs"].startswith("left out: As user ")
    if link == "file":
        assert "Too many levels of symbolic links" in notes["ray/logs/worker.out"]


@needs_root
def test_logs_are_read_with_their_users_rights_alone(host, run_module):
    os.link(host.closed, host.logs / "worker.out")
    everything, notes = host.bundle(run_module)
    assert CLOSED not in everything and "a true log" in everything
    assert "Permission denied" in notes["ray/logs/worker.out"]
    everything, notes = host.bundle(run_module, user="no-such-user")
    assert "a true log" not in everything and "There is no user no-such-user" in notes["ray/logs"]


def test_a_pipe_is_not_waited_for(host, run_module):
    os.mkfifo(host.logs / "worker.out")
    os.mkfifo(host.logs / "empty.out")
    (host.directory / "etc").mkdir()
    for name in ("auth_token", "redis.env", "head-node.yaml"):
        os.mkfifo(host.directory / "etc" / name)
    began = time.monotonic()
    _everything, notes = host.bundle(run_module, config_dir=str(host.directory / "etc"))
    assert time.monotonic() - began < 20
    assert notes[f"files{host.directory}/etc/head-node.yaml"] == "left out: no regular file"


@needs_root
def test_other_paths_lead_through_roots_links_alone(host, run_module):
    mine = host.directory / "jobs"
    mine.symlink_to(host.temp_dir / SESSION)
    host.closed.chmod(0o644)
    (host.logs / "link.out").symlink_to(host.closed)
    (host.logs / "deep").symlink_to(host.secrets)
    host.give()
    options = {"extra_paths": [str(mine), f"{mine}/logs/deep/shadow", f"{mine}/logs/link.out"]}
    everything, notes = host.bundle(run_module, **options)
    assert CLOSED not in everything and everything.count("a true log") == 2
    assert "goes through the link 'deep', which nobody can have made" in notes[f"extra{mine}/logs/deep/shadow"]


@needs_root
def test_a_secret_behind_a_link_of_roots_is_known(host, run_module):
    (host.directory / "etc").mkdir()
    (host.secrets / "token").write_text("0a1b2c3d4e5f")
    (host.directory / "etc" / "auth_token").symlink_to(host.secrets / "token")
    (host.logs / "raylet.out").write_text("with 0a1b2c3d4e5f\n")
    everything, _notes = host.bundle(run_module, config_dir=str(host.directory / "etc"))
    assert "with [removed]\n" in everything and "0a1b2c3d4e5f" not in everything


# Each is what some pattern begins with, or looks for in vain.
FILLERS = [
    b"\\", b'\\"', b'token=\\"', b"token='\\", b'token="\\', b"-eyJ", b"-eyJaaaaaaaaaa", b"eyJ.", b"-eyJaaaaaaaaaa.",
    b"a", b"-", b" ", b"\t", b"\n", b"--a-", b"--key ", b"token", b'token="', b"token =", b"QUJD\n", b"A\n",
    b"-----BEGIN A", b"://", b"-----BEGIN PRIVATE KEY-----", b"-----END ", b"bearer ", b"authorization",
    b"authorization:\\", b"hf_", b"sk-", b"?key=", b"requirepass ", b"a.", b"a: ", b"Environment=",
]
PREFIXES = [b"", b'a: token=\\"']


def seconds(text: bytes) -> float:
    """For all that looks for secrets, at best of two."""
    best = 1e9
    for _attempt in range(2):
        began = time.process_time()
        Redactor().clean(text)
        secrets_of(text.decode())
        best = min(best, time.process_time() - began)
    return best


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_text_takes_a_time_that_grows_with_it_alone(prefix):
    """16 times the text takes 16 times as long; where each byte is looked at for each other one, it is 256 times."""
    for filler in FILLERS:
        small, large = (prefix + filler * (size // len(filler)) for size in (8 << 10, 128 << 10))
        few = seconds(small)
        assert few < 1, (prefix, filler)
        assert seconds(large) < 60 * max(few, 0.002), (prefix, filler)


def test_secrets_are_found_in_whatever_surrounds_them():
    """The patterns are no weaker for being fast."""
    chance = random.Random(10)
    signed = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
    spellings = [(b"x " + signed, signed), (b"-" + signed + b".more", signed[-30:]), (b"..." + signed, signed[-30:]),
                 (b"host.name." + signed, signed[-30:]), (b'"token": \\"hunter2 two\\"', b"hunter2"),
                 (b'{\\\\"token\\\\": \\\\"hunter2 \\\\\\\\ two\\\\"}', b"hunter2")]
    for (text, secret), filler in itertools.product(spellings, FILLERS):
        before, after = (filler * chance.randrange(1, 50) for _side in "ab")
        assert secret not in Redactor().clean(before + b"\n" + text + b"\n" + after), (text, filler)
    kept = b"see eyJ.aaa and ray.util.eyJobs.client.server and 10.0.0.1 and a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p"
    assert Redactor().clean(kept) == kept

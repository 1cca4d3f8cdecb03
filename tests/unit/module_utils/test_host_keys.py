# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Host keys of a console, and a known_hosts file, which OpenSSH's own programs read in the same way."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._host_keys import known_hosts
from ansible_collections.rayops.cluster.plugins.module_utils._host_keys.keys import (
    BEGIN,
    END,
    KeysDiffer,
    key_of,
    printed,
)

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
KINDS = {"ed25519": [], "ecdsa": ["-b", "521"], "rsa": ["-b", "2048"]}


@pytest.fixture(name="made", scope="module")
def made_fixture(tmp_path_factory: pytest.TempPathFactory):
    """Makes a pair once for each of its words, and gives the line of its .pub file."""
    folder = tmp_path_factory.mktemp("keys")

    def make(kind: str = "ed25519", name: str = "host") -> str:
        path = folder / f"{kind}-{name}"
        if not path.exists():
            command = ["ssh-keygen", "-q", "-t", kind, *KINDS[kind], "-N", "", "-C", f"root@{name}", "-f", path]
            subprocess.run(command, check=True)
        return path.with_suffix(".pub").read_text(encoding="utf-8").strip()

    return make


def key(line: str):
    found = key_of(line)
    assert found
    return found


def keygen_finds(path: Path, name: str) -> list[str]:
    done = subprocess.run(["ssh-keygen", "-F", name, "-f", path], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_one_that_openssh_makes(made, kind):
    line = made(kind)
    assert str(key(line)) == " ".join(line.split()[:2])
    # Cut off, of another kind, with options before it, more behind its end.
    name, encoded, comment = line.split()
    for wrong in (name, f"{name} {encoded[:-8]}", f"ssh-dss {encoded}", f"restrict {line}", f"{name} {encoded}AAAA",
                  f"sk-{name}@openssh.com {encoded}", f"{name} {'AAAA' * 4}", f"{name} {encoded}\u00e9", f"{name} AAAA",
                  f"{name} {'A' * 100_000}", f"{comment} {name} {encoded}"):
        assert key_of(wrong) is None


def test_cloud_init_prints_the_keys_on_the_console(made):
    keys = [made(kind) for kind in KINDS]
    console = "\r\n".join([
        "[    0.000000] Linux version 6.1.0", "ci-info: | ens3 | True | 10.0.0.2 |", BEGIN, *keys, END,
        "[   14.201] cloud-init[612]: Cloud-init v. 22.4.2 finished", "gpu-1 login: "])
    assert printed(console) == list(map(key, keys))
    prefixed = "\n".join(f"[   12.345678] cloud-init[612]: {line}" for line in (BEGIN, *keys, END))
    assert printed(prefixed) == list(map(key, keys))
    assert printed(f"{console}\n{console}") == list(map(key, keys))


def test_a_console_is_only_data(made):
    mine, other = made(), made(name="other")
    assert printed("") == printed(f"{mine}\n") == printed(f"{BEGIN}\n{mine}\n") == printed(f"{mine}\n{END}") == []
    # Names of hosts, options, markers, controls and a line that the kernel broke into.
    for line in (f"10.0.0.9 {mine}", f"* {mine}", f"@cert-authority * {mine}", f"\x1b[2J{mine}",
                 mine.replace(" ", "\x00", 1), mine[:40] + "[ 1.0] usb 1-1\n" + mine[40:]):
        assert printed(f"{BEGIN}\n{line}\n{END}\n") == []
    (found,) = printed(f"{BEGIN}\n{mine} \x1b]0;title\x07\n{END}")
    assert str(found) == " ".join(mine.split()[:2])
    with pytest.raises(KeysDiffer):
        printed(f"{BEGIN}\n{mine}\n{END}\n...\n{BEGIN}\n{other}\n{END}\n")


def test_megabytes_of_a_console_take_no_time(made):
    begun = time.process_time()
    for flood in (f"{BEGIN}\n" * 200_000, f"{END}\n" * 200_000, "[" * 8_000_000, "ssh-rsa " + "A" * 8_000_000,
                  f"{BEGIN}\n" + "ssh-rsa AAAA\n" * 400_000 + END):
        assert printed(f"{flood}\n{BEGIN}\n{made()}\n{END}") == [key(made())]
    assert time.process_time() - begun < 10


def test_openssh_reads_what_was_written(made, tmp_path):
    """Other lines stay, to the byte."""
    path = tmp_path / "known_hosts"
    others = f"# mine\n\nexample.com,1.2.3.4 {made(name='other')}\n@revoked * {made('rsa', 'lost')}\nno line at all\n"
    path.write_text(others, encoding="utf-8")
    wanted = {"10.0.0.2": [key(made()), key(made("rsa"))], "[10.0.0.3]:2222": [key(made(name="third"))]}
    change = known_hosts.with_keys(known_hosts.read(str(path)), wanted)
    known_hosts.write(str(path), change.text)
    assert path.read_text(encoding="utf-8").startswith(others)
    for name, keys in wanted.items():
        assert keygen_finds(path, name)[-len(keys):] == [f"{name} {each}" for each in keys]
    again = known_hosts.with_keys(known_hosts.read(str(path)), wanted)
    assert (again.text, again.added, again.changed) == (change.text, [], {})


@pytest.mark.parametrize("line", [
    "{0} {1}", "other,{0} {1}", "*.2,!x {1}", "*,!{0} {1}", "10.0.?.2 {1}", "  {0}\t{1}", "{0} {1}\r"])
def test_a_host_is_found_as_openssh_finds_it(made, tmp_path, line):
    path = tmp_path / "known_hosts"
    path.write_text(line.format("10.0.0.2", made()), encoding="utf-8", newline="")
    for name in ("10.0.0.2", "10.0.0.22", "other"):
        lines = known_hosts.lines_of(known_hosts.read(str(path)))
        assert known_hosts.knows(lines, name) == bool(keygen_finds(path, name)), name


def test_a_hashed_file_is_read_too(made, tmp_path):
    path = tmp_path / "known_hosts"
    path.write_text(f"10.0.0.2 {made()}\n[Host.example.com]:22022 {made(name='other')}\n", encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    text = known_hosts.read(str(path))
    assert "10.0.0.2" not in text
    assert known_hosts.with_keys(text, {"10.0.0.2": [key(made())]}).text == text
    change = known_hosts.with_keys(text, {"10.0.0.2": [key(made(name="other"))]})
    assert [line.number for line in change.changed["10.0.0.2"]] == [1]
    known_hosts.write(str(path), change.text)
    assert [each.split()[2] for each in keygen_finds(path, "10.0.0.2")] == [key(made(name="other")).encoded]
    assert len(keygen_finds(path, "[host.example.com]:22022")) == 1


def test_another_key_goes_with_all_others_of_its_host(made):
    old, new = made(name="old"), made(name="new")
    text = f"10.0.0.2 {old}\nb,10.0.0.2 {made('rsa')}\nc {old}\n@cert-authority 10.0.0.2 {old}\n"
    change = known_hosts.with_keys(text, {"10.0.0.2": [key(new)]})
    assert [line.number for line in change.changed["10.0.0.2"]] == [1, 2]
    assert change.text == (
        f"b {made('rsa')}\nc {old}\n@cert-authority 10.0.0.2 {old}\n10.0.0.2 {key(new)}\n")
    # A key of another kind is no other key.
    assert known_hosts.with_keys(text, {"10.0.0.2": [key(made("ecdsa"))]}).changed == {}


def test_a_pattern_is_never_changed_for_one_host(made):
    text = f"10.0.0.* {made(name='old')}\n"
    change = known_hosts.with_keys(text, {"10.0.0.2": [key(made())]})
    assert [line.number for line in change.fixed["10.0.0.2"]] == [1]


def test_a_revoked_key_is_named(made):
    text = f"@revoked * {made()}\n"
    assert known_hosts.with_keys(text, {"10.0.0.2": [key(made())]}).revoked == ["10.0.0.2"]
    assert known_hosts.with_keys(text, {"10.0.0.2": []}, key(made())).revoked == ["10.0.0.2"]
    assert not known_hosts.knows(known_hosts.lines_of(text), "10.0.0.2")


def test_an_authority_is_one_line_for_these_hosts_alone(made, tmp_path):
    authority = key(made(name="ca"))
    hosts = {"10.0.0.2": [], "[10.0.0.3]:2222": []}
    change = known_hosts.with_keys("", hosts, authority)
    assert change.text == f"@cert-authority 10.0.0.2,[10.0.0.3]:2222 {authority}\n"
    assert known_hosts.with_keys(change.text, hosts, authority).text == change.text
    more = known_hosts.with_keys(change.text, {**hosts, "10.0.0.4": []}, authority)
    assert more.added == [f"@cert-authority 10.0.0.4 {authority}"]
    # Another one beside it, while the first is replaced.
    both = known_hosts.with_keys(change.text, hosts, key(made(name="ca-2"))).text
    assert both.count("@cert-authority") == 2


def test_names_that_would_stand_for_others_are_none():
    for name in ("10.0.0.2", "fd00::4", "[10.0.0.3]:2222", "gpu-1.example.com", "4b1f0f0e-6b7c", "fe80::1%eth0"):
        assert known_hosts.is_name(name)
    for name in ("", "*", "a?", "!a", "a,b", "a b", "a\n", "@revoked", "#a", "|1|a|b", "[a]:x", "a\tb", "\u00e9"):
        assert not known_hosts.is_name(name)


def test_the_file_is_replaced_in_one_step_and_keeps_its_mode(tmp_path, monkeypatch):
    real, link = tmp_path / "dotfiles", tmp_path / "known_hosts"
    real.write_bytes(b"\xff\xfe old\n")
    real.chmod(0o640)
    link.symlink_to(real)
    text = known_hosts.read(str(link))
    known_hosts.write(str(link), text + "more\n")
    assert link.is_symlink() and real.read_bytes() == b"\xff\xfe old\nmore\n"
    assert real.stat().st_mode & 0o777 == 0o640
    new = tmp_path / "ssh" / "known_hosts"
    known_hosts.write(str(new), "a\n")
    assert (new.stat().st_mode & 0o777, new.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        known_hosts.write(str(new), "b\n")
    assert new.read_text(encoding="utf-8") == "a\n" and list(new.parent.iterdir()) == [new]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives of hosts that were taken, put into one on the operator's machine."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._bundle import merge as _bundle_merge
from ansible_collections.rayops.cluster.plugins.module_utils._bundle.merge import Merged, safe_names

HOSTS = ["head", "worker-1"]


def member(name: str, data: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.size = len(data)
    for attribute, value in attributes.items():
        setattr(found, attribute, value)
    return found, data


def pack(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for entry, data in members:
            archive.addfile(entry, io.BytesIO(data) if entry.isreg() else None)
    return path


@pytest.fixture(name="options")
def options_fixture(tmp_path: Path) -> dict[str, Any]:
    parts = tmp_path / "parts"
    pack(parts / "0.tar.gz", member("head/versions.txt", b"Ray: 2.60.0\n"), member("head/manifest.txt", b"whole"))
    return {
        "path": str(tmp_path / "support-bundle-demo.tar.gz"), "hosts": HOSTS, "parts": str(parts),
        "groups": {"all": HOSTS, "ray_head": ["head"], "ray_workers": ["worker-1"]}, "cluster": '{"nodes": []}',
        "errors": [["", ""], ["", "gone\nTraceback"]],
    }


def merged(options: dict[str, Any]) -> dict[str, bytes]:
    with tarfile.open(options["path"]) as archive:
        entries = archive.getmembers()
        assert all(entry.isreg() and entry.mode == 0o600 and (entry.uid, entry.gid) == (0, 0) for entry in entries)
        names = [entry.name for entry in entries]
        assert len(set(names)) == len(names) and {name.split("/")[0] for name in names} == {"support-bundle-demo"}
        return {entry.name.partition("/")[2]: archive.extractfile(entry).read() for entry in entries}


def test_one_archive_of_all(options, run_module, tmp_path):
    result = run_module("support_bundle_merge", options)
    assert result["changed"] and result["size"] == os.path.getsize(options["path"])
    assert os.stat(options["path"]).st_mode & 0o777 == 0o600
    assert merged(options) == {
        "head/versions.txt": b"Ray: 2.60.0\n", "head/manifest.txt": b"whole", "cluster.json": b'{"nodes": []}',
        "hosts.txt": b"ray_head: head\nray_workers: worker-1\nAsked: head worker-1\nAnswered: head\n"
                     b"Missing: worker-1: gone\n",
    }
    assert (result["answered"], result["missing"], result["left_out"]) == (["head"], ["worker-1: gone"], [])
    assert result["summary"][0] == f"{options['path']}, {result['size']} bytes"
    assert result["summary"][1] == "From 1 of 2 hosts. Missing: worker-1: gone" and len(result["summary"]) == 3
    assert sorted(os.listdir(tmp_path)) == ["parts", "support-bundle-demo.tar.gz"]


def test_check_mode_writes_nothing(options, run_module, tmp_path):
    predicted = run_module("support_bundle_merge", options, check_mode=True)
    assert os.listdir(tmp_path) == ["parts"]
    done = run_module("support_bundle_merge", options)
    assert abs(predicted["size"] - done["size"]) < 100
    # The summary names the size.
    for result in (predicted, done):
        result["summary"][0] = result["summary"][0].replace(f"{result.pop('size')} bytes", "N bytes")
    assert predicted == done


@pytest.mark.parametrize("hostile", [
    member("worker-1/x", type=tarfile.SYMTYPE, linkname="/tmp"),
    member("worker-1/x", type=tarfile.LNKTYPE, linkname="a"),
    member("worker-1/x", type=tarfile.DIRTYPE), member("worker-1/x", type=tarfile.FIFOTYPE),
    member("worker-1/x", type=tarfile.CHRTYPE), member("worker-1/x", type=tarfile.BLKTYPE),
    member("worker-1/sparse", pax_headers={"GNU.sparse.size": str(1 << 50), "GNU.sparse.map": "0,0"}),
    member("/etc/passwd", b"x"), member("worker-1/../../x", b"x"), member("../x", b"x"), member("worker-1/./x", b"x"),
    member("worker-1//x", b"x"), member("worker-1/x/", b"x"), member("alone", b"x"),
    member("worker-1/" + "a" * 2000, b"x"),
    member("worker-1/" + "a/" * 100 + "x", b"x"), member("worker-1/big", b"\0" * (20 << 20)),
    member("worker-1/good", b"other"), member("worker-1/good/below", b"x"), member("worker-1/left-out.txt", b"x"),
])
def test_a_member_that_does_not_belong_there_is_left_out(options, run_module, tmp_path, hostile):
    pack(tmp_path / "parts" / "1.tar.gz", member("worker-1/good", b"good"), hostile, member("worker-1/last", b"last"))
    result = run_module("support_bundle_merge", options)
    (note,) = result["left_out"]
    assert note.startswith("worker-1: ") and result["answered"] == HOSTS
    found = merged(options)
    assert {name for name in found if name.startswith("worker")} == {
        "worker-1/good", "worker-1/last", "worker-1/left-out.txt"
    }
    assert found["worker-1/good"] == b"good" and found["head/manifest.txt"] == b"whole"
    assert found["worker-1/left-out.txt"].decode() == note.removeprefix("worker-1: ") + "\n"
    assert f"Left out: {note}" in found["hosts.txt"].decode()
    assert sorted(os.listdir(tmp_path)) == ["parts", "support-bundle-demo.tar.gz"]


def test_a_host_speaks_for_no_other(options, run_module, tmp_path):
    """The one ships a link, the other a file through it, or a file of the first."""
    pack(tmp_path / "parts" / "0.tar.gz", member("worker-1/out", type=tarfile.SYMTYPE, linkname=str(tmp_path)))
    pack(tmp_path / "parts" / "1.tar.gz", member("worker-1/out/evil", b"evil"), member("head/manifest.txt", b"forged"))
    run_module("support_bundle_merge", options)
    found = merged(options)
    assert set(found) == {
        "head/left-out.txt", "worker-1/out/evil", "worker-1/manifest.txt", "hosts.txt", "cluster.json"
    }
    assert not (tmp_path / "evil").exists()


def test_damage_and_bombs_cost_one_hosts_part(options, run_module, tmp_path, monkeypatch):
    monkeypatch.setattr(_bundle_merge, "MOST_MEMBERS", 50)
    part = tmp_path / "parts" / "1.tar.gz"
    pack(part, member("worker-1/first", b"first"), member("worker-1/second", os.urandom(100000)))
    whole = part.read_bytes()
    flood = [member(f"worker-1/{number}") for number in range(51)]
    bombs = {
        "cut": whole[:-50000], "empty": b"", "text": b"<html>" * 100, "flipped": whole[:200] + b"\0" * 50 + whole[250:],
        "back": pack(tmp_path / "x" / "back", member("worker-1/a", b"", pax_headers={"size": "-512"})).read_bytes(),
        "many": pack(tmp_path / "x" / "many", *flood).read_bytes(),
        "total": pack(tmp_path / "x" / "total", *[member(f"w/{n}", bytes(5 << 20)) for n in range(3)]).read_bytes(),
        "time": pack(tmp_path / "x" / "time", member("w/a", b"x", pax_headers={"mtime": "nan"})).read_bytes(),
    }
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    bombs["header"] = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + b"1" * (8 << 20))
    header.type = tarfile.GNUTYPE_LONGNAME
    bombs["name"] = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + b"1" * (8 << 20))
    bombs["zeros"] = gzip.compress(b"\1" + bytes(30 << 20))
    for kind, data in bombs.items():
        stream = io.BytesIO()
        bundle = Merged(stream, "bundle", 6 << 20, 9 << 20)
        notes = bundle.add("worker-1", io.BytesIO(data))
        assert [note for note in notes if note.startswith("the rest: ")], kind
        bundle.write("head/manifest.txt", b"whole")
        bundle.close()
        stream.seek(0)
        with tarfile.open(fileobj=stream) as archive:
            entries = {entry.name: entry.size for entry in archive}
        assert {"bundle/worker-1/left-out.txt", "bundle/head/manifest.txt"} <= set(entries), kind
        assert sum(entries.values()) < 10 << 20, kind
    part.write_bytes(bombs["cut"])
    result = run_module("support_bundle_merge", options)
    assert len(result["left_out"]) == 1 and result["answered"] == HOSTS
    found = merged(options)
    assert (found["head/manifest.txt"], found["worker-1/first"]) == (b"whole", b"first")


def test_names_of_hosts_are_no_paths(options, run_module, tmp_path):
    hosts = ["../../etc", "a/b", "a_b", "A_B", "", ".ssh", "hosts.txt", "worker\n1", "10.0.0.1", "fe80::1", "x" * 300]
    names = safe_names(hosts)
    assert len({name.lower() for name in names}) == len(hosts) and "hosts.txt" not in names
    assert all("/" not in name and name and not name.startswith(".") and name.isprintable() for name in names)
    assert names[8] == "10.0.0.1"
    pack(tmp_path / "parts" / "0.tar.gz", member("x/y", b"x"))
    result = run_module("support_bundle_merge", {**options, "hosts": hosts})
    assert result["answered"] == hosts[:1] and f"{names[0]}/y" in merged(options)


def test_what_a_host_says_shows_no_control_characters(options, run_module, tmp_path):
    hostile = [member("worker-1/\x1b[2Jx", b"x"), member("worker-1/\x1b]0;y\x07", type=tarfile.FIFOTYPE)]
    pack(tmp_path / "parts" / "1.tar.gz", *hostile)
    result = run_module("support_bundle_merge", options)
    assert "worker-1/?[2Jx" in merged(options) and "\x1b" not in str(result) + "".join(result["left_out"])


def test_a_place_that_is_not_there(options, run_module, tmp_path):
    result = run_module("support_bundle_merge", {**options, "path": str(tmp_path / "no" / "x.tar.gz")})
    assert result["failed"]
    assert result["msg"] == f"{tmp_path}/no is no directory on this machine: make it, or name another."

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive with a state, the cluster's token and a manifest: written, and read although anybody may have made it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Union

from ansible_collections.rayops.cluster.plugins.module_utils._backup.state import (
    MOST_BYTES,
    MOST_FILES,
    NAME,
    SUM,
    BackupError,
    snapshot,
    state_id,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.bounded import add_file, is_file, members

MANIFEST = "manifest.json"
TOKEN = "auth_token"
MOST_TEXT = 16 << 20  # bytes of a manifest
Kind = Union[str, int, type[bool]]
# What a manifest says, as anybody may have written it: patterns of texts, and the greatest numbers.
KINDS: dict[str, Kind] = {
    "cluster_name": r"[\w.-]{1,200}", "ray_version": r"[\w.+-]{1,200}", "storage": r"rocksdb",
    "session": r"[\w.-]{0,200}", "state_id": SUM.pattern,
    "time": 1 << 33, "written": 1 << 33, "pause_ms": 1 << 33,
}


def is_sound(value: Any, kind: Kind) -> bool:
    """Whether a value is of its kind: a text that matches a pattern, a number from 0 to the greatest, or a bool."""
    if isinstance(kind, str):
        return isinstance(value, str) and bool(re.fullmatch(kind, value, re.ASCII | re.DOTALL))
    if isinstance(kind, int):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= kind
    return isinstance(value, bool)


def write(top: int, path: str, descriptor: int, token: bytes, cluster: str, version: str, unit: str) -> bool:
    """Write the archive: the files, the token, and the manifest with the sums of what was written.

    :arg top, path, unit: see snapshot.
    :arg descriptor: the archive, open.
    """
    files, pause = snapshot(top, path, unit)
    os.nice(10)
    names = [os.pread(file.stream.fileno(), min(file.size, 200), 0) for file in files if file.name == "session_name"]
    session = b"".join(names).decode(errors="replace").strip()
    with os.fdopen(descriptor, "wb", closefd=False) as stream, \
            tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as archive:
        for file in files:
            add_file(archive, f"gcs/{file.name}", file.size, file)
            file.stream.close()
        add_file(archive, TOKEN, len(token), BytesIO(token))
        sums = {file.name: file.sum.hexdigest() for file in files}
        manifest = json.dumps({
            "cluster_name": cluster, "ray_version": version, "storage": "rocksdb",
            "session": session if is_sound(session, KINDS["session"]) else "", "time": time.time(),
            "pause_ms": round(pause * 1000, 1), "written": max(file.written for file in files),
            "state_id": state_id(sums), "token_sum": hashlib.sha256(token).hexdigest(), "files": sums,
        }, indent=1).encode()
        add_file(archive, MANIFEST, len(manifest), BytesIO(manifest))
    return True


def unpack(source: int, path: str, into: str = "") -> dict[str, Any]:
    """Read an archive to its end, and write its files into a directory that only root can enter, if one is given.

    :returns: its manifest.
    """
    sums: dict[str, str] = {}
    manifest: dict[str, Any] = {}
    try:
        with os.fdopen(source, "rb", closefd=False) as packed:
            for entry, blocks in members(packed, MOST_BYTES):
                if not is_file(entry) or not NAME.fullmatch(entry.name) or entry.name in sums or len(sums) > MOST_FILES:
                    raise BackupError(f"{path} is no backup: it holds {entry.name[:200]}.")
                if entry.name == MANIFEST:
                    manifest = _manifest(blocks)
                else:
                    sums[entry.name] = _copied(blocks, os.path.join(into, entry.name) if into else os.devnull)
        wanted = {f"gcs/{name}": found for name, found in manifest["files"].items()} | {TOKEN: manifest["token_sum"]}
    except (tarfile.TarError, OSError, EOFError, ValueError, TypeError, KeyError, RecursionError,
            zlib.error) as error:
        raise BackupError(f"{path} is no whole backup ({type(error).__name__}: {error}): take another one.") from error
    if sums != wanted or manifest["state_id"] != state_id(manifest["files"]):
        raise BackupError(f"{path} is damaged, its sums differ: take another one.")
    return manifest


def _manifest(blocks: Iterator[bytes]) -> dict[str, Any]:
    """A manifest whose every value is of its kind; raises ValueError, TypeError, KeyError and RecursionError."""
    data = b""
    for block in blocks:
        data += block
        if len(data) > MOST_TEXT:
            raise ValueError("its manifest is too long")
    read = json.loads(data)
    found = {name: read[name] for name in (*KINDS, "token_sum")} | {"files": dict(read["files"])}
    wrong = [name for name, kind in KINDS.items() if not is_sound(found[name], kind)]
    if wrong or not all(SUM.fullmatch(str(value)) for value in (found["token_sum"], *found["files"].values())):
        raise ValueError(f"its manifest has no {', '.join(wrong) or 'sums'}")
    return found


def _copied(blocks: Iterator[bytes], path: str) -> str:
    """Write a file of an archive; returns its sum."""
    if path != os.devnull:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    found = hashlib.sha256()
    with open(path, "wb" if path == os.devnull else "xb") as file:
        for block in blocks:
            found.update(block)
            file.write(block)
    return found.hexdigest()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive with a state, the cluster's token and a manifest: written, and read although anybody may have made it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tarfile
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any, cast

from ansible_collections.rayops.cluster.plugins.module_utils._backup.state import (
    MOST_BYTES,
    MOST_FILES,
    NAME,
    SUM,
    BackupError,
    snapshot,
    state_id,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.bounded import BLOCK, Bounded

MANIFEST = "manifest.json"
TOKEN = "auth_token"
MOST_TEXT = 16 << 20  # bytes of a manifest
# What a manifest says, as anybody may have written it.
TEXTS = {"cluster_name": r"[\w.-]{1,200}", "ray_version": r"[\w.+-]{1,200}", "storage": r"rocksdb",
         "session": r"[\w.-]{0,200}", "state_id": SUM.pattern, "token_sum": SUM.pattern}
NUMBERS = {"time": 1 << 33, "written": 1 << 33, "pause_ms": 1 << 33}


def _add(archive: tarfile.TarFile, name: str, size: int, stream: Any) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    archive.addfile(entry, stream)


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
            _add(archive, f"gcs/{file.name}", file.size, file)
            file.stream.close()
        _add(archive, TOKEN, len(token), BytesIO(token))
        sums = {file.name: file.sum.hexdigest() for file in files}
        manifest = json.dumps({
            "cluster_name": cluster, "ray_version": version, "storage": "rocksdb",
            "session": session if re.fullmatch(TEXTS["session"], session, re.ASCII) else "", "time": time.time(),
            "pause_ms": round(pause * 1000, 1), "written": max(file.written for file in files),
            "state_id": state_id(sums), "token_sum": hashlib.sha256(token).hexdigest(), "files": sums,
        }, indent=1).encode()
        _add(archive, MANIFEST, len(manifest), BytesIO(manifest))
    return True


def unpack(source: int, path: str, into: str = "") -> dict[str, Any]:
    """Read an archive to its end, and write its files into a directory that only root can enter, if one is given.

    :returns: its manifest.
    """
    sums: dict[str, str] = {}
    manifest: dict[str, Any] = {}
    try:
        with os.fdopen(source, "rb", closefd=False) as packed, gzip.GzipFile(fileobj=packed) as plain:
            bounded = Bounded(plain, MOST_BYTES)
            with tarfile.TarFile(fileobj=cast("IO[bytes]", bounded)) as archive:
                for entry in archive:
                    whole = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()
                    if not whole or not NAME.fullmatch(entry.name) or entry.name in sums or len(sums) > MOST_FILES:
                        raise BackupError(f"{path} is no backup: it holds {entry.name[:200]}.")
                    if entry.name == MANIFEST:
                        manifest = _manifest(bounded.blocks(entry))
                    else:
                        where = os.path.join(into, entry.name) if into else os.devnull
                        sums[entry.name] = _copied(bounded.blocks(entry), where)
            while bounded.read(BLOCK):
                pass  # To the sum at its end.
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
    found = {name: read[name] for name in (*TEXTS, *NUMBERS)} | {"files": dict(read["files"])}
    wrong = [name for name, pattern in TEXTS.items()
             if not isinstance(found[name], str) or not re.fullmatch(pattern, found[name], re.ASCII)]
    wrong += [name for name, most in NUMBERS.items()
              if type(found[name]) not in (int, float) or not 0 <= found[name] <= most]
    if wrong or not all(SUM.fullmatch(str(value)) for value in found["files"].values()):
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

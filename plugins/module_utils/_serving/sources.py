# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The models that ray_models brings to hosts, what is wrong with their declaration, and the files of a directory."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._serving.models import Model
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import open_directory

VARIABLE = "ray_models"
# Below the directory of a model: what has not come whole, which no engine reads.
INCOMING = ".rayops-incoming"
# Files of a model; bytes of a file of checksums; bytes that are read at once.
MOST_FILES, MOST_SUMS, BLOCK = 5000, 4 << 20, 4 << 20
_TEXTS = ("path", "source", "share", "checksums")
KEYS = (*_TEXTS, "pools")
_ABSOLUTE = re.compile(r"/[^\x00-\x1f\x7f]+")
_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")


@dataclass(frozen=True)
class Source:
    """A model that hosts get.

    path: its directory on them. source: where it lies on the controller; share: where hosts have it mounted; without
    both it is used where it lies. checksums: a file on the controller. pools: whose workers get it, empty for those of
    the models that use it.
    """

    path: str
    source: str = ""
    share: str = ""
    checksums: str = ""
    pools: tuple[str, ...] = ()

    @property
    def is_copied(self) -> bool:
        return bool(self.source or self.share)

    def holds(self, path: str) -> bool:
        """Whether a directory is this one, or lies in it."""
        return bool(path) and os.path.commonpath([self.path, os.path.normpath(path)]) == self.path

    def is_for(self, pools: Collection[str], served: Sequence[Model]) -> bool:
        """Whether a worker gets it.

        :arg pools: those of the worker.
        :arg served: the models of ray_serve_models.
        """
        wanted = set(self.pools) or {model.pool for model in served if self.holds(model.path)} or {""}
        return "" in wanted or bool(wanted & set(pools))


def read(declared: Sequence[Any]) -> tuple[list[Source], list[str]]:
    """What can be read of ray_models, and what is wrong with it, a sentence each with the fix in it."""
    sources: list[Source] = []
    problems: list[str] = []
    for number, entry in enumerate(declared):
        found = list(_of_entry(entry, f"{VARIABLE}[{number}]"))
        problems += found
        if not found:
            texts = {key: entry.get(key) or "" for key in _TEXTS}
            where = {key: os.path.normpath(texts[key]) if texts[key] else "" for key in ("path", "share")}
            sources.append(Source(**{**texts, **where}, pools=tuple(entry.get("pools") or ())))
    for number, source in enumerate(sources):
        for other in sources[:number]:
            if source.holds(other.path) or other.holds(source.path):
                problems.append(f"{VARIABLE} has the path {other.path} and the path {source.path}: give each model a "
                                "directory of its own, none within another.")
    return sources, problems


def _of_entry(entry: Any, place: str) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield f"{place} is no dictionary: write {{path: /srv/models/deepseek-r1, share: /mnt/models/deepseek-r1}}."
        return
    for key in entry:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1, cutoff=0.6)
            yield f"{place}: {key} is no key of it: " + (
                f"did you mean {near[0]}?" if near else f"use {', '.join(KEYS)}.")
    for key in _TEXTS:
        if not isinstance(entry.get(key) or "", str):
            yield f"{place}: {key} is not text: write it so, or leave it out."
            return
    pools = entry.get("pools") or []
    if not isinstance(pools, (list, tuple)) or not all(pool and isinstance(pool, str) for pool in pools):
        yield f"{place}: pools is no list of names: write [h20], or leave it out."
    for key in ("path", "share"):
        value = entry.get(key) or ""
        if (value or key == "path") and (not _ABSOLUTE.fullmatch(value) or os.path.normpath(value).strip("/") == ""
                                         or ".." in value.split("/")):
            yield f"{place}: {key} is no directory's absolute path: write one such as /srv/models/deepseek-r1."
            return
    path, source, share = (entry.get(key) or "" for key in ("path", "source", "share"))
    if source and share:
        yield f"{place}: source and share are both set: leave one of them out."
    elif not source and not share and not entry.get("checksums"):
        yield (f"{place}: set source, a directory on the controller, share, one that the hosts have mounted, or "
               "checksums: what is used where it lies, and is not checked, needs no entry.")
    elif share and (Source(share).holds(path) or Source(path).holds(share)):
        yield (f"{place}: path and share lie in one another: to use the model where it lies, leave share out; to copy "
               "it, give path a directory on the hosts' own disk.")


def sums_of(text: str) -> dict[str, str]:
    """File -> SHA-256, from what sha256sum writes.

    :raises ValueError: what is wrong, half a sentence with the fix in it.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            match = _SUM.fullmatch(line)
            if not match or not is_name(match[2]):
                raise ValueError(f"line {number} is not as sha256sum writes it: write 64 hexadecimal digits, two "
                                 "blanks and the name of a file in the model's directory")
            found[match[2]] = match[1].lower()
    if not found or len(found) > MOST_FILES:
        raise ValueError(f"it names {len(found)} files: make it with sha256sum, in the model's directory")
    return found


def is_name(name: str) -> bool:
    """Whether it names a file below a directory, and nothing else."""
    parts = name.split("/")
    return (name.isprintable() and not {"", ".", ".."} & set(parts) and parts[0] != INCOMING
            and all(len(os.fsencode(part)) <= 255 for part in parts))


@contextmanager
def parent_of(directory: int, name: str, make: bool = False) -> Iterator[tuple[int, str]]:
    """The directory of a file below an open one, step by step, and its last name.

    :arg make: whether directories that are missing are made.
    :raises NotADirectoryError: one of them is none, such as a link.
    """
    *parts, last = name.split("/")
    here = os.dup(directory)
    try:
        for part in parts:
            if make and part not in os.listdir(here):
                os.mkdir(part, 0o755, dir_fd=here)
                os.chmod(part, 0o755, dir_fd=here)
            below = open_directory(part, here)
            os.close(here)
            here = below
        yield here, last
    finally:
        os.close(here)


def status_of(directory: int, name: str) -> os.stat_result | None:
    """Of what has a name below an open directory; None where nothing has. No link is followed."""
    try:
        with parent_of(directory, name) as (parent, last):
            return os.stat(last, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def files_in(directory: int, names: Collection[str] = ()) -> dict[str, tuple[int, int]]:
    """The files below an open directory, but hidden ones: bytes, and the second in which they were changed.

    :arg names: those that are looked at; without them all.
    :raises ValueError: what cannot be brought, half a sentence with the fix in it.
    """
    found: dict[str, tuple[int, int]] = {}
    for name in names or _names_in(directory):
        try:
            status = status_of(directory, name)
        except NotADirectoryError:
            status = None
        if not status:
            raise ValueError(f"{name} is missing: get the model anew, or correct checksums")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{name} is a link, or no file: get the model with the files themselves, as "
                             "huggingface-cli does with --local-dir and modelscope with --local_dir")
        found[name] = status.st_size, int(status.st_mtime)
    return found


def _names_in(top: int) -> Iterator[str]:
    count, left = 0, [""]
    while left:
        prefix = left.pop()
        with parent_of(top, f"{prefix}.") as (directory, _last):
            names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
            folders = [name for name in names
                       if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)]
        count += len(names)
        if count > MOST_FILES:
            raise ValueError(f"it has more than {MOST_FILES} files: name the directory of the model itself")
        for name in names:
            if not is_name(name):
                raise ValueError(f"{name!r} is no name that can be used: rename it")
            if name not in folders:
                yield f"{prefix}{name}"
        left += [f"{prefix}{name}/" for name in folders]


def digest_of(descriptor: int, beat: Callable[[], None] = lambda: None) -> str:
    """The SHA-256 of an open file.

    :arg beat: called with each block.
    """
    found, offset, block = hashlib.sha256(), 0, memoryview(bytearray(BLOCK))
    while size := os.preadv(descriptor, [block], offset):
        found.update(block[:size])
        offset += size
        beat()
    return found.hexdigest()

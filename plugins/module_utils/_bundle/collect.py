# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive of what a host says of itself, without its secrets."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO

from ansible_collections.rayops.cluster.plugins.module_utils._bundle.files import Contents, open_path, read_as
from ansible_collections.rayops.cluster.plugins.module_utils._bundle.redaction import REMOVED, Redactor
from ansible_collections.rayops.cluster.plugins.module_utils._system.bounded import add_file

COMMAND_TIMEOUT = 10.0


@dataclass
class Source:
    """One thing that goes into the archive: a file, what a command says, or a text. only: keep such lines.

    top, user: the file lies below this directory, and is read as this user. error: why there is nothing.
    """

    name: str
    path: str = ""
    top: str = ""
    user: str = ""
    error: str = ""
    argv: list[str] = field(default_factory=list)
    text: str = ""
    only: re.Pattern[bytes] | None = None


@dataclass
class Entry:
    """What became of a source. note: empty, or what was cut or went wrong. here: whether it is in the archive."""

    name: str
    bytes: int
    note: str
    here: bool


def command_output(argv: list[str], timeout: float = COMMAND_TIMEOUT) -> tuple[IO[bytes], str, int | None]:
    """Run a command.

    A command that hangs in the kernel, as nvidia-smi does with a sick GPU, cannot even be killed: it is not waited for,
    and holds no pipe of ours.

    :returns: its output and errors; a note: empty, or how it failed; its code, None where it did not end.
    """
    output = tempfile.TemporaryFile()
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "COLUMNS": "1000"}
    environment["PATH"] = environment.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin"
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    except OSError as error:
        return output, f"{argv[0]}: {error.strerror}", None
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return output, f"did not finish within {timeout:g} s", None
    return output, f"ended with {status}" if status else "", status


def is_text(data: bytes) -> bool:
    """Whether a text that was read can be one: in what is compressed no secret can be found."""
    wrong = data.decode("utf-8", errors="replace").count("\ufffd") + len(re.findall(rb"[\x01-\x06\x0e-\x1a]", data))
    return wrong * 20 <= len(data)


class Bundle:
    """The archive. Each member is held in memory as a whole, so that no secret lies across a border of two parts.

    :arg top: the directory in the archive.
    :arg max_bytes: of one member; the end of a longer one is kept.
    :arg total_bytes: of all of them, before they are compressed.
    :arg hidden: files that are left out, `(device, inode)`.
    """

    def __init__(self, stream: IO[bytes], top: str, redactor: Redactor, max_bytes: int, total_bytes: int,
                 hidden: set[tuple[int, int]] | None = None):
        self.archive = tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6)
        self.top = top
        self.redactor = redactor
        self.max_bytes = max_bytes
        self.left = total_bytes
        self.hidden = hidden or set()
        self.entries: list[Entry] = []

    def add(self, source: Source) -> None:
        """Put one source into the archive, or note why it is not there."""
        if self.left <= 0:
            self._leave_out(source.name, "the bundle is full")
            return
        try:
            found, note = self._open(source)
            with found.stream:
                data, cut = self._tail(found, source.only)
        except OSError as error:
            self._leave_out(source.name, error.strerror or str(error))
            return
        if data is None:
            self._leave_out(source.name, cut)
        elif data or not source.argv or not note:
            self._write(source.name, data, found.modified)
            text = "; ".join(filter(None, [note, cut]))
            self.entries.append(Entry(self._cleaned(source.name), len(data), self._cleaned(text), True))
            self.left -= len(data)
        else:
            self._leave_out(source.name, note)

    @property
    def _margin(self) -> int:
        """A secret that is cut in two is not found: what was read before the limit is dropped again."""
        return self.redactor.longest + 4096

    def _open(self, source: Source) -> tuple[Contents, str]:
        note = ""
        if source.error:
            raise OSError(source.error)
        if source.user:
            found = read_as(source.user, source.top, source.path, min(self.max_bytes, self.left) + self._margin)
        elif source.path:
            stream = open_path(source.path)
            found = Contents(stream, os.fstat(stream.fileno()))
        else:
            stream, note, _code = command_output(source.argv) if source.argv else (tempfile.TemporaryFile(), "", 0)
            stream.write(source.text.encode(errors="surrogateescape"))
            stream.flush()
            found = Contents(stream, os.fstat(stream.fileno()))
        if found.identity in self.hidden:
            found.stream.close()
            raise OSError("it holds a secret")
        return found, note

    def _tail(self, found: Contents, only: re.Pattern[bytes] | None) -> tuple[bytes | None, str]:
        """The end of a file without secrets, and what was cut; None where it is no text."""
        limit, margin, size = min(self.max_bytes, self.left), self._margin, found.size
        begin = max(0, size - limit - margin)
        found.stream.seek(max(0, begin - found.begin))
        read = found.stream.read(limit + margin)
        data = read.replace(b"\0", b"")  # What a crash leaves in a log; also, UTF-16 becomes readable.
        if not is_text(data):
            return None, "not text, so secrets in it could not be found"
        if only:
            data = b"".join(line for line in data.splitlines(keepends=True) if only.search(line))
        data = self.redactor.clean(data)
        if begin:
            data = data[margin:]
            data = data[data.find(b"\n") + 1:]
        data = data[-limit:]
        return data, f"the last {len(data)} of {size} bytes" if begin or len(read) > limit else ""

    def _leave_out(self, name: str, why: str) -> None:
        self.entries.append(Entry(self._cleaned(name), 0, self._cleaned(f"left out: {why}"), False))

    def _cleaned(self, text: str) -> str:
        return self.redactor.clean(text.encode(errors="surrogateescape")).decode(errors="replace")

    def _write(self, name: str, data: bytes, modified: float) -> None:
        add_file(self.archive, f"{self.top}/{self._cleaned(name)}", len(data), io.BytesIO(data), modified)

    def close(self) -> None:
        """Write the manifest, and end the archive."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        lines = [
            f"Support bundle of {self.top}, made at {moment} by rayops.cluster.",
            f"{REMOVED.decode()} stands for {len(self.redactor)} secrets that were known, and for what looks like one.",
            "Look at what is here before you hand it on.", "",
        ]
        whole = [entry for entry in self.entries if not entry.note]
        gone = [entry for entry in self.entries if not entry.here]
        cut = [entry for entry in self.entries if entry.note and entry.here]
        for title, entries in (("Whole", whole), ("Cut, or ended with an error", cut), ("Not here", gone)):
            lines += [title, *(f"{entry.bytes:>12}  {entry.name}  {entry.note}".rstrip() for entry in entries), ""]
        self._write("manifest.txt", "\n".join(lines).encode(errors="replace"), time.time())
        self.archive.close()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives: written with files alone, and read as if somebody had made them to do harm."""

from __future__ import annotations

import gzip
import tarfile
import time
from collections.abc import Iterator
from typing import IO, Any, cast

# Bytes that are read at once; no header of a member has more.
BLOCK = 1 << 16


class Bounded:
    """What an archive unpacks to, read forwards, in small blocks, and no more than a limit: its headers are lies."""

    def __init__(self, stream: gzip.GzipFile, most: int):
        self.stream, self.most, self.position, self.back, self.last = stream, most, 0, 0, b""

    def read(self, size: int) -> bytes:
        """The next bytes; raises tarfile.ReadError where a header lies about its own length."""
        if not 0 <= size <= BLOCK or self.position > self.most:
            raise tarfile.ReadError(f"it unpacks to more than {self.most} bytes, or has a header of more than {BLOCK}")
        before, self.back = self.last[-1:] if self.back and size else b"", 0
        data = self.stream.read(size - len(before))
        self.position += len(data)
        self.last = data or self.last
        return before + data

    def tell(self) -> int:
        """Where the next byte lies."""
        return self.position - self.back

    def seek(self, offset: int, _whence: int = 0) -> None:
        """Forwards, or to the last byte, which tarfile reads again; a size below zero leads nowhere."""
        self.back = int(offset == self.position - 1)
        while self.tell() < offset:
            if not self.read(min(BLOCK, offset - self.tell())):
                raise tarfile.ReadError("it ends within a file")
        if self.tell() != offset:
            raise tarfile.ReadError("it goes backwards")

    def blocks(self, entry: tarfile.TarInfo) -> Iterator[bytes]:
        """The content of the member whose header was read just now."""
        self.seek(entry.offset_data)
        left = entry.size
        while left > 0:
            data = self.read(min(left, BLOCK))
            if not data:
                raise tarfile.ReadError("it ends within a file")
            left -= len(data)
            yield data


def members(packed: IO[bytes], most: int) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """The members of an archive, packed by gzip, and what each holds; read to the sum at its end.

    :arg most: bytes that it may unpack to.
    :raises tarfile.TarError, OSError, EOFError, ValueError, zlib.error: it is damaged, or made to do harm.
    """
    with gzip.GzipFile(fileobj=packed) as plain:
        bounded = Bounded(plain, most)
        for entry in tarfile.TarFile(fileobj=cast("IO[bytes]", bounded)):
            yield entry, bounded.blocks(entry)
        while bounded.read(BLOCK):
            pass


def is_file(entry: tarfile.TarInfo) -> bool:
    """Whether a member is a regular file with all its bytes."""
    return entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()


def add_file(archive: tarfile.TarFile, name: str, size: int, stream: Any, modified: float | None = None) -> None:
    """Add a file that its owner alone can read; it was modified at a time, or now."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time() if modified is None else modified)
    archive.addfile(entry, stream)

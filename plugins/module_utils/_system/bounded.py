# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive that somebody may have made to do harm, as tarfile can read it."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator

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

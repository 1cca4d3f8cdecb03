# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was read of the files of a model, so that no later run reads them again."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from contextlib import suppress

from ansible_collections.rayops.cluster.plugins.module_utils._files.file import replace_file
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, opened, read_regular

# Seconds between two writes.
RECORD_SECONDS = 5


class Record:
    """What was read of the files of a directory: bytes, second of change and digest of each, in a file of root's.

    is_whole: all files that were declared are in their places.
    """

    def __init__(self, directory: str, path: str):
        self.directory, self.path = directory, path
        self.name = f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.json"
        self.files: dict[str, tuple[int, int, str]] = {}
        self.is_whole, self._written, self._lock = False, 0.0, threading.Lock()
        with suppress(OSError, PathError, ValueError, TypeError, KeyError):
            found = json.loads(read_regular(os.path.join(directory, self.name), 16 << 20))
            self.files = {str(name): (int(size), int(second), str(digest))
                          for name, (size, second, digest) in found["files"].items()}
            self.is_whole = found["whole"] is True and found["path"] == path

    def of(self, name: str, status: os.stat_result) -> str:
        """The digest of a file that is as it was when it was read; empty otherwise."""
        size, second, digest = self.files.get(name, (0, 0, ""))
        return digest if (size, second) == (status.st_size, int(status.st_mtime)) else ""

    def note(self, name: str, size: int, second: int, digest: str) -> None:
        """Note a file. A run that ends here reads again what it noted in the last seconds."""
        with self._lock:
            self.files[name] = size, second, digest
            if time.monotonic() > self._written + RECORD_SECONDS:
                self.write()

    def write(self) -> None:
        """Write all of it."""
        found = {"path": self.path, "whole": self.is_whole, "files": self.files}
        with opened(self.directory, make=0o700) as directory:
            replace_file(directory, self.name, json.dumps(found).encode(), os.geteuid(), os.getegid(), 0o600)
        self._written = time.monotonic()

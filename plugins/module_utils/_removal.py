# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: do not import it from elsewhere.

"""What goes with a directory, and what must not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ansible_collections.rayops.cluster.plugins.module_utils._ray_process import read_file


def mount_points() -> set[str]:
    """Where something is mounted, also from the same file system (proc(5), mounts)."""
    points = (line.split(" ")[1] for line in read_file("/proc/self/mounts").splitlines())
    return {re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point) for point in points}


def doomed(path: str, keep: str | None = None, mounts: set[str] | None = None) -> Iterator[str]:
    """The files and directories that go with a directory, the innermost first.

    A mount point below it stays with all that is in it, and so does what is to be kept; the directories above them too.
    """
    mounts = mount_points() if mounts is None else mounts
    stays = path in mounts
    for item in sorted(os.scandir(path), key=lambda found: found.name):
        if item.path == keep or item.path in mounts:
            stays = True
        elif item.is_dir(follow_symlinks=False):
            below = list(doomed(item.path, keep, mounts))
            yield from below
            stays = stays or item.path not in below[-1:]
        else:
            yield item.path
    if not stays:
        yield path

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Back up the cluster's state, which the GCS keeps in RocksDB, and put a backup in its place.

Root has the backups, and Ray's user the state, which any job can change: what reads the state and pauses the GCS is a
child process with the rights of that user alone. It writes into a file that root opened, and what it says is checked.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._backup.archive import TOKEN, unpack, write
from ansible_collections.rayops.cluster.plugins.module_utils._backup.state import (
    BLOCK,
    RESTORED,
    BackupError,
    lock_holder,
    look,
    open_file,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import (
    PathError,
    holds_fast,
    open_directory,
    opened,
    real,
)

# What keeps a verb from its work, besides OSError. The message is a sentence.
ERRORS = (BackupError, GuestError, PathError)
# There as long as ids of jobs are to be skipped: a GCS went on after the backup and gave them away.
SKIP_JOBS = ".skip_jobs"
TIME_LIMIT = 25 * 60  # seconds that the child has; its unit has 30 minutes
# Whose links are followed, also by the child, whose user may have made some.
OWN = {0, os.getuid()}
PATIENCE = 3  # seconds in which the child lets the GCS go on


def as_owner(user: str, path: str, call: Callable[[int], Any]) -> Any:
    """Call a function with the open directory of the state, in a child that has the rights of a user alone.

    :arg path: where no such user is there yet, its owner's rights do: it may lie on a disk of another host.
    :returns: its answer; None where there is no such directory.
    """
    def inside() -> Any:
        try:
            with opened(path, owners=OWN) as top:
                return call(top)
        except FileNotFoundError:
            return None

    try:
        return as_user(user, inside, TIME_LIMIT, _identity(user, path), PATIENCE)
    except FileNotFoundError:
        return None


def _identity(user: str, path: str) -> tuple[int, int, list[int]]:
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam(user)
        return entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid)
    with opened(path) as top:
        status = os.fstat(top)
    if not status.st_uid or not status.st_gid:
        raise BackupError(f"There is no user {user} on this host, and {path} is root's: see whose state it is.")
    return status.st_uid, status.st_gid, []


def _read_token(path: str) -> bytes:
    with os.fdopen(open_file(path), "rb") as stream:
        return stream.read(BLOCK)


def _written(name: str, data: bytes, directory: int, group: int = -1, mode: int = 0o600) -> None:
    """Write a file anew, under its name from its last byte on."""
    new = f".{name}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=directory)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        if group >= 0:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
    os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)


def save(
    *, gcs: str, token: str, dest: str, keep: int, cluster: str, version: str, user: str, unit: str = "ray-head.service"
) -> dict[str, Any]:
    """Make a backup, read it again, and remove the oldest ones.

    :arg unit: the unit that runs the GCS; empty for any.
    """
    # Other clusters may have theirs in the same directory: whole names, never their beginnings.
    prefix = f"ray-backup-{cluster}-"
    ours = re.compile(re.escape(prefix) + r"\d{8}T\d{6}Z\.tar\.gz", re.ASCII)
    name = prefix + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + ".tar.gz"
    secret, temporary, path = _read_token(token), f".{name}", os.path.join(dest, name)
    with opened(os.path.dirname(dest), 0o755) as parent, contextlib.suppress(FileExistsError):
        os.mkdir(os.path.basename(dest), 0o700, dir_fd=parent)
    with opened(dest) as directory:
        for found in os.listdir(directory):
            if found.startswith(".") and ours.fullmatch(found[1:]):
                os.unlink(found, dir_fd=directory)  # Of a run that was killed.
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        try:
            if not as_owner(user, gcs, lambda top: write(top, gcs, descriptor, secret, cluster, version, unit)):
                raise BackupError(f"{gcs} holds no state.")
            os.lseek(descriptor, 0, os.SEEK_SET)
            answer = _checked(descriptor, path, cluster, version)
            os.fsync(descriptor)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            raise
        finally:
            os.close(descriptor)
        # What no GCS worked with may be broken: it takes no other one's place.
        if answer["pause_ms"]:
            for old in sorted(found for found in os.listdir(directory) if ours.fullmatch(found))[:-keep]:
                os.unlink(old, dir_fd=directory)
        # What is known of the last one.
        _written(f"{prefix}latest.json", json.dumps(answer).encode(), directory)
    return answer


def _checked(descriptor: int, path: str, cluster: str, version: str) -> dict[str, Any]:
    """What is shown of a backup that is whole; refuses one that is not of this cluster."""
    manifest = unpack(descriptor, path)
    for key, wanted in (("cluster_name", cluster), ("ray_version", version)):
        if manifest[key] != wanted:
            raise BackupError(
                f"{path} is a backup of {key} {manifest[key]}, and this cluster's is {wanted}: "
                + ("take one of this cluster." if key == "cluster_name" else
                   f"set ray_version to {manifest[key]}, restore it, and upgrade then."))
    shown = {key: value for key, value in manifest.items() if key not in ("files", "token_sum")}
    return {**shown, "archive": path, "bytes": os.fstat(descriptor).st_size}


def check(*, archive: str, cluster: str, version: str) -> dict[str, Any]:
    """Read a backup to its end, and refuse one that is not of this cluster."""
    with open(archive, "rb") as stream:
        return _checked(stream.fileno(), archive, cluster, version)


def inspect(*, gcs: str, token: str, user: str) -> dict[str, Any]:
    """What state there is, when it was last written, and which backup it began as."""
    nothing = {"state": False, "written": 0, "restored": "", "state_id": ""}
    return {**(as_owner(user, gcs, look) or nothing), "token": os.path.exists(token)}


def _emptied(directory: int) -> None:
    """Remove all that is in a directory that only root can enter."""
    for _path, directories, names, here in os.fwalk(".", topdown=False, dir_fd=directory):
        for name in names:
            os.unlink(name, dir_fd=here)
        for name in directories:
            os.rmdir(name, dir_fd=here)


@contextmanager
def _private_directory(name: str, parent: int) -> Iterator[int]:
    """A new directory that only root can enter, whoever its parent belongs to; it is gone afterwards."""
    with contextlib.suppress(FileNotFoundError):
        left = open_directory(name, parent)  # By a run that was killed.
        status = os.fstat(left)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not holds_fast(parent):
            raise BackupError(f"{name} beside the state is in the way: see what it is, and move it away.")
        _emptied(left)
        os.close(left)
        os.rmdir(name, dir_fd=parent)
    os.mkdir(name, 0o700, dir_fd=parent)
    new = open_directory(name, parent)
    try:
        status = os.fstat(new)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise BackupError(f"Somebody changes what is beside the state: {name} is not root's.")
        yield new
    finally:
        _emptied(new)
        os.close(new)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=parent)


def restore(*, archive: str, gcs: str, token: str, user: str) -> dict[str, Any]:
    """Put a backup in the place of the state, which is moved aside."""
    os.umask(0o077)
    owner = pwd.getpwnam(user)
    if as_owner(user, gcs, lock_holder):
        raise BackupError(f"A GCS runs with {gcs}: stop it first.")
    if os.path.ismount(gcs):
        raise BackupError(f"{gcs} is a mount point, which cannot be moved: let head_gcs_path lie below.")
    place, aside = gcs, ""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        place = real(gcs)
    name = os.path.basename(place)
    with open(archive, "rb") as stream, opened(os.path.dirname(place), 0o755) as parent, \
            _private_directory(f".{name}.new", parent) as new:
        # By its descriptor: whoever owns the parent can rename the directory, but put nothing into it.
        inside = f"/proc/self/fd/{new}"
        manifest = unpack(stream.fileno(), archive, inside)
        _written(RESTORED, f"{manifest['state_id']}\n".encode(), state := open_directory("gcs", new))
        if manifest["pause_ms"]:
            _written(SKIP_JOBS, b"", state)
        for _directory, _directories, names, descriptor in os.fwalk(".", follow_symlinks=False, dir_fd=state):
            for file in [".", *names]:
                os.chown(file, owner.pw_uid, owner.pw_gid, dir_fd=descriptor, follow_symlinks=False)
        os.close(state)
        if not os.path.exists(token):
            with opened(os.path.dirname(token)) as directory:
                _written(os.path.basename(token), _read_token(f"{inside}/{TOKEN}"), directory, owner.pw_gid, 0o640)
        os.sync()
        with contextlib.suppress(FileNotFoundError):
            later = f"{name}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
            os.rename(name, later, src_dir_fd=parent, dst_dir_fd=parent)
            aside = os.path.join(os.path.dirname(place), later)
        os.rename("gcs", name, src_dir_fd=new, dst_dir_fd=parent)
    os.sync()
    return {"state_id": manifest["state_id"], "aside": aside}

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory of wheels, or a tar file of one."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile


def digest(directory: str) -> str:
    """What tells one content of a directory of wheels from another: names, which have the versions, and sizes."""
    with os.scandir(directory) as entries:
        found = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.name.endswith(".whl"))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def packed(directory: str) -> str:
    """The tar file beside a directory, made anew where that or a file in it is newer: the next run needs no other.

    :raises OSError, tarfile.TarError: it cannot be read or written.
    """
    directory = os.path.normpath(directory)
    archive = f"{directory}.tar"
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Ansible serves each host by a process of its own.
        fcntl.flock(held, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            newest = max([os.fstat(held).st_mtime, *(entry.stat().st_mtime for entry in os.scandir(held))])
            if os.stat(archive).st_mtime > newest:
                return archive
        # Moved into place, so that another run never copies half of it.
        with tempfile.TemporaryDirectory(dir=os.path.dirname(archive), prefix=".wheelhouse-") as scratch:
            made = os.path.join(scratch, "wheels.tar")
            with tarfile.open(made, "w", dereference=True) as stream:
                stream.add(directory, ".")
            os.rename(made, archive)
        return archive
    finally:
        os.close(held)


def unpacked(wheelhouse: str, scratch: str) -> str:
    """The directory of the wheels; those of a tar file are put into a private directory, and it goes.

    A set for GPUs has 4 GB and becomes 8: a disk is not to hold it three times.

    :raises OSError, tarfile.TarError: it cannot be read.
    """
    if os.path.isdir(wheelhouse):
        return wheelhouse
    directory = os.path.join(scratch, "wheels")
    os.mkdir(directory)
    with tarfile.open(wheelhouse) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".whl") else None
            if content:
                with open(os.path.join(directory, os.path.basename(member.name)), "wb") as wheel:
                    shutil.copyfileobj(content, wheel)
    os.unlink(wheelhouse)
    return directory


def uv_of(wheels: str, scratch: str) -> str | None:
    """The uv program out of its wheel, if that is among the wheels and runs here."""
    for wheel in sorted(glob.glob(os.path.join(wheels, "uv-*.whl")), reverse=True):
        with zipfile.ZipFile(wheel) as archive:
            name = next((item for item in archive.namelist() if item.endswith("/scripts/uv")), None)
            program = archive.extract(name, scratch) if name else None
        if program:
            os.chmod(program, 0o755)
            try:
                if subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0:
                    return program
            except OSError:
                # For another kind of processor.
                continue
    return None

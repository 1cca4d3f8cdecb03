# Managed by rayops.cluster
"""Keep the cluster's names in /etc/hosts, which the image of a host may write anew at every boot.

Nothing is written where the entry stands as it is to be.
"""
from __future__ import annotations

import argparse
import errno
import os
import re
import shutil
import socket
import time

# Seconds. A file that was the same twice is written to by nobody at this moment.
INTERVAL = 0.5


def with_entry(text: str, address: str, name: str) -> str:
    """The text with this one entry for the name; the line of a name that has another address goes."""
    pattern = re.compile(rf"\s*[^#\s]+\s+{re.escape(name)}(\s|$)")
    wanted, lines = f"{address} {name}", text.splitlines()
    if [line for line in lines if pattern.match(line)] == [wanted]:
        return text
    return "".join(f"{line}\n" for line in [*(line for line in lines if not pattern.match(line)), wanted])


def keep(path: str, address: str, name: str) -> bool:
    """Bring the entry about; returns whether it was missing."""
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        found = stream.read()
    wanted = with_entry(found, address, name)
    if wanted == found:
        return False
    # Moved into place: whoever looks a name up meanwhile reads no half of it.
    beside = f"{path}.rayops"
    with open(beside, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(wanted)
    # With its label, where the host has SELinux.
    shutil.copystat(path, beside)
    try:
        os.replace(beside, path)
    except OSError as error:
        os.unlink(beside)
        # A container's engine mounts it: a mount point has no other name, and is written to.
        if error.errno != errno.EBUSY:
            raise
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(wanted)
    return True


def stamp(*paths: str) -> list[tuple[int, int, int]]:
    """What changes with the content of these files."""
    found = [os.stat(path) for path in paths]
    return [(status.st_ino, status.st_size, status.st_mtime_ns) for status in found]


def put_back(path: str, entry: str) -> None:
    """Bring about the entries that are declared, and say so where one was missing."""
    with open(entry, encoding="utf-8") as stream:
        entries = [line.split() for line in stream]
    for address, name in entries:
        if keep(path, address, name):
            print(f"{path} had no '{address} {name}': it is there again", flush=True)


def watch(path: str, entry: str) -> None:
    """Put it back for ever. systemd's path units miss what is written while they start their service."""
    # What is written after a stamp was taken has another one, this program's own line, too.
    before = done = stamp(path, entry)
    put_back(path, entry)
    ready()
    while True:
        time.sleep(INTERVAL)
        now = stamp(path, entry)
        if now == before != done:
            put_back(path, entry)
            done = now
        before = now


def ready() -> None:
    """Tell systemd that what waits for this unit may start (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
        there.send(b"READY=1")


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the name of the cluster's head in /etc/hosts.")
    parser.add_argument("--entry", required=True, help="a file with an address and a name a line")
    parser.add_argument("--file", default="/etc/hosts")
    options = parser.parse_args()
    watch(options.file, options.entry)


if __name__ == "__main__":
    main()

# Managed by rayops.cluster
"""Keep the name of the cluster's head in /etc/hosts, which the image of a host may write anew at every boot.

Nothing is written where the entry stands as it is to be.
"""
from __future__ import annotations

import argparse
import errno
import os
import re
import shutil
import sys


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the name of the cluster's head in /etc/hosts.")
    parser.add_argument("--entry", required=True, help="a file that holds the address and the name")
    parser.add_argument("--file", default="/etc/hosts")
    options = parser.parse_args()
    with open(options.entry, encoding="utf-8") as stream:
        address, name = stream.read().split()
    if keep(options.file, address, name):
        sys.stdout.write(f"{options.file} had no '{address} {name}': it is there again\n")


if __name__ == "__main__":
    main()

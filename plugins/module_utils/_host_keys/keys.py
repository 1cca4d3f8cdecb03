# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Public keys of SSH hosts: one of a text, and those that cloud-init prints on an instance's console."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Optional

# How many fields the encoded key of each kind has, its own name included.
KINDS = {
    "ssh-ed25519": 2,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "ssh-rsa": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
# Characters of base64. An RSA key of 16384 bits has 2,800.
LONGEST = 4096
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
# What comes before a line where the console shows the kernel's or the service's name.
_PREFIX = re.compile(r"\A(?:\[ *\d{1,10}\.\d{1,9}\] )?(?:cloud-init\[\d{1,10}\]: )?")


class KeysDiffer(ValueError):
    """A console shows two keys of one kind, of which one may be somebody's invention."""


@dataclass(frozen=True)
class Key:
    """A public key: its kind, and itself in base64, as both stand in a known_hosts file."""

    kind: str
    encoded: str

    def __str__(self) -> str:
        return f"{self.kind} {self.encoded}"


def key_of(text: str) -> Optional[Key]:
    """The key of a line "kind base64 comment", or None where it is none. The comment is dropped; options are none."""
    words = text.split(maxsplit=2)[:2]
    if len(words) < 2 or words[0] not in KINDS or len(words[1]) > LONGEST:
        return None
    try:
        fields = _fields(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError):
        return None
    is_whole = len(fields) == KINDS[words[0]] and all(fields) and fields[0] == words[0].encode()
    return Key(*words) if is_whole else None


def printed(console: str) -> list[Key]:
    """The keys that cloud-init printed on a console, in its order, each once; none where it printed none.

    console: what the instance has written, which may be anything. Raises KeysDiffer.
    """
    found: dict[str, Key] = {}
    for part in console.split(END)[:-1]:
        _before, begin, block = part.rpartition(BEGIN)
        for line in block.split("\n") if begin else ():
            key = key_of(_PREFIX.sub("", line))
            if key and found.setdefault(key.kind, key) != key:
                raise KeysDiffer(key.kind)
    return list(found.values())


def _fields(encoded: bytes) -> list[bytes]:
    """The fields of a key, each with its length before it. Raises ValueError for what is not made of them."""
    fields = []
    while encoded:
        size = int.from_bytes(encoded[:4], "big")
        if len(encoded) < 4 + size:
            raise ValueError("cut off")
        fields.append(encoded[4 : 4 + size])
        encoded = encoded[4 + size :]
    return fields

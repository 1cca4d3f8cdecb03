# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A known_hosts file of OpenSSH: which keys it has for a name, and what it becomes with others."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ansible_collections.rayops.cluster.plugins.module_utils._host_keys.keys import Key, key_of

AUTHORITY, REVOKED = "@cert-authority", "@revoked"
# Hosts as ssh looks them up. No pattern, so that a name never stands for others.
_NAME = re.compile(r"[A-Za-z0-9_.:%-]+|\[[A-Za-z0-9_.:%-]+\]:[0-9]{1,5}")


def is_name(name: str) -> bool:
    """Whether a host can be written into the file by this name."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Line:
    """One line. number: from 1. key: None for a comment, and for what ssh does not understand either."""

    number: int
    text: str
    marker: str = ""
    names: str = ""
    key: Optional[Key] = None

    def matches(self, name: str) -> bool:
        """Whether ssh takes the line for one of this host."""
        if self.key is None:
            return False
        if self.names.startswith("|"):
            return _is_hash_of(self.names, name)
        found = False
        for pattern in self.names.split(","):
            if _pattern(pattern.removeprefix("!")).fullmatch(name.lower()):
                if pattern.startswith("!"):
                    return False
                found = True
        return found

    def without(self, name: str) -> Optional[str]:
        """The line without a host; "" where it was the only one, None where a pattern says it."""
        names = self.names.split(",")
        if self.names.startswith("|"):
            return ""
        if name.lower() not in map(str.lower, names):
            return None
        rest = ",".join(each for each in names if each.lower() != name.lower())
        return self.text.replace(self.names, rest, 1) if rest else ""


@dataclass
class Change:
    """What a file becomes. added: the new lines. changed: for each host the lines that say another key.

    fixed: the same where they say it by a pattern, so that they cannot be taken out for one host. revoked: hosts one of
    whose keys the file revokes.
    """

    text: str
    added: list[str] = field(default_factory=list)
    changed: dict[str, list[Line]] = field(default_factory=dict)
    fixed: dict[str, list[Line]] = field(default_factory=dict)
    revoked: list[str] = field(default_factory=list)


def lines_of(text: str) -> list[Line]:
    """The lines of a file, without the empty end."""
    return [_line(number, each) for number, each in enumerate(text.removesuffix("\n").split("\n"), 1)] if text else []


def knows(lines: Iterable[Line], name: str) -> bool:
    """Whether a host has a key in the file, or an authority."""
    return any(line.marker != REVOKED and line.matches(name) for line in lines)


def with_keys(text: str, keys: Mapping[str, Sequence[Key]], authority: Optional[Key] = None) -> Change:
    """The file with these keys for these hosts, and with the authority for all of them. Other lines stay as they are.

    keys: by the name that ssh looks a host up by. Where the file has another key of one kind, all keys of the host that
    are not among the new ones go out of the text.
    """
    lines = lines_of(text)
    change = Change(text)
    kept = {line.number: line.text for line in lines}
    for name, wanted in keys.items():
        own = [line for line in lines if line.matches(name)]
        plain = [line for line in own if not line.marker]
        if any(line.marker == REVOKED and line.key in (*wanted, authority) for line in own):
            change.revoked.append(name)
        kinds = {key.kind for key in wanted}
        if any(line.key not in wanted and line.key and line.key.kind in kinds for line in plain):
            for line in plain:
                if line.key not in wanted:
                    rest = _line(line.number, kept[line.number]).without(name)
                    change.changed.setdefault(name, []).append(line)
                    if rest is None:
                        change.fixed.setdefault(name, []).append(line)
                    else:
                        kept[line.number] = rest
        has = {line.key for line in plain}
        change.added += [f"{name} {key}" for key in dict.fromkeys(wanted) if key not in has]
    if authority:
        signed = [line for line in lines if line.marker == AUTHORITY and line.key == authority]
        missing = [name for name in keys if not any(line.matches(name) for line in signed)]
        change.added += [f"{AUTHORITY} {','.join(missing)} {authority}"] if missing else []
    rest_of = [kept[line.number] for line in lines if kept[line.number] or not line.text]
    change.text = "".join(f"{each}\n" for each in [*rest_of, *change.added]) if change.added or change.changed else text
    return change


def write(path: str, text: str) -> None:
    """Replace the file in one step, with its mode; a new one is its owner's alone. A link to it stays one."""
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o600
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".known_hosts.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            os.fchmod(handle, mode)
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: str) -> str:
    """The file, whatever its bytes; "" where there is none. Raises OSError."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _line(number: int, text: str) -> Line:
    words = re.split(r"[ \t]+", text.strip(" \t\r"), maxsplit=3)
    marker = words.pop(0) if words[0].startswith("@") else ""
    if words and words[0].startswith("#") or len(words) < 3:
        return Line(number, text)
    return Line(number, text, marker, words[0], key_of(" ".join(words[1:])))


def _pattern(text: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(each, re.escape(each)) for each in re.sub(r"\*+", "*", text.lower())))


def _is_hash_of(hashed: str, name: str) -> bool:
    """Whether it is |1|salt|HMAC-SHA1 of the name, as HashKnownHosts writes."""
    try:
        _empty, kind, salt, digest = hashed.split("|")
        made = hmac.new(base64.b64decode(salt), name.lower().encode(), hashlib.sha1).digest()
        return kind == "1" and hmac.compare_digest(made, base64.b64decode(digest))
    except (ValueError, binascii.Error):
        return False

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets, and what looks like one: known or guessed, and taken out of a text before a byte of it is written."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
import shlex
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._node.live import is_secret

REMOVED = b"[removed]"
# Shorter words would hide others than themselves; where one stands behind its name, a pattern finds it.
_SHORTEST = 6
# What may stand behind the name of a secret: a string in quotes, in quotes inside of JSON inside of JSON, or a word.
_VALUE = rb"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\\+"[^"\n]*(?<=\\)"|[^\s"',;&<>()\[\]{}\\]+)"""
_NAME = (
    rb"(?:password|passwd|passphrase|secret|token|credentials?|api[_-]?key|access[_-]?key(?:[_-]?id)?|private[_-]?key"
    rb"|secret[_-]?key|(?<![A-Za-z0-9])[as]k)"
)
_WEB_TOKEN = re.compile(rb"\beyJ[\w-]{10,}")


def _without_web_tokens(match: re.Match[bytes]) -> bytes:
    """A word without the JSON Web Tokens in it: three parts, of which the first shows what it is."""
    parts, kept, here = match[0].split(b"."), [], 0
    while here < len(parts):
        found = _WEB_TOKEN.search(parts[here]) if here + 2 < len(parts) else None
        if found and len(parts[here + 1]) >= 10 and parts[here + 2]:
            kept.append(parts[here][:found.start()] + REMOVED)
            here += 3
        else:
            kept.append(parts[here])
            here += 1
    return b".".join(kept)


# Each of them takes a time that grows with the text alone: none begins with a repetition that can fail, none repeats
# what the next part repeats too, and none looks on without bound from a place behind which it can begin again.
_PATTERNS: list[tuple[re.Pattern[bytes], bytes | Callable[[re.Match[bytes]], bytes]]] = [
    (re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REMOVED),
    (re.compile(rb"^(?:[A-Za-z0-9+/=]{1,80}\r?\n){0,60}-----END [A-Z ]*PRIVATE KEY-----", re.MULTILINE), REMOVED),
    (re.compile(rb"((?:authorization|cookie)(?:\\*[\"'])?[ \t]*[:=,][ \t]*)(?:\\*[\"'])?[^\r\n\"'\\]+", re.I),
     rb"\1" + REMOVED),
    (re.compile(rb"(\b(?:bearer|basic) )[A-Za-z0-9._~+/=-]{8,}", re.I), rb"\1" + REMOVED),
    (re.compile(rb"(://)[^\s/@\"'<>]{1,512}@"), rb"\1" + REMOVED + b"@"),
    (re.compile(rb"(" + _NAME + rb"(?:\\*[\"'])?[ \t]*(?:=>|[:=])[ \t]*)" + _VALUE, re.I), rb"\1" + REMOVED),
    # An option and its value: two words of a command line, or two items of a list.
    (re.compile(rb"(--[A-Za-z][\w-]{0,40}?(?:password|passwd|secret|token|key)(?:[\"'],)?[ \t]+)(?!-)" + _VALUE, re.I),
     rb"\1" + REMOVED),
    (re.compile(rb"^([ \t]*(?:requirepass|masterauth|masteruser)[ \t]+)[^\r\n]+", re.MULTILINE), rb"\1" + REMOVED),
    (re.compile(rb"([?&](?:key|sign|sig|signature)=)[^\s&\"'\\]+", re.I), rb"\1" + REMOVED),
    # Tokens that show by their shape what they are, JSON Web Tokens among them.
    (re.compile(rb"\b(?:hf_\w{20,}|sk-[\w-]{20,}|gh[a-z]_\w{20,}|A[KS]IA[0-9A-Z]{16})"), REMOVED),
    (re.compile(rb"[\w.-]{24,}"), _without_web_tokens),
]
_NAMED = re.compile(r"""^[ \t-]*["']?([A-Za-z_][\w.-]*)["']?[ \t]*:[ \t]+(\S.*)$""", re.MULTILINE)
_ENVIRONMENT = re.compile(r"^Environment=(.*)$", re.MULTILINE)
_LOOPBACK = ("127.0.0.1", "localhost", "::1", None)


def _base64(raw: bytes) -> Iterator[bytes]:
    """What of a secret shows in the base64 of a text that holds it, wherever it begins there."""
    for offset, mixed in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * offset + raw).rstrip(b"=")
        # The last character holds bits of what follows, unless three bytes end there.
        core = encoded[mixed:] if (offset + len(raw)) % 3 == 0 else encoded[mixed:-1]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))


def _forms(secret: str) -> set[bytes]:
    """A secret as logs, configurations and command lines may show it."""
    raw = secret.encode(errors="surrogateescape")
    texts = {secret, html.escape(secret), secret.replace("'", "'\\''"), secret.replace("'", "'\"'\"'")}
    # systemd.syntax(7) doubles these; Python and JSON have their own escapes, and JSON may stand inside of JSON.
    texts |= {secret.replace("%", "%%").replace("$", "$$"), repr(secret)[1:-1], secret.replace('"', '\\"')}
    for ascii_only in (True, False):
        once = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        texts |= {once, json.dumps(once, ensure_ascii=ascii_only)[1:-1]}
    for safe in ("", "/", "/:=&?"):
        quoted = urllib.parse.quote(raw, safe=safe)
        texts |= {quoted, quoted.replace("%20", "+"), re.sub("%..", lambda match: match[0].lower(), quoted)}
    found = {text.encode(errors="surrogateescape") for text in texts} | {raw.hex().encode(), raw.hex().upper().encode()}
    # What is left of UTF-16 where zeros are taken out, as they are from all that is read.
    found |= {secret.encode(code, errors="replace").replace(b"\0", b"") for code in ("utf-16-le", "utf-16-be")}
    return {form for form in found | set(_base64(raw)) if len(form) >= _SHORTEST}


class Redactor:
    """Removes known secrets, and what looks like one."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._known: list[bytes] = []

    def __len__(self) -> int:
        return len(self._secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Learn secrets; each line of one counts, too."""
        for secret in secrets:
            parts = (secret, secret.strip(), *secret.split("\n"))
            self._secrets.update(part for part in parts if len(part.strip()) >= _SHORTEST)
        forms = {form for secret in self._secrets for form in _forms(secret)}
        # The longest first: a part of it would leave the rest.
        self._known = sorted(forms, key=lambda form: (-len(form), form))

    @property
    def longest(self) -> int:
        """Bytes of the longest form of a secret."""
        return len(self._known[0]) if self._known else 0

    def clean(self, text: bytes) -> bytes:
        """The text without secrets."""
        for form in self._known:
            text = text.replace(form, REMOVED)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def secrets_of(text: str, urls: bool = False) -> set[str]:
    """The secrets in a configuration, by the names that they have there.

    :arg text: YAML, JSON, a unit, an environment file, or a token alone.
    :arg urls: URLs are secrets, too: whoever knows the address of a chat robot can speak for it.
    """
    pairs = list(_pairs(text))
    found = {value for name, value in pairs if is_secret(name.replace("-", "_").replace(".", "_"))}
    if urls:
        for value in (value for name, value in pairs if name.lower().endswith("url")):
            parts = urllib.parse.urlsplit(value)
            if parts.hostname not in _LOOPBACK:
                query = [item for pair in urllib.parse.parse_qsl(parts.query) for item in pair[1:]]
                found |= {value, *query, parts.path.rpartition("/")[2], parts.password or ""}
    return found


def _json_pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Names and values in what JSON holds; the items of a list have its name."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _json_pairs(item, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _json_pairs(item, name)
    elif isinstance(value, str):
        yield name, value


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Names and values in a configuration."""
    with contextlib.suppress(ValueError):
        yield from _json_pairs(json.loads(text))
        return
    for line in _ENVIRONMENT.findall(text):
        try:
            # Its time grows with the square of a word.
            words = shlex.split(line) if len(line) < 1 << 14 else line.split()
        except ValueError:
            words = line.split()
        for name, equals, value in (word.partition("=") for word in words):
            yield name, value.replace("%%", "%") if equals else ""
    for name, value in _NAMED.findall(text):
        yield name, _unquoted(value.rstrip(" \t\r").removesuffix(",").strip())


def _unquoted(value: str) -> str:
    """A scalar of YAML or JSON as what it means."""
    if value.startswith("'") and value.endswith("'"):
        return value[1:-1].replace("''", "'")
    if not value.startswith('"'):
        return value.partition(" #")[0].strip()
    try:
        return str(json.loads(value))
    except ValueError:
        return value.strip('"')


def secrets_of_secret_file(text: str) -> set[str]:
    """The secrets in a file that holds nothing else: a token, lines of NAME=value, or a map in JSON."""
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return {value for value in found.values() if isinstance(value, str)}
    lines = [line.strip() for line in text.splitlines()]
    values = {line.partition("=")[2].strip("\"'") for line in lines if re.match(r"[A-Za-z_]\w*=", line)}
    return values if values else {text.strip()}

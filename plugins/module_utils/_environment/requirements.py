# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pip and uv are asked for: requirements, and the constraints that hold them."""

from __future__ import annotations

import hashlib
import os
import re
from urllib.parse import quote, unquote, urlsplit

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class RequirementsError(Exception):
    """The constraints cannot be used. The message is one sentence with the fix in it."""


def normalized(requirement: str) -> str:
    """The name of a requirement's package as all its spellings have it (PEP 503); empty for none."""
    name = _NAME.match(requirement.strip())
    return re.sub(r"[-_.]+", "-", name.group()).lower() if name else ""


class Constraints:
    """A file of constraints.

    pip looks at the hashes of constraints only in part: a package with extras is refused, and a dependency counts as
    not pinned. So a file with hashes is no constraint but the list of what is installed; no dependency is looked for.

    :arg text: its content; empty for none.
    """

    def __init__(self, text: str):
        self.text = text
        joined = re.sub(r"\\\n", " ", text)
        lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
        self.lines = [line for line in lines if line]
        self.hashed = any("--hash=" in line for line in self.lines)

    @property
    def digest(self) -> str:
        """What tells one content from another; empty for none."""
        return hashlib.sha256(self.text.encode()).hexdigest() if self.text else ""

    def check(self, packages: list[str]) -> None:
        """Refuse constraints that would not hold what they seem to.

        :raises RequirementsError: they would not.
        """
        for line in self.lines:
            if line.startswith("-"):
                raise RequirementsError(
                    f"ray_constraints has the option {line.split()[0]}: leave package names with their versions, and "
                    "hashes; an index is ray_index_url."
                )
            if self.hashed and "--hash=" not in line:
                raise RequirementsError(
                    f"ray_constraints has hashes, but none for {line.split()[0]}: give every package one (uv pip "
                    "compile --generate-hashes), or none at all."
                )
        missing = [item for item in packages if normalized(item) not in set(map(normalized, self.lines))]
        if self.hashed and missing:
            raise RequirementsError(
                f"ray_constraints has hashes, and does not name {missing[0]}: with hashes it must name everything that "
                "is installed, with all dependencies (uv pip compile --generate-hashes)."
            )
        versions = {normalized(line): re.findall(r"==\s*([^\s;,]+)", line)[:1] for line in self.lines}
        for item in packages if self.hashed else []:
            wanted = re.findall(r"==\s*([^\s;,]+)", item)[:1]
            if wanted and versions[normalized(item)] != wanted:
                found = "".join(versions[normalized(item)]) or "no version"
                raise RequirementsError(
                    f"ray_constraints has {normalized(item)} in {found}, but {item} is to be installed: make it anew "
                    "for that version (uv pip compile --generate-hashes)."
                )

    def arguments(self, packages: list[str], scratch: str) -> list[str]:
        """The arguments for pip or uv, with a file of the constraints in a private directory."""
        if not self.lines:
            return packages
        path = os.path.join(scratch, "constraints.txt")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write("".join(f"{line}\n" for line in self.lines))
        if self.hashed:
            return ["--require-hashes", "--no-deps", "--requirement", path]
        return ["--constraint", path, *packages]


def secrets_of(url: str) -> set[str]:
    """What of an address is not to be shown: its password, or a user alone, which is a token then; also unquoted."""
    try:
        parts = urlsplit(url)
        secret = parts.password or (parts.username if parts.password is None else None)
    except ValueError:
        return {url}
    return {secret, unquote(secret), quote(unquote(secret), safe="")} if secret else set()

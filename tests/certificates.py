# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates for the tests, signed as the collection signs them, in directories as nodes have them."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.rayops.cluster.plugins.module_utils._tls.certificate import NodeFiles
from ansible_collections.rayops.cluster.plugins.plugin_utils import _tls

LOCAL = ("127.0.0.1", "localhost", "::1")
DAY = 86400


class Site:
    """An authority, and the directories of those that it signs for."""

    def __init__(self, name: str = "demo") -> None:
        self.authority = _tls.read(*_tls.make(name))

    def node(
        self, directory: Path, *names: str, seconds: float = 90 * DAY, trusts: Site | None = None
    ) -> Path:
        """A node's three files. names: beside those of this host; trusts: whom it trusts, by default this authority."""
        leaf = _tls.issue(self.authority, [*LOCAL, *names], seconds / DAY)
        directory.mkdir()
        files = NodeFiles.of(str(directory))
        texts = {
            files.certificate: leaf.certificate, files.key: leaf.key,
            files.authority: (trusts or self).authority.certificate,
        }
        for path, text in texts.items():
            Path(path).write_text(text, encoding="ascii")
        return directory

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds or makes a cluster's certificate authority, where its files lie: on the controller, or on the host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from ansible.plugins.action import ActionBase

from ansible_collections.rayops.cluster.plugins.plugin_utils._controller_files import UnreadableError, text_of
from ansible_collections.rayops.cluster.plugins.plugin_utils._tls import (
    AuthorityError,
    certificates_in,
    ends_of,
    knows,
    make,
)

if TYPE_CHECKING:
    from ansible.parsing.dataloader import DataLoader

NODE_FILES = "rayops.cluster.node_files"
PREVIOUS = ".previous"
THEIRS = ("is an authority of your own, which ray_tls_new_authority does not replace: leave that out, and put another "
          "one in its place")


class ActionModule(ActionBase):
    """What is wrong is returned: the task has no_log, and what fails would not be seen."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.variables, args = task_vars or {}, self._task.args
        self.state = str(args.get("state", "present"))
        self.name, self.days = str(args.get("cluster_name", "ray")), int(args.get("days", 90))
        given = str(args.get("certificate") or ""), str(args.get("key") or "")
        result.update(changed=False, certificate="", key="", has_key=False, source="ray_tls_ca_certificate", problem="")
        if any(given):
            result.update(certificate=given[0], key=given[1], has_key=bool(given[1]))
            if self.state == "replaced":
                result["problem"] = f"ray_tls_ca_certificate {THEIRS}."
            return result
        directory = str(args.get("controller_directory") or "")
        place: Controller | Host = Controller(directory, self._loader) if directory else Host(
            self, str(args.get("directory", "/var/lib/rayops/tls"))
        )
        result["source"] = place.words
        try:
            result.update(self.found_in(place))
        except (AuthorityError, OSError) as error:
            result["problem"] = f"{place.words} {error.strerror if isinstance(error, OSError) else error}."
        return result

    def found_in(self, place: Controller | Host) -> dict[str, Any]:
        """What is there, after what is missing was made.

        :raises AuthorityError: it cannot be read or made.
        """
        certificate, key, has_key = place.read(self.state != "known")
        if key and not certificate and isinstance(place, Controller):
            raise AuthorityError("has a ca.key and no ca.pem: name its certificate so, or name an empty directory")
        made = None
        if self.state == "replaced":
            if certificate and not self.is_ours(certificate):
                raise AuthorityError(THEIRS)
            made = make(self.name)
        elif self.state == "restored":
            made = self.kept_by(place, certificate)
        elif self.state == "present" and self.is_due(certificate, key):
            made = make(self.name, key)
        if not made or made == (certificate, key):
            return {"certificate": certificate, "key": key, "has_key": has_key}
        if not self._task.check_mode:
            # Whoever replaces it may have to go back. One that an interrupted upgrade has made, no node runs with.
            is_kept = self.state == "replaced" and certificate and not self.kept_by(place, certificate)
            place.write(*made, before=(certificate, key) if is_kept else None)
        return {"changed": True, "certificate": made[0], "key": made[1], "has_key": True}

    def kept_by(self, place: Controller | Host, certificate: str) -> tuple[str, str] | None:
        """What was replaced, if that is what the host ran with before its upgrade, and what is there is not."""
        directory, previous = str(self._task.args.get("previous_directory") or ""), place.previous()
        trusted = Host(self, directory).read(secret=False)[0] if directory and previous else ""
        if not previous or not trusted or not knows(trusted, previous[0]):
            return None
        return None if certificate and knows(trusted, certificate) else previous

    def is_ours(self, certificate: str) -> bool:
        """Whether this collection has made it, for this cluster."""
        own, *others = certificates_in(certificate)
        return not others and [part.value for part in own.subject] == [f"{self.name} Ray CA"[:64]]

    def is_due(self, certificate: str, key: str) -> bool:
        """Whether it is to be made, or to be signed anew: one that this collection has made, with its key."""
        if not certificate:
            return True
        soon = datetime.now(timezone.utc) + timedelta(days=2 * self.days)
        return bool(key) and self.is_ours(certificate) and ends_of(certificates_in(certificate)[0]) < soon


def files_of(certificate: str, key: str, before: tuple[str, str] | None) -> list[tuple[str, str, int]]:
    """The files of an authority, with their texts and modes, in the order in which they are written."""
    old = [(f"ca.key{PREVIOUS}", before[1], 0o600), (f"ca.pem{PREVIOUS}", before[0], 0o644)] if before else []
    return [*old, ("ca.key", key, 0o600), ("ca.pem", certificate, 0o644)]


class Controller:
    """A directory of the controller's."""

    def __init__(self, directory: str, loader: DataLoader) -> None:
        self.directory, self.words, self.loader = directory, f"ray_tls_dir {directory}", loader

    def read(self, secret: bool) -> tuple[str, str, bool]:
        """Certificate and key, and whether the key is there. What is here is read in any case."""
        certificate, key = (self._text(name) for name in ("ca.pem", "ca.key"))
        return certificate, key, bool(key)

    def previous(self) -> tuple[str, str] | None:
        """What was replaced, if anything was."""
        certificate, key = (self._text(name + PREVIOUS) for name in ("ca.pem", "ca.key"))
        return (certificate, key) if certificate and key else None

    def _text(self, name: str) -> str:
        try:
            return text_of(self.loader, os.path.join(self.directory, name))
        except FileNotFoundError:
            return ""
        except UnreadableError as error:
            raise AuthorityError(f"has a {name} that {error}") from None

    def write(self, certificate: str, key: str, before: tuple[str, str] | None) -> None:
        """Keep both, the key first: it can have another certificate."""
        os.makedirs(self.directory, 0o700, exist_ok=True)
        for name, text, mode in files_of(certificate, key, before):
            path, data = os.path.join(self.directory, name), self._as_it_lies(name, text)
            descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
            with open(descriptor, "wb") as stream:
                stream.write(data)
            os.replace(f"{path}.new", path)

    def _as_it_lies(self, name: str, text: str) -> bytes:
        """A text as a file of its kind has it already: a key that somebody has vaulted stays so."""
        own = name.removesuffix(PREVIOUS)
        for known in (own, own + PREVIOUS):
            if self._text(known) == text:
                with open(os.path.join(self.directory, known), "rb") as stream:
                    return stream.read()
        return text.encode("ascii")


class Host:
    """A directory of the host's, root's alone."""

    def __init__(self, action: ActionModule, directory: str) -> None:
        self.action, self.directory = action, directory
        host = action._task.delegate_to or action.variables.get("inventory_hostname", "the head")
        self.words = f"{directory} on {host}"

    def read(self, secret: bool) -> tuple[str, str, bool]:
        """Certificate and key, and whether the key is there. What cannot be read is not taken for absent."""
        found = self._run("rayops.cluster.ray_tls_authority", directory=self.directory,
                          state="read" if secret else "known")
        return str(found.get("certificate") or ""), str(found.get("key") or ""), found.get("has_key") is True

    def previous(self) -> tuple[str, str] | None:
        """What was replaced, if anything was."""
        found = self._run("rayops.cluster.ray_tls_authority", directory=self.directory, state="restored")
        certificate, key = (str(found.get(name) or "") for name in ("certificate", "key"))
        return (certificate, key) if certificate and key else None

    def write(self, certificate: str, key: str, before: tuple[str, str] | None) -> None:
        """Keep both, the key first: it can have another certificate."""
        self._run(NODE_FILES, files=[
            {"path": os.path.dirname(self.directory), "state": "directory", "mode": "0700"},
            {"path": self.directory, "state": "directory", "mode": "0700"},
            *({"path": f"{self.directory}/{name}", "secret": text, "mode": "0600"}
              for name, text, _mode in files_of(certificate, key, before)),
        ])

    def _run(self, module: str, **options: Any) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self.action._execute_module(
            module_name=module, module_args=options, task_vars=self.action.variables
        )
        if answer.get("failed"):
            raise AuthorityError(f"cannot be used: {str(answer.get('msg') or 'no reason is known').rstrip('.')}")
        return answer

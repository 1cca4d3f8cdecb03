# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of module node_files: renders the templates and reads the files that its entries name."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import Templar, trust_as_template

RENDERED = {"template": "content", "secret_template": "secret", "source": "content"}


class ActionModule(ActionBase):
    """Only what is to be written is rendered: what goes, or is left out, may lack its variables."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.variables = task_vars or {}
        options = dict(self._task.args)
        if isinstance(options.get("files"), list) and options.get("state") != "absent":
            options["files"] = [self.with_content(entry) for entry in options["files"]]
        result.update(self._execute_module(module_args=options, task_vars=task_vars))
        return result

    def with_content(self, entry: Any) -> Any:
        """The entry with what it names in place of the name. One that the module will refuse stays as it is."""
        named = [key for key in RENDERED if key in entry] if isinstance(entry, dict) else []
        if len(named) != 1 or {"content", "secret"} & set(entry):
            return entry
        if entry.get("state", "file") != "file" or not boolean(entry.get("when", True), strict=False):
            return entry
        (key,) = named
        try:
            text = self.text_of(str(entry[key])) if key == "source" else self.rendered(str(entry[key]))
        except AnsibleError as error:
            raise AnsibleActionFail(f"{entry.get('path')} cannot be written from {entry[key]}.") from error
        return {RENDERED[key]: text, **{name: value for name, value in entry.items() if name != key}}

    def text_of(self, name: str, directory: str = "files") -> str:
        """The text of a file, found as roles find theirs."""
        return str(self._loader.get_text_file_contents(self._find_needle(directory, name)))

    def rendered(self, name: str) -> Any:
        """What ansible.builtin.template would write."""
        template = trust_as_template(self.text_of(name, "templates"))
        return self.templar.template(template, escape_backslashes=False, overrides={"trim_blocks": True})

    @cached_property
    def templar(self) -> Templar:
        """One for all templates of the list: it is dear to make."""
        paths = self._task.get_search_path()
        return self._templar.copy_with_new_env(
            searchpath=[place for path in paths for place in (os.path.join(path, "templates"), path)],
            available_variables=self.variables,
        )

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps secrets out of a host's log, and out of what a module returns."""

from __future__ import annotations

from collections.abc import Iterable

from ansible.module_utils.basic import AnsibleModule

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:  # before ansible-core 2.22
    register_secrets = None


class UnloggedModule(AnsibleModule):  # type: ignore[misc]  # Ansible ships no types.
    """An AnsibleModule with secrets inside its options.

    AnsibleModule writes its options to the host's log and looks there for the text of each no_log option. It does not
    find one that holds a line break, a backslash or a quote, which the log shows escaped, nor one inside a plain dict.
    """

    def _log_invocation(self) -> None:
        self.log("Invoked; its options may hold secrets and are not logged")


def hide(module: AnsibleModule, secrets: Iterable[str]) -> None:
    """Keep these texts out of what a module returns, as it is the case with those of its no_log options.

    Until ansible-core 2.21 the module itself looks for them; since then the controller does it, where it is told.
    """
    texts = {text for text in secrets if text}
    module.no_log_values.update(texts)
    if register_secrets:
        register_secrets(texts)

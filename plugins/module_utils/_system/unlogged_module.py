# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module whose options are kept out of the host's log."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


class UnloggedModule(AnsibleModule):  # type: ignore[misc]  # Ansible ships no types.
    """An AnsibleModule with secrets inside its options.

    AnsibleModule writes its options to the host's log and looks there for the text of each no_log option. It does not
    find one that holds a line break, a backslash or a quote, which the log shows escaped, nor one inside a plain dict.
    """

    def _log_invocation(self) -> None:
        self.log("Invoked; its options may hold secrets and are not logged")

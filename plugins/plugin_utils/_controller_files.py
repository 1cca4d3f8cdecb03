# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the controller's that people give by name, and may have encrypted with ansible-vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.errors import AnsibleError, AnsibleFileNotFound
from ansible.parsing.vault import AnsibleVaultError

if TYPE_CHECKING:
    from ansible.parsing.dataloader import DataLoader


class UnreadableError(Exception):
    """Why a file cannot be read: the second half of a sentence, with the fix in it."""


def text_of(loader: DataLoader, path: str) -> str:
    """What a file holds, decrypted where it is vaulted.

    :arg path: absolute; Ansible takes others from the directory of the playbook, which is the collection's own.
    :raises FileNotFoundError: there is none.
    :raises UnreadableError: it cannot be read, or decrypted.
    """
    try:
        return str(loader.get_text_file_contents(path))
    except AnsibleFileNotFound as error:
        raise FileNotFoundError(path) from error
    except AnsibleVaultError as error:
        raise UnreadableError(
            "is encrypted with ansible-vault, and not with a password of this run: add --ask-vault-pass or "
            "--vault-password-file"
        ) from error
    except AnsibleError as error:
        reason = getattr(error.__cause__, "strerror", None) or "it is no text"
        raise UnreadableError(f"cannot be read ({reason}): name a file that you may read") from error

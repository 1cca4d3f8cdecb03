# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.filter.file_secret import FilterModule

NO_SECRET = "head has no /etc/ray/auth_token: run the playbook once with --tags ray."


def secret(text, **options):
    content = None if text is None else base64.b64encode(text.encode()).decode()
    slurped = {"content": content} if content is not None else {"failed": True, "msg": "no"}
    return FilterModule().filters()["file_secret"](slurped, NO_SECRET, **options)


def test_a_file_that_is_the_secret():
    assert secret("abc=def\n") == "abc=def"


def test_a_file_of_variables():
    assert secret("# ours\nOTHER=no\nRAY_REDIS_PASSWORD=a=b c\n", variable="RAY_REDIS_PASSWORD") == "a=b c"


@pytest.mark.parametrize(("text", "options"), [(None, {}), ("\n", {}), ("OTHER=no\n", {"variable": "MINE"})])
def test_none_is_told_but_not_in_a_check(text, options):
    with pytest.raises(AnsibleFilterError, match="run the playbook once"):
        secret(text, **options)
    assert secret(text, check=True, **options) == ""

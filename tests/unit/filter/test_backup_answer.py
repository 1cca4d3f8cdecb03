# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.filter.backup_answer import backup_answer

NAMES = r"[.]?ray-backup-demo-([0-9]{8}T[0-9]{6}Z[.]tar[.]gz|latest[.]json)"
SAVED = {
    "cluster_name": "demo", "ray_version": "2.60.0", "storage": "rocksdb", "session": "session_1",
    "state_id": "0a" * 32, "time": 1.5e9, "written": 1.5e9, "pause_ms": 3.4, "bytes": 17675,
    "archive": "/var/backups/ray/ray-backup-demo-20261125T190122Z.tar.gz",
}


def answer(**changes: object) -> dict:
    return backup_answer(json.dumps({**SAVED, **changes}), NAMES, "/var/backups/ray/")


def test_values_of_their_kind():
    assert answer() == SAVED
    assert answer(dest="/etc", _ansible_delegated_vars={}) == SAVED
    assert backup_answer("") == {}
    looked = {"state": True, "token": False, "restored": "", "written": 0}
    assert backup_answer(json.dumps(looked)) == looked
    assert backup_answer(json.dumps({"error": "a\x1b[2Jb\nc"})) == {"error": "a?[2Jb\nc"}


@pytest.mark.parametrize("archive", [
    "/etc/shadow", "../../ansible.cfg", "/var/backups/ray/../ray-backup-demo-20261125T190122Z.tar.gz", "", 5, None,
    "/var/backups/ray/x/ray-backup-demo-20261125T190122Z.tar.gz", "/var/backups/ray/ansible.cfg",
    "/var/backups/ray/ray-backup-demo-2-20261125T190122Z.tar.gz",
    "/var/backups/ray/ray-backup-demo-20261125T190122Z.tar.gz\n",
])
def test_an_archive_that_is_another_file(archive):
    with pytest.raises(AnsibleFilterError, match="cannot be believed"):
        answer(archive=archive)


@pytest.mark.parametrize("changes", [
    {"written": 1e300}, {"written": -1}, {"written": "now"}, {"written": True}, {"written": float("nan")},
    {"bytes": []}, {"pause_ms": {}}, {"state_id": "x"}, {"state": 1}, {"token": "yes"}, {"cluster_name": "{{ 1 }}"},
    {"aside": "x"},
])
def test_a_value_of_another_kind(changes):
    (name,) = changes
    with pytest.raises(AnsibleFilterError, match=f"it has no true {name}. See who has changed"):
        answer(**changes)


@pytest.mark.parametrize("text", ["[]", "1", "{", "[" * 100000, '{"a": ' * 100000, "{}" + " " * (1 << 20)])
def test_no_answer(text):
    with pytest.raises(AnsibleFilterError, match="cannot be believed"):
        backup_answer(text)

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.conftest import as_shown

REPOSITORY = Path(__file__).resolve().parents[3]
OWN = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}


@pytest.fixture
def node_files(run_module, tmp_path_factory):
    record = f"{tmp_path_factory.mktemp('records')}/directories"

    def run(*files, check_mode=False):
        options = {"files": [{**OWN, **entry} for entry in files], "record": record}
        return run_module("node_files", options, check_mode)

    return run


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(directory: Path) -> dict[str, tuple]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in directory.rglob("*")
    }


def test_a_list_is_made_and_then_left_alone(node_files, tmp_path):
    files = [
        {"path": f"{tmp_path}/a", "state": "directory", "mode": "0750"},
        {"path": f"{tmp_path}/a/b/c", "state": "directory"},
        {"path": f"{tmp_path}/a/file", "content": "Köln\n", "mode": "0640"},
        {"path": f"{tmp_path}/a/plain", "content": ""},
        {"path": f"{tmp_path}/a/secret", "secret": "hunter2hunter2", "mode": "0600"},
        {"path": f"{tmp_path}/gone", "state": "absent"},
    ]
    first = node_files(*files)
    assert first["changed"] and first["paths"] == [entry["path"] for entry in files[:5]]
    assert (tmp_path / "a/file").read_text(encoding="utf-8") == "Köln\n"
    assert [mode_of(tmp_path / name) for name in ("a", "a/b/c", "a/file", "a/plain", "a/secret")] == [
        0o750,
        0o755,
        0o640,
        0o644,
        0o600,
    ]
    before = snapshot(tmp_path)
    second = node_files(*files)
    assert (second["changed"], second["paths"], second["diff"]) == (False, [], [])
    assert snapshot(tmp_path) == before


def test_check_mode_says_the_same_and_touches_nothing(node_files, tmp_path):
    (tmp_path / "old").write_text("old\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "leaf").touch()
    (tmp_path / "mode").write_text("same\n")
    (tmp_path / "mode").chmod(0o600)
    before = snapshot(tmp_path)
    files = [
        {"path": f"{tmp_path}/new", "state": "directory", "mode": "0700"},
        {"path": f"{tmp_path}/new/file", "content": "x\n"},
        {"path": f"{tmp_path}/old", "content": "new\n"},
        {"path": f"{tmp_path}/mode", "content": "same\n"},
        {"path": f"{tmp_path}/tree", "state": "absent"},
    ]
    predicted = node_files(*files, check_mode=True)
    assert snapshot(tmp_path) == before
    done = node_files(*files)
    assert predicted["paths"] == done["paths"] == [entry["path"] for entry in files]
    assert predicted["diff"] == done["diff"]
    assert not (tmp_path / "tree").exists() and (tmp_path / "new" / "file").read_text() == "x\n"


def test_content_is_replaced_and_shown(node_files, tmp_path):
    path = tmp_path / "file"
    path.write_text("old\n")
    result = node_files({"path": str(path), "content": "new\n"})
    assert result["diff"] == [
        {"before_header": str(path), "after_header": str(path), "before": "old\n", "after": "new\n"}
    ]
    assert path.read_text() == "new\n"
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_a_mode_that_drifted_is_put_back_and_shown(node_files, tmp_path):
    path = tmp_path / "file"
    path.write_text("same\n")
    path.chmod(0o666)
    before = path.stat().st_mtime_ns
    result = node_files({"path": str(path), "content": "same\n", "mode": "0640"})
    assert result["changed"] and mode_of(path) == 0o640 and path.stat().st_mtime_ns == before
    assert [(diff["before"], diff["after"]) for diff in result["diff"]] == [("mode: 0666\n", "mode: 0640\n")]


def test_a_file_that_is_only_made_once(node_files, tmp_path):
    path = tmp_path / "token"
    entry = {"path": str(path), "secret": "first-secret", "force": False, "mode": "0600"}
    assert node_files(entry)["changed"]
    again = node_files({**entry, "secret": "second-secret"})
    assert not again["changed"] and path.read_text() == "first-secret"
    path.chmod(0o644)
    assert node_files({**entry, "secret": "second-secret"})["changed"]
    assert (path.read_text(), mode_of(path)) == ("first-secret", 0o600)


def test_a_secret_and_its_diff(node_files, tmp_path):
    path = tmp_path / "secret"
    path.write_text("old-secret")
    path.chmod(0o644)
    result = node_files({"path": str(path), "secret": "new-secret", "mode": "0600"})
    assert [(diff["before"], diff["after"]) for diff in result["diff"]] == [("(secret)\n", "(another secret)\n")]
    assert (path.read_text(), mode_of(path)) == ("new-secret", 0o600)


MODES = """
import json, os, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rayops.cluster.plugins.modules import node_files
rename = os.rename
def rename_and_look(source, target, **directories):
    modes = [oct(os.stat(source, dir_fd=directories["src_dir_fd"]).st_mode & 0o777)]
    rename(source, target, **directories)
    sys.stderr.write(" ".join(modes + [oct(os.stat(target, dir_fd=directories["dst_dir_fd"]).st_mode & 0o777)]))
os.rename = rename_and_look
with patch_module_args(json.load(sys.stdin)):
    node_files.main()
"""


def test_a_secret_has_its_mode_before_it_lies_there(tmp_path):
    """Moving a file over another one hands the old one's mode on."""
    path = tmp_path / "secret"
    path.write_text("old-secret")
    path.chmod(0o644)
    entry = {**OWN, "path": str(path), "secret": "new-secret", "mode": "0600"}
    assert run_program(MODES, {"files": [entry]}).stderr == "0o600 0o600"


def run_program(program: str, options: dict) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(options),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/.ansible/collections"},
    )


LOGGED = """
import json, sys
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rayops.cluster.plugins.modules import node_files
basic.AnsibleModule.log = lambda self, msg, log_args=None: sys.stderr.write(f"{msg} {log_args}\\n")
with patch_module_args(json.load(sys.stdin)):
    node_files.main()
"""


def test_a_secret_stands_neither_in_the_result_nor_in_the_hosts_log(tmp_path):
    """The log shows text escaped, where AnsibleModule alone does not find a secret with a line break or a quote."""
    secrets = ["hunter2hunter2", "RAY_REDIS_PASSWORD=hunter2hunter2\n", "hunter2\"'\\hunter2"]
    (tmp_path / "0").write_text("hunter2 of old")
    files = [{**OWN, "path": f"{tmp_path}/{number}", "secret": secret} for number, secret in enumerate(secrets)]
    done = run_program(LOGGED, {"files": files})
    result = as_shown(json.loads(done.stdout))
    assert result["paths"] == [entry["path"] for entry in files]
    assert "Invoked" in done.stderr
    assert "hunter2" not in json.dumps(result) + done.stderr
    assert [Path(entry["path"]).read_text() for entry in files] == secrets


def test_one_line_of_a_file(node_files, tmp_path):
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1 localhost\n10.0.0.1 demo-head\n# caf\xe9 \x0c\n10.0.0.2 demo-head\n")
    entry = {"path": str(path), "regexp": r"\sdemo-head(\s|$)", "content": "10.0.0.9 demo-head"}
    result = node_files(entry)
    assert path.read_bytes() == b"127.0.0.1 localhost\n10.0.0.9 demo-head\n# caf\xe9 \x0c\n"
    assert "10.0.0.9 demo-head" in result["diff"][0]["after"]
    assert not node_files(entry)["changed"]
    path.write_bytes(b"127.0.0.1 localhost")
    assert node_files(entry)["changed"] and not node_files(entry)["changed"]
    assert path.read_bytes() == b"127.0.0.1 localhost\n10.0.0.9 demo-head\n"
    path.write_bytes(b"")
    node_files(entry)
    assert path.read_bytes() == b"10.0.0.9 demo-head\n"
    path.unlink()
    node_files(entry)
    assert path.read_bytes() == b"10.0.0.9 demo-head\n"


def test_the_interface_of_an_address(node_files, tmp_path):
    file = tmp_path / "file"
    entry = {"path": str(file), "content": "a=@interface@\nb==@interface@\nc\n"}
    assert node_files({**entry, "interface_of": "127.0.0.1"}, check_mode=True)["diff"][0]["after"] == "a=lo\nb==lo\nc\n"
    assert node_files({**entry, "interface_of": "127.0.0.1"})["changed"] and file.read_text() == "a=lo\nb==lo\nc\n"
    assert not node_files({**entry, "interface_of": "127.0.0.1"})["changed"]
    # One that this host does not have leaves nothing half written.
    node_files({**entry, "interface_of": "198.51.100.7"})
    assert file.read_text() == "c\n"
    node_files(entry)
    assert file.read_text() == entry["content"]


def test_absent(node_files, tmp_path):
    (tmp_path / "tree" / "leaf").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    files = [{"path": f"{tmp_path}/{name}", "state": "absent"} for name in ("tree", "link", "dangling", "file")]
    assert node_files(*files)["changed"]
    assert os.listdir(tmp_path) == ["kept"]
    assert not node_files(*files)["changed"]


def test_absent_but_for_what_is_kept_or_shared(node_files, tmp_path):
    for name in ("root/env/lib", "root/old", "shared", "theirs"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("root/env/lib/x", "root/old/x", "shared/ours", "theirs/ours", "theirs/other"):
        (tmp_path / name).touch()
    files = [
        {"path": f"{tmp_path}/root", "state": "absent", "keep": f"{tmp_path}/root/env/lib"},
        {"path": f"{tmp_path}/shared/ours", "state": "absent"},
        {"path": f"{tmp_path}/theirs/ours", "state": "absent"},
        {"path": f"{tmp_path}/shared", "state": "absent", "force": False},
        {"path": f"{tmp_path}/theirs", "state": "absent", "force": False},
    ]
    before = snapshot(tmp_path)
    predicted = node_files(*files, check_mode=True)
    assert snapshot(tmp_path) == before
    done = node_files(*files)
    assert predicted["paths"] == done["paths"] == [entry["path"] for entry in files[:4]]
    assert predicted["kept"] == done["kept"] == [f"{tmp_path}/theirs"]
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"root", "root/env", "root/env/lib", "root/env/lib/x", "theirs", "theirs/other"}
    assert not node_files(*files)["changed"]


def test_a_line_goes(node_files, tmp_path):
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n10.0.0.1 demo-head\n10.0.0.2 other")
    path.chmod(0o664)
    entry = {"path": str(path), "state": "absent", "regexp": r"\sdemo-head$"}
    predicted = node_files(entry, check_mode=True)
    assert "demo-head" in path.read_text()
    done = node_files(entry)
    assert done["changed"] and done["diff"] == predicted["diff"]
    assert path.read_text() == "127.0.0.1 localhost\n10.0.0.2 other" and mode_of(path) == 0o664
    assert not node_files(entry)["changed"]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"path": "{}/file/x", "state": "directory"}, "{}/file/x: Not a directory."),
        ({"path": "{}/file", "state": "directory"}, "{}/file is a file and is to be a directory: move it away."),
        ({"path": "{}/directory", "content": "x"}, "{}/directory is a directory and is to be a file: move it away."),
        ({"path": "{}/no/file", "content": "x"}, "{}/no does not exist: put it before {}/no/file in the list."),
        ({"path": "{}/new"}, "{}/new is to be a file: give its content or secret."),
    ],
)
def test_what_is_in_the_way_is_said(node_files, tmp_path, entry, sentence):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "directory").mkdir()
    before = snapshot(tmp_path)
    result = node_files({**entry, "path": entry["path"].format(tmp_path)})
    assert result["failed"] and result["msg"] == sentence.format(*[tmp_path] * 2)
    assert snapshot(tmp_path) == before


def test_content_and_secret_exclude_each_other(node_files, tmp_path):
    result = node_files({"path": f"{tmp_path}/x", "content": "a", "secret": "hunter2hunter2"})
    assert result["failed"] and "mutually exclusive" in result["msg"]
    assert "hunter2" not in json.dumps(result)


def test_an_owner_that_an_earlier_task_would_have_made(node_files, tmp_path):
    (tmp_path / "file").write_text("x")
    entry = {"path": f"{tmp_path}/file", "content": "x", "group": "nosuchgroup"}
    predicted = node_files(entry, check_mode=True)
    assert predicted["changed"] and "nosuchgroup" in predicted["diff"][0]["after"]
    assert node_files(entry)["failed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners(node_files, tmp_path):
    entry = {"path": f"{tmp_path}/file", "content": "x", "owner": "nobody", "group": "daemon", "mode": "0640"}
    assert node_files(entry)["changed"] and not node_files(entry)["changed"]
    found = (tmp_path / "file").stat()
    assert (found.st_uid, found.st_gid) == (pwd.getpwnam("nobody").pw_uid, grp.getgrnam("daemon").gr_gid)
    assert node_files({**entry, "owner": "root", "content": "y"})["changed"]
    assert (tmp_path / "file").stat().st_uid == 0


def test_a_file_that_its_own_command_refuses_stops_everything(node_files, tmp_path):
    first = {"path": f"{tmp_path}/first", "content": "fine\n"}
    checked = {"path": f"{tmp_path}/second", "content": "bad\n", "validate": "grep good %s /dev/null"}
    for check_mode in (True, False):
        result = node_files(first, checked, check_mode=check_mode)
        assert result["failed"] and result["msg"].startswith(f"{tmp_path}/second is not accepted by grep")
    assert list(tmp_path.iterdir()) == []
    assert node_files(first, {**checked, "content": "good\n"})["changed"]
    # What is there already has been checked.
    assert not node_files(first, {**checked, "content": "good\n", "validate": "false"})["changed"]


def test_a_refused_secret_is_not_shown(node_files, tmp_path):
    result = node_files({"path": f"{tmp_path}/a", "secret": "hunter2hunter2", "validate": "grep -c hunter3 %s"})
    assert result["failed"] and "hunter2" not in json.dumps(result["msg"])


def test_a_command_that_is_not_installed_checks_nothing_in_check_mode(node_files, tmp_path):
    entry = {"path": f"{tmp_path}/a", "content": "x", "validate": "/nonexistent/checker %s"}
    assert node_files(entry, check_mode=True)["changed"]
    assert node_files(entry)["failed"] and not (tmp_path / "a").exists()


def test_directories_above_have_their_mode_whatever_the_mask(node_files, tmp_path):
    before = os.umask(0o077)
    try:
        made = node_files({"path": f"{tmp_path}/a/b/c", "state": "directory", "mode": "0700"})
    finally:
        os.umask(before)
    assert made["changed"]
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o700]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user")
def test_what_an_earlier_run_closed_to_its_owner_is_opened(node_files, tmp_path):
    """As /var/lib/ray/gcs, above the directory that the head declares: root's 0700, made under a mask of 077."""
    base = {"path": f"{tmp_path}/lib", "state": "directory", "own": True}
    state = {"path": f"{tmp_path}/lib/gcs/2.60.0", "state": "directory", "mode": "0700", "own": True,
             "owner": "daemon", "group": "daemon"}
    node_files(base)
    (tmp_path / "lib/gcs").mkdir(mode=0o700)
    (tmp_path / "theirs/gcs").mkdir(mode=0o700, parents=True)
    for check_mode in (True, False):
        found = node_files(base, state, check_mode=check_mode)
        assert found["changed"] and state["path"] in found["paths"]
        assert {"before": "mode: 0700\n", "after": "mode: 0755\n", "before_header": f"{tmp_path}/lib/gcs",
                "after_header": f"{tmp_path}/lib/gcs"} in found["diff"]
    assert (mode_of(tmp_path / "lib/gcs"), mode_of(tmp_path / "lib/gcs/2.60.0")) == (0o755, 0o700)
    assert not node_files(base, state)["changed"]
    # What is not ours is left as its owner made it.
    node_files({**state, "path": f"{tmp_path}/theirs/gcs/2.60.0"})
    assert mode_of(tmp_path / "theirs/gcs") == 0o700

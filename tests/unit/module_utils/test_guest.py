# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What root does as a guest, with a real second user: nobody."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._diagnosis import facts
from ansible_collections.rayops.cluster.plugins.module_utils._environment.imported import python_version
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import RayCluster, RayClusterError
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import RayConfigError, load
from ansible_collections.rayops.cluster.plugins.module_utils._node.failure import rocksdb_corruption
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest as _guest
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user, harmless, run

GUEST = pwd.getpwnam("nobody")
SYSTEM_PYTHON = "/usr/bin/python3"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def directory():
    """Where both users can read: pytest's own directories are closed."""
    with tempfile.TemporaryDirectory(prefix="rg", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def guests(directory):
    """A directory of the guest's."""
    path = directory / "guests"
    path.mkdir()
    os.chown(path, GUEST.pw_uid, GUEST.pw_gid)
    return path


def program(directory: Path, text: str) -> str:
    """An environment whose Python is a shell script."""
    (directory / "bin").mkdir(exist_ok=True)
    (directory / "bin" / "python").write_text(f"#!/bin/sh\n{text}")
    (directory / "bin" / "python").chmod(0o755)
    return str(directory)


@root_only
def test_a_call_has_the_guests_rights_alone(directory):
    secret = directory / "secret"
    secret.write_text("x")
    secret.chmod(0o600)

    def look():
        return [os.getresuid(), os.getresgid(), os.getgroups(), os.getsid(0) == os.getpid(), os.getcwd()]

    groups = sorted({GUEST.pw_gid} | {entry.gr_gid for entry in grp.getgrall() if "nobody" in entry.gr_mem})
    found = as_user("nobody", look)
    found[2] = sorted(found[2])
    assert found == [[GUEST.pw_uid] * 3, [GUEST.pw_gid] * 3, groups, True, "/"]
    with pytest.raises(GuestError, match="As user nobody: .*Permission denied"):
        as_user("nobody", secret.read_text)
    with pytest.raises(GuestError, match="Operation not permitted"):
        as_user("nobody", lambda: os.setuid(0))


def test_a_call_that_hangs_or_ends_is_given_up():
    started = time.monotonic()
    with pytest.raises(GuestError, match="^No answer came within 0.3 s.$"):
        as_user("root", lambda: time.sleep(60), 0.3)
    assert time.monotonic() - started < 50
    with pytest.raises(GuestError, match="it ended without an answer"):
        as_user("root", lambda: os._exit(0))
    with pytest.raises(GuestError, match="There is no user nosuchuser on this host"):
        as_user("nosuchuser", lambda: 1)
    assert as_user("root", lambda: {"a": [1, "b"]}) == {"a": [1, "b"]}


def test_an_answer_is_bounded(monkeypatch):
    monkeypatch.setattr(_guest, "MOST", 1000)
    with pytest.raises(GuestError, match="more than 1000 bytes"):
        as_user("root", lambda: "x" * 100000)


@root_only
def test_a_program_has_nothing_of_roots_session(directory, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp")
    script = directory / "look"
    script.write_text("#!/bin/sh\nid -u; id -G; pwd; env; ps -o tty= -p $$; ps -o sid=,pid= -p $$; cat\n")
    script.chmod(0o755)
    code, output, errors = run([str(script)], "nobody", 20, "told\n", {"RAY_X": "1"})
    lines = output.splitlines()
    assert code == 0 and errors == "" and lines[0] == str(GUEST.pw_uid) and lines[2] == "/"
    assert "0" not in lines[1].split() and lines[-1] == "told"
    variables = {line.partition("=")[0] for line in lines if "=" in line}
    assert variables - {"_", "SHLVL"} == {"PATH", "LC_ALL", "HOME", "PWD", "RAY_X"}
    assert "?" in lines
    session = next(line.split() for line in lines if len(line.split()) == 2 and "=" not in line and line != lines[1])
    assert session[0] == session[1]


def test_a_program_that_floods_is_ended(monkeypatch, directory):
    monkeypatch.setattr(_guest, "MOST", 1 << 20)
    with pytest.raises(GuestError, match="wrote more than 1048576 bytes"):
        run(["/bin/sh", "-c", "exec cat /dev/zero"], None, 60)
    # Errors are cut from their beginning.
    code, output, errors = run(["/bin/sh", "-c", "head -c 5000000 /dev/zero >&2; echo last >&2; echo out"], None, 60)
    assert (code, output) == (0, "out\n") and len(errors) <= _guest.MOST_ERRORS and errors.endswith("last\n")
    with pytest.raises(RayClusterError, match="wrote more than 1048576 bytes"):
        RayCluster(program(directory, "exec cat /dev/zero\n"), user="root").status()


def test_a_program_that_does_not_end_is_ended():
    # A number of their own, to be told from others' by.
    own = f"60.{os.getpid()}"
    for command in (f"sleep {own}", f"sleep {own} & exit 0", f"exec >&- 2>&-; sleep {own}", "kill -STOP $$"):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            run(["/bin/sh", "-c", command], None, 0.5)
        assert time.monotonic() - started < 50, command
    time.sleep(0.2)
    assert subprocess.run(["pgrep", "-f", f"sleep {own}"], check=False, stdout=subprocess.DEVNULL).returncode == 1


def test_a_program_that_reads_nothing_is_no_failure():
    assert run(["/bin/true"], None, 20, "x" * 1000000)[0] == 0
    assert run(["/bin/cat"], None, 20, "x" * 1000000)[1] == "x" * 1000000


def test_a_guests_file_is_read_if_it_is_one(directory):
    os.mkfifo(directory / "pipe")
    (directory / "file").write_text("abc" * 100)
    (directory / "link").symlink_to("file")
    (directory / "device").symlink_to("/dev/zero")
    (directory / "directory").mkdir()
    assert _guest.read_tail(str(directory / "file")) == "abc" * 100
    assert _guest.read_tail(str(directory / "file"), 3) == "abc"
    for name in ("pipe", "link", "device", "directory", "absent"):
        assert _guest.read_tail(str(directory / name)) == "", name


def test_what_becomes_of_names():
    told = {
        "__ansible_type": 1, "_ansible_no_log": [{"___ansible_x": {}}], "a\x1b[31m\u0085\ud800b": "c\x1b]0;x\x07\nd\te",
        "ansible": 1, 7: (1, 2),
    }
    assert harmless(told) == {
        "(__ansible_type)": 1, "(_ansible_no_log)": [{"(___ansible_x)": {}}], "a?[31m??b": "c?]0;x?\nd\te",
        "ansible": 1, "7": [1, 2],
    }
    assert not {"__ansible_type", "_ansible_no_log"} & set(json.dumps(harmless(told)).split('"'))


# Who uses it


@root_only
def test_rays_helper_runs_as_its_user(directory, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    answer = '"summary": "\'$(id -u) ${SSH_AUTH_SOCK-none} ${HOME}\'"'
    environment = program(directory, f"cat > /dev/null\necho '{{{answer}, \"nodes\": []}}'\n")
    found = RayCluster(environment, user="nobody").status()
    assert found == {"summary": f"{GUEST.pw_uid} none {GUEST.pw_dir}", "nodes": []}
    assert RayCluster(environment, user="root").status()["summary"].startswith("0 ")
    with pytest.raises(RayClusterError) as caught:
        RayCluster(environment, user="nosuchuser").status()
    assert (caught.value.kind, str(caught.value)) == ("user", "There is no user nosuchuser on this host.")


@pytest.mark.parametrize(("answer", "found"), [
    ('{"summary": "x", "ansible_facts": {"a": 1}, "_ansible_verbose_always": true, "failed": true, "warnings": ["w"], '
     '"deprecations": [], "exception": "e", "invocation": {}, "changed": true, "skipped": true}', {"summary": "x"}),
    ('{"demands": [{"resources": {"__ansible_type": 1, "b": NaN, "c": -Infinity, "d": 1e999, "e": 1.5}}]}',
     {"demands": [{"resources": {"(__ansible_type)": 1, "b": None, "c": None, "d": None, "e": 1.5}}]}),
])
def test_of_a_helpers_answer_only_what_belongs_there_comes_through(directory, answer, found):
    (directory / "answer").write_text(answer)
    environment = program(directory, f"cat > /dev/null\ncat {directory}/answer\n")
    assert RayCluster(environment, user="root").status() == found


@pytest.mark.parametrize("answer", ["[" * 100000, "[]", "7", "", "{", "nonsense"])
def test_a_helper_without_an_answer(directory, answer):
    (directory / "answer").write_text(answer)
    environment = program(directory, f"cat > /dev/null\ncat {directory}/answer\n")
    with pytest.raises(RayClusterError, match="^Ray's helper ended with code 0: it wrote nothing$"):
        RayCluster(environment, user="root").status()


def test_an_error_of_a_helpers_is_harmless_too(directory):
    status = {"nodes": [{"labels": {"__ansible_type": "a"}}], "failed": 1}
    answer = {"error": "missing", "message": "x\x1b[2J", "status": status}
    (directory / "answer").write_text(json.dumps(answer))
    with pytest.raises(RayClusterError) as caught:
        RayCluster(program(directory, f"cat > /dev/null\ncat {directory}/answer\n"), user="root").status()
    assert str(caught.value) == "x?[2J" and caught.value.kind == "missing"
    assert caught.value.status == {"nodes": [{"labels": {"(__ansible_type)": "a"}}]}


@root_only
def test_a_file_of_roots_is_given_to_the_environments_python_as_text(directory, monkeypatch):
    """Which runs as nobody, or as the unit's user, and could not open it."""
    path = directory / "node.yaml"
    path.write_text("a: 1\n")
    path.chmod(0o600)
    answer = '{\\"uid\\": $(id -u), \\"args\\": \\"$1\\", \\"text\\": \\"$(cat)\\"}'
    script = f'test -r {path} && exit 3; echo "{answer}"\n'
    environment = program(directory, script)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert load(str(path), (environment,)) == {"uid": GUEST.pw_uid, "args": "-I", "text": "a: 1"}
    assert load(str(path), (environment,), "daemon")["uid"] == pwd.getpwnam("daemon").pw_uid
    for text in ("echo no\n", "exit 4\n", "exec cat /dev/zero\n"):
        monkeypatch.setattr(_guest, "MOST", 1 << 16)
        with pytest.raises(RayConfigError) as caught:
            load(str(path), (program(directory, f"cat > /dev/null; {text}"),))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@root_only
def test_the_environments_version_is_asked_as_the_guest(directory):
    assert python_version(f"{program(directory, 'id -un')}/bin/python", "nobody") == "nobody"


@root_only
def test_a_pipe_in_place_of_a_file_holds_nobody_up(directory, guests):
    for name in ("session_latest/logs", "gcs"):
        (guests / name).mkdir(parents=True)
    os.mkfifo(guests / "ray_current_cluster")
    os.mkfifo(guests / "session_latest" / "logs" / "gcs_server.err")
    subprocess.run(["chown", "-R", "nobody", str(guests)], check=True)
    os.mkfifo(directory / "token", 0o600)
    started = time.monotonic()
    assert as_user("nobody", lambda: facts.stale_files(str(guests), []), 10) == []
    assert as_user("nobody", lambda: rocksdb_corruption(str(guests), str(guests / "gcs")), 10) == ""
    assert facts.digest_of(str(directory / "token")) == ""
    assert time.monotonic() - started < 50


@root_only
def test_stale_files_are_removed_as_the_guest(directory, guests):
    """One that was a link to root's by the time that it was removed would go with root, and not with the guest."""
    roots = directory / "session_2026" / "sockets"
    roots.mkdir(parents=True)
    for path in (roots / "raylet", guests / "ray_current_cluster"):
        if path.name == "raylet":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(path))
        else:
            path.write_text("10.9.9.9:6379")
            os.chown(path, GUEST.pw_uid, GUEST.pw_gid)
    (guests / "session_2026").symlink_to(roots.parent)
    named = str(guests / "ray_current_cluster")
    found = as_user("nobody", lambda: facts.stale_files(str(guests), []))
    assert found == [f"{guests}/session_2026/sockets/raylet", named]
    left = as_user("nobody", lambda: facts.remove_stale(str(guests), []))
    assert left == [f"{guests}/session_2026/sockets/raylet"]
    assert stat.S_ISSOCK((roots / "raylet").stat().st_mode) and not os.path.exists(named)
    assert as_user("nobody", lambda: facts.remove_stale(str(guests), ["10.9.9.9:6379"])) == left
    shutil.rmtree(roots.parent)


@pytest.mark.parametrize("answer", [
    {"changed": "yes", "changes": 7, "job": "x", "log": 1, "applications": None, "ansible_facts": {"a": 1}},
    {"changes": [1, {"differences": ["x", {"live": 1}]}], "job": {"entrypoint": [1]}},
    {"error": "failed", "message": "no", "status": {"changed": 1, "changes": [[]], "log": {"a": 1}, "invocation": {}}},
    {"error": "failed", "message": "no", "status": {"log": ["a", 7, "b\x1b[2J"]}},
])
def test_an_answer_of_any_shape_is_a_result_of_jobs_and_serve(directory, run_module, answer):
    (directory / "answer").write_text(json.dumps(answer))
    environment = program(directory, f"cat > /dev/null\ncat {directory}/answer\n")
    for name, options in (
        ("ray_job", {"submission_id": "a", "entrypoint": "true"}),
        ("ray_serve", {"applications": [{"name": "a", "import_path": "a:b"}]}),
    ):
        found = run_module(name, {**options, "environment": environment, "user": "root"})
        assert isinstance(found["changed"], bool) and "ansible_facts" not in found
        assert found.get("failed", False) == ("error" in answer) and "exception" not in found
        if "error" in answer:
            assert found["msg"] in ("no", "no\nThe end of its log:\na\nb?[2J")
        assert "args" not in found["invocation"]["module_args"].get("applications", [])

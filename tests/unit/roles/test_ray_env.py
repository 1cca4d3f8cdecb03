# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program ray-env, as root, as a member of the group, and as anybody else."""

from __future__ import annotations

import grp
import json
import os
import pty
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "ray" / "files" / "ray_env.py"
# It stands for ray: a user with a group of the same name, which every distribution has.
USER = "daemon"
TEXT = """# Managed
RAY_ADDRESS=demo-head:6379
RAY_AUTH_TOKEN_PATH={token}
RAY_TLS_SERVER_KEY={key}
NCCL_SOCKET_IFNAME==eth0
GREETING='say "hi" $HOME it'"'"'s'
PATH=/usr/bin:/bin
"""
SHOW = "import json, os; print(json.dumps([dict(os.environ), os.getuid(), os.getgroups()]))"


class Host:
    """The file and the program where the test's users can reach them, and the file's group is that of the user."""

    def __init__(self, directory: Path):
        self.file, self.token, self.key = (directory / name for name in ("environment", "auth_token", "node.key"))
        self.program = shutil.copy(PROGRAM, directory / "ray-env.py")
        self.token.write_text("secret")
        self.key.write_text("secret")
        self.file.write_text(TEXT.format(token=self.token, key=self.key))
        for path in (self.file, self.token, self.key):
            os.chown(path, 0, grp.getgrnam(USER).gr_gid)
            path.chmod(0o640)
        for parent in [directory, *directory.parents]:
            if parent.stat().st_uid == os.geteuid():
                parent.chmod(parent.stat().st_mode | 0o055)

    def argv(self, *command: str) -> list[str]:
        return ["/usr/bin/python3", "-I", str(self.program), "--file", str(self.file), "--user", USER, "--", *command]

    def run(self, *command: str, user: str = "root", group: str = "", **environment: str):
        own = pwd.getpwnam(user)
        return subprocess.run(
            self.argv(*command), capture_output=True, text=True, check=False, timeout=30, user=own.pw_uid,
            group=own.pw_gid, extra_groups=[grp.getgrnam(group).gr_gid] if group else [],
            env={"PATH": os.environ["PATH"], "HOME": own.pw_dir, **environment},
        )


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path) -> Host:
    if os.geteuid() != 0:
        pytest.skip("only root can become others")
    return Host(tmp_path)


def test_roots_command_runs_as_rays_user_and_with_nothing_of_roots_session(host):
    done = host.run("python3", "-c", SHOW, LANG="C.UTF-8", SECRET="s3cret", PYTHONPATH="/root/x")
    assert done.returncode == 0, done.stderr
    environment, uid, groups = json.loads(done.stdout)
    own = pwd.getpwnam(USER)
    assert uid == own.pw_uid and groups == [own.pw_gid]
    assert environment["HOME"] == own.pw_dir and environment["LANG"] == "C.UTF-8"
    assert environment["RAY_ADDRESS"] == "demo-head:6379" and environment["NCCL_SOCKET_IFNAME"] == "=eth0"
    assert environment["GREETING"] == 'say "hi" $HOME it\'s'
    assert not {"SECRET", "PYTHONPATH"} & set(environment)


def test_a_members_command_runs_as_the_member(host):
    done = host.run("python3", "-c", SHOW, user="nobody", group=USER, EDITOR="vi", PATH="/opt/mine")
    environment, uid, _groups = json.loads(done.stdout)
    assert uid == pwd.getpwnam("nobody").pw_uid
    assert environment["EDITOR"] == "vi" and environment["PATH"] == "/usr/bin:/bin"
    assert environment["RAY_ADDRESS"] == "demo-head:6379"


def test_anybody_else_is_told_in_one_sentence(host):
    wanted = f"let root run 'usermod -aG {USER} nobody', then log in again.\n"
    for path in (host.file, host.token, host.key):
        path.chmod(0o600)
        done = host.run("true", user="nobody", group=USER)
        assert done.returncode == 126 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and done.stderr.endswith(wanted)
        path.chmod(0o640)
    assert host.run("true", user="nobody").stderr.endswith(wanted)


def test_a_command_that_is_not_there(host):
    done = host.run("no-such-command")
    assert done.returncode == 127
    assert done.stderr.startswith("ray-env: there is no command no-such-command in /usr/bin:")
    host.file.unlink()
    done = host.run("true")
    assert done.returncode == 126 and "is no node of a cluster yet: run site.yml" in done.stderr


def test_codes_and_options_are_the_commands(host):
    assert host.run("sh", "-c", "exit 7").returncode == 7
    assert host.run("sh", "-c", "exit 7", user="nobody", group=USER).returncode == 7
    assert host.run("sh", "-c", "kill -9 $$").returncode == 137
    assert host.run("echo", "--help", "-x").stdout == "--help -x\n"


def test_without_a_command_it_prints_what_a_shell_reads(host):
    printed = host.run().stdout
    for text in (printed, host.file.read_text()):
        done = subprocess.run(
            ["sh", "-c", f"set -a\n{text}\nset +a\nexec {sys.executable} -c '{SHOW}'"], capture_output=True, text=True,
            check=True,
        )
        environment = json.loads(done.stdout)[0]
        assert environment["GREETING"] == 'say "hi" $HOME it\'s' and environment["NCCL_SOCKET_IFNAME"] == "=eth0"


def test_systemd_reads_the_file_as_the_shell_does(host):
    """Units of users' own name it as their EnvironmentFile."""
    if not Path("/run/systemd/system").exists():
        pytest.skip("no systemd runs here")
    done = subprocess.run(
        ["systemd-run", "--quiet", "--pipe", "--wait", f"--property=EnvironmentFile={host.file}", "env"],
        capture_output=True, text=True, check=False,
    )
    assert """GREETING=say "hi" $HOME it's\n""" in done.stdout and "NCCL_SOCKET_IFNAME==eth0\n" in done.stdout


def test_a_signal_reaches_the_command(host):
    with subprocess.Popen(host.argv("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"),
                          stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 3


def test_roots_command_cannot_type_into_roots_terminal(host):
    """Its terminal is none that it controls: TIOCSTI is refused (tty_ioctl(2))."""
    code = (
        "import fcntl, os, sys, termios\n"
        "try:\n    os.close(os.open('/dev/tty', os.O_RDWR)); print('controls')\n"
        "except OSError as error:\n    print(error.errno)\n"
        "try:\n    fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('typed')\n"
        "except OSError:\n    print('refused')\n"
    )
    child, terminal = pty.fork()
    if child == 0:
        os.execv("/usr/bin/python3", host.argv("python3", "-c", code))
    found, deadline = b"", time.monotonic() + 20
    while b"refused" not in found and b"typed" not in found and time.monotonic() < deadline:
        try:
            found += os.read(terminal, 4096)
        except OSError:
            break
    os.waitpid(child, 0)
    assert b"6\r\nrefused" in found, found

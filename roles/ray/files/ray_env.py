# Managed by rayops.cluster
"""Run a command with the environment of this host's Ray node, so that it finds the cluster; without one, print it.

Who may use it is in the group of Ray's user. Root's command runs as that user, without a terminal of root's: a driver
runs what jobs send it.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys

# What a shell says: it cannot be run, there is none.
CANNOT, MISSING = 126, 127
# Of root's session, all that the command gets.
KEPT = ("TERM", "LANG", "LANGUAGE", "COLORTERM", "TZ")
# With which the cluster is entered: for root and members of the group.
SECRETS = ("RAY_AUTH_TOKEN_PATH", "RAY_TLS_SERVER_KEY")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class RefusedError(Exception):
    """It cannot be done. The message is one sentence with the fix in it; code is that of the program."""

    def __init__(self, message: str, code: int = CANNOT):
        super().__init__(message)
        self.code = code


def read(path: str, user: str) -> dict[str, str]:
    """The variables in the file, of which each is one word for a shell."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            words = shlex.split(stream.read(), comments=True)
    except PermissionError:
        raise not_allowed(user) from None
    except FileNotFoundError:
        raise RefusedError("this host is no node of a cluster yet: run site.yml") from None
    return dict(word.partition("=")[::2] for word in words)


def not_allowed(user: str) -> RefusedError:
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    fix = f"let root run 'usermod -aG {user} {name}', then log in again"
    return RefusedError(f"the cluster's token is for root and members of group {user}: {fix}")


def run(command: list[str], variables: dict[str, str], user: str) -> int:
    """Run a command; its code. Who is not root is replaced by it."""
    program = shutil.which(command[0], path=variables["PATH"])
    if not program:
        fix = "give its whole path, or add what has it to ray_extra_packages"
        raise RefusedError(f"there is no command {command[0]} in {variables['PATH']}: {fix}", MISSING)
    if os.geteuid() != 0:
        secrets = [variables[name] for name in SECRETS if variables.get(name)]
        if not all(os.access(path, os.R_OK) for path in secrets):
            raise not_allowed(user)
        os.execve(program, command, {**os.environ, **variables})
    entry = pwd.getpwnam(user)
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("LC_")}
    own = {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user}
    # A signal waits until there is a command to pass it on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    # In a session of its own nothing can type into root's terminal.
    with subprocess.Popen(
        command, executable=program, env={**kept, **own, **variables}, start_new_session=True,
        user=entry.pw_uid, group=entry.pw_gid, extra_groups=os.getgrouplist(user, entry.pw_gid),
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED),
    ) as process:
        for number in FORWARDED:
            signal.signal(number, lambda sent, _frame: os.killpg(process.pid, sent))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        code = process.wait()
    return 128 - code if code < 0 else code


def main() -> int:
    parser = argparse.ArgumentParser(prog="ray-env", description="Run a command that finds this host's Ray cluster.")
    parser.add_argument("--file", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--user", required=True, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="such as: ray status; none prints the variables")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    try:
        variables = read(options.file, options.user)
        if command:
            return run(command, variables, options.user)
        print("".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items()), end="")
        return 0
    except RefusedError as error:
        print(f"ray-env: {error}.", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"ray-env: {command[0] if command else options.file}: {error.strerror}.", file=sys.stderr)
        return CANNOT


if __name__ == "__main__":
    sys.exit(main())

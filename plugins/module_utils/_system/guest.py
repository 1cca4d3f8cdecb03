# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done with Ray's files and programs, which any job may have changed: as Ray's own user, and within a time.

What comes back is a guest's word: data, never a path to follow, a program to run, or a key of a result.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import select
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Bytes of an answer: a thousand nodes need two million of them.
MOST = 16 << 20
# Bytes of what a program wrote to its standard error, the last of it.
MOST_ERRORS = 1 << 16
# ansible-core reads keys that begin so as its own marks.
_MARK = re.compile(r"_+ansible")
# All control characters but the line feed and the tab.
_CONTROL = {code: "?" for code in (*range(9), *range(11, 32), *range(127, 160), *range(0xD800, 0xE000))}


class GuestError(Exception):
    """It could not be done as that user. The message is one sentence."""


class UnknownUserError(GuestError):
    """There is no such user on this host."""


def own_name() -> str | None:
    """The user that runs this; None where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None


def exists(user: str) -> bool:
    """Whether this host has a user."""
    try:
        return bool(pwd.getpwnam(user))
    except KeyError:
        return False


def account(user: str) -> pwd.struct_passwd | None:
    """The user to become; None where this process is that user, or is not root and cannot become anybody.

    :raises UnknownUserError: there is no such user.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UnknownUserError(f"There is no user {user} on this host.") from None
    return entry if os.geteuid() == 0 and entry.pw_uid != 0 else None


def identity(user: str | None) -> dict[str, Any]:
    """The arguments for subprocess.Popen that make a program run as a user; see account."""
    entry = account(user) if user else None
    if not entry:
        return {}
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def environment(user: str | None = None) -> dict[str, str]:
    """The variables of a program that runs as a user: nothing of root's session."""
    try:
        home = pwd.getpwnam(user).pw_dir if user else "/"
    except KeyError:
        home = "/"
    return {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": home}


def run(
    command: list[str], user: str | None, seconds: float, text: str = "", variables: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a program as a user, with nothing of root's session: no variables, no terminal, no directory.

    :arg user: None for whoever runs this.
    :arg seconds: within which it, and all that has its output open, must have ended; after that they are killed.
    :arg text: its standard input.
    :arg variables: on top of those of environment.
    :returns: its code, its standard output, and the end of its standard error.
    :raises GuestError: there is no such user, or it wrote more than MOST bytes; it has been killed.
    :raises TimeoutError: it did not end in time, and has been killed.
    :raises OSError: it cannot be run.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
        start_new_session=True, env={**environment(user), **(variables or {})}, **identity(user),
    ) as process:
        deadline = time.monotonic() + seconds
        try:
            output, errors = _communicate(process, command[0], text.encode(), deadline)
            process.wait(max(0.1, deadline - time.monotonic()))
        except BaseException as error:
            # It has not been waited for: its number, and so that of its group, is still its own.
            os.killpg(process.pid, signal.SIGKILL)
            raise TimeoutError if isinstance(error, subprocess.TimeoutExpired) else error from None
    return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")


def _communicate(
    process: subprocess.Popen[bytes], program: str, text: bytes, deadline: float
) -> tuple[bytes, bytes]:
    """subprocess's own reads all that comes, until there is no memory left."""
    into, out, err = process.stdin, process.stdout, process.stderr
    if not (into and out and err):
        raise ValueError(f"{program} was started without its three pipes")
    found: dict[Any, bytearray] = {out: bytearray(), err: bytearray()}
    os.set_blocking(into.fileno(), False)
    while reading := [stream for stream in found if not stream.closed]:
        ready, writing, _error = select.select(
            reading, [] if into.closed else [into], [], max(0.0, deadline - time.monotonic())
        )
        if not ready and not writing:
            raise TimeoutError
        if writing:
            try:
                text = text[os.write(into.fileno(), text[:select.PIPE_BUF]):]
            except BrokenPipeError:
                text = b""
            if not text:
                _close(into)
        for stream in ready:
            block = os.read(stream.fileno(), 1 << 16)
            found[stream] += block
            if not block:
                stream.close()
        if len(found[out]) > MOST:
            raise GuestError(f"{program} wrote more than {MOST} bytes.")
        del found[err][:-MOST_ERRORS]
    _close(into)
    return bytes(found[out]), bytes(found[err])


def _close(stream: Any) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        pass  # It read nothing more.


def as_user(
    user: str, call: Callable[..., Any], seconds: float = 30, who: tuple[int, int, list[int]] | None = None,
    patience: float = 0, silence: float = 0,
) -> Any:
    """Call a function in a child process that runs as a user, and return its answer, which must be JSON.

    The child has the user's rights alone: a link that leads to a file of root's is followed in vain.

    :arg who: the numbers of the user, of its group and of its other groups, where the host need not know its name.
    :arg patience: seconds that a child has to clean up after a SIGTERM, before it is killed.
    :arg silence: seconds that may pass without a sign of life. The function is given what makes one.
    :raises GuestError: the child did not answer within the time, or what it raised: one sentence.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(user, who, (lambda: call(lambda: os.write(writing, b" "))) if silence else call, writing)
    os.close(writing)
    try:
        found = _read(reading, seconds, silence or seconds)
    finally:
        os.close(reading)
        _end(child, patience)
    answer = json.loads(found) if found else {"error": "it ended without an answer"}
    if "error" in answer:
        raise GuestError(f"As user {user}: {answer['error']}.")
    return answer["answer"]


def _end(child: int, patience: float) -> None:
    """End a child that hangs; one that has answered is about to end. One that was stopped can only be killed."""
    deadline = time.monotonic() + patience
    if patience:
        os.kill(child, signal.SIGTERM)
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _answer(user: str, who: tuple[int, int, list[int]] | None, call: Callable[[], Any], writing: int) -> None:
    """The child's life."""
    try:
        entry = None if who else account(user)
        if entry:
            who = entry.pw_uid, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
        if who and os.geteuid() == 0:
            uid, gid, groups = who
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
        # No terminal of root's is left to type into.
        os.setsid()
        os.chdir("/")
        answer = {"answer": call()}
    except BaseException as error:  # pylint: disable=broad-exception-caught
        answer = {"error": " ".join(str(error).split()).rstrip(".") or type(error).__name__}
    try:
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writing, data):]
    finally:
        os._exit(0)


def _read(descriptor: int, seconds: float, silence: float) -> bytes:
    deadline, found = time.monotonic() + seconds, b""
    while True:
        left = max(0.0, deadline - time.monotonic())
        ready, _write, _error = select.select([descriptor], [], [], min(left, silence))
        if not ready:
            raise GuestError(f"No answer came within {seconds:g} s." if left <= silence else
                             f"No sign of life came for {silence:g} s.")
        block = os.read(descriptor, 1 << 16)
        # Signs of life are blanks.
        found = (found + block).lstrip()
        if not block:
            return found
        if len(found) > MOST:
            raise GuestError(f"The answer has more than {MOST} bytes.")


def read_tail(path: str, limit: int = 1 << 20) -> str:
    """The end of a regular file; empty where there is none: no pipe is waited for, and a link in its place is none.

    To be called by as_user, for files of a guest's.
    :arg limit: the most bytes that are read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        status = os.fstat(descriptor)
        regular = stat.S_ISREG(status.st_mode)
        found = os.pread(descriptor, limit, max(0, status.st_size - limit)) if regular else b""
    except OSError:
        found = b""
    finally:
        os.close(descriptor)
    return found.decode(errors="replace")


def harmless(value: Any) -> Any:
    """An answer as a result of a module can hold it: keys that ansible-core takes for its own are put in brackets, and
    control characters become question marks."""
    if isinstance(value, dict):
        return {_key(str(key)): harmless(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [harmless(item) for item in value]
    return value.translate(_CONTROL) if isinstance(value, str) else value


def _key(key: str) -> str:
    key = key.translate(_CONTROL)
    return f"({key})" if _MARK.match(key) else key

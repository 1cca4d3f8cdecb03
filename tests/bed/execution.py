# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command in a container, with its input and its output."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from docker.errors import DockerException

from .bed import BedError
from .engine import client

# As long as what runs on a node waits, and its start and its end.
ANSWER_SECONDS = 180
# The docker package loses what a command says before the package has read the answer's head. So the command begins
# with the first line of its input.
GATE = ("sh", "-c", 'read -r _ && exec "$@"', "sh")
STDERR = 2


@dataclass(frozen=True)
class Finished:
    """A command that ended, and what it said."""

    status: int
    stdout: str
    stderr: str


class Execution:
    """A command that runs as root or another user. At its end as a context it is left alone, without an input."""

    def __init__(
        self, container: str, *command: str, user: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.container, self.command = container, command
        try:
            api = client().api
            self._id = api.exec_create(
                container, [*GATE, *command], stdin=True, user=user, environment=dict(environment or {}))["Id"]
            attached = api.exec_start(self._id, socket=True)
        except DockerException as error:
            raise BedError(f"{container}: '{command[0]}' cannot be started: {error}") from error
        assert isinstance(attached, socket.SocketIO), "the engine is reached by a plain socket"
        # A socket of our own on the same connection: the package's is no more than a reader.
        self._connection = socket.socket(fileno=os.dup(attached.fileno()))
        attached.close()
        self._connection.settimeout(None)
        self._frames = self._connection.makefile("rb")
        self._stdout, self._stderr = b"", b""
        self.write("\n")

    def __enter__(self) -> Execution:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def write(self, text: str) -> None:
        try:
            self._connection.sendall(text.encode())
        except OSError as error:
            raise BedError(f"{self.container}: '{self.command[0]}' takes no input: {error}") from error

    def end_input(self) -> None:
        self._connection.shutdown(socket.SHUT_WR)

    def readline(self) -> str:
        """The next line of the standard output; empty at its end."""
        while b"\n" not in self._stdout and self._receive():
            pass
        line, newline, self._stdout = self._stdout.partition(b"\n")
        return (line + newline).decode(errors="replace")

    def finish(self, seconds: float = ANSWER_SECONDS) -> Finished:
        """Give it no more input, and wait for its end. Raises BedError after ``seconds``."""
        deadline = time.monotonic() + seconds
        try:
            self.end_input()
            while self._receive(max(deadline - time.monotonic(), 0.001)):
                pass
        except TimeoutError as error:
            raise BedError(f"{self.container}: {self.command} has not ended after {seconds:.0f} s.") from error
        except OSError:
            pass  # It is gone with its container.
        return Finished(self._status(), self._stdout.decode(errors="replace"), self._stderr.decode(errors="replace"))

    def close(self) -> None:
        self._frames.close()
        self._connection.close()

    def _receive(self, seconds: float | None = None) -> bool:
        """Take one piece of the output. False at the end of both outputs, and when its container is gone."""
        self._connection.settimeout(seconds)
        try:
            head = self._frames.read(8)
            piece = self._frames.read(int.from_bytes(head[4:], "big"))
        except ConnectionError:
            return False
        if len(head) < 8:
            return False
        if head[0] == STDERR:
            self._stderr += piece
        else:
            self._stdout += piece
        return True

    def _status(self) -> int:
        """The exit status; the engine knows it a moment after the output's end, and not at all of a dead container."""
        for _attempt in range(50):
            try:
                status = client().api.exec_inspect(self._id)["ExitCode"]
            except DockerException:
                break
            if status is not None:
                return int(status)
            time.sleep(0.1)
        return -1


def execute(
    container: str, *command: str, user: str = "", environment: Mapping[str, str] | None = None, stdin: str = "",
    seconds: float = ANSWER_SECONDS,
) -> Finished:
    """Run a command to its end."""
    with Execution(container, *command, user=user, environment=environment) as execution:
        if stdin:
            execution.write(stdin)
        return execution.finish(seconds)


def answer(container: str, *command: str, user: str = "", stdin: str = "") -> str:
    """The standard output of a command, which must succeed, without the spaces around it."""
    done = execute(container, *command, user=user, stdin=stdin)
    if done.status:
        what = " ".join(command)[:500]
        raise BedError(f"{container}: '{what}' ended with {done.status}: {done.stderr.strip()[-800:]}")
    return done.stdout.strip()

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One systemd unit: what it is, and the few things that are done to it."""

from __future__ import annotations

import os
import re
import subprocess

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, run

_PROPERTIES = (
    "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID", "NRestarts", "DropInPaths", "User",
    "ExecStart", "InactiveEnterTimestampMonotonic", "FragmentPath", "ExecMainCode", "ExecMainStatus", "Job",
)
# How a main process ends, by the numbers of waitid(2).
_ENDINGS = {"1": "exit status", "2": "signal", "3": "signal"}
# Characters of a line of a log, and of a unit's file.
_LINE = 2000
_FILE = 1 << 16
# The program of a loaded unit, as systemctl shows it; what follows are its arguments.
_PROGRAM = re.compile(r"\{ path=(/[^;]*[^;\s]) ; argv\[\]=")


class SystemdError(Exception):
    """systemctl refused. The message is one sentence."""


class Unit:
    """A service, the timers that belong to it, and the services that it or they start."""

    def __init__(self, name: str, timers: tuple[str, ...] = (), helpers: tuple[str, ...] = ()):
        self.name = name
        self.timers = timers
        self.helpers = helpers
        self.properties: dict[str, str] = {}
        self.timers_active = True
        # Whether a file on disk is newer than what systemd holds in memory.
        self.stale = False
        self.refresh()

    def refresh(self) -> None:
        """Read the unit's properties anew (systemctl(1), show)."""
        names = ",".join(_PROPERTIES)
        text = self._systemctl("show", f"--property={names}", "--", self.name, *self.timers, *self.helpers)
        shown = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in text.strip().split("\n\n")]
        self.properties = shown[0]
        self.stale = any(block.get("NeedDaemonReload") == "yes" for block in shown)
        self.timers_active = all(timer.get("ActiveState") == "active" for timer in shown[1:1 + len(self.timers)])

    @property
    def exists(self) -> bool:
        """Whether systemd knows a unit file of this name."""
        return self.properties.get("LoadState") == "loaded"

    @property
    def active(self) -> bool:
        """Whether its main process runs."""
        return self.properties.get("ActiveState") == "active"

    @property
    def stopped(self) -> bool:
        """Whether it neither runs nor is about to.

        Between two tries it is inactive, with a job, for as long as the units before it take.
        """
        waits = self.properties.get("Job") not in (None, "", "0")
        return self.properties.get("ActiveState") in ("inactive", "failed", "") and not waits

    @property
    def failed(self) -> bool:
        """Whether systemd remembers that it failed."""
        return self.properties.get("ActiveState") == "failed"

    @property
    def enabled(self) -> bool:
        """Whether it starts with the host."""
        return self.properties.get("UnitFileState") == "enabled"

    @property
    def main_pid(self) -> int:
        """Process id of the main process; 0 for none."""
        return int(self.properties.get("MainPID") or 0)

    @property
    def restarts(self) -> int:
        """How often systemd restarted it by itself since it was last started by hand."""
        return int(self.properties.get("NRestarts") or 0)

    @property
    def drop_ins(self) -> list[str]:
        """Files that change the unit from outside."""
        return (self.properties.get("DropInPaths") or "").split()

    @property
    def fragment(self) -> str:
        """Its own file, which drop-ins change; empty for none."""
        return self.properties.get("FragmentPath") or ""

    @property
    def masked(self) -> bool:
        """Whether its file is a link to /dev/null, so that nothing starts it."""
        return self.properties.get("LoadState") == "masked"

    def overriding(self, setting: str) -> list[str]:
        """The drop-ins that set something, such as ``ExecStart``, in place of its own file."""
        line = re.compile(rf"\s*{setting}\s*=")
        return [path for path in self.drop_ins if any(map(line.match, _settings(path)))]

    @property
    def ending(self) -> str:
        """How its last process ended, such as ``exit status 1``; empty where it runs, or has not run."""
        kind = _ENDINGS.get(self.properties.get("ExecMainCode") or "")
        return f"{kind} {self.properties.get('ExecMainStatus') or 0}" if kind else ""

    @property
    def stopped_at(self) -> float:
        """When it last came to a stop, by time.monotonic; 0 for never since the host started."""
        return int(self.properties.get("InactiveEnterTimestampMonotonic") or 0) / 1e6

    @property
    def user(self) -> str:
        """The user that it runs as, by systemd's own record; empty for root and for a unit that is not there."""
        return self.properties.get("User") or ""

    @property
    def program(self) -> str:
        """The program that the loaded unit starts, by systemd's own record; empty for none."""
        found = _PROGRAM.match(self.properties.get("ExecStart") or "")
        return found.group(1) if found else ""

    def reload(self) -> None:
        """Let systemd read the unit files again; nothing is restarted."""
        self._systemctl("daemon-reload")
        self.refresh()

    def reload_service(self) -> None:
        """Let the service read its configuration again."""
        self._systemctl("reload", "--", self.name)

    def enable(self) -> None:
        """Start it with the host."""
        self._systemctl("enable", "--quiet", "--", self.name)

    def start(self) -> None:
        """Start it and its timers; returns when the main process has been executed."""
        self.reset_failed()
        self._systemctl("start", "--", self.name, *self.timers)

    def restart_timers(self) -> None:
        """Let the timers run as their files say."""
        self._systemctl("restart", "--", *self.timers)

    def stop_timers(self) -> None:
        """Stop the timers only."""
        self._systemctl("stop", "--", *self.timers)

    def restart(self, timeout: float) -> None:
        """Stop it, which drains the node, and start it. timeout: seconds for both."""
        self.reset_failed()
        self._systemctl("restart", "--", self.name, *self.timers, timeout=timeout)

    def stop(self, timeout: float) -> None:
        """Stop it, which drains the node. timeout: seconds."""
        self._systemctl("stop", "--", *self.timers, self.name, timeout=timeout)
        # A stop by hand is no failure, whatever Ray's exit code.
        self.reset_failed()

    def kill(self, timeout: float) -> None:
        """End all its processes at once, without a drain; no timer and no Restart= starts it again.

        :arg timeout: seconds within which they must be gone.
        """
        # The stop that is under way keeps systemd from restarting what is killed; a SIGTERM alone would drain the node.
        self._systemctl("stop", "--no-block", "--", *self.timers, self.name, check=False)
        self._systemctl("kill", "--signal=SIGKILL", "--", self.name, check=False)
        # Its timers may run although it is not there: those of the host's other unit.
        self._systemctl("stop", "--", *self.timers, self.name, timeout=timeout, check=self.exists)
        self.reset_failed()

    def forget(self) -> None:
        """Let systemd forget a unit whose files are gone, and that it failed."""
        self.reload()
        self.reset_failed()

    def disable(self) -> None:
        """Do not start it with the host."""
        self._systemctl("disable", "--quiet", "--", self.name, check=False)

    def reset_failed(self) -> None:
        """Forget failures, and the count of restarts: systemd keeps it when a unit between two tries is restarted."""
        self._systemctl("reset-failed", "--", self.name, check=False)

    def journal(self, lines: int = 25, since: float = 0) -> str:
        """The last lines that it wrote, each of a sentence's length: a job's own may have a gigabyte.

        :arg since: seconds since the epoch; what is older belongs to another start.
        """
        command = ["journalctl", f"--unit={self.name}", "--lines", str(lines), "--no-pager", "--output", "cat"]
        command += [f"--since=@{int(since)}"] if since else []
        try:
            _code, output, _errors = run(command, None, 30, variables={"PATH": os.environ.get("PATH", "")})
        except (GuestError, OSError) as error:
            return str(error)
        return "\n".join(line[:_LINE] for line in output.splitlines()).strip()

    def _systemctl(self, *arguments: str, timeout: float = 60, check: bool = True) -> str:
        try:
            result = subprocess.run(
                ["systemctl", *arguments], capture_output=True, text=True, errors="replace", timeout=timeout,
                check=False, env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except FileNotFoundError:
            raise SystemdError("systemctl is missing: these roles need a host whose init is systemd.") from None
        except subprocess.TimeoutExpired:
            raise SystemdError(f"systemctl {' '.join(arguments)} did not finish within {timeout:.0f} s.") from None
        if check and result.returncode:
            raise SystemdError(f"systemctl {' '.join(arguments)} failed: {' '.join(result.stderr.split())}")
        return result.stdout


def _settings(path: str) -> list[str]:
    """The lines of a unit's file that are neither comments nor the rest of a line above; none where it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read(_FILE)
    except OSError:
        return []
    # A comment among the parts of a line is none of them, and does not end it (systemd.syntax(7)).
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    return re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()

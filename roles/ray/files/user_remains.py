"""End all processes of the user who runs this, and remove what it left in directories that everyone shares.

With --check it only tells. It can touch nothing of another user's: not a process, and no file that a link leads to.
"""
import contextlib
import os
import shutil
import signal
import stat
import sys

DIRECTORIES = ("/dev/shm", "/tmp", "/var/tmp")


def processes(user):
    """The other processes of a user, proc(5), each with its name."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == user and int(pid) != os.getpid():
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                    yield f"{pid} {stream.read().strip()}"


def files(user):
    """What lies in the shared directories and belongs to a user."""
    for directory in DIRECTORIES:
        with contextlib.suppress(OSError):
            for entry in os.scandir(directory):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_uid == user:
                        yield entry.path


def remove(path):
    """Remove a file or a tree; what cannot be removed is named."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError as error:
        sys.stderr.write(f"{path} stays: {error}\n")


def main(check=""):
    user = os.getuid()
    if user == 0:
        sys.exit("root's processes and files are not ended: run this as the user who is to go.")
    for line in [*processes(user), *files(user)]:
        print(line)
    if check:
        return
    # All but this one and those of others, at once: none is left that could start another.
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    for path in list(files(user)):
        remove(path)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Take the settings of a file in sysctl.d back, and the file away. Arguments: the file, and --check to only tell.

The ports that it reserves are reserved no longer, those of others stay; what else it sets gets the kernel's default, or
what the host's other files say.
"""
import os
import subprocess
import sys

DEFAULTS = {"net.core.somaxconn": "4096"}
PORTS = "net.ipv4.ip_local_reserved_ports"


def ports(text):
    """The numbers in a list such as 6379,6381-6385."""
    ranges = (part.partition("-") for part in text.split(",") if part.strip())
    return {port for first, _minus, last in ranges for port in range(int(first), int(last or first) + 1)}


def restore(name, ours, check):
    """Bring one setting back to what it is without ours."""
    path = "/proc/sys/" + name.replace(".", "/")
    with open(path, encoding="utf-8") as stream:
        live = stream.read().strip()
    left = DEFAULTS.get(name, live) if live == ours else live
    if name == PORTS:
        left = ",".join(map(str, sorted(ports(live) - ports(ours))))
    if ports(left) == ports(live):
        return
    print(f"{name}: {live} -> {left or 'none'}")
    try:
        with open(os.devnull if check else path, "w", encoding="utf-8") as stream:
            stream.write(f"{left}\n")
    except OSError as error:
        # In a container: it was never set there either.
        print(f"{name} stays: {error.strerror}")


def main(path, check=""):
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as stream:
        pairs = [line.partition("=")[::2] for line in stream if "=" in line and not line.startswith("#")]
    for name, ours in pairs:
        restore(name.strip(), ours.strip(), check)
    print(f"{path} goes")
    if not check:
        os.remove(path)
        prefixes = [f"--prefix=/{name.replace('.', '/')}" for name in (PORTS, *DEFAULTS)]
        subprocess.run(["/lib/systemd/systemd-sysctl", *prefixes], check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_settings
short_description: Take Ray's kernel settings back, and the file that has them
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - The ports that the file reserves are reserved no longer, and those of others stay. What else it sets gets the
    kernel's default, or what the host's other files say.
options:
  path: {description: The file in C(/etc/sysctl.d). Without it there is nothing to do., type: path, required: true}
extends_documentation_fragment: [rayops.cluster.attributes]
"""

EXAMPLES = r"""
- name: Take the kernel's settings back
  rayops.cluster.kernel_settings:
    path: /etc/sysctl.d/60-ray.conf
"""

RETURN = ""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule

DEFAULTS = {"net.core.somaxconn": "4096"}
PORTS = "net.ipv4.ip_local_reserved_ports"


def ports(text: str) -> set[int]:
    """The numbers in a list such as 6379,6381-6385."""
    ranges = (part.partition("-") for part in text.split(",") if part.strip())
    return {port for first, _minus, last in ranges for port in range(int(first), int(last or first) + 1)}


def without(name: str, live: str, ours: str) -> str:
    """What a setting is without ours."""
    if name == PORTS:
        return ",".join(map(str, sorted(ports(live) - ports(ours))))
    return DEFAULTS.get(name, live) if live == ours else live


def place(name: str) -> str:
    """Where the kernel has a setting."""
    return "/proc/sys/" + name.replace(".", "/")


def changes(path: str) -> list[tuple[str, str, str]]:
    """The settings of a file that change: their names, what they are, and what they are to be."""
    with open(path, encoding="utf-8") as stream:
        pairs = [line.partition("=")[::2] for line in stream if "=" in line and not line.startswith("#")]
    found = []
    for name, ours in ((name.strip(), ours.strip()) for name, ours in pairs):
        with open(place(name), encoding="utf-8") as stream:
            live = stream.read().strip()
        left = without(name, live, ours)
        if ports(left) != ports(live):
            found.append((name, live, left))
    return found


def main() -> None:
    module = AnsibleModule(argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True)
    path = module.params["path"]
    if not os.path.exists(path):
        module.exit_json(changed=False)
    changing = changes(path)
    if not module.check_mode:
        for name, _live, left in changing:
            # In a container it cannot be written, and was never set either.
            with contextlib.suppress(OSError), open(place(name), "w", encoding="utf-8") as stream:
                stream.write(f"{left}\n")
        os.remove(path)
        prefixes = [f"--prefix=/{name.replace('.', '/')}" for name in (PORTS, *DEFAULTS)]
        module.run_command(["/lib/systemd/systemd-sysctl", *prefixes])
    before = "".join(f"{name} = {live}\n" for name, live, _left in changing)
    after = "".join(f"{name} = {left}\n" for name, _live, left in changing)
    module.exit_json(changed=True, diff={"before": f"{before}{path}\n", "after": after})


if __name__ == "__main__":
    main()

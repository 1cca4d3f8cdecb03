#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: proxy_users
short_description: Keep the file of users and passwords that a web server asks
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Writes names and hashes of passwords as C(auth_basic_user_file) of nginx reads them, SHA-512 with a salt each.
  - They are hashed by the C library's crypt(3), which nginx itself asks. The hash of a password that is still the same
    stays, so that nothing changes.
options:
  path: {description: Where it lies. Its directory must exist., type: path, required: true}
  users: {description: The passwords by the names of the users. Nobody else may log in., type: dict, required: true}
  group: {description: "The group that may read it, that of the server.", type: str, default: root}
extends_documentation_fragment: [rayops.cluster.attributes]
seealso: [{module: rayops.cluster.node_files}]
"""

EXAMPLES = r"""
- name: Keep the users
  rayops.cluster.proxy_users:
    path: /etc/ray-proxy/users
    users: {alice: "{{ vault_alice }}"}
    group: www-data
"""

RETURN = r"""
users: {description: Who may log in., type: list, elements: str, returned: success}
"""

import ctypes
import grp
import hmac
import secrets
import string

from ansible_collections.rayops.cluster.plugins.module_utils._files.file import node_file, replace_file, set_attributes
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule, hide

# The one that nginx is linked with: of Debian and Ubuntu, of Fedora and openEuler.
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2")
_SALT = string.ascii_letters + string.digits + "./"
MODE = 0o640


def crypt(password: str, setting: str) -> str:
    """The hash of a password, crypt(3). setting: a method and a salt, or a hash, whose own are taken.

    :returns: the hash; empty where the library does not know the method.
    :raises OSError: this host has no such library.
    """
    missing = OSError("there is no libcrypt")
    for name in _LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt
        except OSError as error:
            missing = error
            continue
        function.argtypes, function.restype = (ctypes.c_char_p, ctypes.c_char_p), ctypes.c_char_p
        found = (function(password.encode(), setting.encode()) or b"").decode()
        return "" if found.startswith("*") else found
    raise missing


def hashed(password: str) -> str:
    """A new hash with a salt of its own."""
    return crypt(password, "$6$" + "".join(secrets.choice(_SALT) for _each in range(16)))


def fits(password: str, known: str) -> bool:
    """Whether a hash that was read is one of ours, and of this password."""
    return known.startswith("$6$") and hmac.compare_digest(crypt(password, known), known)


def read(text: str) -> dict[str, str]:
    """The hashes by the names of the users."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: known for name, _colon, known in pairs if name}


def main() -> None:
    module = UnloggedModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "users": {"type": "dict", "required": True, "no_log": True},
            "group": {"type": "str", "default": "root"},
        },
        supports_check_mode=True,
    )
    path, group = module.params["path"], module.params["group"]
    users = {str(name): str(password) for name, password in sorted(module.params["users"].items())}
    hide(module, users.values())
    diff = {"before_header": path, "after_header": path, "before": "", "after": ""}
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        if not module.check_mode:
            module.fail_json(msg=f"This host has no group {group}: set ray_proxy_run_as to the user of its nginx.")
        gid = 0
    try:
        with node_file(path) as file:
            known = read((file.content() or b"").decode(errors="replace"))
            same = {name: name in known and fits(password, known[name]) for name, password in users.items()}
            changed = file.descriptor is None or list(known) != list(users) or not all(same.values())
            if changed:
                diff["before"] = "".join(f"{name}\n" for name in known)
                diff["after"] = "".join(f"{name}{'' if same[name] else ' (another password)'}\n" for name in users)
                lines = [f"{name}:{known[name] if same[name] else hashed(users[name])}\n" for name in users]
                if not module.check_mode:
                    if file.parent is None:
                        raise PathError(path, "make its directory first.")
                    replace_file(file.parent, file.name, "".join(lines).encode(), 0, gid, MODE)
            elif file.descriptor is not None:
                changed = bool(set_attributes(file.descriptor, 0, gid, MODE, module.check_mode)[0])
    except PathError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{path}: {error}.")
    module.exit_json(changed=changed, users=list(users), diff=diff)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_redis_storage
short_description: Remove the state of a Ray cluster from Redis
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: Removes all keys below the namespace of one cluster. Other clusters may share the server.
extends_documentation_fragment: [rayops.cluster.attributes]
attributes:
  check_mode: {details: Says that it would be removed; it does not look whether it is there.}
  diff_mode: {support: none}
  idempotent: {support: none, details: Always says that something has changed.}
options:
  state: {type: str, required: true, choices: [absent], description: That the state is to be removed.}
  address: {type: str, required: true, description: "Where Redis listens, as V(host:port)."}
  namespace: {type: str, required: true, description: "The cluster's namespace, E(RAY_external_storage_namespace)."}
  username: {type: str, default: "", description: "The user of Redis, where it is not the default one."}
  password_file: {type: path, description: "A file of root's with the line C(RAY_REDIS_PASSWORD=...)."}
  environment: {type: path, default: /opt/ray/current, description: The virtual environment that has Ray.}
  user: {type: str, default: ray, description: The system user of Ray. Its environment runs as this user.}
  timeout: {type: float, default: 120, description: Within how many seconds Redis must have removed it.}
"""

EXAMPLES = r"""
- name: Forget the state of a cluster
  rayops.cluster.ray_redis_storage:
    state: absent
    address: 10.0.0.7:6379
    namespace: deepseek-2.60.0
    password_file: /etc/ray/redis.env
"""

RETURN = ""

import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.environment import RayClusterError, RayEnvironment
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, read_regular


def password_of(path: str) -> str:
    """The password in an EnvironmentFile of systemd's."""
    found = re.search(r"(?m)^RAY_REDIS_PASSWORD=(.*)$", read_regular(path).decode())
    return found[1].strip() if found else ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["absent"]},
            "address": {"type": "str", "required": True},
            "namespace": {"type": "str", "required": True},
            "username": {"type": "str", "default": ""},
            "password_file": {"type": "path", "no_log": False},
            "environment": {"type": "path", "default": "/opt/ray/current"},
            "user": {"type": "str", "default": "ray"},
            "timeout": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    options = module.params
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        password = password_of(options["password_file"]) if options["password_file"] else ""
    except (OSError, ValueError, PathError) as error:
        module.fail_json(msg=f"The password of Redis cannot be read from {options['password_file']}: {error}")
    if password:
        # Whatever comes back, from an environment that may be anybody's.
        module.no_log_values.add(password)
    ray = RayEnvironment(options["environment"], options["user"], options["timeout"])
    try:
        ray.wipe_redis(options["address"], options["namespace"], password, options["username"])
    except RayClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()

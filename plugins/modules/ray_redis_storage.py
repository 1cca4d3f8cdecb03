#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_redis_storage
short_description: The state of a Ray cluster in Redis
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Asks whether Redis can keep the state of a cluster, or removes all keys below the namespace of one cluster.
    Other clusters may share the server.
  - What stands in C(ray_redis_url) may be a Sentinel, which names the server.
extends_documentation_fragment: [rayops.cluster.attributes]
attributes:
  check_mode: {details: "With O(state=absent), it says that it would be removed; it does not look whether it is there."}
  diff_mode: {support: none}
  idempotent: {support: none, details: "With O(state=absent), it always says that something has changed."}
options:
  state:
    description:
      - V(checked) asks whether the server answers, by TLS whether its certificate is to be trusted, and whether the
        user may log in and do what Ray does. It changes nothing.
      - V(absent) removes the state.
    type: str
    required: true
    choices: [checked, absent]
  config: {type: dict, required: true,
           description: "The content of C(head-node.yaml), of which section C(redis) counts."}
  password: {type: str, description: "The password. By default that in the C(redis.password_file) of O(config), a file
      of root's with the line C(RAY_REDIS_PASSWORD=...)."}
  ca: {description: "Certificates of CAs, in place of the C(redis.ca_file) of O(config).", type: str}
  environment: {type: path, default: /opt/ray/current, description: The virtual environment that has Ray.}
  user: {type: str, default: ray, description: "The system user of Ray, who asks; before there is one, C(nobody)."}
  timeout: {type: float, default: 120, description: Within how many seconds Redis must have removed it.}
"""

EXAMPLES = r"""
- name: Ask whether Redis can keep the state of the cluster
  rayops.cluster.ray_redis_storage:
    state: checked
    config:
      gcs: {storage: redis}
      redis: {url: "rediss://ray@dcs.example:6379", namespace: deepseek-2.60.0, password_file: /etc/ray/redis.env,
              ca_file: /etc/ray/redis-ca.pem}

- name: Forget the state of a cluster
  rayops.cluster.ray_redis_storage:
    state: absent
    config: "{{ lookup('ansible.builtin.file', 'head-node.yaml') | from_yaml }}"
"""

RETURN = ""

import re
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.environment import RayClusterError, RayEnvironment
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import (
    RayConfigError,
    redis_namespace,
    redis_of,
    validate,
)
from ansible_collections.rayops.cluster.plugins.module_utils._node.live import secrets_of
from ansible_collections.rayops.cluster.plugins.module_utils._node.redis import RedisReply, RedisServer, ask, explain
from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import GuestError, as_user, exists, harmless
from ansible_collections.rayops.cluster.plugins.module_utils._system.paths import PathError, read_regular
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import hide

# Some of an answer every few seconds would be waited for.
PATIENCE = 20


def password_of(path: str) -> str:
    """The password in an EnvironmentFile of systemd's."""
    found = re.search(r"(?m)^RAY_REDIS_PASSWORD=(.*)$", read_regular(path).decode())
    return found[1].strip() if found else ""


def check(module: AnsibleModule, server: RedisServer, password: str) -> None:
    """Fail with one sentence unless the server can keep the state."""
    options = module.params
    user = options["user"] if exists(options["user"]) else "nobody"
    namespace = redis_namespace(options["config"])
    try:
        found = as_user(user, lambda: asdict(ask(server, password, namespace, options["ca"] or "")), PATIENCE)
        reply = RedisReply(**{key: str(found[key]) for key in ("kind", "words")})
    except GuestError as error:
        reply = RedisReply("unreachable", str(error).rstrip("."))
    if reply.kind != "ok":
        fact, fix = explain(reply, server)
        module.fail_json(msg=harmless(f"Redis at {server.address} {fact}: {fix}."))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["checked", "absent"]},
            "config": {"type": "dict", "required": True},
            "password": {"type": "str", "no_log": True},
            "ca": {"type": "str"},
            "environment": {"type": "path", "default": "/opt/ray/current"},
            "user": {"type": "str", "default": "ray"},
            "timeout": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    options = module.params
    config = options["config"]
    hide(module, secrets_of(config))
    try:
        validate(config, "head")
        server = redis_of(config)
    except RayConfigError as error:
        module.fail_json(msg=f"head-node.yaml: {error}")
    if server is None:
        module.fail_json(msg="gcs.storage is not redis: this cluster keeps no state there.")
    if options["state"] == "absent" and module.check_mode:
        module.exit_json(changed=True)
    path = config["redis"].get("password_file")
    try:
        given = options["password"]
        password = given if given is not None else password_of(path) if path else ""
    except (OSError, ValueError, PathError) as error:
        module.fail_json(msg=f"The password of Redis cannot be read from {path}: {error}")
    # Whatever comes back, from an environment that may be anybody's.
    hide(module, [password])
    check(module, server, password)
    if options["state"] == "checked":
        module.exit_json(changed=False)
    ray = RayEnvironment(options["environment"], options["user"], options["timeout"])
    try:
        ray.wipe_redis(
            server.address, redis_namespace(config), password, server.username, server.ca_file if server.tls else "",
            server.name,
        )
    except RayClusterError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()

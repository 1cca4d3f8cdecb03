#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_serve_info
short_description: Read the Ray Serve applications of a cluster
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Reads the applications of Ray Serve, how each was declared, and how Serve listens. It starts nothing.
extends_documentation_fragment: [rayops.cluster.attributes, rayops.cluster.connection]
attributes: {diff_mode: {support: N/A}}
options:
  names:
    description: Only the applications with these names. One that is not there is left out.
    type: list
    elements: str
  timeout: {description: "How long the cluster may take, in seconds.", type: float, default: 60}
seealso: [{module: rayops.cluster.ray_serve}]
"""

EXAMPLES = r"""
- name: Read what is served
  rayops.cluster.ray_serve_info:
  register: serve

- name: Show what does not run
  ansible.builtin.debug:
    msg: "{{ serve.applications | rejectattr('status', 'eq', 'RUNNING') | map(attribute='name') }}"
"""

RETURN = r"""
running:
  description: Whether Serve runs. It does so since the first application, until it is shut down.
  returned: success
  type: bool
applications:
  description: The applications, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str}
    status: {description: "V(RUNNING), V(DEPLOYING), V(DEPLOY_FAILED), V(UNHEALTHY), V(DELETING) or V(NOT_STARTED).",
      type: str}
    message: {description: "What Serve says of it, the end.", type: str}
    route_prefix: {description: Where it answers., type: str}
    source: {description: "V(declarative), or V(imperative) where a program started it.", type: str}
    last_deployed: {description: When it was declared last., type: str}
    config: {description: "How it was declared, secrets hidden; none where a program started it.", type: dict}
    deployments:
      description: Its deployments, by name.
      type: list
      elements: dict
      contains:
        name: {description: Its name., type: str}
        status:
          description: "V(HEALTHY), V(UPDATING), V(UPSCALING), V(DOWNSCALING), V(UNHEALTHY) or V(DEPLOY_FAILED)."
          type: str
        message: {description: "What Serve says of it, the end.", type: str}
        target_num_replicas: {description: How many replicas it shall have., type: int}
        replicas: {description: "Those that it has; V(start_time_s) since the epoch.", type: list, elements: dict}
http_options: {description: "How Serve listens, empty where it does not run.", returned: success, type: dict}
proxy_location: {description: Where Serve listens., returned: success, type: str}
proxies:
  description: What listens, a node each.
  returned: success
  type: list
  elements: dict
  sample: [{node_id: 8647, node_ip: 10.0.0.5, status: HEALTHY}]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import (
    RayClusterError,
    connected,
    connection_arguments,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_arguments(),
            "names": {"type": "list", "elements": "str"},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        found = connected(params).serve_status(params["names"])
    except RayClusterError as error:
        if module.check_mode and error.kind in ("no_ray", "unreachable", "user"):
            module.exit_json(changed=False, skipped=True, msg=f"There are no applications yet. {error}")
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()

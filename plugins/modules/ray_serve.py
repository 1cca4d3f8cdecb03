#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_serve
short_description: Deploy or remove Ray Serve applications
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Declares applications of Ray Serve by their names. Applications that are not named stay as they are.
  - An application is compared with what the cluster has. One that does not differ is not touched.
  - It must run on a host that has a node of the cluster, for example on the head, and that reaches the dashboard.
    The controller needs neither.
  - Ray replaces all applications at once. If somebody else writes at the same moment, the module notices, and fails.
extends_documentation_fragment: [rayops.cluster.attributes, rayops.cluster.connection]
attributes:
  check_mode: {details: "Deploys and removes nothing. Skipped where no cluster is yet."}
options:
  state:
    description:
      - V(present) deploys what differs, and an application that is C(DEPLOY_FAILED) again. Serve takes an unchanged
        declaration for nothing new, so that one gets a variable C(RAYOPS_ATTEMPT) in its C(env_vars).
      - V(absent) removes the applications that O(applications) names. Serve itself goes on.
    type: str
    choices: [present, absent]
    default: present
  applications:
    description:
      - "The applications, each as Serve has it in the C(applications) of its config file: C(name), C(import_path),
        C(route_prefix), C(args), C(runtime_env), C(deployments), C(logging_config), C(external_scaler_enabled)."
      - For O(state=absent), C(name) is enough.
      - In results, diffs and logs of this module, variables of C(env_vars) and whatever is called a key, a token, a
        secret or a password have no values. Whoever has the cluster's token can read them.
      - An option that Serve does not know is refused, as is a C(working_dir) of this host. Serve wants a URI there, as
        V(s3://bucket/app.zip), or V(local:///srv/app) for a directory that each node has.
    type: list
    elements: dict
    required: true
  http_options:
    description:
      - How Serve listens, such as C(host) and C(port), as in its config file. The default of C(host) is V(0.0.0.0).
      - Serve takes it when it starts, with the first application. If it runs otherwise, the module fails and says what
        to do.
    type: dict
  proxy_location:
    description: Where Serve listens. Serve takes it when it starts, as O(http_options). Its default is V(EveryNode).
    type: str
    choices: [Disabled, HeadOnly, EveryNode]
  wait:
    description:
      - Whether to wait until all of O(applications) are C(RUNNING), or are gone. If one is C(DEPLOY_FAILED), the module
        fails.
    type: bool
    default: true
  timeout:
    description:
      - How long to wait, in seconds. After that the applications are left as they are, and the module fails.
      - A head that is away meanwhile is waited for.
    type: float
    default: 600
  log_lines: {description: "How many lines of the end of a replica's log are shown of an application that failed.",
    type: int, default: 20}
seealso: [{module: rayops.cluster.ray_serve_info}, {module: rayops.cluster.ray_job}]
"""

EXAMPLES = r"""
- name: Serve a model
  rayops.cluster.ray_serve:
    applications:
      - name: deepseek
        route_prefix: /
        import_path: ray.serve.llm:build_openai_app
        args:
          llm_configs:
            - model_loading_config: {model_id: deepseek-r1, model_source: /srv/models/deepseek-r1}
              engine_kwargs: {tensor_parallel_size: 8}
    http_options: {host: "{{ ansible_host }}", port: 8000}
    timeout: 1800

- name: Remove it
  rayops.cluster.ray_serve:
    applications: [{name: deepseek}]
    state: absent
"""

RETURN = r"""
applications:
  description: The applications that were named, as they are now, by name. For O(state=absent), what is left of them.
  returned: when Serve was asked
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str}
    status: {description: "V(RUNNING), V(DEPLOYING), V(DEPLOY_FAILED), V(UNHEALTHY), V(DELETING) or V(NOT_STARTED).",
      type: str}
    message: {description: "What Serve says of it, the end.", type: str}
    route_prefix: {description: Where it answers., type: str}
    source: {description: "V(declarative), or V(imperative) where a program started it.", type: str}
    last_deployed: {description: When it was declared last., type: str, sample: "2026-11-23T06:13:23.927+00:00"}
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
changes:
  description: What changed, an application each.
  returned: when Serve was asked
  type: list
  elements: dict
  contains:
    name: {description: The name of the application., type: str}
    action: {description: "V(deploy), V(update), V(redeploy) (it had failed) or V(remove).", type: str}
    differences:
      description: The options that differ. Secrets are hidden.
      type: list
      elements: dict
      sample: [{option: "deployments[0].num_replicas", declared: 2, live: 1}]
log:
  description: The end of the log of a replica, or of what Serve says.
  returned: when an application failed, or was late
  type: list
  elements: str
"""

import json
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.cluster import (
    RayClusterError,
    connected,
    connection_arguments,
    told,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.unlogged_module import UnloggedModule


def define_module() -> UnloggedModule:
    return UnloggedModule(
        argument_spec={
            **connection_arguments(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "applications": {"type": "list", "elements": "dict", "required": True},
            "http_options": {"type": "dict"},
            "proxy_location": {"type": "str", "choices": ["Disabled", "HeadOnly", "EveryNode"]},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 600},
            "log_lines": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )


def problem(params: dict[str, Any]) -> str | None:
    """What is wrong with the options; None for nothing."""
    names = []
    for number, application in enumerate(params["applications"]):
        name = application.get("name")
        if not isinstance(name, str) or not name:
            return f"applications[{number}] has no name: give it one."
        if params["state"] == "present" and not application.get("import_path"):
            return f"Application {name} has no import_path: say what to deploy, as in my_module:app."
        for option in ("host", "port"):
            if option in application:
                return f"Application {name} has the option {option}: move it to http_options."
        names.append(name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"Application {twice[0]} is there twice: leave one of them out."
    for option in ("timeout", "log_lines"):
        if params[option] < 0:
            return f"{option} must not be negative, but is {params[option]}."
    return None


def declared(applications: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The applications with the values of env_vars as Ray wants them: numbers as texts."""
    def texts(value: Any) -> Any:
        if isinstance(value, list):
            return [texts(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {key: variables(item) if key == "env_vars" else texts(item) for key, item in value.items()}

    def variables(found: Any) -> Any:
        if not isinstance(found, dict):
            return found
        return {key: str(value) if type(value) in (int, float) else value for key, value in found.items()}

    return [texts(application) for application in applications]


def diffs(result: dict[str, Any]) -> list[dict[str, str]]:
    """What --diff shows, an application each. What comes is a helper's word: it may have any shape."""
    found = []
    for change in mappings(result.get("changes")):
        sides = {
            side: "".join(
                f"{item.get('option')}: {json.dumps(item[key], sort_keys=True)}\n"
                for item in mappings(change.get("differences")) if item.get(key) is not None
            )
            for side, key in (("before", "live"), ("after", "declared"))
        }
        if change.get("action") == "redeploy":
            sides = {"before": "status: DEPLOY_FAILED\n", "after": "status: RUNNING\n"}
        header = f"application {change.get('name')}"
        found.append({"before_header": f"{header} (live)", "after_header": f"{header} (declared)", **sides})
    return found


def mappings(found: Any) -> list[dict[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def main() -> None:
    module = define_module()
    params = module.params
    wrong = problem(params)
    if wrong:
        module.fail_json(msg=wrong)
    # The options may hold secrets at any depth.
    names = [application["name"] for application in params["applications"]]
    shown = {"invocation": {"module_args": {**params, "applications": names, "http_options": "hidden"}}}
    cluster = connected(params)
    try:
        if not names:
            result: dict[str, Any] = {"changed": False, "changes": [], "applications": []}
        elif params["state"] == "present":
            result = cluster.deploy_applications(
                declared(params["applications"]), params["http_options"], params["proxy_location"], params["wait"],
                params["log_lines"], module.check_mode,
            )
        else:
            result = cluster.remove_applications(names, params["wait"], module.check_mode)
    except RayClusterError as error:
        if module.check_mode and error.kind in ("no_ray", "unreachable", "user"):
            message = f"Check mode deploys and removes nothing. {error}"
            module.exit_json(changed=False, skipped=True, msg=message, **shown)
        seen = {**error.status, "changed": bool(error.status.get("changed"))}
        module.fail_json(msg=told(error), diff=diffs(seen), **seen, **shown)
    module.exit_json(**{**result, "changed": bool(result.get("changed")), "diff": diffs(result), **shown})


if __name__ == "__main__":
    main()

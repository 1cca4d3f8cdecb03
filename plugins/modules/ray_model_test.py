#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_model_test
short_description: Ask the declared models for a token
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Waits until each model that a host declares has answered with a token, and has refused a request without its key.
  - A server that says that it is healthy may have lost a part of its model. A token tells more.
options:
  config: {description: "The models, as role C(serve) writes them.", type: path, default: /etc/ray/models.yaml}
  program: {description: The program that asks., type: path, default: /usr/local/libexec/ray-model.py}
  python: {description: The Python that runs it., type: path, default: /usr/bin/python3}
  answer_timeout: {description: Seconds within which an answer counts., type: float, default: 30}
  timeout: {description: Seconds within which all models must have answered., type: float, default: 60}
  user: {description: The system user that Ray runs as on this host. As root the program is run as this user.,
      type: str, default: ray}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes:
  check_mode:
    details: Asks the models once, and warns of those that are silent. Skipped where the program is not there yet.
  diff_mode: {support: N/A}
seealso: [{module: rayops.cluster.ray_serve}, {module: rayops.cluster.ray_smoke_test}]
"""

EXAMPLES = r"""
- name: Wait until each model answers
  rayops.cluster.ray_model_test:
    timeout: 1800
"""

RETURN = r"""
msg: {description: The test in one line., returned: always, type: str, sample: "deepseek-r1 answered in 0.4 s."}
models:
  description: What became of each model.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Its name., type: str}
    answered: {description: Whether a token came back., type: bool}
    seconds: {description: After how long., type: float}
    error: {description: "Why not, half a sentence.", type: str}
"""

import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._system import guest

_PAUSE = 2


def ask(params: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
    """Ask all of them once.

    :raises guest.GuestError, OSError, TimeoutError: the program did not do its work.
    """
    command = [params["python"], "-I", params["program"], "--config", params["config"], "--without-key",
               "--timeout", str(timeout)]
    user = params["user"] if os.geteuid() == 0 else guest.own_name()
    code, output, errors = guest.run(command, user, timeout + 30)
    try:
        found = json.loads(output)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        last = (errors.strip().splitlines() or ["it wrote nothing"])[-1][:300]
        raise guest.GuestError(f"{params['program']} ended with code {code}: {guest.harmless(last)}")
    return [
        {"name": guest.harmless(str(each.get("name"))), "answered": each.get("answered") is True,
         "seconds": float(each.get("seconds") or 0), "error": guest.harmless(str(each.get("error", "")))[:200]}
        for each in found
    ]


def said(models: list[dict[str, Any]]) -> str:
    """The models that answered, in words."""
    return ", ".join(f"{each['name']} answered in {each['seconds']:g} s" for each in models) + "."


def failure(models: list[dict[str, Any]], timeout: float) -> str:
    """Those that did not, in words."""
    silent = [each for each in models if not each["answered"]]
    named = "; ".join(f"{each['name']} {each['error']}" for each in silent)
    if any("without a key" in each["error"] for each in silent):
        return f"Model {named}: whoever reaches it can use it; this Ray is not supported, run the role's own version."
    return (f"No token came within {timeout:g} s: model {named}. See the page Serve of the dashboard, or "
            "journalctl -u 'vllm@*' on the model's hosts.")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "path", "default": "/etc/ray/models.yaml"},
            "program": {"type": "path", "default": "/usr/local/libexec/ray-model.py"},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "answer_timeout": {"type": "float", "default": 30},
            "timeout": {"type": "float", "default": 60},
            "user": {"type": "str", "default": "ray"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not os.path.exists(params["program"]) and module.check_mode:
        module.exit_json(changed=False, skipped=True, models=[], msg="Check mode has no model to ask yet.")
    deadline = time.monotonic() + params["timeout"]
    while True:
        try:
            models = ask(params, min(params["answer_timeout"], max(1.0, params["timeout"])))
        except (guest.GuestError, OSError, TimeoutError) as error:
            reason = "it did not end in time" if isinstance(error, TimeoutError) else str(error).rstrip(".")
            module.fail_json(msg=f"The models could not be asked: {reason}.", models=[])
        if all(each["answered"] for each in models):
            module.exit_json(changed=False, models=models, msg=said(models) if models else "No model is declared.")
        keyless = any("without a key" in each["error"] for each in models)
        if module.check_mode and not keyless:
            # A change that is only planned may mend it.
            module.warn(failure(models, params["answer_timeout"]))
            module.exit_json(changed=False, models=models, msg=failure(models, params["answer_timeout"]))
        if time.monotonic() > deadline or keyless:
            module.fail_json(msg=failure(models, params["timeout"]), models=models)
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_model_check
short_description: What a host has for the models that it is to serve
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Looks at the files of models as Ray's user sees them, at ports, at accelerators, and whether vLLM can be loaded.
  - It changes nothing. P(rayops.cluster.ray_model_problems#filter) puts together what it found on the hosts.
options:
  paths: {description: "The directories of models, by the models' names.", type: dict, default: {}}
  brought: {description: "By the models' names, the directories that M(rayops.cluster.ray_model_files) brings.",
      type: dict, default: {}}
  incoming: {description: "Whether those are still to come. Nothing of them is looked for then.", type: bool,
      default: false}
  records: {description: "What that module has read of the files.", type: path, default: /var/lib/rayops/models}
  ports:
    description: The ports that are needed.
    type: list
    elements: dict
    default: []
    suboptions:
      port: {description: The port., type: int, required: true}
      unit: {description: "The unit that may have it. Without one it is Serve's, which runs in Ray's.",
          type: str, default: ""}
      variable: {description: "What sets it, for the message.", type: str, required: true}
  address: {description: The host's address., type: str, required: true}
  name: {description: "A name that must be this address on the host, for Serve's proxy. Empty for none.", type: str,
      default: ""}
  engine: {description: Whether vLLM must be there., type: bool, default: false}
  serve: {description: "Whether Ray Serve LLM must be there, too.", type: bool, default: false}
  system_packages: {description: "Packages of the distribution that this run installs before the engine serves. While
      one is missing, the engine is not loaded.", type: list, elements: str, default: []}
  builds: {description: "Models that are not served here, but that Ray Serve may build here, which needs both.",
      type: list, elements: str, default: []}
  packages: {description: "What is to be installed into O(environment), where that is not there yet. Without any it is
      not looked at.", type: list, elements: str, default: []}
  config: {description: "The declared state of the node, whose resources count before those of the machine.",
      type: dict, default: {}}
  environment: {description: The virtual environment that has Ray., type: path, required: true}
  variables: {description: "What of the node's environment its libraries are found by, such as C(LD_LIBRARY_PATH).",
      type: dict, default: {}}
  record: {description: What an earlier run has written., type: path, required: true}
  user: {description: The system user that Ray runs as., type: str, default: ray}
extends_documentation_fragment: [rayops.cluster.attributes]
attributes:
  diff_mode: {support: N/A}
seealso: [{module: rayops.cluster.ray_model_test}]
"""

EXAMPLES = r"""
- name: Look what this host has for the model
  rayops.cluster.ray_model_check:
    paths: {deepseek-r1: /srv/models/deepseek-r1}
    ports: [{port: 8000, variable: ray_serve_port}]
    address: 10.0.0.11
    engine: true
    environment: /opt/ray/current
    record: /etc/ray/models.yaml
"""

RETURN = r"""
problems: {description: "What lacks, a sentence each with the fix in it.", returned: success, type: list, elements: str}
accelerators: {description: "How many of each kind the node has, or will have.", returned: success, type: dict}
files: {description: "By model, the name and the bytes of each file.", returned: success, type: dict}
digests: {description: "By model, the name and the SHA-256 of each file of which that was read.", returned: success,
    type: dict}
applications: {description: Applications that an earlier run has made., returned: success, type: list, elements: str}
tried: {description: "What of the environment is known to work, V(vllm) and V(serve).", returned: success, type: list,
  elements: str}
untried: {description: "Whether vLLM is to be tried once this run has installed what it needs.", returned: success,
    type: bool}
units: {description: Models of which an earlier run has made a unit., returned: success, type: list, elements: str}
"""

import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rayops.cluster.plugins.module_utils._node.config import resources_of
from ansible_collections.rayops.cluster.plugins.module_utils._node.hardware import count_gpus, count_npus
from ansible_collections.rayops.cluster.plugins.module_utils._serving.host import (
    building_problem,
    engine_problem,
    files_of,
    misnamed,
    recorded,
    taken,
)
from ansible_collections.rayops.cluster.plugins.module_utils._serving.record import Record
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest
from ansible_collections.rayops.cluster.plugins.module_utils._system.packages import missing_packages


def accelerators(config: dict[str, Any]) -> dict[str, float]:
    """What the node has of each resource, as declared or, for GPUs, as Ray finds them."""
    declared = {name: float(amount) for name, amount in (resources_of(config, "worker") if config else {}).items()}
    return {"GPU": count_gpus(), "NPU": count_npus(), **declared}


def engine(params: dict[str, Any], before: dict[str, Any]) -> tuple[list[str], list[str], bool]:
    """What is wrong with vLLM in an environment that is installed, with its packages; what of it has been tried; and
    whether more is to be tried once it is installed.

    before: see recorded(). What was tried then, in the same environment, is not tried again.
    """
    environment, user, builds = params["environment"], params["user"], params["builds"]
    wanted = {*(["vllm"] if params["engine"] or builds else []), *(["serve"] if params["serve"] or builds else [])}
    known = set(before["tried"]) if before["environment"] == environment else set()
    if not wanted or not os.path.exists(f"{environment}/bin/python") or missing_packages(params["system_packages"]):
        return [], sorted(known), bool(wanted)
    # A user who is not made yet has what everybody has.
    who = user if guest.exists(user) else "nobody"
    problem = engine_problem(environment, who, params["serve"], builds, wanted <= known, params["variables"])
    return ([problem], sorted(known), False) if problem else ([], sorted(known | wanted), False)


def planned(params: dict[str, Any]) -> list[str]:
    """What an environment that is still to be installed will lack: it takes long, and so does the cluster after it."""
    packages, builds = params["packages"], params["builds"]
    if not (params["engine"] or builds) or not packages or os.path.exists(f"{params['environment']}/bin/python"):
        return []
    # vllm, vllm-ascend, a wheel of it by its path; the extra of Ray's that brings it.
    if any(re.search(r"vllm|\[[^]]*\bllm\b", package.lower()) for package in packages):
        return []
    if builds:
        return [building_problem("What is to be installed", builds)]
    return ["vLLM is not among the packages that are to be installed, which a model needs: add vllm, in a version that "
            "fits this Ray, to ray_extra_packages."]


def digest(record: Record, path: str, size: int) -> str:
    """What was read of a file; empty where nothing was, or of another size."""
    known = record.files.get(os.path.relpath(path, record.path), (0, 0, ""))
    return known[2] if known[0] == size else ""


def main() -> None:
    port = {
        "port": {"type": "int", "required": True},
        "unit": {"type": "str", "default": ""},
        "variable": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "dict", "default": {}},
            "brought": {"type": "dict", "default": {}},
            "incoming": {"type": "bool", "default": False},
            "records": {"type": "path", "default": "/var/lib/rayops/models"},
            "ports": {"type": "list", "elements": "dict", "default": [], "options": port},
            "address": {"type": "str", "required": True},
            "name": {"type": "str", "default": ""},
            "engine": {"type": "bool", "default": False},
            "serve": {"type": "bool", "default": False},
            "system_packages": {"type": "list", "elements": "str", "default": []},
            "builds": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "config": {"type": "dict", "default": {}},
            "environment": {"type": "path", "required": True},
            "variables": {"type": "dict", "default": {}},
            "record": {"type": "path", "required": True},
            "user": {"type": "str", "default": "ray"},
        },
        supports_check_mode=True,
    )
    params = module.params
    problems = [str(problem) for problem in taken(params["address"], params["ports"])]
    problems += misnamed(params["name"], params["address"]) if params["name"] else []
    files: dict[str, Any] = {}
    digests: dict[str, Any] = {}
    for name, path in params["paths"].items():
        if params["incoming"] and name in params["brought"]:
            continue
        record = Record(params["records"], params["brought"].get(name, path))
        try:
            files[name] = sorted(files_of(path, params["user"]).items())
            digests[name] = [(file, known) for file, size in files[name]
                             if (known := digest(record, f"{path}/{file}", size))]
        except guest.GuestError as error:
            problems.append(f"model {name}: {error}")
    before = recorded(params["record"])
    found, tried, untried = engine(params, before)
    module.exit_json(
        changed=False, problems=problems + found + planned(params), accelerators=accelerators(params["config"]),
        files=guest.harmless(files), digests=guest.harmless(digests), applications=before["applications"],
        units=before["units"], tried=tried, untried=untried,
    )


if __name__ == "__main__":
    main()

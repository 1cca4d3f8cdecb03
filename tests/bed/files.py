# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files with which Ansible reaches a bed: inventories, group variables and the environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import serving

from . import hardened
from .bed import ROOT, WORKER_POOL, Bed, write
from .execution import answer

REGION = "cn-north-4"
NOFILE_LIMIT = 1048576


def write_all(bed: Bed, addresses: dict[str, str], wheels: Path, port: int, keys: dict[str, str]) -> None:
    """Write the bed's state folder. ``port`` is the simulator's, ``keys`` its access key and secret key."""
    url = f"http://127.0.0.1:{port}"
    # The very file that users have: what differs for a bed stands in its environment.
    write(bed.state / "huawei_ecs.yml", (ROOT / "huawei_ecs.yml").read_text(encoding="utf-8"))
    write(bed.state / "static.yml", static_inventory(bed, addresses))
    write(bed.state / "group_vars" / "all.yml", yaml_mapping(variables(bed, wheels)))
    for node in bed.nodes if bed.hardened else []:
        write(bed.state / "host_vars" / f"{node.name}.yml", yaml_mapping(hardened.variables(node)), 0o600)
    write(bed.state / "environment", environment(url, keys), 0o600)
    # The same for tools whose environment is fixed before the bed is up, such as molecule: the SDK's own two files.
    write(bed.state / "credentials", credentials(url, keys), 0o600)
    write(bed.state / "regions.yaml", yaml_mapping({"ECS": [{"id": REGION, "endpoint": url}]}))
    bed.save()


def static_inventory(bed: Bed, addresses: dict[str, str]) -> str:
    """The same hosts and groups without a cloud, for debugging: ``-i .cache/bed/NAME/static.yml``."""
    groups: dict[str, dict[str, Any]] = {}
    for node in bed.nodes:
        # Who looks at a host, and harms it, is root also where who deploys is not.
        host = {"ansible_host": addresses[node.name], **({"ansible_user": "root"} if bed.hardened else {})}
        groups.setdefault(node.group, {"hosts": {}})["hosts"][node.name] = host
        if node.kind == "worker":
            groups.setdefault(f"ray_pool_{WORKER_POOL}", {"hosts": {}})["hosts"][node.name] = {}
    variables = {"ray_cluster_name": bed.cluster_name}
    return json.dumps({"all": {"vars": variables, "children": groups}}, indent=2) + "\n"


def variables(bed: Bed, wheels: Path) -> dict[str, object]:
    """Variables of all hosts: how to reach them, and Ray's settings that fit into a small container."""
    options = ["UserKnownHostsFile=" + str(bed.known_hosts), "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"]
    return {
        "ansible_user": hardened.USER if bed.hardened else "root",
        "ansible_ssh_private_key_file": str(bed.ssh_key),
        "ansible_ssh_common_args": " ".join(f"-o '{option}'" for option in options),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ray_wheelhouse": str(wheels),
        "ray_limit_nofile": nofile_limit(bed),
        "ray_object_store_memory": 268435456,
        **(serving.VARIABLES if bed.serving else {}),
        **bed.variables,
    }


def nofile_limit(bed: Bed) -> int:
    """The hard limit of open files in the containers: a unit that asks for more does not start."""
    limit = answer(bed.container(bed.nodes[0]), "sh", "-c", "ulimit -Hn")
    return NOFILE_LIMIT if limit == "unlimited" else min(int(limit), NOFILE_LIMIT)


def environment(url: str, keys: dict[str, str]) -> str:
    """A file for ``set -a; . FILE``: what a user of the real cloud has in the environment."""
    settings = {
        "HUAWEICLOUD_SDK_AK": keys["access_key"],
        "HUAWEICLOUD_SDK_SK": keys["secret_key"],
        "HUAWEICLOUD_SDK_REGION": REGION,
        f"HUAWEICLOUD_SDK_REGION_ECS_{REGION.upper().replace('-', '_')}": url,
        "HUAWEICLOUD_SDK_IAM_ENDPOINT": url,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def credentials(url: str, keys: dict[str, str]) -> str:
    """The SDK's credentials file."""
    return f"[basic]\nak = {keys['access_key']}\nsk = {keys['secret_key']}\niam_endpoint = {url}\n"


def yaml_mapping(values: dict[str, object]) -> str:
    """A flat mapping as YAML: every JSON value is YAML too."""
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())

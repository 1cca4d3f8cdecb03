# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays on this host that know the variables of the roles, and tell what these write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


def play(hosts: str, roles: Sequence[str], *tasks: dict[str, Any]) -> dict[str, Any]:
    """A play whose tasks know the variables of these roles, of which it runs nothing."""
    known = [
        {"ansible.builtin.import_role": {"name": f"rayops.cluster.{role}", "tasks_from": "configure"}, "when": False}
        for role in roles
    ]
    defaults = {"ansible.builtin.import_role": {"name": "rayops.cluster.ray_defaults"}}
    return {"hosts": hosts, "gather_facts": False, "tasks": [defaults, *known, *tasks]}


def tells(content: str, **variables: Any) -> dict[str, Any]:
    """The task that writes a value, an expression of Jinja, as JSON into a file of the host's name beside the play."""
    options = {"dest": "{{ playbook_dir }}/{{ inventory_hostname }}.json", "content": f"{{{{ {content} | to_json }}}}",
               "mode": "0600"}
    return {"ansible.builtin.copy": options, "vars": variables}


def run(
    directory: Path, plays: Sequence[Mapping[str, Any]], groups: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> subprocess.CompletedProcess[str]:
    """Run plays from a directory.

    :arg groups: of hosts, each with its own variables; all of them are this host.
    """
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_host": "10.0.0.1"}
    children = {group: {"hosts": {name: {**common, **own} for name, own in hosts.items()}}
                for group, hosts in groups.items()}
    (directory / "hosts.yml").write_text(json.dumps({"all": {"children": children}}))
    (directory / "play.yml").write_text(json.dumps(plays))
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(directory / "hosts.yml"),
         str(directory / "play.yml")],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )

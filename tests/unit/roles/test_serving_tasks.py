# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What playbooks do after a stop, against a real Ray: the models are asked where the roles have written them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PROBE = "import json\nprint(json.dumps({'name': 'r1', 'answered': False, 'error': 'is silent'}))\n"


def test_models_are_asked_below_another_config_directory(local_ray, tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "models.yaml").write_text(json.dumps({"models": [{"name": "r1"}]}))
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "play.yml").write_text(json.dumps([{
        "hosts": "ray_head", "gather_facts": False, "roles": ["rayops.cluster.ray_defaults"],
        "tasks": [{"ansible.builtin.import_tasks": str(REPOSITORY / "playbooks" / "tasks" / "serving.yml")}],
    }]))
    variables = {
        "_ray_connection": local_ray.connection(), "_serve_program": str(tmp_path / "probe.py"),
        "ray_config_dir": str(config), "ray_interrupt_timeout": 1, "ray_workload": {"running": [{"name": "r1"}]},
    }
    inventory = {"ray_head": {"hosts": {"localhost": {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable}}}}
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), tmp_path / "play.yml", "-i", tmp_path / "hosts.yml",
         "--extra-vars", json.dumps(variables)],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 2 and "r1 is RUNNING, but no token came back: is silent." in done.stdout, done.stdout

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples of docs/serving.md and of the READMEs: each model is compiled, for the hosts that it is for."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.rayops.cluster.plugins.filter.ray_model_problems import ray_model_problems
from ansible_collections.rayops.cluster.plugins.filter.ray_models import ray_models
from ansible_collections.rayops.cluster.plugins.module_utils._node.config import resources_of
from ansible_collections.rayops.cluster.plugins.module_utils._variables.values import faults

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = [(block, yaml.safe_load(block)) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)]
# What comes before the first line of YAML: the file, and for models how many hosts.
FILES = [(re.match(r"# group_vars/(\S+)\.yml(?:: (\d+) hosts of 8)?", block), said) for block, said in BLOCKS
         if isinstance(said, dict)]
POOLS = {found[1].removeprefix("ray_pool_"): said for found, said in FILES if found[1].startswith("ray_pool_")}
MODELS = [(int(found[2]), said["ray_serve_models"]) for found, said in FILES if "ray_serve_models" in said]
# Those that are short, for any hosts.
SHORT = [
    (2, yaml.safe_load(block)["ray_serve_models"]) for page in ("README.md", "roles/serve/README.md")
    for block in re.findall(r"^```yaml\n(.*?)^```$", (REPOSITORY / page).read_text(encoding="utf-8"), re.M | re.S)
    if "ray_serve_models:" in block
]
PLAYS = [said for _block, said in BLOCKS if isinstance(said, list)]
OPTIONS = {
    name: option for role in ("ray", "worker")
    for name, option in yaml.safe_load((REPOSITORY / "roles" / role / "meta" / "argument_specs.yml").read_text(
        encoding="utf-8"))["argument_specs"]["main"]["options"].items()
}
ROOM = "/srv/models"


def pool(name: str) -> dict:
    """What is declared for a pool. One of GPUs is shown, for all of them."""
    return POOLS.get(name) or json.loads(json.dumps(POOLS["h20"]).replace("h20", name))


def cluster(name: str, number: int) -> dict:
    workers = [{"inventory_hostname": f"{name}-{host}", "group_names": ["ray_workers", f"ray_pool_{name}"],
                "ecs_private_ip": f"192.168.0.{host + 11}", **pool(name)} for host in range(number)]
    # A worker of another kind: a pool is found by its label.
    other = {"inventory_hostname": "cpu-1", "group_names": ["ray_workers", "ray_pool_cpu"],
             "ecs_private_ip": "192.168.0.200"}
    head = {"inventory_hostname": "head", "group_names": ["ray_head"], "ecs_private_ip": "192.168.0.10"}
    return {"head": "head", "hosts": [head, *workers, other], "monitors": ["monitor"], "port": 8000, "user": "ray",
            "environment": "/opt/ray/2.60.0", "config_dir": "/etc/ray", "modules": "/usr/local/lib/rayops-serving",
            "python_path": "", "ray_version": "2.60.0"}


def checks(name: str, number: int) -> dict:
    """What hosts answer that have what the pool declares."""
    resources = resources_of(pool(name)["worker_config"], "worker")
    answer = {"problems": [], "accelerators": {kind: resources.get(kind, 0) for kind in ("GPU", "NPU")}}
    return {"cpu-1": {"problems": [], "accelerators": {}}, **{f"{name}-{host}": answer for host in range(number)}}


def test_the_page_has_an_example_of_each_kind():
    assert {model["pool"] for _number, models in MODELS for model in models} == {"h20", "h800", "a100", "ascend"}
    assert {model.get("engine", "serve") for _number, models in MODELS for model in models} == {"serve", "vllm"}
    assert len(SHORT) == 2


@pytest.mark.parametrize(("number", "models"), MODELS + SHORT)
def test_a_model_is_compiled_and_finds_room(number, models):
    (name,) = {model.get("pool", "h20") for model in models}
    compiled = ray_models(models, cluster(name, number), "k" * 32)
    assert compiled["problems"] == []
    assert len(compiled["models"]) == len(models) and all(model["path"].startswith(ROOM) for model in models)
    assert ray_model_problems(models, cluster(name, number), checks(name, number)) == []


@pytest.mark.parametrize(("number", "models"), MODELS + SHORT)
def test_it_needs_as_many_hosts_as_the_page_says(number, models):
    (name,) = {model.get("pool", "h20") for model in models}
    fewer = cluster(name, number - 1)
    assert ray_models(models, fewer)["problems"] or ray_model_problems(models, fewer, checks(name, number - 1))


@pytest.mark.parametrize("said", [said for _found, said in FILES])
def test_its_variables_are_known_and_of_their_types(said):
    for name, value in said.items():
        assert name in OPTIONS
        assert [fault.sentence() for fault in faults(name, value, OPTIONS[name])] == []


def test_the_packages_are_for_the_ray_of_the_collection():
    version = yaml.safe_load((REPOSITORY / "roles/ray_defaults/defaults/main.yml").read_text(encoding="utf-8"))
    assert set(re.findall(r"ray\[\w+\]==([\d.]+)", PAGE)) == {version["ray_version"]}


@pytest.mark.parametrize("play", [play for plays in PLAYS for play in plays])
def test_a_task_has_options_of_its_module(play):
    for task in play["tasks"]:
        (module,) = [name for name in task if name.startswith("rayops.cluster.")]
        found = importlib.import_module(f"ansible_collections.{module[:15]}plugins.modules.{module[15:]}")
        assert set(task[module]) <= set(yaml.safe_load(found.DOCUMENTATION)["options"])


def test_the_sizes_are_those_of_the_model():
    """As the page says them, from DeepSeek-V3's own configuration."""
    layers, dense, width, inner, experts = 61, 3, 7168, 2048, 256
    attention = layers * (width * 1536 + 1536 * 128 * 192 + width * 576 + 512 * 128 * 256 + 128 * 128 * width)
    routed = (layers - dense) * experts * 3 * width * inner
    rest = (layers - dense) * 3 * width * inner + dense * 3 * width * 18432
    plain = 2 * 129280 * width + (layers - dense) * experts * width
    every = attention + routed + rest + plain
    eight_bits = (every - plain) * (1 + 4 / 128 ** 2) + 2 * plain
    token = (512 + 64) * layers * 2
    assert [round(number / 1e9) for number in (every, eight_bits, 2 * every, routed)] == [671, 673, 1342, 654]
    assert round(token / 1e3) == 70
    assert [round(eight_bits / 8e9), round(eight_bits / 16e9), round(2 * every / 32e9)] == [84, 42, 42]
    assert [round(routed / 16e9), round((attention + rest + 2 * plain) / 4e9)] == [41, 5]
    for said in ("673 GB", "1342 GB", "654 of the 671", "= 70 kB", "84 GB | 46 GB", "84 GB | 7 GB", "42 GB | 46 GB",
                 "42 GB | 31 GB", "41 + 5 GB", "46 GB | 13 GB"):
        assert said in PAGE
    for memory, share, number, left in ((141, 0.92, 8, 46), (96, 0.95, 8, 7), (96, 0.92, 16, 46), (80, 0.92, 16, 31)):
        assert share * memory - eight_bits / number / 1e9 == pytest.approx(left, abs=0.6)

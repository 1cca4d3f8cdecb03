# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What serves a model without a GPU: an environment with Ray and vLLM for CPU, and a DeepSeek of 4 MB."""

from pathlib import Path

# Where hosts have the environment. Its programs name this path, so it has it also while it is made.
PLACE = "/srv/serving"
MODEL = f"{PLACE}/model"
# Brought to the hosts' own disks: from the controller, and from what they have mounted.
SENT: dict[str, object] = {
    "path": "/srv/models/tiny", "source": str(Path(__file__).parents[2] / ".cache" / "serving" / "model")}
SHARED: dict[str, object] = {"path": "/srv/models/stages", "share": MODEL}
ENGINE_ARGS = {"enforce_eager": True, "max_model_len": 1024, "gpu_memory_utilization": 0.15}
# By Ray Serve LLM, over both workers of a bed; and by a unit of systemd, a stage on each of them.
TENSOR: dict[str, object] = {
    "name": "tiny", "path": SENT["path"], "tensor_parallel_size": 2, "engine_args": ENGINE_ARGS}
PIPELINE: dict[str, object] = {
    "name": "stages", "path": SHARED["path"], "engine": "vllm", "pipeline_parallel_size": 2, "engine_args": ENGINE_ARGS}
# By Ray Serve LLM, a replica on each worker.
PAIR: dict[str, object] = {"name": "pair", "path": SENT["path"], "replicas": 2, "engine_args": ENGINE_ARGS}
WORKER_CONFIG: dict[str, object] = {"resources": {"GPU": 1}}
# What a site sets that runs it.
VARIABLES: dict[str, object] = {
    "ray_environment_path": PLACE,
    "ray_system_packages": ["libnuma1"],
    "ray_check_accelerators": False,
    "worker_config": WORKER_CONFIG,
    # No compiler is there, and no network.
    "ray_environment_variables": {
        "TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
    "ray_models": [SENT, SHARED],
    "ray_serve_models": [TENSOR],
}

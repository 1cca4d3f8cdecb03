# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How models may be declared: each refusal names the model, the key, and what to write instead."""

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._serving.models import KEYS, read

MODEL = {"name": "r1", "path": "/srv/models/r1"}
KEY = "k" * 20


@pytest.mark.parametrize("keys", [
    {},
    {"tensor_parallel_size": "8", "pipeline_parallel_size": 2, "replicas": 2, "pool": "gpu"},
    {"autoscaling_config": {"min_replicas": 0, "max_replicas": 4}, "route_prefix": "/a/b"},
    {"engine": "vllm", "data_parallel_size": 4, "data_parallel_size_local": 2, "port": 9000},
    {"environment": {"A": 1, "B": "x"}, "engine_args": {"max_model_len": 1024, "enforce_eager": True}, "api_key": KEY},
])
def test_what_works(keys):
    (model,), problems = read([{**MODEL, **keys}])
    assert problems == []
    assert model.world_size == int(keys.get("tensor_parallel_size", 1)) * keys.get("pipeline_parallel_size", 1)


@pytest.mark.parametrize(("keys", "said"), [
    ({"tensor_parallel_sise": 2}, "tensor_parallel_sise is no key of a model: did you mean tensor_parallel_size?"),
    ({"max_model_len": 2}, "max_model_len is no key of a model: options of vLLM's own go below engine_args."),
    ({"path": ""}, "set path, a directory with the model on each of its hosts, or repository"),
    ({"repository": "a/b"}, "one of both"),
    ({"path": "srv"}, "path 'srv' is no absolute path: begin it with a slash."),
    ({"path": "", "repository": "deepseek"}, "repository 'deepseek' is no id: write owner/name"),
    ({"engine": "sglang"}, "engine is sglang: use serve (Ray Serve LLM) or vllm (a unit of systemd)."),
    ({"tensor_parallel_size": 0}, "tensor_parallel_size is 0: use 1 or more."),
    ({"tensor_parallel_size": "two"}, "tensor_parallel_size is not a whole number"),
    ({"replicas": True}, "replicas is not a whole number"),
    ({"port": 8001}, "port is for engine vllm: leave it out, or change engine."),
    ({"engine": "vllm", "port": 0}, "port is 0: use 1 to 65535."),
    ({"engine": "vllm", "autoscaling_config": {}}, "autoscaling_config is for engine serve"),
    ({"replicas": 2, "autoscaling_config": {"max_replicas": 2}}, "replicas and autoscaling_config are both set"),
    ({"autoscaling_config": {"min_replicas": 3, "max_replicas": 2}}, "the first not above the second"),
    ({"route_prefix": "a"}, "route_prefix is a: begin it with a slash"),
    ({"engine_args": {"tensor-parallel-size": 2}}, "engine_args has tensor-parallel-size: leave it out"),
    ({"engine_args": {"--api-key": "x"}}, "engine_args has --api-key: leave it out, api_key says it."),
    ({"engine_args": {"hf-token": "hf_x"}},
     "engine_args has hf_token, which is a secret, and others see the arguments: set HF_TOKEN in environment."),
    ({"engine_args": {"model_loader_extra_config": [{"s3": {"AWS_SECRET_ACCESS_KEY": "x"}}]}},
     "engine_args has AWS_SECRET_ACCESS_KEY, which is a secret"),
    ({"environment": {"VLLM_CONFIGURE_LOGGING": 1}},
     "environment has VLLM_CONFIGURE_LOGGING, with which Ray Serve ends replicas that are well"),
    ({"environment": {"A B": "x"}}, "environment has A B, which is no name of a variable"),
    ({"environment": {"A": "x\ny"}}, "the value of A in environment is not one line of text"),
    ({"accelerator": "gpu"}, "accelerator is gpu: use GPU or NPU."),
    ({"accelerator": "NPU"}, "accelerator is NPU, which Ray Serve LLM takes for a CPU: use engine: vllm."),
    ({"engine": "vllm", "data_parallel_size": 3, "data_parallel_size_local": 2}, "divides it."),
])
def test_what_does_not(keys, said):
    _models, problems = read([{**MODEL, **keys}])
    assert len(problems) == 1
    assert problems[0].startswith("ray_serve_models, r1: ") and said in problems[0]


@pytest.mark.parametrize("keys", [
    {"environment": {"VLLM_CONFIGURE_LOGGING": "0"}}, {"engine": "vllm", "environment": {"VLLM_CONFIGURE_LOGGING": 1}}])
def test_who_may_log(keys):
    assert read([{**MODEL, **keys}])[1] == []


@pytest.mark.parametrize("arguments", [
    {"hf_token": True}, {"max_num_batched_tokens": "1k"}, {"tokenizer": "a/b"}, {"num_speculative_tokens": 3},
    {"ssl_keyfile": "/k"}, {"speculative_config": {"method": "mtp", "draft_token": 5}}])
def test_what_is_no_secret(arguments):
    """hf_token: true takes the one that lies on the host."""
    assert read([{**MODEL, "engine_args": arguments}])[1] == []


@pytest.mark.parametrize("key", ["s3cret", "with a blank, and long enough", "schlüssel" * 5])
def test_a_bad_key_is_not_shown(key):
    _models, (problem,) = read([{**MODEL, "api_key": key}])
    assert "api_key is too short" in problem and key not in problem


@pytest.mark.parametrize("entry", ["r1", None, {}, {"name": "R1", **{"path": "/x"}}, {"name": "../r1", "path": "/x"}])
def test_an_entry_without_a_name_is_called_by_its_number(entry):
    _models, (problem,) = read([entry])
    assert problem.startswith("ray_serve_models[0] ")


def test_two_of_one_name_or_route():
    assert "has two models that are called r1" in read([MODEL, MODEL])[1][0]
    other = {**MODEL, "name": "v3", "route_prefix": "/r1"}
    assert read([MODEL, other])[1] == ["ray_serve_models: r1 and v3 both have the route_prefix /r1: give each its own."]


def test_every_key_has_a_type():
    for key in KEYS:
        _models, problems = read([{**MODEL, key: object()}])
        assert len(problems) == 1, key

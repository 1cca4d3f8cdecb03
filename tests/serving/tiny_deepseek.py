# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a DeepSeek-V3 of 4 MB in a directory: real architecture, random weights, a tokenizer of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 512
TEXT = "hello world, this is a tiny DeepSeek on a Ray cluster"
CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ '<|User|>' if m.role == 'user' else '<|Assistant|>' }}{{ m.content }}"
    "{% endfor %}<|Assistant|>"
)


def make_tokenizer(directory: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([TEXT] * 10, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>", "</s>", "<|User|>", "<|Assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    fast.chat_template = CHAT
    fast.save_pretrained(directory)


def make_model(directory: str) -> None:
    """Latent attention, for which vLLM on CPU has these two dimensions only, and experts, routed and shared."""
    torch.manual_seed(0)
    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64}
    config = DeepseekV3Config(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=256, moe_intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, n_shared_experts=1, n_routed_experts=8, num_experts_per_tok=2,
        n_group=2, topk_group=1, first_k_dense_replace=1, q_lora_rank=64, qk_nope_head_dim=32, v_head_dim=32,
        max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, pad_token_id=1, tie_word_embeddings=False,
        routed_scaling_factor=1.0, num_nextn_predict_layers=0, dtype="bfloat16", **latent)
    DeepseekV3ForCausalLM(config).to(torch.bfloat16).save_pretrained(directory, safe_serialization=True)
    # transformers does not write it, and vLLM reads it.
    path = Path(directory) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "topk_method": "noaux_tc"}, indent=2) + "\n")


if __name__ == "__main__":
    make_tokenizer(sys.argv[1])
    make_model(sys.argv[1])
    for file in Path(sys.argv[1]).iterdir():
        file.chmod(0o644)  # safetensors writes for the owner alone.

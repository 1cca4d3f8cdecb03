# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage of a model."""

from vllm.distributed import get_pp_group
from vllm.v1.worker.cpu_worker import CPUWorker


class RayCpuWorker(CPUWorker):
    """vLLM's own makes the buffer between pipeline stages in a warm-up that it leaves out when nothing is compiled."""

    def determine_available_memory(self) -> int:
        runner = self.model_runner
        if not get_pp_group().is_first_rank and runner.intermediate_tensors is None:
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens, dtype=runner.model_config.dtype, device=runner.device)
        return super().determine_available_memory()

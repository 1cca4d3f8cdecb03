# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the workers of one model reach each other."""

import socket

import torch
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator


class RayCpuCommunicator(CpuCommunicator):
    """vLLM's own takes ranks on different hosts for neighbours, as long as they name the same port."""

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        names = [""] * self.world_size
        torch.distributed.all_gather_object(names, socket.gethostname(), group=self.device_group)
        return len(set(names)) == 1 and super()._all_group_ranks_share_shm_group_name()

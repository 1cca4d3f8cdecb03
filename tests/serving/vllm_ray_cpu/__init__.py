# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A platform of vLLM: its workers on CPUs, placed by Ray. Upstream's has no Ray there."""


def register() -> str:
    return "vllm_ray_cpu.platform.RayCpuPlatform"

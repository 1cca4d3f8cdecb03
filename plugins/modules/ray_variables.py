#!/usr/bin/python
# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_variables
short_description: Refuse variables of a wrong type, and name those that nothing reads
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description:
  - Compares what stands in the inventory, in C(group_vars), C(host_vars) and C(-e) for the hosts of the groups
    ray_head, ray_workers, ray_redis and ray_monitor with the argument specs of this collection's roles.
  - It fails where a value is of a wrong type, or a template that cannot be worked out; each is named with its hosts,
    and with what to write instead. Secrets are not shown.
  - Names that begin with C(ray_) or are nearly those of this collection's, and are none, are warned of, as the
    variable C(ray_unknown_variables) says.
  - All of it happens on the controller. One host's task is enough for all (C(run_once)).
extends_documentation_fragment: [rayops.cluster.attributes]
attributes:
  diff_mode: {support: N/A}
"""

EXAMPLES = r"""
- name: Refuse variables of a wrong type
  rayops.cluster.ray_variables:
  run_once: true
"""

RETURN = r"""
msg:
  description: What is wrong, a line each.
  returned: always
  type: str
  sample: "worker_batch is abc in group ray_workers: use a number or a percentage, such as 1."
"""

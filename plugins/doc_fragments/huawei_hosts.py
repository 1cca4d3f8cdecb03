# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What the hosts are called, where they are reached, and in which groups they are."""

    DOCUMENTATION = r"""
options:
  hostnames:
    description:
      - What a host is called, in order of preference. V(name), V(id), V(hostname), V(private_ip), V(public_ip),
        V(ipv6), V(tag:KEY) for the value of a tag, or a template such as V({{ ecs_name }}.{{ ecs_region }}). The ID
        serves if an instance has none of them. A template that uses something undefined gives none, unless O(strict).
      - Characters other than letters, digits and C(_-.) become C(_). A name that means something else to Ansible,
        such as C(localhost) or the name of a group, gets the ID appended.
    type: list
    elements: raw
    default: [name]
  on_duplicate_name:
    description:
      - What to do with instances of the same name. V(suffix) appends its ID to each of them, V(warn) says so as well.
    type: str
    choices: [suffix, warn, fail]
    default: suffix
  connect_with:
    description:
      - Which address becomes C(ansible_host), in order of preference. V(private_ip), V(public_ip) or V(ipv6), such as
        V([public_ip, private_ip]) for a controller outside of the VPC.
      - A host that has none of them stays without C(ansible_host).
    type: list
    elements: str
    default: [private_ip, public_ip, ipv6]
  group_by:
    description:
      - Groups to make without the time that O(keyed_groups) takes. V(region), V(availability_zone) (C(az_...)),
        V(vpc), V(subnet), V(security_group) (one for each), V(status), V(flavor), V(accelerator), V(os) (such as
        C(os_linux)), V(os_version), V(image), V(account), V(enterprise_project), or V(tag:KEY) for
        C(tag_<KEY>_<value>). An instance of which the region does not tell it is in none of them.
      - Such as V([region, 'tag:env']) for C(region_cn_north_4) and C(tag_env_prod).
    type: list
    elements: str
    default: []
  group:
    description: The group that all hosts are in, such as V(gpu_cloud).
    type: str
    default: huawei_ecs
  hostvars_prefix:
    description:
      - How the names of the host variables begin, such as V(huawei_) for C(huawei_name) in the place of C(ecs_name).
        Templates in this file then use these names, too; filters have names without a prefix.
      - The roles of this collection read C(ecs_private_ip), C(ecs_tags), C(ecs_gpu_count) and C(ecs_npu_count). With
        another prefix O(compose) has to make those that are wanted.
    type: str
    default: ecs_
"""

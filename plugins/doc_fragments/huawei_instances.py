# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """Which instances are listed, and how much is asked about them."""

    DOCUMENTATION = r"""
options:
  cluster_name:
    description:
      - Name of one Ray cluster, such as V(deepseek). Only instances whose tag C(ray-cluster-name) has this value become
        hosts.
      - Without it all instances become hosts, and it is an error if they are nodes of more than one cluster, unless
        O(several_clusters) is set.
    type: str
    env:
      - name: RAY_CLUSTER_NAME
  status:
    description: Only instances in one of these states, such as V([ACTIVE, SHUTOFF]). An empty list admits all.
    type: list
    elements: str
    default: [ACTIVE]
  tags:
    description:
      - >-
        Only instances that have all these tags. The value is a string, a list of strings of which one must match, or
        nothing if the key alone counts, such as V({env: [staging, production], team: }).
    type: dict
    default: {}
  server_filters:
    description:
      - What the ECS API is to filter by, which saves time where an account is large. V(name) and V(ip) match parts,
        V(ip_eq) the whole private IPv4 address, V(flavor), V(reservation_id) and V(server_id) an ID, and V(not_tags)
        leaves instances with a tag away. A list becomes a list with commas.
      - >-
        Such as V({name: gpu-, not_tags: test}). With V(server_id) the API ignores the others, and an ID that is none
        gives a warning.
    type: dict
    default: {}
  include_filters:
    description:
      - Only instances that match one of these filters. A filter is a mapping of host variables without their prefix
        C(ecs_), or of V(tag:KEY), to a pattern or a list of patterns with C(*), C(?) and C([]), and all of its
        variables must match. Of a variable that is a list, one element must.
      - >-
        Such as V([{flavor: 'p2s.*', availability_zone: [cn-north-4a, cn-north-4b]}, {'tag:team': ml}]).
    type: list
    elements: dict
    default: []
  exclude_filters:
    description: >-
      No instances that match one of these filters, as in O(include_filters), such as V([{spot: true}]).
    type: list
    elements: dict
    default: []
  bare_metal:
    description: Whether bare metal servers (C(ecs_bare_metal)) become hosts. V(false) leaves them out.
    type: bool
    default: true
  expiry:
    description:
      - Ask a further API for the time when an instance that was paid for in advance ends, C(ecs_expires). It has small
        pages, so this takes some five times as many requests.
    type: bool
    default: false
  flavor_details:
    description:
      - Ask the API of flavors as well. It is sure of C(ecs_arch), and knows GPUs and NPUs where the list of the region
        does not.
    type: bool
    default: false
  host_keys:
    description:
      - Ask for the console of each Ray node as well, and give the host keys that cloud-init printed there in
        C(ecs_host_keys), for the playbook C(rayops.cluster.known_hosts). It takes a request for each of them, and the
        right C(ecs:cloudServers:getConsoleOutput).
      - Wanted once, for new instances, so better set in the environment than here.
    type: bool
    default: false
    env:
      - name: RAY_HOST_KEYS
  on_region_error:
    description:
      - What to do when a region cannot be listed. V(warn) and V(ignore) go on with the others.
      - It is an error in any case if no region at all could be listed.
    type: str
    choices: [fail, warn, ignore]
    default: fail
  page_size:
    description: Instances per request, 1 to 1000, such as V(500). Huawei advises 200.
    type: int
    default: 200
"""

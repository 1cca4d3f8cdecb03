# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: huawei_ecs
short_description: Huawei Cloud ECS instances as hosts of a Ray cluster
version_added: 1.0.0
author:
  - rayops.cluster contributors (@rayops)
description:
  - Lists the Elastic Cloud Server (ECS) instances of one or more regions of Huawei Cloud and makes hosts of them.
  - The configuration is a YAML file whose name ends in C(huawei_ecs.yml) or C(huawei_ecs.yaml).
  - All hosts are in the group C(huawei_ecs). The tag C(ray-node-type) puts a host into C(ray_head) (V(head)),
    C(ray_workers) (V(worker)), C(ray_redis) (V(redis)) or C(ray_monitor) (V(monitor)). The tag C(ray-user-node-type)
    puts a worker into C(ray_pool_<name>), a child of C(ray_workers). The first five groups always exist, even empty.
  - Host variables are C(ecs_id), C(ecs_name), C(ecs_hostname), C(ecs_status), C(ecs_region), C(ecs_availability_zone),
    C(ecs_project_id), C(ecs_enterprise_project_id), C(ecs_vpc_id), C(ecs_flavor), C(ecs_vcpus), C(ecs_ram) in MiB,
    C(ecs_gpu_count), C(ecs_gpu_name), C(ecs_npu_count), C(ecs_npu_name), C(ecs_accelerator) (gpu, npu or none),
    C(ecs_image_id), C(ecs_image_name), C(ecs_os_type), C(ecs_charging_mode) (on_demand, prepaid or spot),
    C(ecs_key_name), C(ecs_security_groups), C(ecs_created), C(ecs_tags), C(ecs_private_ips), C(ecs_public_ips), and
    only where there is one C(ecs_private_ip), C(ecs_public_ip) and C(ecs_ipv6).
  - Options may hold templates, except switches, numbers and choices. Extra variables are available in them.
requirements:
  - huaweicloudsdkecs >= 3.1.189 (Python library, on the controller)
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Marks the file as a configuration of this plugin.
    type: str
    required: true
    choices: [rayops.cluster.huawei_ecs]
  access_key:
    description:
      - Access key ID (AK). Together with O(secret_key) it goes before O(credentials_file).
    type: raw
    env:
      - name: HUAWEICLOUD_SDK_AK
  secret_key:
    description:
      - Secret access key (SK). Better kept in the environment, in O(credentials_file) or in a vault than in this file.
    type: raw
    env:
      - name: HUAWEICLOUD_SDK_SK
  security_token:
    description:
      - Security token of a temporary access key.
      - A token from the environment is not used with an O(access_key) that stands in this file.
    type: raw
    env:
      - name: HUAWEICLOUD_SDK_SECURITY_TOKEN
  credentials_file:
    description:
      - Credentials file of the SDK, read when no access key is given. Its section C([basic]) holds C(ak) and C(sk),
        and if needed C(security_token), C(project_id) and C(iam_endpoint).
      - Without this option C(~/.huaweicloud/credentials) is read if it exists.
    type: str
    env:
      - name: HUAWEICLOUD_SDK_CREDENTIALS_FILE
  use_instance_metadata:
    description:
      - Ask the instance metadata service for temporary credentials when there are no others.
      - For a controller that is itself an ECS instance with an agency. Never asked unless this is V(true).
    type: bool
    default: false
  project_id:
    description:
      - Project ID of the region, for one region only. Without it IAM is asked for the project named like the region.
    type: str
    env:
      - name: HUAWEICLOUD_SDK_PROJECT_ID
  project_ids:
    description: Project IDs by region, where IAM should not be asked.
    type: dict
    default: {}
  regions:
    description: Regions to list, such as V(cn-north-4). In the environment a list with commas.
    type: list
    elements: str
    default: []
    env:
      - name: HUAWEICLOUD_SDK_REGION
  endpoints:
    description:
      - ECS endpoints by region, for a region that the SDK does not know or another cloud of the same kind.
      - In the environment use the SDK's C(HUAWEICLOUD_SDK_REGION_ECS_<REGION>), such as
        C(HUAWEICLOUD_SDK_REGION_ECS_CN_NORTH_4).
    type: dict
    default: {}
  iam_endpoint:
    description: Endpoint of IAM, which knows the project IDs. The SDK has one for each region of the public cloud.
    type: str
    env:
      - name: HUAWEICLOUD_SDK_IAM_ENDPOINT
  cluster_name:
    description:
      - Name of one Ray cluster. Only instances whose tag C(ray-cluster-name) has this value become hosts.
      - Without it all instances become hosts, and it is an error if they are nodes of more than one cluster.
    type: str
    env:
      - name: RAY_CLUSTER_NAME
  status:
    description: Only instances in one of these states. An empty list admits all.
    type: list
    elements: str
    default: [ACTIVE]
  tags:
    description:
      - Only instances that have all these tags. The value is a string, a list of strings of which one must match,
        or nothing if the key alone counts.
    type: dict
    default: {}
  enterprise_project_id:
    description:
      - Only instances of this enterprise project, or V(all_granted_eps).
      - Needed when the credentials have rights in one enterprise project only.
    type: str
    env:
      - name: HUAWEICLOUD_SDK_ENTERPRISE_PROJECT_ID
  hostnames:
    description:
      - What a host is called, in order of preference. V(name), V(id), V(hostname), V(private_ip), V(public_ip), or
        V(tag:KEY) for the value of a tag. The ID serves if an instance has none of them.
      - Characters other than letters, digits and C(_-.) become C(_). A name that means something else to Ansible,
        such as C(localhost) or the name of a group above, gets the ID appended.
    type: list
    elements: str
    default: [name]
  on_duplicate_name:
    description: What to do with instances of the same name. V(suffix) appends its ID to each of them.
    type: str
    choices: [suffix, fail]
    default: suffix
  connect_with:
    description:
      - Which address becomes C(ansible_host), in order of preference. V(private_ip), V(public_ip) or V(ipv6).
      - A host that has none of them stays without C(ansible_host).
    type: list
    elements: str
    default: [private_ip, public_ip]
  on_region_error:
    description:
      - What to do when a region cannot be listed. V(warn) and V(ignore) go on with the others.
      - It is an error in any case if no region at all could be listed.
    type: str
    choices: [fail, warn, ignore]
    default: fail
  timeout:
    description: Seconds to wait for one answer.
    type: int
    default: 30
  retries:
    description: How often a request is tried again after a rate limit, an error of the server or a dropped connection.
    type: int
    default: 4
  page_size:
    description: Instances per request, 1 to 1000. Huawei advises 200.
    type: int
    default: 200
notes:
  - Ansible only warns when an inventory fails, and runs plays on no hosts. Set
    E(ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=true) to make that an error.
  - The identity needs C(ecs:cloudServers:listServersDetails), and C(iam:projects:listProjects) unless project IDs are
    given.
  - Proxies and private certificate authorities are those of the environment, E(HTTPS_PROXY), E(NO_PROXY) and
    E(REQUESTS_CA_BUNDLE).
  - Numbers such as C(ecs_vcpus) need C(| string) as the key of O(keyed_groups).
  - The cache never holds credentials or user data, but names, addresses and tags. Ansible writes it readable for
    everyone, so keep it in a directory of mode 0700. Its key covers account, regions and filters.
seealso:
  - name: ECS API, querying details about ECSs
    description: The call behind this plugin.
    link: https://support.huaweicloud.com/intl/en-us/api-ecs/en-us_topic_0094148850.html
"""

EXAMPLES = r"""
# huawei_ecs.yml: credentials and region from the environment or ~/.huaweicloud/credentials
plugin: rayops.cluster.huawei_ecs

---
# production.huawei_ecs.yml: one cluster in two regions, with a cache
plugin: rayops.cluster.huawei_ecs
regions: [cn-north-4, cn-east-3]
cluster_name: deepseek
connect_with: [public_ip, private_ip]
on_region_error: warn
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/ansible/huawei_ecs
cache_timeout: 300

---
# More groups and variables
plugin: rayops.cluster.huawei_ecs
regions: ["{{ region | default('cn-north-4') }}"]
secret_key: "{{ lookup('ansible.builtin.file', '~/.secrets/huawei_sk') }}"
access_key: "{{ lookup('ansible.builtin.env', 'TEAM_AK') }}"
status: [ACTIVE, SHUTOFF]
tags:
  env: [staging, production]
  team:
keyed_groups:
  - key: ecs_accelerator
    prefix: accel
  - key: ecs_vcpus | string
    prefix: vcpus
groups:
  windows: ecs_os_type == 'Windows'
compose:
  ansible_user: "'root' if ecs_os_type == 'Linux' else 'Administrator'"
"""

from collections.abc import Iterator
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_hosts as huawei_hosts
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError, from_metadata
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_ecs import RegionResult, list_servers
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_options import Options


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Reads the configuration, asks the cloud (or the cache), and only then touches the inventory."""

    NAME = "rayops.cluster.huawei_ecs"

    def verify_file(self, path: str) -> bool:
        """Whether the path is a configuration file of this plugin, by its name."""
        return super().verify_file(path) and path.endswith(("huawei_ecs.yml", "huawei_ecs.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory. Raises AnsibleParserError with one sentence and leaves no host behind."""
        super().parse(inventory, loader, path, cache)
        config = self._read_config_data(path)
        self.templar.available_variables = self._vars
        options = Options(self)
        try:
            options.reject_unknown(config)
            hostnames, connect_with = options.hostnames(), options.connect_with()
            hosts = self._hosts(options, path, cache)
            huawei_hosts.check_one_cluster(hosts)
            names = huawei_hosts.host_names(hosts, hostnames, self.get_option("on_duplicate_name"))
        except HuaweiError as exc:
            # Not chained: the cause may quote what a sentence must not.
            raise AnsibleParserError(str(exc)) from None
        before = set(inventory.hosts)
        try:
            self._populate(dict(zip(names, hosts)), connect_with)
        except Exception:
            for name in set(inventory.hosts) - before:
                inventory.remove_host(inventory.hosts[name])
            raise

    def _hosts(self, options: Options, path: str, use_cache: bool) -> list[dict[str, Any]]:
        """The variables of all hosts that pass the filters, from the cache if it may be used and has them."""
        credentials = options.credentials()
        query = options.query(credentials)
        filters = options.filters()
        identity = credentials.access_key if credentials else "instance metadata"
        caching = self.get_option("cache")
        key = f"{self.get_cache_key(path)}_{query.digest(identity, filters)}"
        hosts = self.cache.get(key) if caching and use_cache else None
        if hosts is None:
            results = list_servers(query, credentials or from_metadata())
            complete = self._judge(results)
            hosts = [variables for result in results for variables in _variables(result) if filters.match(variables)]
            if caching and complete:
                self.cache[key] = hosts
        return hosts

    def _judge(self, results: list[RegionResult]) -> bool:
        """Act on failed regions as on_region_error says. True when none failed."""
        reasons: dict[str, list[str]] = {}
        for result in results:
            if result.error:
                reasons.setdefault(result.error, []).append(result.region)
        sentence = "; ".join(f"{', '.join(regions)}: {reason}" for reason, regions in reasons.items())
        policy = self.get_option("on_region_error")
        if reasons and (policy == "fail" or all(result.error for result in results)):
            raise HuaweiError(f"Region {sentence}.")
        if reasons and policy == "warn":
            self.display.warning(f"The inventory lacks region {sentence}.")
        return not reasons

    def _populate(self, hosts: dict[str, dict[str, Any]], connect_with: list[str]) -> None:
        for group in (huawei_hosts.GROUP_ALL, *huawei_hosts.NODE_GROUPS.values()):
            self.inventory.add_group(group)
        pools: dict[str, str] = {}
        constructed = any(self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        for name, variables in hosts.items():
            self.inventory.add_host(name, group=huawei_hosts.GROUP_ALL)
            address = huawei_hosts.connect_address(variables, connect_with)
            if address:
                variables = {**variables, "ansible_host": address}
            else:
                self.display.v(f"{name} has none of the addresses {', '.join(connect_with)}: ansible_host is not set.")
            # Straight to the host: the way through the inventory tags each value with its origin, 3 s for 10,000 hosts.
            host = self.inventory.get_host(name)
            for key, value in variables.items():
                host.set_variable(key, value)
            self._add_to_ray_groups(name, variables, pools)
            if constructed:
                self._construct(name, variables)

    def _add_to_ray_groups(self, name: str, variables: dict[str, Any], pools: dict[str, str]) -> None:
        group, pool = huawei_hosts.ray_groups(variables)
        node_type = variables["ecs_tags"].get(huawei_hosts.TAG_NODE_TYPE)
        if group:
            self.inventory.add_child(group, name)
        elif node_type is not None:
            known = ", ".join(huawei_hosts.NODE_GROUPS)
            self.display.warning(f"{name} is in no Ray group: its ray-node-type is {node_type!r}, not one of {known}.")
        if pool:
            pool_group = self._sanitize_group_name(huawei_hosts.POOL_PREFIX + pool)
            if pools.setdefault(pool_group, pool) != pool:
                self.display.warning(f"The pools {pools[pool_group]!r} and {pool!r} share the group {pool_group}.")
            self.inventory.add_group(pool_group)
            # A child, so that the variables of a pool win over those of all workers.
            self.inventory.add_child(huawei_hosts.GROUP_WORKERS, pool_group)
            self.inventory.add_child(pool_group, name)

    def _construct(self, name: str, variables: dict[str, Any]) -> None:
        strict = self.get_option("strict")
        variables = {**variables, "inventory_hostname": name}
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)


def _variables(result: RegionResult) -> Iterator[dict[str, Any]]:
    return (huawei_hosts.host_variables(server, result.region, result.project_id) for server in result.servers)

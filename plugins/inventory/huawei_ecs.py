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
  - All hosts are in the group C(huawei_ecs), or as O(group) says. The tag C(ray-node-type) puts a host into
    C(ray_head) (V(head)), C(ray_workers) (V(worker)), C(ray_redis) (V(redis)) or C(ray_monitor) (V(monitor)). The tag
    C(ray-user-node-type) puts a worker into C(ray_pool_<name>), a child of C(ray_workers). The first five groups always
    exist, even empty.
  - The host variables are those of the return values below, and C(ansible_host).
  - Options may hold templates, except switches, numbers and choices. Extra variables are available in them.
requirements:
  - huaweicloudsdkecs >= 3.1.189 (Python library, on the controller)
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
  - rayops.cluster.huawei_cloud
  - rayops.cluster.huawei_instances
  - rayops.cluster.huawei_hosts
options:
  plugin:
    description: Marks the file as a configuration of this plugin.
    type: str
    required: true
    choices: [rayops.cluster.huawei_ecs]
  several_clusters:
    description:
      - Whether the instances may be nodes of more than one cluster. Where they are, the groups of their roles are
        C(ray_cluster_<name>_head), C(ray_cluster_<name>_workers), C(ray_cluster_<name>_redis),
        C(ray_cluster_<name>_monitor) and C(ray_cluster_<name>_pool_<pool>), children of C(ray_cluster_<name>).
      - C(ray_head) and the like are empty then, so that no play of this collection takes two clusters for one. Give
        O(cluster_name) to work on one of them.
    type: bool
    default: false
  ray_checks:
    description:
      - What to look for in the Ray clusters, each with V(warn) or V(fail). V(two_heads) in one cluster, V(no_head)
        beside workers, V(not_active) for nodes with another status than C(ACTIVE), and V(security_groups) that do not
        let the nodes reach each other, which takes a request for each combination of security groups.
      - >-
        Such as V({two_heads: fail, no_head: warn}).
    type: dict
    default: {}
  ray_ports:
    description:
      - >-
        For O(ray_checks), the ports that the variable C(ray_ports) of the role changes, such as V({gcs: 6400}).
    type: dict
    default: {}
notes:
  - Ansible only warns when an inventory fails, and runs plays on no hosts. Set
    E(ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=true) to make that an error.
  - The identity needs C(ecs:cloudServers:listServersDetails), and C(iam:projects:listProjects) unless project IDs are
    given. O(assume_role_agency_name) needs the role C(Agent Operator), and the agency these rights.
  - Proxies and private certificate authorities are those of the environment, E(HTTPS_PROXY), E(NO_PROXY) and
    E(REQUESTS_CA_BUNDLE).
  - Values from the cloud are never templates. A template in a tag stays the text that it is. So C(ansible-inventory
    --list) wraps each of them as C(__ansible_unsafe); docs/inventory.md says how to get plain JSON.
  - Numbers such as C(ecs_vcpus) need C(| string) as the key of O(keyed_groups).
  - The cache never holds credentials or user data, but names, addresses and tags. Ansible writes it readable for
    everyone, so keep it in a directory of mode 0700. Its key covers accounts, regions and filters.
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
profile: production
regions: [cn-north-4, cn-east-3]
cluster_name: deepseek
connect_with: [public_ip, private_ip]
on_region_error: warn
ray_checks: {two_heads: fail, no_head: fail, not_active: warn}
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
exclude_filters:
  - {flavor: "t*"}
hostnames: ["tag:fqdn", "{{ ecs_name }}.{{ ecs_region }}.example.com"]
group_by: [availability_zone, "tag:env"]
keyed_groups:
  - key: ecs_vcpus | string
    prefix: vcpus
groups:
  windows: ecs_os_type == 'Windows'
compose:
  ansible_user: "'root' if ecs_os_type == 'Linux' else 'Administrator'"

---
# All clusters of two accounts
plugin: rayops.cluster.huawei_ecs
accounts:
  - {profile: production, regions: [cn-north-4, cn-east-3]}
  - {profile: research, regions: [cn-southwest-2]}
several_clusters: true
group_by: [account]
"""

RETURN = r"""
# An unknown value is an empty string, 0, false, an empty list or an empty dictionary.
ecs_id: {type: str, returned: always, sample: 4b1f0f0e-6b7c-4f0b-9f4a-1f6d7a0c2e11, description: ID of the instance.}
ecs_name: {type: str, returned: always, sample: gpu-1,
  description: 'Name of the instance, as the cloud has it. It need not be unique.'}
ecs_hostname: {type: str, returned: always, sample: gpu-1,
  description: Host name that the instance was given when it was made.}
ecs_description: {type: str, returned: always, sample: 'DeepSeek, second rack', description: Description.}
ecs_status: {type: str, returned: always, sample: ACTIVE, description: 'Status, as the option O(status) names them.'}
ecs_vm_state: {type: str, returned: always, sample: active, description: State of the virtual machine.}
ecs_task_state: {type: str, returned: always, sample: powering-off,
  description: What is being done to the instance at the moment.}
ecs_power_state: {type: str, returned: always, sample: running,
  description: 'One of pending, running, paused, shutdown, crashed and suspended.'}
ecs_fault: {type: str, returned: always, sample: No valid host was found.,
  description: Why the instance is in the status C(ERROR).}
ecs_locked: {type: bool, returned: always, sample: false, description: Whether the instance is locked against changes.}
ecs_frozen: {type: bool, returned: always, sample: false,
  description: 'Whether the instance is frozen, for arrears or by the provider.'}
ecs_account: {type: str, returned: always, sample: default,
  description: 'Name of the account in O(accounts), else the O(profile), or V(default).'}
ecs_region: {type: str, returned: always, sample: cn-north-4, description: Region.}
ecs_availability_zone: {type: str, returned: always, sample: cn-north-4a, description: Availability zone.}
ecs_project_id: {type: str, returned: always, sample: 0123456789abcdef0123456789abcdef, description: ID of the project.}
ecs_enterprise_project_id: {type: str, returned: always, sample: '0',
  description: ID of the enterprise project; V(0) is the default one.}
ecs_vpc_id: {type: str, returned: always, sample: 5f0e7b1c-8d2a-4c3b-9e1f-2a3b4c5d6e7f, description: ID of the VPC.}
ecs_subnet_id: {type: str, returned: always, sample: aa11bb22-8d2a-4c3b-9e1f-2a3b4c5d6e7f,
  description: 'ID of the subnet of the first network interface, where the region tells it.'}
ecs_private_ip: {type: str, returned: when it has one, sample: 192.168.0.10,
  description: Private IPv4 address of the primary network interface.}
ecs_public_ip: {type: str, returned: when it has one, sample: 203.0.113.10,
  description: Public address (EIP) of the first network interface that has one.}
ecs_ipv6: {type: str, returned: when it has one, sample: '2001:db8::10',
  description: IPv6 address of the first network interface that has one.}
ecs_private_ips: {type: list, elements: str, returned: always, sample: [192.168.0.10],
  description: 'All private IPv4 addresses, those of the primary network interface first.'}
ecs_public_ips: {type: list, elements: str, returned: always, sample: [203.0.113.10],
  description: 'All public IPv4 addresses (EIPs), likewise.'}
ecs_ipv6_addresses: {type: list, elements: str, returned: always, sample: ['2001:db8::10'],
  description: 'All IPv6 addresses, likewise.'}
ecs_network_interfaces: {type: list, elements: dict, returned: always,
  description: 'The network interfaces, the primary one first, each with its addresses and EIPs.',
  contains: {
    port_id: {type: str, returned: always, description: ID of the port.},
    mac: {type: str, returned: always, description: MAC address.},
    primary: {type: bool, returned: always, description: Whether it is the primary one.},
    vpc_id: {type: str, returned: always, description: ID of the VPC.},
    subnet_id: {type: str, returned: always, description: 'ID of the subnet, where the region tells it.'},
    private_ips: {type: list, elements: str, returned: always, description: Private IPv4 addresses.},
    public_ips: {type: list, elements: str, returned: always, description: EIPs that are bound to it.},
    ipv6_addresses: {type: list, elements: str, returned: always, description: IPv6 addresses.},
  }}
ecs_flavor: {type: str, returned: always, sample: p2s.2xlarge.8, description: ID of the flavor.}
ecs_vcpus: {type: int, returned: always, sample: 8, description: Number of virtual CPUs.}
ecs_ram: {type: int, returned: always, sample: 65536, description: Memory in MiB.}
ecs_arch: {type: str, returned: always, sample: x86_64,
  description: 'Architecture, V(x86_64) or V(aarch64); from the name of the flavor unless O(flavor_details) is
  set.'}
ecs_accelerator: {type: str, returned: always, sample: gpu, description: 'One of V(gpu), V(npu) and V(none).'}
ecs_gpu_count: {type: int, returned: always, sample: 1, description: Number of GPUs.}
ecs_gpu_name: {type: str, returned: always, sample: Nvidia Tesla V100S 32GB,
  description: Name of the GPUs; of different ones a list with commas.}
ecs_gpu_memory: {type: int, returned: always, sample: 32768,
  description: Memory of one GPU in MiB; of different ones the smallest.}
ecs_npu_count: {type: int, returned: always, sample: 0, description: Number of Ascend NPUs.}
ecs_npu_name: {type: str, returned: always, sample: '', description: 'Name of the NPUs, likewise.'}
ecs_bare_metal: {type: bool, returned: always, sample: false,
  description: Whether it is a bare metal server (BMS) and no virtual machine.}
ecs_npu_memory: {type: int, returned: always, sample: 0, description: 'Memory of one NPU in MiB, likewise.'}
ecs_charging_mode: {type: str, returned: always, sample: prepaid,
  description: 'One of V(on_demand), V(prepaid) and V(spot).'}
ecs_spot: {type: bool, returned: always, sample: false, description: Whether the cloud may take the instance back.}
ecs_expires: {type: str, returned: 'when paid for in advance, with O(expiry)', sample: '2026-12-31T15:59:59Z',
  description: When the instance ends.}
ecs_host_keys: {type: list, elements: str, returned: 'where the console shows them, with O(host_keys)',
  sample: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPYV2HCJNW1vO1gSjPqrEfU4xtnHPyYSPHDp1mgECGFp],
  description: 'Public host keys of SSH, as cloud-init printed them on the console.'}
ecs_auto_terminate_time: {type: str, returned: always, sample: '2026-12-01T08:00:00Z',
  description: 'When the instance will be deleted, if that was scheduled.'}
ecs_image_id: {type: str, returned: always, sample: 5c8b6f5e-0000-4000-8000-000000000001, description: ID of the image.}
ecs_image_name: {type: str, returned: always, sample: Debian 12.0.0 64bit, description: Name of the image.}
ecs_os_type: {type: str, returned: always, sample: Linux, description: V(Linux) or V(Windows).}
ecs_os_version: {type: str, returned: always, sample: Debian 12.0.0 64bit,
  description: Version of the operating system.}
ecs_key_name: {type: str, returned: always, sample: ops, description: Name of the key pair.}
ecs_agency_name: {type: str, returned: always, sample: ray-nodes,
  description: Name of the agency that gives the instance rights.}
ecs_security_groups: {type: list, elements: str, returned: always, sample: [default],
  description: Names of the security groups.}
ecs_security_group_ids: {type: list, elements: str, returned: always, sample: [b2c3d4e5-8d2a-4c3b-9e1f-2a3b4c5d6e7f],
  description: 'IDs of the security groups, where the region tells them.'}
ecs_volume_ids: {type: list, elements: str, returned: always, sample: [c3d4e5f6-8d2a-4c3b-9e1f-2a3b4c5d6e7f],
  description: IDs of the disks.}
ecs_root_device: {type: str, returned: always, sample: /dev/vda, description: Device of the system disk.}
ecs_server_groups: {type: list, elements: str, returned: always, sample: [d4e5f6a7-8d2a-4c3b-9e1f-2a3b4c5d6e7f],
  description: 'IDs of the ECS groups, which keep instances apart or together.'}
ecs_dedicated_host_ids: {type: list, elements: str, returned: always, sample: [],
  description: IDs of the dedicated hosts.}
ecs_host_id: {type: str, returned: always, sample: 9f1c3e,
  description: Hash of the physical host; two instances with the same one share it.}
ecs_reservation_id: {type: str, returned: always, sample: r-2q7w9e,
  description: 'ID of the request that made the instance, perhaps with others.'}
ecs_user_id: {type: str, returned: always, sample: fedcba9876543210fedcba9876543210,
  description: ID of the user who made the instance.}
ecs_created: {type: str, returned: always, sample: '2026-11-01T08:00:00Z', description: When the instance was made.}
ecs_updated: {type: str, returned: always, sample: '2026-11-01T08:01:00Z', description: When it was last changed.}
ecs_launched: {type: str, returned: always, sample: '2026-11-01T08:00:30.000000',
  description: When it was started first.}
ecs_tags: {type: dict, returned: always, sample: {ray-node-type: worker},
  description: Tags. The value of a tag that is a bare key is empty.}
ecs_system_tags: {type: dict, returned: always, sample: {_sys_enterprise_project_id: '0', _sys_root_resource_id: '0'},
  description: 'Tags that the cloud itself sets, whose names begin with C(_sys_). Filters on tags know them, too.'}
"""

import functools
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_checks as huawei_checks
from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_hosts as huawei_hosts
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_ecs import list_servers
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_errors import one_line
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_filters import Filters
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_hosts import Groups
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_options import Options
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_query import Query, RegionResult, remarks
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import Variables, all_variables

SHOWN = 5


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Reads the configuration, asks the cloud (or the cache), and only then touches the inventory."""

    NAME = "rayops.cluster.huawei_ecs"
    _host_names: frozenset[str] = frozenset()
    _group = huawei_hosts.GROUP_ALL
    _prefix = huawei_hosts.PREFIX

    def verify_file(self, path: str) -> bool:
        """Whether the path is a configuration file of this plugin, by its name."""
        return super().verify_file(path) and path.endswith(("huawei_ecs.yml", "huawei_ecs.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory. Raises AnsibleParserError with one sentence and leaves no host behind."""
        super().parse(inventory, loader, path, cache)
        config = self._read_config_data(path)
        self.templar.available_variables = self._vars
        try:
            options = Options(self, config)
            filters = options.filters()
            connect_with, group_by = options.connect_with(), options.group_by()
            self._group, self._prefix = options.group(), options.hostvars_prefix()
            hostnames, checks = options.hostnames(), options.checks()
            query = options.query(filters, checks.levels)
            for note in options.notes:
                self.display.v(one_line(note))
            answer = self._answer(query, filters, path, cache)
            hosts = answer["hosts"]
            clusters = huawei_hosts.check_clusters(hosts, self.get_option("several_clusters"))
            for warning in [*answer["remarks"], *checks.warnings(hosts, answer["facts"])]:
                self.display.warning(one_line(warning))
            groups = [self._groups(variables, len(clusters) > 1, group_by) for variables in hosts]
            huawei_hosts.check_cluster_groups(hosts, groups)
            names = self._names(hosts, hostnames, groups)
        except HuaweiError as exc:
            # Not chained: the cause may quote what a sentence must not.
            raise AnsibleParserError(one_line(str(exc))) from None
        before = set(inventory.hosts)
        try:
            self._populate(names, hosts, groups, connect_with)
        except Exception:
            for name in set(inventory.hosts) - before:
                inventory.remove_host(inventory.hosts[name])
            raise

    def _answer(self, query: Query, filters: Filters, path: str, use_cache: bool) -> dict[str, Any]:
        """The variables of the hosts that pass the filters, and the facts for the checks; perhaps from the cache."""
        caching = self.get_option("cache")
        key = f"{self.get_cache_key(path)}_{query.digest(filters)}"
        answer: dict[str, Any] | None = self.cache.get(key) if caching and use_cache else None
        if answer is None:
            answer, complete = self._ask(query, filters)
            if caching and complete:
                self.cache[key] = answer
        return answer

    def _ask(self, query: Query, filters: Filters) -> tuple[dict[str, Any], bool]:
        results = list_servers(query)
        complete = self._judge(results)
        rows: dict[tuple[str, str], Variables] = {}
        for result in results:
            for row in all_variables(result):
                # Two accounts may see the same instance: the first one's row counts.
                rows.setdefault((row["ecs_region"], row["ecs_id"]), row)
        wanted = [row for row in rows.values() if filters.match_rest(row)]
        hosts = [row for row in wanted if filters.match_status(row)]
        absent = [row for row in wanted if not filters.match_status(row)]
        facts = huawei_checks.facts(absent, results)
        return {"hosts": hosts, "facts": facts, "remarks": remarks(results)}, complete

    def _judge(self, results: list[RegionResult]) -> bool:
        """Act on failed regions as on_region_error says. True when none failed."""
        reasons: dict[str, list[str]] = {}
        for result in results:
            if result.closed:
                self.display.v(one_line(f"Without region {result.job.name}: {result.error}."))
            elif result.error:
                reasons.setdefault(result.error, []).append(result.job.name)
        if not reasons and all(result.closed for result in results):
            reasons = {result.error: [result.job.name] for result in results}
        sentence = "; ".join(f"{', '.join(regions)}: {reason}" for reason, regions in reasons.items())
        policy = self.get_option("on_region_error")
        if reasons and (policy == "fail" or all(result.error for result in results)):
            raise HuaweiError(f"Region {sentence}.")
        if reasons and policy == "warn":
            self.display.warning(f"The inventory lacks region {sentence}.")
        return not reasons

    def _groups(self, variables: Variables, several: bool, group_by: list[str]) -> Groups:
        """The groups of a host, each with its parent, as Ansible may call them."""
        wanted = huawei_hosts.ray_groups(variables, several)
        wanted += [(group, "") for group in huawei_hosts.plain_groups(variables, group_by)]
        return [(self._group_name(group), parent and self._group_name(parent)) for group, parent in wanted]

    @functools.cached_property
    def _group_name(self) -> Callable[[str], str]:
        """Makes the name of a group safe, and warns once where two groups become one by that."""
        known: dict[str, str] = {}

        @functools.cache
        def safe(group: str) -> str:
            name = super(InventoryModule, self)._sanitize_group_name(group)
            if known.setdefault(name, group) != group:
                self.display.warning(f"{known[name]!r} and {group!r} share the group {name}.")
            return name

        return safe

    def _sanitize_group_name(self, name: str) -> str:
        """Also called for the groups of compose's kind, which are known only when the hosts have their names.

        To Ansible a group and a host of one name are the same, and the host would be in what the group is in.
        """
        safe = super()._sanitize_group_name(name)
        while safe in self._host_names:
            safe += "_"
        return safe

    def _names(self, hosts: list[Variables], hostnames: list[str], groups: list[Groups]) -> list[str]:
        taken = {group for each in groups for group, _parent in each}
        taken.update(map(self._sanitize_group_name, self.get_option("groups")), self.inventory.groups, [self._group])
        names = huawei_hosts.wanted_names(hosts, hostnames, self._render)
        policy = self.get_option("on_duplicate_name")
        shared = huawei_hosts.shared_names(names)
        if shared and policy != "suffix":
            listed = ", ".join(f"{count} instances are called {name}" for name, count in list(shared.items())[:SHOWN])
            listed += f" and {len(shared) - SHOWN} more names are shared" if len(shared) > SHOWN else ""
            if policy == "fail":
                raise HuaweiError(f"{listed}: rename them, or set on_duplicate_name to suffix.")
            self.display.warning(f"{listed}: their IDs are appended.")
        return huawei_hosts.unique_names(names, hosts, taken)

    def _render(self, template: str, variables: Variables) -> str:
        """A template of hostnames. Its variables come from the cloud, so they are never templates themselves."""
        self.templar.available_variables = {**self._vars, **huawei_hosts.named(variables, self._prefix)}
        try:
            return str(self.templar.template(template))
        except Exception:
            if not self.get_option("strict"):
                return ""
            raise HuaweiError(
                f"The template in hostnames cannot be rendered for {variables['ecs_id']}: check the variables it uses."
            ) from None

    def _populate(
        self, names: list[str], hosts: list[Variables], groups: list[Groups], connect_with: list[str]
    ) -> None:
        self._host_names = frozenset(names)
        for group in (self._group, *huawei_hosts.NODE_GROUPS.values()):
            self.inventory.add_group(group)
        constructed = any(self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        for name, variables, own in zip(names, hosts, groups):
            self.inventory.add_host(name, group=self._group)
            address = huawei_hosts.connect_address(variables, connect_with)
            shown = huawei_hosts.named(variables, self._prefix)
            if address:
                shown = {**shown, "ansible_host": address}
            else:
                self.display.v(f"{name} has none of the addresses {', '.join(connect_with)}: ansible_host is not set.")
            # Straight to the host: the way through the inventory tags each value with its origin, 3 s for 10,000 hosts.
            host = self.inventory.get_host(name)
            for key, value in shown.items():
                host.set_variable(key, value)
            self._add_to_groups(name, variables, own)
            if constructed:
                self._construct(name, shown)

    def _add_to_groups(self, name: str, variables: Variables, groups: Groups) -> None:
        parents = {parent for _group, parent in groups}
        for group, parent in groups:
            self.inventory.add_group(group)
            if parent:
                self.inventory.add_child(parent, group)
            if group not in parents:
                self.inventory.add_child(group, name)
        node_type = variables["ecs_tags"].get(huawei_hosts.TAG_NODE_TYPE)
        if node_type is not None and node_type not in huawei_hosts.NODE_GROUPS:
            known = ", ".join(huawei_hosts.NODE_GROUPS)
            self.display.warning(f"{name} is in no Ray group: its ray-node-type is {node_type!r}, not one of {known}.")

    def _construct(self, name: str, variables: Variables) -> None:
        strict = self.get_option("strict")
        variables = {**variables, "inventory_hostname": name}
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)

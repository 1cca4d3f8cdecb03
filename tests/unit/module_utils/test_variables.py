# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of wrong values and unknown names."""

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.action.ray_variables import read_options
from ansible_collections.rayops.cluster.plugins.module_utils._variables.names import sentence, strangers
from ansible_collections.rayops.cluster.plugins.module_utils._variables.values import faults, not_worked_out, place

OPTIONS = read_options()
SECRET = "hunter2"


def said(name, value):
    return [fault.sentence() for fault in faults(name, value, OPTIONS[name])]


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("worker_config", ["a"], "worker_config is [a]: use a dictionary, such as {resources: {CPU: 64, GPU: 4}}."),
    ("worker_config", None, "worker_config has no value: leave it out, or use a dictionary, such as {resources: {CPU"),
    ("ray_environment_variables", "A=1",
     "ray_environment_variables is A=1: use a dictionary, such as {NCCL_DEBUG: INFO}."),
    ("ray_environment_variables", '{"A": 1}', 'ray_environment_variables is {"A": 1}: use a dictionary'),
    ("worker_batch", "abc", "worker_batch is abc: use a number or a percentage, such as 25%."),
    ("worker_batch", 0, "worker_batch is 0: use a number or a percentage"),
    ("worker_batch", "101%", "worker_batch is 101%: use a number or a percentage"),
    ("worker_batch", [1, "25%"], "worker_batch is [1, 25%]: use a number or a percentage"),
    ("ray_extra_packages", "vllm", "ray_extra_packages is vllm: use a list, such as [vllm]."),
    ("ray_extra_packages", ["a", {"b": 1}], "ray_extra_packages[1] is {b: 1}: use text, such as vllm."),
    ("ray_drain_timeout", "soon", "ray_drain_timeout is soon: use a whole number, such as 30."),
    ("ray_drain_timeout", "", "ray_drain_timeout is empty: use a whole number, such as 30."),
    ("ray_drain_timeout", True, "ray_drain_timeout is true: use a whole number, such as 30."),
    ("ray_drain_timeout", 1.5, "ray_drain_timeout is 1.5: use a whole number, such as 30."),
    ("recover_disk_limit", "95%", "recover_disk_limit is 95%: use a number, such as 0.95."),
    ("ray_hide_processes", "perhaps", "ray_hide_processes is perhaps: use true or false."),
    ("ray_gcs_storage", "sqlite", "ray_gcs_storage is sqlite: use rocksdb, redis or memory."),
    ("reset_state", "empty", "reset_state is empty: use keep or wipe."),
    ("ray_cluster_name", ["demo"], "ray_cluster_name is [demo]: use text, such as deepseek."),
    ("ray_root", {"a": 1}, "ray_root is {a: 1}: use a path, such as /opt/ray."),
    ("ray_wheelhouse", ["x" * 200], f"ray_wheelhouse is [{'x' * 78}…: use text, such as wheelhouse."),
    ("ray_wheelhouse", ["a\x1b[2Jb\nc"], 'ray_wheelhouse is ["a\\u001b[2Jb\\nc"]: use text'),
    ("ray_root", ["{{ 7 * 7 }}"], 'ray_root is ["{{ 7 * 7 }}"]: use a path'),
])
def test_a_wrong_value_is_named_with_what_to_write(name, value, expected):
    (found,) = said(name, value)
    assert found.startswith(expected)
    assert not {"\x1b", "\n"} & set(found)


@pytest.mark.parametrize(("name", "value"), [
    ("worker_config", {}), ("worker_config", {"resources": {"GPU": 4}}), ("worker_batch", 4), ("worker_batch", "100%"),
    ("worker_batch", "1"), ("ray_drain_timeout", "30"), ("ray_drain_timeout", 30), ("ray_hide_processes", "yes"),
    ("ray_hide_processes", False), ("ray_cluster_name", ""), ("ray_cluster_name", 7), ("ray_extra_packages", []),
    ("ray_extra_packages", ("vllm",)), ("ray_gcs_storage", "memory"), ("monitor_receivers", "anything"),
    ("recover_disk_limit", "0.9"), ("ray_ascend_home", False),
])
def test_what_fits(name, value):
    assert said(name, value) == []


@pytest.mark.parametrize(("name", "value"), [
    ("ray_auth_token", [SECRET]), ("ray_auth_token", {"token": SECRET}), ("ray_redis_password", [SECRET]),
    ("head_config", f"redis: {{password: {SECRET}}}"), ("monitor_scrape_configs", [SECRET]),
    ("monitor_scrape_configs", SECRET), ("ray_index_url", [f"https://me:{SECRET}@index"]),
])
def test_a_secret_is_not_shown(name, value):
    (found,) = said(name, value)
    assert "which is secret and not shown: use " in found and SECRET not in found
    for error in (f"lookup failed for {SECRET}", f"Syntax error in template: {SECRET}"):
        assert SECRET not in not_worked_out(name, value, OPTIONS[name], error).sentence()


@pytest.mark.parametrize(("error", "expected"), [
    ("Error while resolving value: 'site_home' is undefined",
     "ray_root is {{ x }} on head, where site_home is not defined: define it, or write the value itself."),
    ("Syntax error in template: unexpected '}'",
     "ray_root is {{ x }} on head, which is no valid template: see to its braces and quotes, or write the value"),
    ("The lookup plugin 'file' failed.\nTraceback",
     "ray_root is {{ x }} on head, which cannot be worked out (The lookup plugin 'file' failed): mend that, or write"),
    ("", "ray_root is {{ x }} on head, which cannot be worked out (no reason is known): mend that"),
])
def test_a_template_that_cannot_be_worked_out(error, expected):
    found = not_worked_out("ray_root", "{{ x }}", OPTIONS["ray_root"], error).sentence(" on head")
    assert found.startswith(expected)


EVERY = ["head", "w1", "w2", "w3", "w4", "w5", "w6"]
GROUPS = {"all": [*EVERY, "db"], "ungrouped": ["db"], "ray_head": ["head"], "ray_workers": EVERY[1:],
          "ray_pool_gpu": ["w1", "w2", "db"]}


@pytest.mark.parametrize(("hosts", "expected"), [
    (EVERY, ""), (["head"], " on head"), (EVERY[1:], " in group ray_workers"), (["w2", "w1"], " in group ray_pool_gpu"),
    (["w3", "w1"], " on w1 and w3"), (["head", "w1", "w2", "w3"], " on head, w1, w2 and w3"),
    (EVERY[:5], " on head, w1, w2 and 2 more"),
])
def test_the_place_of_a_value(hosts, expected):
    assert place(hosts, EVERY, GROUPS) == expected


def test_names_that_nothing_reads():
    assert strangers({
        "ray_objectstore_memory", "ray_object_store_memory", "ray_team_owner", "ray_versions", "worker_confg",
        "worker_count", "head_backup_dirs", "head_count", "redis_port", "monitor_recievers", "recover_disk_limits",
        "recover_me",
        "replace_head_olds", "ansible_host", "ecs_name", "_ray_root", "ray", "my_ray_version", "teardown_confim",
    }, OPTIONS) == {
        "ray_objectstore_memory": "ray_object_store_memory", "ray_team_owner": "", "ray_versions": "ray_version",
        "worker_confg": "worker_config", "head_backup_dirs": "head_backup_dir",
        "monitor_recievers": "monitor_receivers",
        "recover_disk_limits": "recover_disk_limit", "replace_head_olds": "replace_head_old",
        "teardown_confim": "teardown_confirm",
    }


def test_what_is_said_of_a_name():
    assert sentence("ray_objectstore_memory", "ray_object_store_memory", " in group ray_workers") == (
        "ray_objectstore_memory in group ray_workers is no variable of rayops.cluster, which does not read it: did you "
        "mean ray_object_store_memory?")
    assert sentence("ray_team_owner", "") == (
        "ray_team_owner is no variable of rayops.cluster, which does not read it: remove it, or give one of your own a "
        "name that does not begin with ray_.")

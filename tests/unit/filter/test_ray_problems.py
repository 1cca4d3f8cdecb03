# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.rayops.cluster.plugins.filter.ray_problems import FilterModule

DEFAULTS = {"LockPersonality": True}
WORKS = {
    "heads": ["head"], "redis_servers": [], "cluster_names": ["demo", "demo"], "versions": ["2.60.0", "2.60.0"],
    "sandboxes": [{}, {"LockPersonality": False}], "ray_version": "2.60.0", "ray_gcs_storage": "rocksdb",
    "ray_wheelhouse": "", "ray_constraints": "", "constraints_file": "/work", "ray_cluster_name": "demo",
    "head_config": {}, "ray_redis_password": "", "ray_redis_url": "", "ray_redis_ca_file": "",
    "models": {"head": [], "worker-1": []}, "proxies": {"head": True, "monitor": True},
    "redis_ca_source": "/work", "ray_journal_max_use": "1G", "ray_temp_dir": "/var/lib/ray",
    "ray_firewall_clients": [], "ray_firewall_monitors": [],
}


def problems(**variables):
    return FilterModule().filters()["ray_problems"]({**WORKS, **variables}, DEFAULTS)


def test_what_works(tmp_path):
    (tmp_path / "constraints.txt").write_text("")
    assert problems() == []
    assert problems(
        ray_gcs_storage="redis", redis_servers=["redis"], ray_redis_password="aB9._~+/=-", ray_journal_max_use="",
        ray_wheelhouse=str(tmp_path), ray_constraints="c.txt", constraints_file=str(tmp_path / "constraints.txt"),
        head_config={"cluster_name": "demo"}, ray_temp_dir="/" + "x" * 39, ray_version="2.57.0",
    ) == []
    assert problems(models={"head": [{"name": "r1"}], "worker-1": [{"name": "r1"}], "worker-2": []}) == []
    (tmp_path / "ca.pem").write_text("")
    tls = {"ray_redis_ca_file": "ca.pem", "redis_ca_source": str(tmp_path / "ca.pem")}
    for theirs in (
        {"ray_redis_url": "redis://dcs.example"},
        {"ray_redis_url": "rediss://ann@10.0.0.9:6390", "ray_redis_password": "secret", **tls},
        {"ray_redis_url": "rediss://[fd00::9]:6390/0", "ray_redis_password": "secret", **tls},
    ):
        assert problems(ray_gcs_storage="redis", **theirs) == []


@pytest.mark.parametrize(("variables", "said"), [
    ({"heads": []}, "Group ray_head has 0 hosts and must have exactly one: tag one instance with ray-node-type=head, "
                    "or name one host in the group."),
    ({"cluster_names": ["demo", "a_b"]}, "ray_cluster_name is a_b, which is no host name: use letters, digits and "
                                         "hyphens, 57 at most."),
    ({"cluster_names": ["a" * 58]}, f"ray_cluster_name is {'a' * 58}, which is no host name"),
    ({"cluster_names": ["demo\n"]}, "ray_cluster_name is demo"),
    ({"versions": ["2.60.0", "2.59.0", "2.60.0"]}, "The hosts declare Ray 2.60.0 and 2.59.0: a cluster runs one"),
    ({"models": {"head": [], "worker-1": [{"name": "r1"}], "worker-2": [{"name": "r1"}]}},
     "ray_serve_models of worker-1, worker-2 is not that of the head: they are the models of the cluster, so set it"),
    ({"models": {"head": [{"name": "v3"}], "worker-1": [{"name": "r1"}]}}, "ray_serve_models of worker-1 is not that"),
    ({"proxies": {"head": False, "m-1": True, "m-2": False}},
     "ray_proxy of m-1 is not that of the head: what is shut on"),
    ({"ray_version": "2.56.9"}, "ray_version is 2.56.9: use 2.57.0 or later, the first that drains a node"),
    ({"ray_version": "nightly"}, "ray_version is nightly: use 2.57.0 or later"),
    ({"sandboxes": [{"LockPersonalty": True}]}, "ray_sandbox has no directive LockPersonalty: did you mean"),
    ({"ray_gcs_storage": "redis"}, "ray_gcs_storage is redis, so group ray_redis must have exactly one host"),
    ({"ray_wheelhouse": "/none"}, "ray_wheelhouse /none is no directory on this machine: fill one with pip"),
    ({"ray_constraints": "c", "constraints_file": "/none/c"}, "ray_constraints c is no file on this machine"),
    ({"head_config": {"cluster_name": "other"}}, "head_config.cluster_name is other, but ray_cluster_name is demo"),
    ({"ray_gcs_storage": "redis", "ray_redis_url": "redis://r", "redis_servers": ["redis-1"]},
     "Group ray_redis has redis-1, and ray_redis_url names a Redis of your own: one of them keeps the state"),
    ({"ray_redis_url": "redis://r"}, "ray_redis_url is set, and ray_gcs_storage is rocksdb: leave one of them out."),
    ({"ray_redis_ca_file": "ca.pem", "redis_ca_source": __file__}, "ray_redis_ca_file is set without ray_redis_url"),
    ({"ray_redis_url": "redis://:secret@r", "ray_gcs_storage": "redis"},
     "ray_redis_url holds a password, which would stand in files and logs: leave it out, and set ray_redis_pass"),
    ({"ray_redis_url": "http://r", "ray_gcs_storage": "redis"}, "ray_redis_url is no address of a server: write"),
    ({"ray_redis_url": "r:6379", "ray_gcs_storage": "redis"}, "ray_redis_url is no address of a server: write redis:"),
    ({"ray_redis_url": "redis://r:x", "ray_gcs_storage": "redis"}, "ray_redis_url is no address of a server: write"),
    ({"ray_redis_url": "redis://r/3", "ray_gcs_storage": "redis"}, "leave out all behind the port, for Ray takes"),
    ({"ray_redis_url": "redis://a%20b@r", "ray_gcs_storage": "redis"}, "ray_redis_url has a user whose name systemd"),
    ({"ray_redis_url": "redis://ann@r", "ray_gcs_storage": "redis"}, "ray_redis_url names the user ann: set ray_redis"),
    ({"ray_redis_url": "rediss://r", "ray_gcs_storage": "redis"}, "and the CA of its certificate is not known: name"),
    ({"ray_redis_url": "redis://r", "ray_gcs_storage": "redis", "ray_redis_ca_file": "c",
      "redis_ca_source": __file__},
     "ray_redis_ca_file is set, and ray_redis_url begins with redis://: write rediss:// for TLS."),
    ({"ray_redis_url": "rediss://r", "ray_gcs_storage": "redis", "ray_redis_ca_file": "c", "redis_ca_source": "/none"},
     "ray_redis_ca_file c is no file on this machine: name the CA's certificate, in PEM."),
    ({"ray_redis_password": "a b"}, "ray_redis_password has a character that systemd and Redis read differently"),
    ({"ray_redis_password": "secret\n"}, "ray_redis_password has a character that"),
    ({"ray_journal_max_use": "1 GB"}, "ray_journal_max_use is 1 GB: use a number with K, M, G or T, such as 1G."),
    ({"ray_firewall_monitors": ["10.1.0.5/16"]}, "ray_firewall_monitors has 10.1.0.5/16, which is no network: write "
                                                 "10.1.0.0/16."),
    ({"ray_temp_dir": "/" + "x" * 40}, "is too long: Ray keeps sockets below it, whose paths may have 107 bytes"),
])
def test_what_does_not(variables, said):
    found = problems(**variables)
    assert len(found) == 1 and said in found[0] and "secret" not in found[0]

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import os

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node import hardware
from ansible_collections.rayops.cluster.plugins.module_utils._node.hardware import (
    count_gpus,
    count_npus,
    file_system_of,
    has_address,
    problems,
    size_of,
    total_memory,
)
from ansible_collections.rayops.cluster.plugins.module_utils._system.interfaces import interfaces

MOUNTS = """\
/dev/vda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0
/dev/vdb1 /mnt ext4 rw 0 0
sfs-nas1.example.com:/share /mnt/deepseek-shared nfs4 rw,vers=4.1 0 0
tmpfs /mnt/deepseek-shared/fast tmpfs rw 0 0
me@host:/home /mnt/my\\040files fuse.sshfs rw 0 0
/dev/vdc1 /data ext4 rw 0 0
server:/data /data nfs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path):
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return str(path)


def test_accelerators_are_counted_by_their_device_nodes(tmp_path):
    names = [
        "nvidia0",
        "nvidia1",
        "nvidia10",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-caps",
        "nvidia-modeset",
        "xnvidia3",
        "davinci0",
        "davinci7",
        "davinci_manager",
        "davinci_manager_docker",
        "devmm_svm",
        "hisi_hdc",
    ]
    for name in names:
        (tmp_path / name).touch()
    assert count_gpus(str(tmp_path)) == 3
    assert count_npus(str(tmp_path)) == 2
    assert count_gpus(str(tmp_path / "absent")) == 0


def test_memory(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       65809384 kB\nMemFree:        12 kB\nSwapTotal:       4 kB\n")
    assert total_memory(str(path)) == 65809384 * 1024
    path.write_text("nothing\n")
    assert total_memory(str(path)) == 0
    assert total_memory(str(tmp_path / "absent")) == 0
    assert total_memory() == pytest.approx(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), rel=0.05)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/dev/shm", "tmpfs"),
        ("/dev/shmem", "ext4"),
        ("/mnt/deepseek-shared", "nfs4"),
        ("/mnt/deepseek-shared/ray-plasma", "nfs4"),
        ("/mnt/deepseek-shared-too", "ext4"),
        ("/mnt/deepseek-shared/fast/plasma", "tmpfs"),
        ("/mnt/my files/plasma", "fuse.sshfs"),
        ("/data/plasma", "nfs"),
    ],
)
def test_the_file_system_of_a_path(mounts, path, kind):
    assert file_system_of(path, mounts) == kind


def test_the_file_system_behind_a_link(mounts, tmp_path):
    (tmp_path / "link").symlink_to("/mnt/deepseek-shared/x")
    assert file_system_of(str(tmp_path / "link"), mounts) == "nfs4"
    assert file_system_of("/", str(tmp_path / "absent")) == ""


def test_the_size_of_a_file_system(tmp_path, monkeypatch):
    stat = os.statvfs(tmp_path)
    size = stat.f_frsize * stat.f_blocks
    assert size_of(str(tmp_path)) == size
    assert size_of(str(tmp_path / "not" / "yet" / "there")) == size
    monkeypatch.chdir(tmp_path)
    assert size_of("not/yet") == size


def test_an_address_is_this_hosts_own_or_not():
    assert has_address("127.0.0.1")
    # Kept for documents: nobody's.
    assert not has_address("203.0.113.7")
    assert not has_address("no.such.host.invalid")
    assert not has_address("2001:db8::7")


@pytest.fixture
def host(monkeypatch, mounts):
    """A host with 4 GPUs, 8 NPUs, 64 GB of memory and a /dev/shm of 32 GB."""
    monkeypatch.setattr(hardware, "count_gpus", lambda: 4)
    monkeypatch.setattr(hardware, "count_npus", lambda: 8)
    monkeypatch.setattr(hardware, "total_memory", lambda: 64 * 10**9)
    monkeypatch.setattr(hardware, "size_of", lambda path: 32 * 10**9)
    monkeypatch.setattr(hardware, "file_system_of", lambda path: file_system_of(path, mounts))
    own = {"127.0.0.1": "lo", "10.0.0.7": "eth0", "fd00::7": "eth0", "::1": "lo"}
    monkeypatch.setattr(hardware, "interfaces", lambda: own)
    monkeypatch.setattr(hardware, "has_address", lambda address: address in own)


@pytest.mark.parametrize(
    ("config", "sentences"),
    [
        ({}, []),
        ({"resources": {"GPU": 4, "NPU": 8, "memory": 64 * 10**9}, "object_store": {"memory": 32 * 10**9}}, []),
        (
            {"resources": {"GPU": 5}},
            ["resources.GPU is 5, but this host shows 4 (/dev/nvidia*): correct it, load the driver"],
        ),
        ({"resources": {"NPU": 16.0}}, ["resources.NPU is 16, but this host shows 8 (/dev/davinci*)"]),
        ({"resources": {"GPU": 8, "NPU": 9}}, ["resources.GPU is 8", "resources.NPU is 9"]),
        (
            {"resources": {"memory": 64 * 10**9 + 1}},
            ["resources.memory is 64000000001 bytes, but this host has 64000000000"],
        ),
        (
            {"object_store": {"memory": 33 * 10**9}},
            [
                "object_store.memory is 33000000000 bytes, but /dev/shm holds 32000000000: lower it, or enlarge the "
                "file system (mount -o remount,size=33000000000 /dev/shm)."
            ],
        ),
        (
            {"object_store": {"plasma_directory": "/mnt/deepseek-shared/ray-plasma"}},
            ["plasma_directory /mnt/deepseek-shared/ray-plasma lies on nfs4, which other hosts share"],
        ),
        (
            {"system_config": {"plasma_directory": "/mnt/my files"}},
            ["plasma_directory /mnt/my files lies on fuse.sshfs"],
        ),
        ({"object_store": {"plasma_directory": "/mnt/deepseek-shared/fast"}}, []),
        ({"network": {"node_ip_address": "10.0.0.7"}}, []),
        (
            {"network": {"node_ip_address": "127.0.0.1"}},
            [
                "network.node_ip_address 127.0.0.1 is a loopback address, which no other host can reach: set "
                "ray_node_ip_address to its private one; it has 10.0.0.7 (eth0), fd00::7 (eth0)."
            ],
        ),
        ({"network": {"node_ip_address": "::1"}}, ["network.node_ip_address ::1 is a loopback address"]),
        (
            {"network": {"node_ip_address": "203.0.113.7"}},
            [
                "network.node_ip_address 203.0.113.7 is not an address of this host: set ray_node_ip_address to its "
                "private one; it has 10.0.0.7 (eth0), fd00::7 (eth0)."
            ],
        ),
        ({"resources": {"GPU": 5}, "object_store": {"memory": 33 * 10**9}}, ["resources.GPU", "object_store.memory"]),
    ],
)
def test_what_the_host_does_not_have(host, config, sentences):
    found = list(map(str, problems(config, "worker")))
    assert len(found) == len(sentences), found
    for sentence, expected in zip(found, sentences):
        assert sentence.startswith(expected)
        assert sentence.endswith(".")


def test_memory_that_the_host_lacks_though_its_shared_memory_is_large(host, monkeypatch):
    monkeypatch.setattr(hardware, "size_of", lambda path: 10**12)
    (found,) = problems({"object_store": {"memory": 64 * 10**9}}, "worker")
    assert str(found) == (
        "object_store.memory is 64000000000 bytes, but this host has 64000000000 bytes of memory: lower it."
    )
    assert found.kind == "store_too_large"


def test_a_heads_resources_have_their_own_name(host):
    assert problems({"head_node": {"resources": {"GPU": 5}}}, "head")[0].fact.startswith("head_node.resources.GPU is 5")
    assert problems({"resources": {"GPU": 5}}, "head") == []


def test_logical_accelerators_are_allowed_on_request(host):
    assert problems({"resources": {"GPU": 5, "NPU": 9}}, "worker", accelerators=False) == []


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "ceph", "lustre", "gpfs", "9p", "fuse.glusterfs", "fuse.s3fs"])
def test_file_systems_that_hosts_share(host, monkeypatch, kind):
    monkeypatch.setattr(hardware, "file_system_of", lambda path: kind)
    assert "which other hosts share" in str(problems({}, "worker")[0])
    assert problems({}, "worker")[0].kind == "plasma_shared"


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", "ramfs", ""])
def test_file_systems_of_one_host(host, monkeypatch, kind):
    monkeypatch.setattr(hardware, "file_system_of", lambda path: kind)
    assert problems({}, "worker") == []


def test_this_very_host_without_recorded_facts():
    own = [address for address in interfaces() if not ipaddress.ip_address(address).is_loopback]
    for address in own:
        config = {"network": {"node_ip_address": address}, "object_store": {"plasma_directory": "/dev/shm"}}
        assert problems(config, "worker") == []
    assert interfaces()["127.0.0.1"] == "lo" and all(map(has_address, interfaces()))

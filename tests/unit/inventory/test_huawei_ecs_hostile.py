# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the cloud answers, the inventory plugin makes sound hosts of it, or says one sentence.

The plugin runs in this process, because a process for each of the answers would take minutes. All is with strict:
false; the options here are valid, so no error is the user's own (a number as the key of keyed_groups would be one).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml

pytest.importorskip("huaweicloudsdkecs")

from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.inventory.group import Group
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader
from ansible.template import Templar
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible.utils.display import Display
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.rayops.cluster.plugins.inventory import huawei_ecs
from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_hosts as huawei_hosts
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_filters import Filters
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_variables import host_variables
from tests.ecs_simulator.instances import server_row
from tests.ecs_simulator.server import Handler, Simulator
from tests.ecs_simulator.testing import ACCESS_KEY, SECRET_KEY, MemorySource
from tests.unit.inventory.bed import A, B

MARKER = Path(tempfile.gettempdir(), f"rayops-hostile-{os.getpid()}")
USER_DATA = "VVNFUi1EQVRB"
RETURNED = yaml.safe_load(huawei_ecs.RETURN)
PROJECTS = {A: "project-a", B: "project-b"}
FAST = {"deadline": None, "derandomize": True, "database": None}

EVIL = "{{ lookup('ansible.builtin.pipe', 'touch " + str(MARKER) + "') }}"
TEXTS = [EVIL, "{% if true %}{{ 7 * 191 }}{% endif %}", "!unsafe x", "{#", f"-oProxyCommand=touch {MARKER}", "", " "]
TEXTS += ["\ud800", "\udfff\ud800", "\0", "\x1b]0;title\7", "a\nb", "a\r\nb", "\u2028", "\u202eabc", "\x85", "e\u0301"]
TEXTS += "fe80::1%-oX fe80::1 ::ffff:1.2.3.4 10.0.0.256 127.0.0.1 ::1 localhost all ungrouped huawei_ecs db".split()
TEXTS += "- . .. ../../x \u0301 \u00e9 构建中 a=b=c = 1e400 -1 NaN \uff11 1_0 %s%(x)s{0} * [!a] {{ true head".split()
TEXTS += "ray_workers ray_head ray_pool_a env_prod prod north worker web web-i1 a a-b a_workers".split()
TEXTS += ["x" * 3000, "9" * 5000]
# By their numbers: Hypothesis would write such long lists out.
text = st.integers(0, len(TEXTS) - 1).map(TEXTS.__getitem__) | st.text(max_size=6)
scalar = text | st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1e308])
junk = scalar | st.lists(scalar, max_size=2) | st.dictionaries(text, scalar | st.lists(scalar, max_size=2), max_size=2)
# Tags that the plugin gives a meaning, with values that it does not expect.
keys = st.sampled_from(["ray-node-type", "ray-cluster-name", "ray-user-node-type", "env", "_sys_x", "__ansible_unsafe"])
tag = st.builds("{}={}".format, keys, text) | text | junk
ids = st.sampled_from(["i1", "i2", "i3", "web"]) | text.filter(bool)
NODE = ["ray-node-type=worker", "ray-cluster-name=a", "ray-user-node-type=x", "env=prod"]
BASE = server_row({"name": "web", "public_ip": "1.2.3.4", "ipv6": "2001:db8::1", "vpc_id": "vpc"})
BASE["OS-EXT-SRV-ATTR:user_data"] = BASE["user_data"] = BASE["metadata"]["user_data"] = USER_DATA
BASE["flavor"].update({kind: [{"count": 1, "name": "x", "memory_mb": 1}] for kind in ("gpus", "asic_accelerators")})
BASE["network_interfaces"] = [{"port_id": "p", "subnet_id": "s", "primary": True}]
BASE |= {"fault": {"message": "x"}, "os:scheduler_hints": {"group": ["g"], "dedicated_host_id": ["d"]}, "hostId": "h"}
BASE |= {"os-extended-volumes:volumes_attached": [{"id": "v"}], "sys_tags": [{"key": "k", "value": "v"}], "user_id": ""}
BASE |= {"OS-SRV-USG:launched_at": "x", "auto_terminate_time": "", "OS-EXT-SRV-ATTR:reservation_id": "r"}
BASE |= {"OS-EXT-STS:task_state": "x", "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda"}
BASE["metadata"] |= {"EcmResStatus": "freeze", "os_version": "x", "agency_name": "x"}
PLAIN, GONE = json.dumps(BASE), "\ufdd0 no such key"


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of all that is in a row, to replace it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield (*path, key)
        yield from paths_of(each, (*path, key))


# Not user_data: its value is what the test looks for.
PATHS = [path for path in paths_of(BASE) if "user_data" not in str(path[-1]) and path[0] not in ("id", "tags")]


def changed(row_id: Any, tags: list[Any], changes: dict[tuple[Any, ...], Any], **extra: Any) -> dict[str, Any]:
    """A row like a real one, but for some values of it. The innermost are changed first."""
    row = {**extra, **json.loads(PLAIN), "id": row_id, "tags": tags}
    for path, value in sorted(changes.items(), key=lambda change: -len(change[0])):
        place: Any = row
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        if value == GONE and isinstance(place, dict):
            del place[path[-1]]
    return row


def named(name: str, *tags: str) -> dict[str, Any]:
    return changed(f"id-{name}", list(tags), {("name",): name})


changes = st.dictionaries(st.integers(0, len(PATHS) - 1).map(PATHS.__getitem__), st.just(GONE) | junk, max_size=8)
rows = st.builds(changed, ids, st.lists(tag, max_size=4), changes, extra=junk)
listed = st.lists(rows | rows | rows | junk, max_size=4)
full = st.lists(rows | rows | rows | junk, min_size=2, max_size=4)


class Cloud(Simulator):
    """Answers as it is told: a body, perhaps with status and headers, signed or not."""

    def __init__(self) -> None:
        super().__init__(MemorySource([]), ACCESS_KEY, SECRET_KEY, [A, B])
        self.RequestHandlerClass = HostileHandler
        self.answer: Callable[[str], Any] = lambda _target: {}

    def serve(self, regions: dict[str, list[Any]], others: Any = None) -> None:
        """A page of servers for each region, and others for any other call."""

        def answer(target: str) -> Any:
            if not target.startswith("/v1/") or "/flavors" in target:
                return others
            found = next(found for region, found in regions.items() if f"/{PROJECTS[region]}/" in target)
            return {"servers": [] if "marker=" in target else found}

        self.answer = answer


class HostileHandler(Handler):
    server: Cloud

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        answer = self.server.answer(self.path)
        status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
        # As ASCII, in which JSON can hold half a surrogate pair.
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked may have given up
            self.wfile.write(content)


class Runner:
    """Runs the plugin as Ansible does, and checks what holds for every answer."""

    def __init__(self, folder: Path, cloud: Cloud) -> None:
        self.folder, self.cloud = folder, cloud
        self.warnings: list[str] = []

    def run(self, inventory: Optional[InventoryData] = None, **options: Any) -> tuple[dict[str, Any], str]:
        """The variables of the new hosts by their names, and the error."""
        inventory, file = inventory or InventoryData(), self.folder / "test.huawei_ecs.yml"
        others = set(inventory.hosts)
        common = {"plugin": "rayops.cluster.huawei_ecs", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        common |= {"regions": [A, B], "status": [], "endpoints": {A: self.cloud.url, B: self.cloud.url}}
        common |= {"iam_endpoint": self.cloud.url, "retries": 0, "timeout": 5, "deadline": 20, "project_ids": PROJECTS}
        file.write_text(json.dumps({**common, **options}), encoding="utf-8")
        self.warnings.clear()
        plugin, error = inventory_loader.get("rayops.cluster.huawei_ecs"), ""
        try:
            plugin.parse(inventory, DataLoader(), str(file))
            if options.get("cache"):
                plugin.update_cache_if_changed()
        except AnsibleParserError as exc:
            error = str(exc)
            assert error[-1] in ".?" and set(inventory.hosts) == others
        inventory.reconcile_inventory()
        for said in (error, *self.warnings):
            # One line, and nothing that writes to the terminal.
            assert said.isprintable() and len(said) < 20_000
            assert not any(secret in said for secret in ("Traceback", SECRET_KEY, ACCESS_KEY))
        assert not MARKER.exists()
        assert not set(inventory.hosts) & set(inventory.groups)
        hosts = {name: dict(host.vars) for name, host in inventory.hosts.items() if name not in others}
        for name, variables in hosts.items():
            assert re.fullmatch(r"\w[\w.-]*", name)
            check_host(variables, options.get("compose", {}))
        return hosts, error


@pytest.fixture(name="session", scope="module")
def session_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    cloud = Cloud()
    thread = threading.Thread(target=cloud.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    runner = Runner(tmp_path_factory.mktemp("hostile"), cloud)
    with pytest.MonkeyPatch.context() as patch:
        # Ansible's loader finds nothing in a package that pytest's way of importing has found before it.
        for name in [each for each in sys.modules if each.partition(".")[0] == "ansible_collections"]:
            patch.delitem(sys.modules, name)
        init_plugin_loader([])
        patch.setattr(Display, "warning", lambda _self, msg, *_args, **_more: runner.warnings.append(str(msg)))
        yield runner
        AnsibleCollectionConfig.collection_finder._remove()
        for name in [each for each in sys.modules if each.partition(".")[0] == "ansible_collections"]:
            del sys.modules[name]
    cloud.shutdown()
    cloud.server_close()
    thread.join()


def check_host(variables: dict[str, Any], composed: Any = ()) -> None:
    """The variables are what the documentation promises."""
    own = {key: value for key, value in variables.items() if key not in (*composed, "inventory_file", "inventory_dir")}
    address = own.pop("ansible_host", None)
    assert address is None or ("%" not in address and ipaddress.ip_address(address))
    assert {name for name, about in RETURNED.items() if about["returned"] == "always"} <= set(own) <= set(RETURNED)
    for name, value in own.items():
        check_type(RETURNED[name], value)
    written = json.dumps(own, ensure_ascii=False, allow_nan=False)
    assert written.encode("utf-8") and json.loads(written) == own and USER_DATA not in written
    # Text of the cloud is no template to those who use it.
    assert Templar(loader=None, variables=own).template(own) == own


def check_type(about: dict[str, Any], value: Any) -> None:
    assert type(value).__name__ == about["type"]
    for each in value if about["type"] == "list" else ():
        assert type(each).__name__ == about["elements"]
        for key in set(each) | set(about["contains"]) if "contains" in about else ():
            check_type(about["contains"][key], each[key])
    assert about["type"] != "dict" or all(isinstance(part, str) for pair in value.items() for part in pair)


def usable(found: list[Any]) -> list[dict[str, Any]]:
    """The rows that must become hosts: the last of each id, but none whose id cannot be sent back as a marker."""
    good = [row for row in found if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]]
    return list({row["id"]: row for row in good if row["id"].encode("utf-8", "replace").decode() == row["id"]}.values())


patterns = st.dictionaries(st.sampled_from(["name", "spot", "vcpus", "tag:env", "ipv6"]), st.lists(text, max_size=3))


@settings(max_examples=200, **FAST)
@given(rows, st.dictionaries(st.sampled_from(["os_extra_specs", "id"]), junk), text, patterns, patterns)
def test_variables_and_filters_of_any_row(row: Any, flavor: dict[str, Any], devices: str, one: Any, two: Any) -> None:
    variables = host_variables(row, A, "p", "default", flavor, "2026")
    check_host(variables)
    specs = {"info:gpus": json.dumps([flavor, row.get("flavor")]), "info:asic_accelerators": devices}
    check_host(host_variables({"id": row["id"]}, A, "p", flavor={"os_extra_specs": specs}))
    matches = [Filters(include=[each]).match(variables) for each in (one, two)]
    assert Filters().match(variables) and Filters(include=[one, two]).match(variables) == any(matches)
    assert Filters(exclude=[one, two]).match(variables) != any(matches)
    tags = {key: [value] for key, value in variables["ecs_tags"].items()}
    assert Filters([variables["ecs_status"]], tags).match(variables)
    assert not Filters(tags={**tags, "no such": []}).match(variables)


@settings(max_examples=150, **FAST)
@given(st.lists(rows, max_size=6), st.permutations(["name", "hostname", "tag:env", "private_ip"]), st.sets(text))
def test_names_are_safe_and_nobody_elses(found: list[Any], preference: list[str], groups: set[str]) -> None:
    hosts = [host_variables(row, A, "p") for row in found]
    taken = {re.sub(r"\W", "_", group, flags=re.ASCII) for group in groups if group}
    names = huawei_hosts.unique_names(huawei_hosts.wanted_names(hosts, preference, str), hosts, taken)
    assert len(set(names)) == len(hosts) and not set(names) & (taken | huawei_hosts.TAKEN_NAMES)
    assert all(re.fullmatch(r"\w[\w.-]*", name) for name in names)


OPTIONS: dict[str, Any] = {
    "hostnames": ["{{ ecs_tags.env }}.{{ ecs_name }}", "tag:env", "{{ ecs_private_ip }}", "hostname"],
    "compose": {"x": "ecs_name ~ ecs_tags.env", "y": "ecs_tags", "z": "ecs_private_ips | first"},
    "groups": {"north": "'no' in ecs_name", "prod": "ecs_tags.env == 'prod'"},
    "keyed_groups": [{"key": "ecs_tags", "prefix": "tag"}, {"key": "ecs_tags.env", "prefix": "env"}],
    "group_by": ["tag:env", "tag:ray-cluster-name", "status", "vpc", "flavor", "availability_zone"],
    "include_filters": [{"name": ["w*", "n*"]}, {"tag:env": ["*", "[a"]}, {"vcpus": ["?"]}],
    "exclude_filters": [{"spot": ["true"]}, {"ipv6": ["fe80*"], "description": ["*"]}],
    "ray_checks": {check: "warn" for check in ("two_heads", "no_head", "not_active", "security_groups")},
    "flavor_details": True,
    "expiry": True,
    "on_duplicate_name": "warn",
}
details = {"flavors": st.lists(st.fixed_dictionaries({"id": text, "os_extra_specs": junk}) | junk, max_size=3)}
details |= {"servers": listed, "security_groups": junk | st.lists(st.fixed_dictionaries({"rules": junk}), max_size=2)}
others = st.fixed_dictionaries(details) | st.fixed_dictionaries(details) | junk


@settings(max_examples=150, **FAST)
@given(full, listed, st.sets(st.sampled_from(sorted(OPTIONS)), max_size=4), others, st.booleans())
@example([named("x", "ray-node-type=head", "ray-cluster-name=a\nb"), named("y", *NODE)], [], set(), {}, False)
@example([named("a\x1b[1m", "ray-node-type=worker")], [], {"ray_checks"}, {}, True)
@example([named("north")], [], {"groups"}, {}, True)
@example([named("x", "env=prod"), named("env_prod", "ray-node-type=head")], [], {"keyed_groups"}, {}, True)
def test_rows_and_options(session: Runner, one: Any, two: Any, chosen: set[str], others: Any, several: bool) -> None:
    session.cloud.serve({A: one, B: two}, others)
    options = {name: OPTIONS[name] for name in chosen}
    hosts, error = session.run(several_clusters=several, **options)
    filters = Filters(include=options.get("include_filters", ()), exclude=options.get("exclude_filters", ()))
    wanted = [host_variables(row, A, "p") for found in (one, two) for row in usable(found)]
    assert "Ray clusters" in error or "ECS (" in error or len(hosts) == sum(map(filters.match, wanted))


@settings(max_examples=40, **FAST)
@given(listed, st.sampled_from(["", "a", "a_workers", "a-b", "a_b", "a_pool_x", "_head"]))
def test_no_group_of_a_cluster_has_nodes_of_another(session: Runner, found: list[Any], cluster: str) -> None:
    other = named("other", "ray-node-type=worker", f"ray-cluster-name={cluster}")
    session.cloud.serve({A: [*found, other, named("node", *NODE)], B: []})
    inventory = InventoryData()
    session.run(inventory, several_clusters=True)
    group = inventory.groups.get("ray_cluster_a", Group("none"))
    assert {host.vars["ecs_tags"].get("ray-cluster-name") for host in group.get_hosts()} <= {"a"}


@settings(max_examples=30, **FAST)
@given(listed)
def test_groups_of_other_sources_are_left_alone(session: Runner, found: list[Any]) -> None:
    inventory = InventoryData()
    inventory.add_host("database", group=inventory.add_group("db"))
    session.cloud.serve({A: [named("db", *NODE), *found], B: []})
    session.run(inventory, several_clusters=True)
    assert [group.name for group in inventory.groups["db"].parent_groups] == ["all"]


@settings(max_examples=40, **FAST)
@given(full)
def test_cache_gives_the_same_hosts(session: Runner, found: list[Any]) -> None:
    options = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "several_clusters": True}
    options["cache_connection"] = str(session.folder / uuid.uuid4().hex)
    session.cloud.serve({A: found, B: []})
    first = session.run(**options)
    session.cloud.answer = lambda _target: (500, {}, {})
    assert first[1] or session.run(**options) == first


BODIES = [b"", b"<html>\n", b"[" * 100_000, b'{"servers":' * 9000, b"\x1f\x8b\x08", b'{"servers": [1e', b"\xff{}"]
BODIES += ['{"servers": [{"id": "é"}]}'.encode(name) for name in ("utf-16", "utf-32", "latin-1")]
fault = st.fixed_dictionaries({"code": junk, "message": text})
bodies = junk | st.binary(max_size=20) | st.sampled_from(BODIES)
bodies |= st.tuples(listed, st.integers(1, 400)).map(lambda cut: json.dumps({"servers": cut[0]}).encode()[: cut[1]])
pages = junk | listed | st.just([{"id": "x"}] * 3)
bodies |= st.fixed_dictionaries({"servers": pages, "count": junk | st.integers(-5, 5)})
bodies |= st.fixed_dictionaries({"error": fault}) | st.fixed_dictionaries({"error_code": junk, "error_msg": junk})
HEADERS = [{}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate"}, {"Content-Type": "text/html; charset=x"}]
HEADERS += [{"X-Request-Id": "\x1b[1m\xe9" + "x" * 999}, {"Retry-After": "\xb2"}, {"Content-Type": ""}]
codes = st.sampled_from([200, 204, 301, 400, 401, 403, 404, 429, 500, 503])
answers = bodies | st.tuples(codes, st.sampled_from(HEADERS), bodies)


@settings(max_examples=150, **FAST)
@given(st.lists(answers, min_size=1, max_size=3), st.integers(1, 3))
@example([(400, {}, {"error_code": "a\nb", "error_msg": "x"})], 1)
def test_replies_that_are_no_list(session: Runner, pages: list[Any], page_size: int) -> None:
    left = list(pages)
    session.cloud.answer = lambda _target: left.pop(0) if len(left) > 1 else left[0]
    hosts, error = session.run(page_size=page_size, several_clusters=True)
    assert not (hosts and error)


@settings(max_examples=80, **FAST)
@given(answers | st.fixed_dictionaries({"projects": st.lists(st.fixed_dictionaries({"id": junk}) | junk)}))
def test_replies_of_iam(session: Runner, reply: Any) -> None:
    session.cloud.answer = lambda target: reply if target.startswith("/v3/") else {"servers": [{"id": "i1"}]}
    # The SDK remembers project IDs by key for as long as the process lives.
    session.run(project_ids={}, access_key=f"AK{uuid.uuid4().hex}")


def test_a_server_that_ignores_the_page_size(session: Runner) -> None:
    session.cloud.serve({A: [changed(f"i{number}", [], {}) for number in range(2000)], B: []})
    assert len(session.run(page_size=50)[0]) == 2000


def test_list_without_an_end_is_not_read_for_ever(session: Runner) -> None:
    session.cloud.answer = lambda _target: {"servers": [{"id": uuid.uuid4().hex}]}
    hosts, error = session.run(page_size=1, deadline=1)
    time.sleep(0.3)
    requests = len(session.cloud.requests)
    time.sleep(0.3)
    after = len(session.cloud.requests)
    session.cloud.answer = lambda _target: {}
    assert not hosts and error and after == requests

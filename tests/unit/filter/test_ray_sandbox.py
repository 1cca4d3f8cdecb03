# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.rayops.cluster.plugins.filter.ray_sandbox import _WORDS, FilterModule

VARIABLES = Path(__file__).resolve().parents[3] / "roles" / "ray_defaults" / "vars" / "main" / "sandbox.yml"
DEFAULTS = yaml.safe_load(VARIABLES.read_text(encoding="utf-8"))["_ray_sandbox_defaults"]


def sandbox(own, **options):
    return FilterModule().filters()["ray_sandbox"](own, DEFAULTS, **options)


def lines(own):
    return dict(line.split("=", 1) for line in sandbox(own)["lines"])


def test_what_the_collection_sets():
    found = lines({})
    assert found["NoNewPrivileges"] == "yes"
    assert found["CapabilityBoundingSet"] == ""
    assert found["ProtectSystem"] == "full"
    assert found["SystemCallFilter"].startswith("~@clock ")
    assert "ProtectClock" not in found and "MemoryDenyWriteExecute" not in found and "PrivateTmp" not in found
    assert sandbox({})["problems"] == []


@pytest.mark.parametrize("off", [False, None, "", "false", "no"])
def test_off_leaves_a_directive_of_any_kind_out(off):
    for name in set(lines({})) - {"NoNewPrivileges"}:
        assert lines({name: off}) == {key: value for key, value in lines({}).items() if key != name}


def test_on_and_other_values():
    own = {"PrivateTmp": True, "LockPersonality": "yes", "ProtectSystem": True, "RestrictNamespaces": ["net", "mnt"],
           "CapabilityBoundingSet": "CAP_SYS_NICE CAP_IPC_LOCK", "SystemCallFilter": []}
    found = lines(own)
    assert {name: found[name] for name in own} == {
        "PrivateTmp": "yes", "LockPersonality": "yes", "ProtectSystem": "yes", "RestrictNamespaces": "net mnt",
        "CapabilityBoundingSet": "CAP_SYS_NICE CAP_IPC_LOCK", "SystemCallFilter": ""}


def test_without_no_new_privileges_nothing_brings_it_back():
    assert lines({"NoNewPrivileges": False}) == {"ProtectSystem": "full"}
    # What the site says of capabilities stays: they are no part of it.
    assert lines({"NoNewPrivileges": "", "CapabilityBoundingSet": "CAP_SETUID", "PrivateTmp": True}) == {
        "ProtectSystem": "full", "CapabilityBoundingSet": "CAP_SETUID", "PrivateTmp": "yes"}
    assert sandbox({"NoNewPrivileges": False, "LockPersonality": True}, refuse=False)["problems"] == [
        "ray_sandbox.LockPersonality cannot stand beside NoNewPrivileges: false, which systemd turns on again for it: "
        "leave one of them out."]
    assert sandbox({"NoNewPrivileges": False, "LockPersonality": False}, refuse=False)["problems"] == []


@pytest.mark.parametrize(("own", "said"), [
    ({"NoNewPriviliges": False}, "ray_sandbox has no directive NoNewPriviliges: did you mean NoNewPrivileges?"),
    ({"ReadWritePaths": "/x"}, None),
    ({"xyzzy": True}, "ray_sandbox has no directive xyzzy: the known ones are CapabilityBoundingSet, "),
    ({"ProtectSystem": "strict"}, "ray_sandbox.ProtectSystem is strict: ProtectSystem= takes no 'strict', "),
    ({"LockPersonality": "maybe"}, "ray_sandbox.LockPersonality is maybe: use true or false."),
    ({"SystemCallFilter": True}, "ray_sandbox.SystemCallFilter is True: write what systemd's SystemCallFilter= shall"),
    ({"SystemCallFilter": "~@clock\nExecStartPre=+/bin/x"}, "takes no 'ExecStartPre=+/bin/x'"),
    ({"CapabilityBoundingSet": ["CAP_KILL\nUser=root"]}, "takes no 'CAP_KILL\nUser=root'"),
    ({"RestrictAddressFamilies": "INET"}, "ray_sandbox.RestrictAddressFamilies is INET: "),
    ("NoNewPrivileges=no", "ray_sandbox is NoNewPrivileges=no: use a dictionary, such as {NoNewPrivileges: false}."),
])
def test_what_cannot_work_is_refused_by_name(own, said):
    with pytest.raises(AnsibleFilterError) as error:
        sandbox(own)
    assert (said or "ray_sandbox has no directive ReadWritePaths: ") in str(error.value)
    assert sandbox(own, refuse=False)["problems"] == [str(error.value)]


def test_every_kind_of_value_is_known():
    switches = {name for name, value in DEFAULTS.items() if isinstance(value, bool)}
    assert set(DEFAULTS) - switches <= set(_WORDS) <= set(DEFAULTS)


def test_every_directive_is_documented():
    specs = yaml.safe_load((VARIABLES.parents[3] / "ray" / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    text = " ".join(specs["argument_specs"]["main"]["options"]["ray_sandbox"]["description"])
    assert [name for name in DEFAULTS if name not in text] == []

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pip and uv are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._environment.requirements import (
    Constraints,
    RequirementsError,
    normalized,
    secrets_of,
)

SUM = "sha256:" + "0" * 64
HASHED = f"""
# by uv pip compile
ray[default]==2.60.0 \\
    --hash={SUM} \\
    --hash={SUM}
    # via -r in.txt
Foo_Bar==1 ; python_version >= "3.9"  --hash={SUM}  # why
"""


def test_without_hashes_they_are_constraints(tmp_path):
    constraints = Constraints("foo<2  # why\n\n# nothing\n")
    constraints.check(["ray==1", "bar"])
    assert constraints.arguments(["ray==1"], str(tmp_path)) == ["--constraint", f"{tmp_path}/constraints.txt", "ray==1"]
    assert (tmp_path / "constraints.txt").read_text() == "foo<2\n"


def test_none(tmp_path):
    assert Constraints("").arguments(["ray==1"], str(tmp_path)) == ["ray==1"]
    assert Constraints("").digest == "" and Constraints("a").digest != Constraints("b").digest


def test_with_hashes_they_are_all_that_is_installed(tmp_path):
    constraints = Constraints(HASHED)
    constraints.check(["ray[default]==2.60.0", "foo.bar"])
    assert constraints.arguments(["ray==1"], str(tmp_path)) == [
        "--require-hashes", "--no-deps", "--requirement", f"{tmp_path}/constraints.txt"
    ]
    lines = Path(tmp_path / "constraints.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["ray[default]==2.60.0", "Foo_Bar==1"]
    assert [line.count("--hash=") for line in lines] == [2, 1]


@pytest.mark.parametrize(("text", "sentence"), [
    ("--index-url http://127.0.0.1\n", "has the option --index-url"),
    ("-e .", "has the option -e"),
    (f"ray==2.60.0 --hash={SUM}\nfoo==1\n", "has hashes, but none for foo==1"),
    (f"foo==1 --hash={SUM}\n", r"has hashes, and does not name ray\[default\]==2.60.0"),
    (f"ray==2.59.0 --hash={SUM}\n", r"has ray in 2.59.0, but ray\[default\]==2.60.0 is to be installed"),
    (f"ray>2 --hash={SUM}\n", "has ray in no version"),
])
def test_what_cannot_hold_is_refused(text, sentence):
    with pytest.raises(RequirementsError, match=f"^ray_constraints {sentence}"):
        Constraints(text).check(["ray[default]==2.60.0"])


def test_names():
    assert [normalized(name) for name in ("Foo__Bar[x]>=1", "a.b", "")] == ["foo-bar", "a-b", ""]


@pytest.mark.parametrize(("url", "secrets"), [
    ("https://u:p%40ss@host/simple", {"p%40ss", "p@ss"}),
    ("https://token@host/simple", {"token"}),
    ("https://u:@host/simple", set()),
    ("https://host/simple", set()),
    ("https://[", {"https://["}),
    ("", set()),
])
def test_what_of_an_address_is_secret(url, secrets):
    assert secrets_of(url) == secrets

# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from ansible_collections.rayops.cluster.plugins.plugin_utils import _huawei_credentials as credentials
from ansible_collections.rayops.cluster.plugins.plugin_utils._huawei_credentials import HuaweiError
from tests.ecs_simulator.testing import ACCESS_KEY, SECRET_KEY, running


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_options_give_credentials_or_none() -> None:
    assert credentials.from_options(None, None, None, "x") is None
    found = credentials.from_options("a", "s", "t", "access_key and secret_key")
    assert found == credentials.Credentials("a", "s", "t", source="access_key and secret_key")


@pytest.mark.parametrize(("ak", "sk", "lacks"), [("x", None, "secret_key"), (None, "x", "access_key")])
def test_half_a_key_pair_names_the_other_half(ak: str, sk: str, lacks: str) -> None:
    with pytest.raises(HuaweiError, match=f"{lacks} is not: set {lacks} or HUAWEICLOUD_SDK_"):
        credentials.from_options(ak, sk, None, "x")


def test_repr_shows_no_secret() -> None:
    shown = repr(credentials.Credentials("AKX", "SKX", "TOKENX", project_id="p"))
    assert not any(secret in shown for secret in ("AKX", "SKX", "TOKENX"))


def test_file_is_read_with_percent_signs() -> None:
    path = write(
        Path.home() / ".huaweicloud" / "credentials",
        "[basic]\nak = A\nsk = 5%2B%\nsecurity_token = T\nproject_id = P\niam_endpoint = https://iam.example.com\n",
    )
    expected = credentials.Credentials("A", "5%2B%", "T", "P", "https://iam.example.com", f"section [basic] of {path}")
    assert credentials.from_file(None) == expected
    assert credentials.from_file(path) == expected


def test_profiles_are_sections_and_a_missing_one_names_those_that_exist(tmp_path: Path) -> None:
    path = write(tmp_path / "credentials", "[prod]\nak = A\nsk = S\n[test]\nak = B\nsk = T\n")
    found = credentials.from_file(path, "test")
    assert (found.access_key, found.secret_key, found.source) == ("B", "T", f"section [test] of {path}")
    with pytest.raises(HuaweiError, match=r"has no section \[dev\]: set profile to one of its prod, test\."):
        credentials.from_file(path, "dev")
    with pytest.raises(HuaweiError, match="cannot be read: No such file"):
        credentials.from_file(None, "prod")


def test_default_file_may_be_absent_but_a_named_one_may_not(tmp_path: Path) -> None:
    assert credentials.from_file(None) is None
    with pytest.raises(HuaweiError, match="cannot be read: No such file"):
        credentials.from_file(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sk-top-secret\n", "is not an INI file"),
        ("[basic]\nak = A\nak = sk-top-secret\n", "is not an INI file"),
        ("[global]\nak = A\nsk = sk-top-secret\n", r"has no section \[basic\]"),
        ("[basic]\nsk = sk-top-secret\n", r"has no ak in section"),
        ("[basic]\nfoo = sk-top-secret\nak =\n", r"has no ak and no sk in section"),
    ],
)
def test_bad_file_is_one_sentence_without_its_content(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(HuaweiError, match=sentence) as caught:
        credentials.from_file(write(tmp_path / "credentials", text))
    assert "sk-top-secret" not in str(caught.value)


@pytest.mark.parametrize("token", [None, "SESSION"])
def test_metadata_service_gives_temporary_keys(token: Optional[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy would get the keys of its own machine, and see ours.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with running([], security_token="TEMP") as simulator:
        simulator.metadata_token = token
        found = credentials.from_metadata(simulator.url)
        assert found == credentials.Credentials(
            ACCESS_KEY, SECRET_KEY, "TEMP", source="the agency of this ECS instance"
        )
        assert simulator.requests == ["/openstack/latest/securitykey"]


@pytest.mark.parametrize(
    "answer", ["no JSON", "[]", '{"credential": {}}', '{"credential": {"access": 1, "secret": 2, "securitytoken": 3}}']
)
def test_metadata_service_that_knows_no_keys_is_one_sentence(answer: str) -> None:
    with running([]) as simulator:
        simulator.add_failure({"body": answer, "times": -1})
        with pytest.raises(HuaweiError, match="metadata service at http.* gave no credentials: run on an ECS instance"):
            credentials.from_metadata(simulator.url)


def test_metadata_service_out_of_reach_is_one_sentence() -> None:
    with pytest.raises(HuaweiError, match="metadata service at http://127.0.0.1:9 gave no credentials"):
        credentials.from_metadata("http://127.0.0.1:9")

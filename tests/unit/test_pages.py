# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pages that say the same: both READMEs and what is tested, and each page of docs and its Chinese twin."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests import markdown
from tests.faults import catalogue, chinese, served, table
from tests.matrix import ROWS

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
READMES = ["README.md", "README.zh-CN.md"]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def read(path: Path | str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def same_names(page: str) -> Counter[str]:
    """The names of a page, without those whose words are translated (`<name>`, `a sentence`)."""
    return Counter(name for name in markdown.names(page) if not re.search(r"<|…", name) and not CHINESE.search(name))


def code(page: str) -> list[str]:
    """The blocks of code, without comments, and with one word for what the reader fills in."""
    lines = ["\n".join(map(markdown.uncommented, block.splitlines())) for block in markdown.blocks(page)]
    return [re.sub(r"<[^<>\n]+>", "<>", block).strip() for block in lines]


def test_the_matrix_is_what_is_declared():
    runtime = yaml.safe_load(read("meta/runtime.yml"))
    assert runtime["requires_ansible"] == f">={ROWS[0].core}"
    assert {row.image for row in ROWS} == {"bookworm", "trixie"}
    for name in READMES:
        page = read(name)
        assert f"ansible-core {ROWS[0].core} " in page, name
        said = re.search(r"`make matrix`.*ansible-core ([^\n]*)", page)
        assert said, name
        found = re.sub(r"\s*[()（）]\s*", " ", said[1].partition("Debian")[0])
        for row in ROWS:
            version = row.core if "rc" in row.core else row.series
            assert re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", found), f"{name}: {version}"
            assert re.search(rf"(?<![\d.]){re.escape(row.python)}(?![\d.])", found), f"{name}: {row.python}"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_chinese_twin(name):
    assert (DOCS / "zh" / name).exists()


def test_no_chinese_page_is_left_alone():
    assert [path.name for path in (DOCS / "zh").glob("*.md") if path.name not in PAGES] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_and_its_chinese_twin_have_the_same_headings_code_and_names(name):
    english, chinese = read(f"docs/{name}"), read(f"docs/zh/{name}")
    assert markdown.headings(chinese) == markdown.headings(english)
    assert code(chinese) == code(english)
    assert same_names(chinese) - same_names(english) == Counter(), "only in Chinese"
    assert same_names(english) - same_names(chinese) == Counter(), "only in English"
    # It is a translation, not a copy, and leads to the Chinese pages.
    assert len(CHINESE.findall(chinese)) > len(english) / 20
    assert re.findall(r"/docs/(?!zh/)\w+\.md", chinese) == []


def test_the_readmes_have_the_same_headings_and_code():
    english, chinese = (read(name) for name in READMES)
    assert markdown.headings(chinese) == markdown.headings(english)
    assert code(chinese) == code(english)
    assert set(same_names(chinese)) == set(same_names(english))
    assert re.findall(r"/docs/(?!zh/)\w+\.md", chinese) == []


def test_the_page_of_faults_is_written_in_both_languages_from_the_same_tables():
    english = read("docs/faults.md")
    tables = table.written(english)
    assert tables[0].startswith(f"| {table.COLUMNS[0]} |")
    assert tables[1] == f"{table.NOT_YET}\n" or tables[1].startswith(f"| {' | '.join(table.SERVED_COLUMNS)} |")
    version = re.search(r"real Ray ([\d.]+) in", english)[1]
    assert table.page("faults.md", version, *tables) == english
    assert table.page("faults.zh.md", version, *map(chinese.table, tables)) == read("docs/zh/faults.md")


def test_every_fault_has_its_chinese_words():
    faults = [*catalogue.FAULTS, *served.FAULTS]
    outcomes = [table.served_row(served.ServedOutcome(fault, 1.5, 7, ["status 503"])) for fault in served.FAULTS]
    phrases = [*table.COLUMNS, *table.SERVED_COLUMNS, table.NOT_YET, *(row[-1] for row in outcomes),
               *(text for fault in faults for text in (fault.title, fault.does)),
               *(table.promise(fault) for fault in served.FAULTS if not fault.loses)]
    missing = [text for text in phrases if not CHINESE.search(chinese.phrase(text))]
    assert missing == [], "add them to tests/faults/chinese.py"

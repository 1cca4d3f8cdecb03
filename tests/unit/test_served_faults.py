# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a fault of a served model comes to: how it is judged, and how the page of both tables is written."""

from __future__ import annotations

import re
import sys
import types

import pytest

from tests.bed.bed import BedError
from tests.faults import __main__ as command
from tests.faults import catalogue, chinese, served, table
from tests.faults.fault import Outcome
from tests.serving.environment import UnavailableError
from tests.workload.client import Report, Request


class Asking:
    """What a client would have seen, from the fault on."""

    def __init__(self, *lost):
        self.lost = lost
        self.waited = []

    def wait_for_tokens(self, since, seconds):
        self.waited.append("tokens")

    def wait_for_silence(self, since, seconds):
        self.waited.append("silence")

    def settle(self, seconds):
        self.waited.append("settle")

    def report(self, since=0):
        lost = [Request(since, since + 1, why) for why in self.lost]
        return Report(since, since + 10, [Request(since, since + 9), *lost])


class Whole:
    """A cluster on which nothing is wrong. answered: what the probe says while the model is silent."""

    names = ["head", "worker-1"]
    head, workers = "head", ["worker-1"]

    def __init__(self, answered=False):
        self.answered = "true" if answered else "false"

    def nodes(self):
        return {name: ["id"] for name in self.names}

    def sh(self, _name, line, check=True):
        if "ray-model.py" in line:
            return f'{{"answered": {self.answered}}}'
        assert "serve.status()" in line
        return 'a line of a log\n["RUNNING", "HEALTHY", "HEALTHY"]'


def fault(**more):
    return served.ServedFault("name", "title", "does", 1, lambda _cluster: None, **more)


def test_a_model_that_falls_silent_and_comes_back():
    asking = Asking("status 503")
    outcome = served.ServedTrial(Whole(), asking).run(fault())
    assert outcome.failed == [] and outcome.lost == ["status 503"] and outcome.asked == 2
    assert outcome.silence == pytest.approx(9)
    assert asking.waited == ["tokens", "silence", "tokens", "tokens", "settle"]
    assert table.served_row(outcome) == ["title", "does", "9.0 s", "1 s", "1 of 2"]


def test_a_probe_that_does_not_notice_is_a_failure():
    outcome = served.ServedTrial(Whole(answered=True), Asking()).run(fault())
    assert outcome.failed == ["tiny is silent, and the token probe has not noticed it"]


def test_a_request_that_must_not_be_lost_is_a_failure():
    outcome = served.ServedTrial(Whole(), Asking("status 503")).run(fault(loses=False, silent=False))
    assert len(outcome.failed) == 1 and "1 of 2 requests lost" in outcome.failed[0]
    assert table.served_row(outcome)[3] == "1 s, no request lost"


def test_what_does_not_come_about_says_why(monkeypatch):
    def broken():
        raise BedError("the GCS does not answer")

    monkeypatch.setattr(served.time, "sleep", lambda _seconds: None)
    with pytest.raises(BedError, match="not within 0 s: every host has a node: the GCS does not answer"):
        served.wait_until("every host has a node", 0, broken)


def test_rows_are_replaced_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PAGE", tmp_path / "faults.md")
    monkeypatch.setattr(table, "CHINESE_PAGE", tmp_path / "zh.md")
    titles = [fault.title for fault in catalogue.FAULTS[:2]]

    def rows(*words):
        cells = [[title, *[word] * (len(table.COLUMNS) - 1)] for title, word in zip(titles, words) if word]
        return table.as_table(table.COLUMNS, cells)

    table.PAGE.write_text(table.page("faults.md", "2.60.0", rows("a", "a"), f"{table.NOT_YET}\n"), encoding="utf-8")
    outcome = served.ServedOutcome(served.FAULTS[0], 1.5, 70)
    second = table.served_markdown([outcome])
    table.write_page("", second, "2.60.0")
    assert table.written(table.PAGE.read_text(encoding="utf-8")) == [rows("a", "a"), second]
    table.write_page(rows("b", ""), "", "2.61.0")
    assert table.written(table.PAGE.read_text(encoding="utf-8")) == [rows("b", "a"), second]
    for page in (table.PAGE, table.CHINESE_PAGE):
        text = page.read_text(encoding="utf-8")
        assert "2.61.0" in text and not re.search("VERSION|TABLE|SERVED", text)
    assert chinese.phrase("0 of 70") in table.CHINESE_PAGE.read_text(encoding="utf-8")


class Faults:
    """The command without its beds: which of them it made, and what it wrote."""

    def __init__(self, monkeypatch, tmp_path):
        self.beds, self.pages = [], []
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(table, "JSON", tmp_path / "faults.json")
        monkeypatch.setattr(table, "write_page", lambda *arguments: self.pages.append(arguments))
        monkeypatch.setattr(command, "down", lambda bed: None)
        monkeypatch.setattr(command, "deployed", self.deployed)
        monkeypatch.setattr(command, "outcomes", lambda _cluster, names: [
            Outcome(fault) for fault in catalogue.FAULTS if fault.name in names])
        monkeypatch.setattr(command, "served_outcomes", lambda _cluster, names: [
            served.ServedOutcome(fault, failed=self.failed) for fault in served.FAULTS if fault.name in names])
        self.failed = []
        self.unavailable = False

    def deployed(self, bed, _keep):
        self.beds.append((bed.redis, bed.serving))
        if bed.serving and self.unavailable:
            raise UnavailableError("pip finds no torch")
        return types.SimpleNamespace(sh=lambda *_words: "2.60.0")

    def run(self, *words):
        self.monkeypatch.setattr(sys, "argv", ["tests.faults", *words])
        return command.main()


@pytest.fixture
def faults(monkeypatch, tmp_path):
    return Faults(monkeypatch, tmp_path)


def test_each_kind_has_a_bed_of_its_own_and_both_tables_are_written(faults):
    assert faults.run() == 0
    assert faults.beds == [("separate", False), ("none", False), ("none", True)]
    ((first, second, version),) = faults.pages
    assert first.count("\n") == len(catalogue.FAULTS) + 2 and second.count("\n") == len(served.FAULTS) + 2
    assert version == "2.60.0"


def test_the_faults_of_a_model_can_be_done_and_written_alone(faults):
    names = [fault.name for fault in served.FAULTS]
    assert faults.run("--only", *names) == 0
    assert faults.beds == [("none", True)]
    assert faults.pages[0][0] == "" and faults.pages[0][1] != ""
    assert faults.run("--only", *names[1:]) == 0
    assert faults.pages[1][0] == "" and served.FAULTS[0].title not in faults.pages[1][1]
    faults.failed = ["the token probe has not noticed it"]
    assert faults.run("--only", *names) == 1


def test_without_what_serves_the_table_stays_and_a_line_says_so(faults, capsys):
    faults.unavailable = True
    assert faults.run() == 0
    assert faults.pages[0][1] == ""
    assert "no model is served here, and its table stays as it is: pip finds no torch" in capsys.readouterr().out

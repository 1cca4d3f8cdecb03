# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
import re

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._node.compile import systemd_quote


def systemd_words(line: str, variables: dict[str, str] | None = None) -> list[str]:
    """The words of ExecStart= (with variables) or Environment= (without), by the rules of systemd.syntax(7),
    "Quoting", of systemd.unit(5), "Specifiers", and of systemd.service(5), "Command lines"."""
    escapes = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "s": " "}
    words, word, quote, started, bare, characters = [], "", "", False, True, iter(line + " ")
    for character in characters:
        if character == "\\":
            word, started, bare = word + escapes[next(characters)], True, False
        elif character == "%":
            assert next(characters) == "%", "an unknown specifier"
            word, started = word + "%", True
        elif quote:
            word, quote = (word, "") if character == quote else (word + character, quote)
        elif character in "\"'":
            quote, started, bare = character, True, False
        elif character in " \t\n\r":
            assert not (word == ";" and bare), "the end of a command"
            words, word, started, bare = (words + [word] if started else words), "", False, True
        else:
            word, started = word + character, True
    assert not quote, "a quote that does not end"
    if variables is None:
        return words
    return [
        re.sub(r"\$(\$|\{(\w+)\})", lambda found: "$" if found[1] == "$" else variables[found[2]], item)
        for item in words
    ]


AWKWARD = [
    "",
    " ",
    "a b",
    '"',
    "'",
    "it's",
    'say "hi"',
    "\\",
    "a\\",
    "a\\nb",
    "a\nb",
    "a\rb",
    "\t",
    "%",
    "%h",
    "%%",
    "$",
    "$$",
    "$HOME",
    "${HOME}",
    ";",
    "a;b",
    "#",
    "=",
    '--x={"a":"b c"}',
    "Köln",
    "\\x41",
    '\\"',
    "a\\ b",
    "--x='y'",
]


def random_words() -> list[str]:
    generator = random.Random(20261123)
    return [
        "".join(generator.choices(" \t\n\r\\\"'%${};#=axn", k=generator.randrange(1, 9))) for _number in range(3000)
    ]


@pytest.mark.parametrize("expand", [False, True])
def test_a_quoted_word_reads_as_itself(expand):
    words = AWKWARD + random_words()
    variables = {"HOME": "wrong"} if expand else None
    for word in words:
        assert systemd_words(systemd_quote(word, expand), variables) == [word], repr(word)
    line = " ".join(systemd_quote(word, expand) for word in words)
    assert systemd_words(line, variables) == words
    assert "\n" not in line and "\r" not in line


def test_the_password_is_the_one_variable_that_systemd_fills_in():
    word = "--redis-password=${RAY_REDIS_PASSWORD}"
    assert systemd_words(systemd_quote(word, expand=True), {"RAY_REDIS_PASSWORD": "s3cret"}) == [
        "--redis-password=s3cret"
    ]
    assert systemd_words(systemd_quote("$HOME ${RAY_REDIS_USER}", expand=True), {}) == ["$HOME ${RAY_REDIS_USER}"]

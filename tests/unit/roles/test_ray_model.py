# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The token probe against servers that answer, refuse, hang, drip and lie; and the module that waits with it."""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.model_server import PROGRAM, declare, serving


@pytest.fixture
def server():
    with serving() as found:
        yield found


@pytest.fixture
def config(tmp_path, server):
    """Writes models of these kinds, and returns their file."""
    def write(*kinds: str, **more: object) -> str:
        declare(tmp_path, server, *kinds, **more)
        return str(tmp_path / "models.yaml")

    return write


def probe(path, *options, timeout=5):
    done = subprocess.run([sys.executable, "-I", str(PROGRAM), "--config", path, "--timeout", str(timeout), *options],
                          capture_output=True, text=True, timeout=60, cwd="/", check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_a_token(config, server):
    code, (found,) = probe(config("good"))
    assert code == 0 and found["answered"] and found["error"] == "" and 0 < found["seconds"] < 5
    path, body = server.asked[0]
    assert path == "/good/v1/completions"
    assert body["model"] == "good" and body["max_tokens"] == 1


@pytest.mark.parametrize(("kind", "error"), [
    ("broken", "answered with status 500"), ("huge", "sent more than 1048576 bytes"),
    *((kind, "answered without a token") for kind in ("empty", "none", "text", "deep")),
])
def test_what_is_no_token(config, kind, error):
    code, found = probe(config("good", kind), "--name", kind)
    assert code == 1 and not found["answered"] and found["error"] == error


def test_a_model_that_makes_no_tokens_gives_an_embedding(config, server):
    assert probe(config("embeds"), "--name", "embeds", "--without-key")[0] == 0
    assert [path for path, _body in server.asked][:2] == ["/embeds/v1/completions", "/embeds/v1/embeddings"]
    for kind in ("lost", "dumb"):
        code, found = probe(config(kind), "--name", kind)
        assert code == 1 and found["error"] == "answered with status 404"


@pytest.mark.parametrize("kind", ["hangs", "drips"])
def test_who_answers_slowly_is_given_up_in_time(config, kind):
    began = time.monotonic()
    code, found = probe(config("good", kind), timeout=1)
    assert code == 1 and time.monotonic() - began < 15
    assert [each["answered"] for each in found] == [True, False]
    assert found[1]["error"] == "gave no answer in time"


def test_nobody_listens(config):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        path = config("good", url=f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        code, found = probe(path, "--name", "good", "--tries", "3")
    # The watchdog leaves it to systemd.
    assert code == 3 and found["error"] == "does not listen" and not found["answered"]


def test_one_that_no_longer_listens(config, tmp_path, server):
    """A rank of data parallelism is not starting, but left over, where the first one has answered it before."""
    run = tmp_path / "run"
    run.mkdir()
    options = ("--name", "good", "--mark", str(run / "answered"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = config("good", url=f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        assert probe(closed, *options)[0] == 3 and not list(run.iterdir())
        assert probe(config("good"), *options)[0] == 0 and list(run.iterdir())
        config("good", url=f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        assert probe(closed, *options)[0] == 1
        # It goes with the unit.
        (run / "answered").unlink()
        assert probe(closed, *options)[0] == 3
    run.rmdir()
    assert probe(config("good"), *options)[0] == 0


def test_a_silent_one_is_tried_again(config, server):
    code, _found = probe(config("broken"), "--tries", "3")
    assert code == 1 and len(server.asked) == 3


def test_one_that_asks_for_no_key(config):
    code, found = probe(config("good", "open"), "--without-key")
    assert code == 1
    assert [(each["answered"], each["error"]) for each in found] == [(True, ""), (False, "answers without a key")]
    assert probe(config("open"))[0] == 0


def test_one_that_may_sleep_is_not_woken(config, server):
    assert probe(config("good", replicas=0)) == (0, [])
    assert server.asked == []
    assert probe(config("good", replicas=0), "--name", "good")[0] == 0


def test_a_key_that_is_not_there(config, tmp_path):
    path = config("good")
    (tmp_path / "key").unlink()
    code, (found,) = probe(path)
    assert code == 1 and found["error"] == "has a key that cannot be read (No such file or directory)"


def test_a_name_that_is_not_declared(config):
    code, errors = probe(config("good"), "--name", "other")
    assert code == 2 and "has no model other" in errors


@pytest.fixture
def ask(run_module):
    def run(path: str, timeout: float = 1, program: Path = PROGRAM, check_mode: bool = False):
        options = {"config": path, "program": str(program), "python": sys.executable, "timeout": timeout,
                   "answer_timeout": 1, "user": pwd.getpwuid(os.geteuid()).pw_name}
        return run_module("ray_model_test", options, check_mode)
    return run


def test_the_module_waits_for_a_token(config, ask):
    result = ask(config("good"))
    assert not result["changed"] and result["msg"].startswith("good answered in ")


def test_the_module_names_who_is_silent(config, ask):
    result = ask(config("good", "broken"))
    assert result["failed"]
    assert result["msg"].startswith("No token came within 1 s: model broken answered with status 500. See ")


def test_the_module_refuses_a_model_without_a_key(config, ask):
    began = time.monotonic()
    result = ask(config("open"), timeout=60)
    assert result["failed"] and "open answers without a key" in result["msg"] and time.monotonic() - began < 30


def test_a_check_does_not_wait_for_a_token(config, ask, server):
    began = time.monotonic()
    result = ask(config("good", "broken"), timeout=60, check_mode=True)
    assert "failed" not in result and time.monotonic() - began < 30 and len(server.asked) == 3
    assert "model broken answered with status 500" in str(result["warnings"])
    assert ask(config("open"), timeout=60, check_mode=True)["failed"]


def test_the_module_without_the_program(tmp_path, ask):
    missing = tmp_path / "no"
    assert ask("/none", program=missing, check_mode=True)["skipped"]
    result = ask("/none", program=missing)
    assert result["failed"] and result["msg"].startswith("The models could not be asked: ")

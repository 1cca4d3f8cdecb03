# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import getpass
import gzip
import html
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._bundle.collect import Bundle, Source, command_output
from ansible_collections.rayops.cluster.plugins.module_utils._bundle.redaction import (
    Redactor,
    secrets_of,
    secrets_of_secret_file,
)

TOKEN = "0a1b2c3d" * 8
PASSWORD = "Redis.pw+/=~7"
ROBOT = "https://oapi.dingtalk.com/robot/send?access_token=9f8e7d6c5b4a"
AWKWARD = "p\"w\\d%4/7+ $x&y=z'q9é"
SMTP = "smtp word nine"
CONFIGURED = "configured-98765"
LIVE = "live-environment-1234"
SECRETS = [TOKEN, PASSWORD, ROBOT, AWKWARD, SMTP, CONFIGURED, LIVE]


def spellings(secret: str) -> list[bytes]:
    """A secret as it turns up in logs, configurations and command lines."""
    once = json.dumps({"key": secret})
    texts = [
        secret, once, json.dumps({"key": secret}, ensure_ascii=False), json.dumps(once), repr(secret),
        urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret),
        html.escape(secret), secret.encode().hex(), f"redis://:{urllib.parse.quote(secret)}@10.0.0.1:6380",
    ]
    found = [text.encode() for text in texts]
    for before in (b"", b"x", b"xy"):
        found += [base64.b64encode(before + secret.encode() + after) for after in (b"", b"z", b"zz")]
        found += [base64.urlsafe_b64encode(before + secret.encode())]
    return found


def pieces(secret: str) -> set[bytes]:
    """What may not be found: parts of every spelling, without its edges, which are its neighbours' too."""
    edges = {spelling[4:-5] for spelling in spellings(secret)[11:] if len(spelling) > 20}
    begin = secret.encode()[:8].replace(b"https://", b"oapi.dingtalk")
    return {begin, *spellings(secret)[:11], secret.encode()[-8:], secret.encode().hex().encode()} | edges


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A host with secrets, and with every one of them in a log."""
    config, session = tmp_path / "etc", tmp_path / "ray" / "session_2026-11-23_08-00-00_000001_100"
    (session / "logs" / "old").mkdir(parents=True)
    (tmp_path / "ray" / "session_latest").symlink_to(session)
    config.mkdir()
    (config / "auth_token").write_text(TOKEN)
    (config / "redis.env").write_text(f"RAY_REDIS_PASSWORD={PASSWORD}\n")
    receivers = {"ops": {"type": "dingtalk", "url": ROBOT, "secret": AWKWARD}}
    (config / "alert-relay.json").write_text(json.dumps({"receivers": receivers}))
    (config / "head-node.yaml").write_text(
        f"cluster_name: demo\nenvironment:\n  SMTP_PASSWORD: '{SMTP}'\n  MY_API_KEY: {CONFIGURED}\n  COLOR: blue\n"
    )
    everything = b"".join(b"before " + spelling + b" after\n" for secret in SECRETS for spelling in spellings(secret))
    (session / "logs" / "raylet.out").write_bytes(b"begin\n" + everything + b"end\n")
    (session / "logs" / "old" / "worker-1.out").write_bytes(everything.decode().encode("utf-16"))
    commands = tmp_path / "bin"
    commands.mkdir()
    say = f'echo "$@"; cat {session}/logs/raylet.out'
    script(commands / "systemctl", f"case $1 in list-unit-files) echo ray-head.service enabled;; *) {say};; esac")
    script(commands / "journalctl", say)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return {
        "path": str(tmp_path / "bundle.tar.gz"), "name": "head", "config_dir": str(config),
        "temp_dir": str(tmp_path / "ray"), "environment": str(tmp_path / "no-ray"), "user": getpass.getuser(),
    }


@pytest.fixture(name="ray_process")
def ray_process_fixture() -> Iterator[None]:
    """A process that shows itself as one of Ray's, with secrets in its arguments and its environment."""
    command = ["ray::Planted", "-c", "print('ready', flush=True); import time; time.sleep(60)"]
    command += [f"--redis-password={PASSWORD}", TOKEN, f"--key={LIVE}"]
    variables = {**os.environ, "SERVICE_TOKEN": LIVE}
    process = subprocess.Popen(command, executable=sys.executable, env=variables, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    yield
    process.kill()
    process.communicate()


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def members(path: str) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_no_secret_is_in_any_byte_of_it(host, run_module, ray_process):
    result = run_module("support_bundle", {**host, "since": "-2h"})
    assert result["changed"] and result["size"] == os.path.getsize(host["path"])
    assert stat.S_IMODE(os.stat(host["path"]).st_mode) == 0o600
    assert sorted(os.listdir(os.path.dirname(host["path"]))) == ["bin", "bundle.tar.gz", "etc", "ray"]
    found = members(host["path"])
    everything = b"\n".join([*found.values(), *map(str.encode, found), json.dumps(result).encode()])
    for secret in SECRETS:
        assert [piece for piece in pieces(secret) if piece in everything] == [], secret
    # What is no secret is there.
    assert found["head/ray/logs/raylet.out"].startswith(b"begin\nbefore [removed] after\n")
    assert found["head/ray/logs/raylet.out"].endswith(b"end\n")
    assert b"[removed]" in found["head/ray/logs/old/worker-1.out"]
    assert b"ray::Planted -c" in found["head/host/processes.txt"]
    assert b"COLOR: blue" in found[f"head/files{host['config_dir']}/head-node.yaml"]
    journal = found["head/units/ray-head.service/journal.txt"]
    assert b"--lines=5000 --since=-2h --unit=ray-head.service" in journal and b"before [removed] after" in journal
    for name in ("unit", "status", "properties"):
        assert b"before [removed] after" in found[f"head/units/ray-head.service/{name}.txt"]
    assert b"Ray: not installed" in found["head/versions.txt"]


def test_a_file_that_holds_a_secret_is_left_out_under_every_name(host, run_module, tmp_path):
    extra = tmp_path / "extra"
    extra.mkdir()
    os.link(tmp_path / "etc" / "auth_token", extra / "copy")
    (extra / "link").symlink_to(tmp_path / "etc" / "redis.env")
    mine = tmp_path / "mine"
    mine.write_text("my-own-secret-1")
    (extra / "job.log").write_text("my-own-secret-1 was here\n")
    os.mkfifo(extra / "pipe")
    with gzip.open(extra / "job.log.gz", "wt") as stream:
        stream.write(TOKEN * 100)
    options = {**host, "extra_paths": [str(extra), str(tmp_path / "etc"), str(tmp_path / "gone"), "/proc/self/mem"]}
    result = run_module("support_bundle", {**options, "secret_files": [str(mine)]})
    notes = {os.path.basename(entry["name"]): entry["note"] for entry in result["files"] if "extra" in entry["name"]}
    secret = "left out: it holds a secret"
    assert {name: notes[name] for name in ("copy", "auth_token", "redis.env", "alert-relay.json")} == dict.fromkeys(
        ("copy", "auth_token", "redis.env", "alert-relay.json"), secret
    )
    assert notes["link"] == "left out: Too many levels of symbolic links"
    assert notes["pipe"] == "left out: no regular file"
    assert notes["gone"] == "left out: No such file or directory"
    assert notes["mem"] == "left out: Input/output error"
    assert notes["job.log.gz"] == "left out: not text, so secrets in it could not be found"
    found = members(host["path"])
    assert found[f"head/extra{extra}/job.log"] == b"[removed] was here\n"
    assert [name for name in found if name.endswith(("copy", "link", "pipe", "auth_token", ".gz", ".json"))] == []
    manifest = found["head/manifest.txt"].decode()
    assert all(f"extra{extra}/{name}  {notes[name]}" in manifest for name in ("copy", "link", "pipe", "job.log.gz"))


def test_files_and_the_whole_are_limited(host, run_module, tmp_path):
    logs = tmp_path / "ray" / "session_latest" / "logs"
    for age, name in enumerate(["worker-a.out", "worker-b.out", "worker-c.out", "gcs_server.out"]):
        (logs / name).write_text("".join(f"line {number:06}\n" for number in range(20000)))
        os.utime(logs / name, (1e9 - age * 1000, 1e9 - age * 1000))
    result = run_module("support_bundle", {**host, "max_bytes": 10000, "total_bytes": 150000})
    found = members(host["path"])
    gcs = found["head/ray/logs/gcs_server.out"]
    assert 9000 < len(gcs) <= 10000 and gcs.startswith(b"line 0") and gcs.endswith(b"line 019999\n")
    notes = {entry["name"]: entry["note"] for entry in result["files"]}
    assert notes["ray/logs/gcs_server.out"] == f"the last {len(gcs)} of 240000 bytes"
    assert sum(entry["bytes"] for entry in result["files"]) <= 150000
    assert sum(len(data) for name, data in found.items() if not name.endswith("manifest.txt")) <= 150000
    small = run_module("support_bundle", {**host, "max_bytes": 10000, "total_bytes": 5000})
    assert sum(entry["bytes"] for entry in small["files"]) <= 5000
    assert small["files"][-1]["note"] == "left out: the bundle is full"
    assert b"ray/logs/worker-a.out  left out: the bundle is full" in members(host["path"])["head/manifest.txt"]


def test_the_nodes_own_logs_come_first_then_the_newest(host, run_module, tmp_path):
    logs = tmp_path / "ray" / "session_latest" / "logs"
    for age, name in enumerate(["worker-new.out", "serve/replica.log", "worker-old.out", "raylet.1.out"]):
        (logs / name).parent.mkdir(exist_ok=True)
        (logs / name).write_text("x\n")
        os.utime(logs / name, (time.time() + 60 - age, time.time() + 60 - age))
    (logs / "empty.out").touch()
    (logs / "link.out").symlink_to(logs / "raylet.out")
    names = [entry["name"] for entry in run_module("support_bundle", host, check_mode=True)["files"]]
    assert [name for name in names if name.startswith("ray/logs/") and "link" not in name] == [
        "ray/logs/raylet.1.out", "ray/logs/raylet.out", "ray/logs/worker-new.out", "ray/logs/serve/replica.log",
        "ray/logs/worker-old.out", "ray/logs/old/worker-1.out",
    ]


def test_check_mode_names_what_would_be_there_and_writes_nothing(host, run_module, tmp_path):
    predicted = run_module("support_bundle", host, check_mode=True)
    assert predicted["changed"] and predicted["size"] == 0
    assert sorted(os.listdir(tmp_path)) == ["bin", "etc", "ray"]
    done = run_module("support_bundle", host)
    assert [entry["name"] for entry in predicted["files"]] == [entry["name"] for entry in done["files"]]


def test_a_host_that_has_nothing(run_module, tmp_path, monkeypatch):
    """No command and no file is there, not even systemctl."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    options = {name: str(tmp_path / "no" / name) for name in ("config_dir", "temp_dir", "environment")}
    options |= {"path": str(tmp_path / "b.tar.gz"), "name": "bare", "user": "no-such"}
    result = run_module("support_bundle", options)
    assert not result.get("failed")
    notes = {entry["name"]: entry["note"] for entry in result["files"]}
    assert notes["host/npus.txt"] == "left out: npu-smi: No such file or directory"
    assert "npu-smi" in members(str(tmp_path / "b.tar.gz"))["bare/manifest.txt"].decode()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"path": "/no/such/place/x.tar.gz"},
         "/no/such/place cannot be made: choose a path in a directory that exists"),
        ({"max_bytes": 0}, "max_bytes is 0: give a number of 1 or more."),
        ({"total_bytes": -1}, "total_bytes is -1: give a number of 1 or more."),
        ({"since": "soon"}, "since is 'soon', unknown to journalctl: use -2h or 2026-01-31 08:00."),
    ],
)
def test_what_cannot_work_is_refused(host, run_module, tmp_path, options, sentence):
    script(tmp_path / "bin" / "journalctl", 'case "$*" in *soon*) echo "Failed to parse timestamp" >&2; exit 1;; esac')
    result = run_module("support_bundle", {**host, **options})
    assert result["failed"] and result["msg"].startswith(sentence)
    assert sorted(os.listdir(tmp_path)) == ["bin", "etc", "ray"]


def bundled(path: Path, max_bytes: int, *secrets: str) -> bytes:
    stream, redactor = io.BytesIO(), Redactor()
    redactor.add(secrets)
    bundle = Bundle(stream, "host", redactor, max_bytes, 1 << 30)
    bundle.add(Source("x", path=str(path)))
    bundle.close()
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        return archive.extractfile("host/x").read()


@pytest.mark.parametrize("end", [b"\n", b" "])
def test_a_secret_on_the_border_of_what_is_read(tmp_path, end):
    """Where reading begins within a secret, its rest is no match: it is dropped, with or without a line break near."""
    redactor = Redactor()
    redactor.add([TOKEN])
    limit, margin = 500, redactor.longest + 4096
    for offset in range(0, len(TOKEN) + 2, 3):
        behind = (b"filler " + end) * 2000
        kept = behind[: limit + margin - offset]
        path = tmp_path / "log"
        path.write_bytes(b"old " * 2000 + TOKEN.encode() + kept)
        found = bundled(path, limit, TOKEN)
        assert len(found) <= limit and found.endswith(kept[-100:])
        assert not any(TOKEN[start: start + 6].encode() in found for start in range(8))
    # The border of what is kept cuts the text only after secrets were removed from it.
    path.write_bytes(TOKEN.encode() + b"x" * (limit - 10))
    assert TOKEN[-6:].encode() not in bundled(path, limit, TOKEN)
    path.write_bytes(b"x" * (limit + 9))
    assert len(bundled(path, limit, TOKEN)) == limit


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("--redis-password=hunter2 --x", "--redis-password=[removed] --x"),
        ("vllm serve --api-key hunter2 --port 8000", "vllm serve --api-key [removed] --port 8000"),
        ("['--api-key', 'hunter2', '--x']", "['--api-key', [removed], '--x']"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: [removed]"),
        ("{'authorization': 'Bearer hunter2'}", "{'authorization': [removed]'}"),
        ("got Bearer hunter2hunter2.", "got Bearer [removed]"),
        ("Cookie: ray-authentication-token=hunter2; x=y", "Cookie: [removed]"),
        ("http://bob:hunter2@host/x", "http://[removed]@host/x"),
        ("https://host/x?key=hunter2&a=1", "https://host/x?key=[removed]&a=1"),
        ('{"password": "hunter2 two"}', '{"password": [removed]}'),
        ('"{\\"db_password\\": \\"hunter2 two\\"}"', '"{\\"db_password\\": [removed]}"'),
        ("HUAWEICLOUD_SDK_SK=hunter2", "HUAWEICLOUD_SDK_SK=[removed]"),
        ("aws_secret_access_key = hunter2", "aws_secret_access_key = [removed]"),
        ("access_key_id: hunter2", "access_key_id: [removed]"),
        ("requirepass hunter2", "requirepass [removed]"),
        ("key hf_hunter2hunter2hunter2xx", "key [removed]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\nx", "[removed]\nx"),
        ("hunter2hunter2\nhunter2hunter2==\n-----END PRIVATE KEY-----\nx", "[removed]\nx"),
    ],
)
def test_what_looks_like_a_secret(text, kept):
    assert Redactor().clean(text.encode()).decode() == kept


@pytest.mark.parametrize(
    "text",
    [
        "RAY_AUTH_TOKEN_PATH=/etc/ray/auth_token", "RAY_AUTH_MODE=token", "max_tokens=4096, num_batched_tokens: 8192",
        "disk: 5 task=x tokenizer=deepseek mask=1", "--ssl-keyfile /etc/x.pem", "http://10.0.0.1:8265/api/x@y",
        "Throughput: 5.0 tokens/s", "password_file: /etc/ray/redis.env",
    ],
)
def test_what_is_no_secret_stays(text):
    assert Redactor().clean(text.encode()).decode() == text


def test_secrets_are_found_by_their_names():
    yaml = "a:\n  HF_TOKEN: x-token # mine\n  - password: 'it''s mine'\n  token_path: /etc/x\n  url: http://10.0.0.1:99/hook\n"
    assert secrets_of(yaml) == {"x-token", "it's mine"}
    assert secrets_of(yaml, urls=True) == {"x-token", "it's mine", "http://10.0.0.1:99/hook", "hook", ""}
    assert secrets_of("url: http://127.0.0.1:6387/ops", urls=True) == set()
    assert secrets_of('[Service]\nEnvironment="MY_SECRET=a b" X=1 KEY=50%%\n') == {"a b", "50%"}
    assert secrets_of('{"list": [{"secret": "a\\nb", "n": 1}], "token": null}') == {"a\nb"}
    assert secrets_of_secret_file("A_PASSWORD='x'\nB=y\n") == {"x", "y"}
    assert secrets_of_secret_file("abc+/==\n") == {"abc+/=="}
    # The password file of Redis's exporter: its keys are addresses.
    assert secrets_of_secret_file(json.dumps({"redis://10.0.0.11:6380": PASSWORD})) == {PASSWORD}


def test_a_short_word_hides_nothing_but_itself():
    redactor = Redactor()
    redactor.add(["ray", "", " "])
    assert redactor.clean(b"ray start --redis-password=ray") == b"ray start --redis-password=[removed]"


@pytest.mark.parametrize("command", [["sleep", "60"], ["sh", "-c", f"trap '' TERM; sleep 61.{os.getpid()} & wait"]])
def test_a_command_that_hangs(command):
    began = time.monotonic()
    output, note, code = command_output(command, timeout=0.5)
    assert (note, code) == ("did not finish within 0.5 s", None) and time.monotonic() - began < 50
    output.close()
    time.sleep(0.2)
    running = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    left = [line for line in running.splitlines() if f"sleep 61.{os.getpid()}" in line]
    assert [line for line in left if not line.startswith("Z")] == []

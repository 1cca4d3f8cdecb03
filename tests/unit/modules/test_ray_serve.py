# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.client
import http.server
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.long import long

SECRET = "t0psecret-value"
PROGRAM = """
import os
import time
from ray import serve

@serve.deployment
class Greeter:
    def __init__(self, args):
        print("starting with", sorted(args))
        if not os.path.exists(args.get("needs", "/")):
            raise RuntimeError("the file is not there")
        time.sleep(args.get("sleeps", 0))
        self.args = args

    def __call__(self, request):
        return f"{self.args['text']} {len(os.environ['PASSWORD'])} {os.getpid()}"

def build(args):
    return Greeter.bind(args)
"""


# What the dashboard says where it does not get hold of Serve's controller: ServeInstanceDetails.get_empty_schema_dict.
EMPTY = b'{"controller_info": {}, "proxies": {}, "applications": {}, "target_capacity": null}'
MOVE = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_put(b"dashboard", sys.argv[2].encode(), True, b"dashboard", 9)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, ray_environment):
    found = subprocess.run([f"{ray_environment}/bin/python", "-Ic", "import fastapi"], capture_output=True, check=False)
    assert found.returncode == 0, "the Ray of the tests needs the extra serve: remove .cache/ray, and run make unit"
    directory = tmp_path_factory.mktemp("serve")
    (directory / "greeter.py").write_text(PROGRAM)
    return directory


@pytest.fixture
def application(place):
    def declare(name, **args):
        return {
            "name": name, "route_prefix": f"/{name}", "import_path": "greeter:build",
            "args": {"text": name, "api_key": SECRET, **args},
            "runtime_env": {"env_vars": {"PYTHONPATH": str(place), "PASSWORD": SECRET, "OMP_NUM_THREADS": 1}},
            "deployments": [{"name": "Greeter", "ray_actor_options": {"num_cpus": 0.1}}],
        }

    return declare


@pytest.fixture
def serve(dashboard_ray, run_module):
    def run(*applications, check_mode=False, **options):
        http = {"host": "127.0.0.1", "port": dashboard_ray.port + 95}
        options = {"http_options": http, "timeout": 240, "applications": list(applications), **options}
        return run_module("ray_serve", {**dashboard_ray.connection(), **options}, check_mode)

    yield run
    left = run_module("ray_serve_info", dashboard_ray.connection())["applications"]
    assert "failed" not in run(*({"name": entry["name"]} for entry in left), state="absent")


@pytest.fixture
def info(dashboard_ray, run_module):
    return lambda **options: run_module("ray_serve_info", {**dashboard_ray.connection(), **options})


@pytest.fixture
def ask(dashboard_ray):
    def get(name):
        with urllib.request.urlopen(f"http://127.0.0.1:{dashboard_ray.port + 95}/{name}", timeout=60) as answer:
            return answer.read().decode().split()

    return get


@pytest.fixture
def between(dashboard_ray):
    """The cluster's dashboard as the module finds it, which hands all on to the real one. `empty`: to how many of the
    next requests it says that there is no Serve; `slow`: the seconds that it thinks before it shows a log."""
    real = f"127.0.0.1:{dashboard_ray.port + 4}"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command == "GET" and self.path.startswith("/api/serve/") and self.server.empty:
                self.server.empty -= 1
                self.say(200, EMPTY)
                return
            if self.path.startswith("/api/v0/logs"):
                time.sleep(self.server.slow)
            connection = http.client.HTTPConnection(real, timeout=120)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            self.say(response.status, response.read())

        do_PUT = do_GET

        def say(self, status, body):
            self.send_response(status)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                pass  # The module waits no longer.

        def log_message(self, format, *args):
            pass

    def move(address):
        command = [f"{dashboard_ray.environment}/bin/python", "-c", MOVE, dashboard_ray.address, address]
        subprocess.run(command, env=dashboard_ray.variables(), check=True, cwd="/")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.empty = server.slow = 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        move(f"127.0.0.1:{server.server_address[1]}")
        try:
            yield server
        finally:
            move(real)
            server.shutdown()


def test_applications_are_deployed_once_and_others_stay(serve, info, ask, application, dashboard_ray, run_module):
    planned = serve(application("one"), check_mode=True)
    assert planned["changed"] and planned["applications"] == [] == info()["applications"]
    first = serve(application("one"))
    assert first["changed"] and first["applications"][0]["status"] == "RUNNING", first
    assert first["applications"][0]["deployments"][0]["replicas"][0]["state"] == "RUNNING"
    text, length, pid = ask("one")
    assert (text, length) == ("one", str(len(SECRET)))
    again = serve(application("one"))
    assert again["changed"] is False and again["changes"] == [] and again["diff"] == []

    second = serve(application("two"))
    assert [change["name"] for change in second["changes"]] == ["two"] and ask("two")[0] == "two"
    assert ask("one")[2] == pid
    changed = serve(application("two", text="another", api_key="other"))
    assert changed["changes"][0]["action"] == "update" and ask("two")[0] == "another"
    assert changed["diff"] == [{
        "before_header": "application two (live)", "after_header": "application two (declared)",
        "before": 'args.api_key: "<hidden>"\nargs.text: "two"\n',
        "after": 'args.api_key: "<hidden> (another)"\nargs.text: "another"\n',
    }]
    told = info()
    assert told["running"] and [entry["name"] for entry in told["applications"]] == ["one", "two"]
    assert told["applications"][0]["config"]["args"] == {"text": "one", "api_key": "<hidden>"}
    assert told["applications"][0]["config"]["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "<hidden>"
    assert told["http_options"]["host"] == "127.0.0.1" and told["proxies"][0]["status"] == "HEALTHY"

    # Serve's word, too, for who asks what a stop would interrupt.
    running = run_module("ray_workload", {**dashboard_ray.connection(), "timeout": 20})["running"]
    assert running == [{"name": name, "deployments": [{"name": "Greeter", "replicas": 1}]} for name in ("one", "two")]
    waited = {**dashboard_ray.connection(), "wait_for": running, "timeout": 60}
    assert not run_module("ray_workload", waited).get("failed")

    # Serve would ignore it.
    other = serve(application("one"), http_options={"host": "127.0.0.1", "port": 1}, proxy_location="HeadOnly")
    assert other["failed"]
    assert other["msg"].startswith("Serve runs with other options: http_options.port is 1 here and ")
    assert "proxy_location is HeadOnly here and EveryNode there" in other["msg"] and "serve shutdown -y" in other["msg"]

    assert serve({"name": "one"}, check_mode=True, state="absent")["changed"] and ask("one")[2] == pid
    gone = serve({"name": "one"}, state="absent")
    assert gone["changed"] and gone["applications"] == [] and gone["changes"][0]["action"] == "remove"
    with pytest.raises(urllib.error.HTTPError):
        ask("one")
    assert serve({"name": "one"}, state="absent")["changed"] is False and ask("two")[0] == "another"
    # Neither results nor diffs, nor what Ansible tells of the call, have a value.
    assert SECRET not in json.dumps([planned, first, again, second, changed, told, other, gone])


def test_an_application_that_fails_says_why_and_is_mended(serve, application, place):
    needs = str(place / "needed")
    failed = serve(application("fails", needs=needs), log_lines=30)
    assert failed["failed"] and failed["changed"] and failed["applications"][0]["status"] == "DEPLOY_FAILED"
    lines = failed["msg"].splitlines()
    assert lines[0] == "Application fails is DEPLOY_FAILED in deployment Greeter: RuntimeError: the file is not there."
    # What Serve wrote about the replica, and what the replica wrote.
    assert lines[1:] == ["The end of its log:", *failed["log"]]
    assert any("Started initializing replica" in line for line in lines)
    assert "starting with ['api_key', 'needs', 'text']" in lines
    assert not any("\x1b" in line or "[36m" in line for line in lines)
    # The declaration is the same. What it needs has come: Serve itself would do nothing.
    (place / "needed").write_text("")
    mended = serve(application("fails", needs=needs))
    assert "failed" not in mended and mended["changes"] == [{"name": "fails", "action": "redeploy", "differences": []}]
    assert serve(application("fails", needs=needs))["changed"] is False


@long
def test_a_dashboard_that_has_lost_serve_loses_no_application(serve, info, ask, application, between):
    """It says the same of a cluster without Serve, and what is written then replaces all that it does not know."""
    assert "failed" not in serve(application("theirs"))
    pid = ask("theirs")[2]
    between.empty = 3
    assert [change["name"] for change in serve(application("ours"))["changes"]] == ["ours"] and between.empty == 0
    assert ask("theirs")[2] == pid
    between.empty = 1
    assert [entry["name"] for entry in info()["applications"]] == ["ours", "theirs"]
    between.empty = 1
    assert serve({"name": "ours"}, state="absent")["changed"]
    between.empty = 99
    away = serve(application("ours"), timeout=2)
    assert away["failed"] and away["msg"].startswith("The dashboard does not reach Serve's controller"), away
    between.empty = 0
    assert [entry["name"] for entry in info()["applications"]] == ["theirs"] and ask("theirs")[2] == pid


def replicas(result):
    """Those that serve."""
    (application,) = result["applications"]
    found = application["deployments"][0]["replicas"]
    return {replica["replica_id"] for replica in found if replica["state"] == "RUNNING"}


@long
def test_an_update_that_failed_is_tried_again_while_the_old_replica_serves(serve, ask, application, place):
    """Also where Serve stopped in the middle: one replica is as it was, the other one's successor does not start."""
    needs = str(place / "later")
    two = application("two")
    two["deployments"][0].update(num_replicas=2)
    assert "failed" not in serve(two)
    update = {**application("two", text="new", needs=needs), "deployments": two["deployments"]}
    failed = serve(update)
    assert failed["failed"] and failed["applications"][0]["status"] == "DEPLOY_FAILED" and replicas(failed), failed
    assert ask("two")[0] == "two"
    (place / "later").write_text("")
    mended = serve(update)
    assert "failed" not in mended and mended["changes"] == [{"name": "two", "action": "redeploy", "differences": []}]
    assert ask("two")[0] == "new"
    before = replicas(serve(update))
    # Another number of replicas is no new version, also after that: none of them starts anew.
    update["deployments"][0]["num_replicas"] = 1
    fewer = serve(update)
    assert [item["option"] for item in fewer["changes"][0]["differences"]] == ["deployments[0].num_replicas"]
    assert replicas(fewer) < before, (before, fewer)


@long
def test_slow_logs_do_not_hide_why_an_application_is_late(serve, application, between):
    between.slow = 9
    late = serve(application("slow", sleeps=600), timeout=12)
    told = "Application slow is still DEPLOYING after 12 s, and is left as it is."
    assert late["failed"] and late["msg"].startswith(told), late["msg"]


def test_what_cannot_be_imported_or_placed(serve, application):
    wrong = serve({**application("wrong"), "import_path": "nosuchmodule:app"})
    assert wrong["failed"] and wrong["msg"].splitlines()[0] == (
        "Application wrong is DEPLOY_FAILED: ModuleNotFoundError: No module named 'nosuchmodule'."
    )
    big = application("big")
    big["deployments"][0]["ray_actor_options"] = {"num_gpus": 4}
    late = serve(big, timeout=12)
    told = "Application big is still DEPLOYING after 12 s, and is left as it is."
    assert late["failed"] and late["msg"].startswith(told)


@pytest.mark.parametrize(("change", "message"), [
    ({"route_prefx": "/"}, "Application a has the option route_prefx: did you mean route_prefix?"),
    ({"deployments": [{"name": "Greeter", "num_replica": 2}]},
     "Application a has the option deployments[0].num_replica: did you mean num_replicas?"),
    ({"deployments": [{"name": "Greeter", "ray_actor_options": {"gpus": 2}}]},
     "Application a has the option deployments[0].ray_actor_options.gpus: did you mean num_gpus?"),
    ({"deployments": [{"name": "Greeter", "num_replicas": 0}]},
     "Application a does not fit Serve: deployments.0.num_replicas"),
    ({"runtime_env": {"working_dir": "/srv/app"}},
     "Application a does not fit Serve: runtime_env: runtime_envs in the Serve"),
    ({"import_path": "nodots"}, "Application a does not fit Serve: import_path: Got invalid import path"),
])
def test_what_serve_would_refuse_or_pass_over(serve, info, application, change, message):
    found = serve({**application("a"), **change}, check_mode=True)
    assert found["failed"] and found["msg"].startswith(message), found["msg"]


@pytest.mark.parametrize(("options", "message"), [
    ({"applications": [{"import_path": "a:b"}]}, "applications[0] has no name: give it one."),
    ({"applications": [{"name": "a"}]}, "Application a has no import_path: say what to deploy, as in my_module:app."),
    ({"applications": [{"name": "a"}, {"name": "a"}], "state": "absent"},
     "Application a is there twice: leave one of them out."),
    ({"applications": [{"name": "a", "import_path": "a:b", "port": 8000}]},
     "Application a has the option port: move it to http_options."),
    ({"applications": [], "timeout": -1}, "timeout must not be negative, but is -1.0."),
])
def test_wrong_options_are_refused(run_module, options, message):
    found = run_module("ray_serve", options)
    assert found["failed"] and found["msg"] == message


def test_without_a_cluster(run_module, ray_environment, tmp_path):
    applications = [{"name": "a", "import_path": "a:b"}]
    options = {"applications": applications, "environment": str(tmp_path), "user": "root"}
    found = run_module("ray_serve", options)
    assert found["failed"] and found["msg"].startswith("There is no Python at ")
    assert run_module("ray_serve", options, check_mode=True)["skipped"]
    where = {"environment": ray_environment, "address": "127.0.0.1:1", "user": "root"}
    found = run_module("ray_serve_info", where)
    assert found["failed"] and found["msg"] == "The GCS at 127.0.0.1:1 is not reachable: Connection refused."
    assert run_module("ray_serve_info", where, check_mode=True)["skipped"]

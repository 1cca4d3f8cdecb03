# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two who write Serve's applications at the same moment: a race that a real Serve would lose once in many times.

Serve's REST is a stand-in here, with its rule that a PUT deletes what it does not name;
tests/unit/modules/test_ray_serve.py has a real one.
"""

from __future__ import annotations

import http.server
import json
import threading
import time

import pytest

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray import serve
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import HelperError
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.rest import Dashboard


class Applications:
    """What Serve keeps. before, after: what somebody else does when a request of that method comes, or is done."""

    def __init__(self, *configs):
        self.live = {config["name"]: {"status": "RUNNING", "deployed_app_config": config} for config in configs}
        self.before, self.after, self.puts = {}, {}, []

    def put(self, configs):
        for name in set(self.live) - {config["name"] for config in configs}:
            self.live[name] = {"status": "DELETING", "deployed_app_config": None}
        for config in configs:
            self.live[config["name"]] = {"status": "RUNNING", "deployed_app_config": config}

    def add(self, config):
        self.put([*(entry["deployed_app_config"] for entry in self.live.values()), config])


@pytest.fixture
def dashboard():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            told = {"controller_info": {"a": 1}, "target_capacity": 50}
            self.answer("GET", lambda: {**told, "applications": self.kept.live})

        def do_PUT(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.kept.puts.append(body)
            self.answer("PUT", lambda: self.kept.put(body["applications"]))

        @property
        def kept(self):
            return self.server.kept

        def answer(self, method, act):
            self.kept.before.pop(method, lambda: None)()
            text = json.dumps(act())
            self.kept.after.pop(method, lambda: None)()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Dashboard(f"127.0.0.1:{server.server_address[1]}", {})
        found.server = server
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def app(name, **options):
    return {"name": name, "import_path": "m:app", "route_prefix": f"/{name}", **options}


def run(dashboard, wanted=(), removed=(), dry_run=False):
    request = {"dry_run": dry_run, "http_options": None, "proxy_location": None}
    configs = {config["name"]: config for config in wanted}
    return serve.apply(request, dashboard, configs, list(removed), time.monotonic() + 30)[1]


def names(kept):
    return sorted(name for name, entry in kept.live.items() if entry["status"] != "DELETING")


def test_others_stay(dashboard):
    kept = dashboard.server.kept = Applications(app("theirs", args={"key": "k"}), app("old"))
    assert [change["action"] for change in run(dashboard, [app("ours")], ["old"])] == ["deploy", "remove"]
    assert names(kept) == ["ours", "theirs"] and kept.live["theirs"]["deployed_app_config"]["args"] == {"key": "k"}
    # A capacity that somebody set is not taken back.
    assert kept.puts[0]["target_capacity"] == 50
    assert run(dashboard, [app("ours")], ["old"]) == [] and len(kept.puts) == 1
    assert run(dashboard, [app("ours", args={"a": 1})], dry_run=True)[0]["differences"] == [
        {"option": "args.a", "declared": 1, "live": None}
    ]
    assert len(kept.puts) == 1


def test_what_is_added_between_reading_and_writing_stays(dashboard):
    kept = dashboard.server.kept = Applications(app("theirs"))
    kept.after["GET"] = lambda: kept.add(app("late"))
    assert len(run(dashboard, [app("ours")])) == 1
    assert names(kept) == ["late", "ours", "theirs"]


@pytest.mark.parametrize(("moment", "who", "told"), [
    # Added after the last look: our write deletes it.
    ("before", lambda kept: kept.add(app("late")), "late"),
    # Written after ours, without ours.
    ("after", lambda kept: kept.put([app("theirs"), app("late")]), "late, ours"),
    # Another application of our name.
    ("after", lambda kept: kept.add(app("ours", args={"a": 2})), "ours"),
])
def test_a_second_writer_is_noticed(dashboard, moment, who, told):
    kept = dashboard.server.kept = Applications(app("theirs"))
    getattr(kept, moment)["PUT"] = lambda: who(kept)
    with pytest.raises(HelperError, match=rf"at the same time \({told}\): .* and run both again\.") as caught:
        run(dashboard, [app("ours")])
    assert caught.value.answer["error"] == "second_writer"


def test_somebody_who_never_stops_writing(dashboard):
    kept = dashboard.server.kept = Applications(app("theirs"))

    def write():
        kept.add(app("theirs", args={"number": time.monotonic()}))
        kept.before["GET"] = write

    kept.before["GET"] = write
    with pytest.raises(HelperError, match="Somebody else changes the Serve applications at the same time"):
        run(dashboard, [app("ours")])
    assert kept.puts == []


def test_what_a_program_started_is_not_removed_by_name(dashboard):
    kept = dashboard.server.kept = Applications()
    kept.live["run"] = {"status": "RUNNING", "deployed_app_config": None}
    with pytest.raises(HelperError, match=r'Application run was not declared, .*: serve\.delete\("run"\)\.'):
        run(dashboard, removed=["run"])


def test_two_applications_with_one_route(dashboard):
    details = {"applications": {"theirs": {"status": "RUNNING", "route_prefix": "/v1"}}}
    serve.check_routes({"ours": app("ours")}, details)
    serve.check_routes({"theirs": app("theirs", route_prefix="/v1")}, details)
    for wanted in ({"ours": app("ours", route_prefix="/v1")}, {"a": {"name": "a"}, "b": {"name": "b"}}):
        with pytest.raises(HelperError, match="has the route_prefix .*, which application .* has: give it another"):
            serve.check_routes(wanted, details)


def test_a_ray_without_serve(dashboard):
    def refuse():
        raise HelperError("refused", "Ray refused: Serve dependencies are not installed.", code=501)

    dashboard.wanted = lambda *_arguments: refuse()
    told = r'has no Serve: put "ray\[serve\]" into ray_extra_packages, and run site\.yml'
    with pytest.raises(HelperError, match=told):
        serve.read({}, dashboard, 0)

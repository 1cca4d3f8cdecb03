# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import time

import pytest

SECRET = "t0psecret-value"


@pytest.fixture
def job(dashboard_ray, run_module):
    def run(check_mode=False, **options):
        return run_module("ray_job", {**dashboard_ray.connection(), **options}, check_mode)

    return run


@pytest.fixture
def jobs(dashboard_ray, run_module):
    def run(**options):
        result = run_module("ray_job_info", {**dashboard_ray.connection(), **options})
        assert "failed" not in result and result["changed"] is False, result
        return result["jobs"]

    return run


def test_a_job_is_submitted_once(job, jobs, tmp_path):
    (tmp_path / "work.py").write_text("import os\nprint(os.environ['GREETING'], len(os.environ['PASSWORD']))\n")
    options = {
        "submission_id": "once", "entrypoint": "python work.py", "working_dir": str(tmp_path), "wait": True,
        "runtime_env": {"env_vars": {"GREETING": "hello", "PASSWORD": SECRET, "THREADS": 1}},
        "metadata": {"run": 7, "api_key": SECRET},
        "entrypoint_num_cpus": 0.5,
    }
    planned = job(check_mode=True, **options)
    assert planned["changed"] and "log" not in planned and jobs(submission_ids=["once"]) == []
    done = job(**options)
    assert done["changed"] and done["job"]["status"] == "SUCCEEDED" and done["job"]["driver_exit_code"] == 0
    assert f"hello {len(SECRET)}" in done["log"]
    assert done["job"]["runtime_env"]["working_dir"].startswith("gcs://_ray_pkg_")
    assert done["job"]["metadata"] == {"run": "7", "api_key": "<hidden>"} and done["job"]["entrypoint_num_cpus"] == 0.5
    assert done["diff"]["before"] == "" and "entrypoint: \"python work.py\"\n" in done["diff"]["after"]
    again = job(**options)
    assert again["changed"] is False and again["job"] == done["job"] and "diff" not in again
    assert [found["submission_id"] for found in jobs(submission_ids=["once", "other"])] == ["once"]

    # Another content under the same name: each part of it counts, a file as well.
    (tmp_path / "work.py").write_text("print('another')\n")
    other = job(**{
        **options, "entrypoint_num_cpus": 1, "runtime_env": {"env_vars": {"GREETING": "hello", "PASSWORD": "other"}},
    })
    assert other["failed"] and other["changed"] is False
    assert other["msg"] == (
        "A job once is there already, with another entrypoint_num_cpus, runtime_env.env_vars.PASSWORD, "
        "runtime_env.env_vars.THREADS, runtime_env.working_dir: use another submission_id, or remove that job first "
        "(state: absent)."
    )
    assert {"option": "entrypoint_num_cpus", "declared": 1.0, "live": 0.5} in other["differences"]
    # Neither results nor what Ansible tells of the call have the value.
    assert SECRET not in json.dumps([planned, done, again, other])


def test_a_job_that_fails_says_why(job):
    options = {"submission_id": "fails", "entrypoint": "echo first; echo last >&2; exit 4", "wait": True}
    found = job(**options, log_lines=3)
    assert found["failed"] and found["changed"] and found["job"]["status"] == "FAILED"
    told = ["Job fails FAILED: its entrypoint ended with exit code 4.", "The end of its log:"]
    assert found["msg"].splitlines()[:2] == told
    assert {"first", "last"} <= set(found["log"]) and len(found["log"]) == 3
    # It is not run again, and not taken for a success.
    again = job(**options)
    assert again["failed"] and again["changed"] is False
    assert again["msg"].splitlines()[0].endswith("or remove it first (state: absent).")
    assert "failed" not in job(**{**options, "wait": False})


def test_a_job_that_hangs_is_left_and_can_be_stopped_and_removed(job, jobs):
    options = {"submission_id": "hangs", "entrypoint": "echo I hang; sleep 3000"}
    assert job(**options)["changed"]
    until_it_runs(jobs, "hangs")
    late = job(**options, wait=True, timeout=2)
    assert late["failed"] and late["changed"] is False and late["job"]["status"] == "RUNNING"
    assert late["msg"].splitlines()[0] == "Job hangs is still RUNNING after 2 s, and is left as it is."
    assert "I hang" in late["log"] and late["msg"].splitlines()[1:] == ["The end of its log:", *late["log"]]
    planned = job(check_mode=True, submission_id="hangs", state="stopped")
    assert planned["changed"] and planned["diff"]["before"] == "status: RUNNING\n"
    assert jobs(submission_ids=["hangs"])[0]["status"] == "RUNNING"
    stopped = job(submission_id="hangs", state="stopped")
    assert stopped["changed"] and stopped["job"]["status"] == "STOPPED"
    assert job(submission_id="hangs", state="stopped")["changed"] is False
    assert job(**options, wait=True)["msg"].startswith("Job hangs STOPPED: somebody stopped it. It ended before: ")
    assert job(check_mode=True, submission_id="hangs", state="absent")["changed"]
    assert job(submission_id="hangs", state="absent")["changed"]
    assert jobs(submission_ids=["hangs"]) == []
    assert job(submission_id="hangs", state="absent")["changed"] is False


def test_a_job_that_waits_for_resources_can_be_removed(job, jobs):
    """Ray's own stop waits until the job has its resources."""
    options = {"submission_id": "waits", "entrypoint": "true", "entrypoint_resources": {"unicorns": 1}}
    found = job(**options, wait=True, timeout=3)
    assert found["msg"].startswith("Job waits is still PENDING after 3 s, and is left as it is. Job has not started")
    assert found["log"] == [] and found["changed"]
    began = time.monotonic()
    assert job(submission_id="waits", state="absent", timeout=60)["changed"]
    assert time.monotonic() - began < 60 and jobs(submission_ids=["waits"]) == []


@pytest.mark.parametrize(("runtime_env", "message"), [
    ({"working_dir": "/nowhere/job"},
     r"working_dir is /nowhere/job, which user \S+ does not find on this host: copy it there first\."),
    ({"working_dir": "job"},
     r"working_dir is job: give the whole path, from /, or a URI such as s3://bucket/job\.zip\."),
    ({"working_dir": "/etc/hostname"},
     r"runtime_env does not fit Ray: directory /etc/hostname must be an existing .*\."),
    ({"py_modules": ["/nowhere/module"]},
     r"py_modules is /nowhere/module, which user \S+ does not find on this host: .*"),
    ({"pip": ["a"], "conda": {"dependencies": []}}, r"runtime_env does not fit Ray: The 'pip' field.*\."),
])
def test_a_runtime_environment_that_cannot_work_is_refused(job, jobs, runtime_env, message):
    for check_mode in (True, False):
        found = job(check_mode, submission_id="refused", entrypoint="true", runtime_env=runtime_env)
        assert found["failed"] and found["changed"] is False
        assert re.fullmatch(message, found["msg"]), found["msg"]
    assert jobs(submission_ids=["refused"]) == []


@pytest.mark.parametrize(("options", "message"), [
    ({"submission_id": "a/../b", "entrypoint": "true"}, "submission_id is 'a/../b': use letters, digits, _, - and ., "),
    ({"submission_id": "a"}, "state is submitted but all of the following are missing: entrypoint"),
    ({"submission_id": "a", "entrypoint": " "}, "entrypoint is empty: give the command of the job."),
    ({"submission_id": "a", "entrypoint": "x", "timeout": -1}, "timeout must not be negative, but is -1.0."),
    ({"submission_id": "a", "entrypoint": "x", "entrypoint_resources": {"a": "b"}},
     "entrypoint_resources.a must be a number."),
    ({"submission_id": "a", "entrypoint": "x", "runtime_env": {"env_vars": {"A": True}}},
     "runtime_env.env_vars.A must be a text: write it in quotes."),
    ({"submission_id": "a", "entrypoint": "x", "runtime_env": {"env_vars": ["A"]}},
     "runtime_env.env_vars must be a mapping of names to texts."),
    ({"submission_id": "a", "entrypoint": "x", "working_dir": "/a", "runtime_env": {"working_dir": "/b"}},
     "working_dir is given twice, here and in runtime_env: leave one of them out."),
])
def test_wrong_options_are_refused(run_module, options, message):
    found = run_module("ray_job", options)
    assert found["failed"] and found["msg"].startswith(message)


def test_without_a_cluster(run_module, ray_environment, tmp_path):
    options = {"submission_id": "a", "entrypoint": "true", "environment": str(tmp_path), "user": "root"}
    found = run_module("ray_job", options)
    assert found["failed"] and found["msg"].startswith("There is no Python at ")
    assert run_module("ray_job", options, check_mode=True)["skipped"]
    where = {"environment": ray_environment, "address": "127.0.0.1:1", "user": "root"}
    found = run_module("ray_job_info", where)
    assert found["failed"] and found["msg"] == "The GCS at 127.0.0.1:1 is not reachable: Connection refused."
    assert run_module("ray_job_info", where, check_mode=True)["skipped"]


def test_without_a_dashboard(local_ray, run_module):
    found = run_module("ray_job", {**local_ray.connection(), "submission_id": "a", "entrypoint": "true"})
    where = f"127.0.0.1:{local_ray.port + 4}"
    assert found["failed"] and found["msg"] in (
        f"The dashboard at {where} is not reachable: Connection refused.",
        "The cluster has no dashboard, which jobs and Serve need: start the head with --include-dashboard.",
    )


def until_it_runs(jobs, name):
    deadline = time.monotonic() + 120
    while "I hang" not in jobs(submission_ids=[name], log_lines=9)[0]["log"]:
        assert time.monotonic() < deadline, "it does not run"

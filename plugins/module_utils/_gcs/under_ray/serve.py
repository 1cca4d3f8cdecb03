# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Serve applications of a cluster: declared, waited for, removed. Runs under the Python of Ray's environment.

The dashboard's REST has one PUT for all declared applications: what it does not name is deleted. So the applications of
others are read, and written again as they are; whoever writes at the same moment is noticed.
"""

from __future__ import annotations

import difflib
import json
import time
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.api import (
    HelperError,
    asked,
    connect,
    iso,
    read_controller,
)
from ansible_collections.rayops.cluster.plugins.module_utils._gcs.under_ray.rest import (
    APPLICATIONS,
    COLOUR,
    LOG_SECONDS,
    Dashboard,
    dashboard_of,
    differences,
    hidden,
    last_line,
    last_lines,
    pause,
)

MOST_MESSAGE = 2000
# Lines that Ray writes into the log of an actor to find its parts again.
MARKS = (":job_id:", ":actor_name:", ":task_name:")
# How often the applications may change between reading and writing.
ATTEMPTS = 3
# A variable of an application that is deployed again: Serve takes an unchanged declaration for nothing new.
ATTEMPT = "RAYOPS_ATTEMPT"
NO_SERVE = "The Ray of the head has no Serve: put \"ray[serve]\" into ray_extra_packages, and run site.yml."
NO_CONTROLLER = (
    "The dashboard does not reach Serve's controller, which the GCS has, and so does not know the applications: run "
    "this again, and if that does not help, see the log of the dashboard on the head."
)


# Reading


def read(request: dict[str, Any], dashboard: Dashboard, deadline: float) -> dict[str, Any]:
    """What Serve says of itself and of all applications; of a cluster without Serve, that it has none.

    A dashboard that does not get hold of Serve's controller says the same (serve_head.py), and who writes then deletes
    them all. So the GCS is asked, too, and a controller that it has is waited for.
    """
    while True:
        try:
            found = dashboard.wanted("GET", APPLICATIONS)
        except HelperError as error:
            if error.answer.get("code") == 501:
                raise HelperError("no_serve", NO_SERVE) from error
            raise
        details = found if isinstance(found, dict) else {}
        if runs(details) or not read_controller(request["address"]):
            return details
        if time.monotonic() >= deadline:
            raise HelperError("dashboard", NO_CONTROLLER)
        pause(deadline)


def applications_of(details: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return details.get("applications") or {}


def runs(details: dict[str, Any]) -> bool:
    return bool(details.get("controller_info"))


def declared_configs(details: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration of each application that was declared and stays, by its name."""
    return {
        name: found["deployed_app_config"] for name, found in applications_of(details).items()
        if found.get("deployed_app_config") and found.get("status") != "DELETING"
    }


def described(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """An application as a module returns it."""
    deployments = []
    for deployment, entry in sorted((found.get("deployments") or {}).items()):
        replicas = [
            {key: replica.get(key) for key in ("replica_id", "state", "node_id", "node_ip", "pid", "start_time_s")}
            for replica in entry.get("replicas") or []
        ]
        deployments.append({
            "name": deployment,
            "status": entry.get("status"),
            "message": shortened(entry.get("message")),
            "target_num_replicas": entry.get("target_num_replicas"),
            "replicas": replicas,
        })
    deployed = found.get("last_deployed_time_s")
    return {
        "name": name,
        "status": found.get("status"),
        "message": shortened(found.get("message")),
        "route_prefix": found.get("route_prefix"),
        "source": found.get("source"),
        "last_deployed": iso(int(deployed * 1000)) if deployed else None,
        "deployments": deployments,
    }


def shortened(message: str | None) -> str:
    return COLOUR.sub("", message or "")[-MOST_MESSAGE:]


def all_described(details: dict[str, Any], names: list[str] | None = None) -> list[dict[str, Any]]:
    return [
        described(name, found) for name, found in sorted(applications_of(details).items())
        if names is None or name in names
    ]


# What is declared


def attempt_of(config: dict[str, Any]) -> str | None:
    return ((config.get("runtime_env") or {}).get("env_vars") or {}).get(ATTEMPT)


def with_attempt(config: dict[str, Any], attempt: str | None = None) -> dict[str, Any]:
    """An application with another ATTEMPT, or without: as it is compared."""
    environment = dict(config.get("runtime_env") or {})
    variables = {name: value for name, value in (environment.pop("env_vars", None) or {}).items() if name != ATTEMPT}
    variables |= {ATTEMPT: attempt} if attempt else {}
    environment |= {"env_vars": variables} if variables else {}
    rest = {name: value for name, value in config.items() if name != "runtime_env"}
    return {**rest, "runtime_env": environment} if environment else rest


def normal(application: dict[str, Any]) -> dict[str, Any]:
    """An application as Serve keeps it.

    :raises HelperError: it does not fit Serve's schema, or has an option that Serve would pass over in silence.
    """
    from pydantic import ValidationError
    from ray.serve.schema import DeploymentSchema, RayActorOptionsSchema, ServeApplicationSchema

    title = f"Application {application.get('name')}"
    check_names(title, "", application, ServeApplicationSchema)
    for number, deployment in enumerate(application.get("deployments") or []):
        if isinstance(deployment, dict):
            where = f"deployments[{number}]."
            check_names(title, where, deployment, DeploymentSchema)
            check_names(title, f"{where}ray_actor_options.", deployment.get("ray_actor_options"), RayActorOptionsSchema)
    try:
        model = ServeApplicationSchema.model_validate(application)
    except ValidationError as error:
        raise HelperError("schema", f"{title} does not fit Serve: {mistakes(error)}.") from error
    return dict(json.loads(json.dumps(model.model_dump(exclude_unset=True))))


def check_names(title: str, where: str, options: Any, schema: Any) -> None:
    for name in options if isinstance(options, dict) else ():
        if name not in schema.model_fields:
            near = difflib.get_close_matches(str(name), schema.model_fields, 1)
            hint = f": did you mean {near[0]}?" if near else ", which Serve does not know."
            raise HelperError("schema", f"{title} has the option {where}{name}{hint}")


def mistakes(error: Any) -> str:
    found = []
    for item in error.errors()[:4]:
        where = ".".join(str(part) for part in item["loc"])
        text = item["msg"].removeprefix("Value error, ").rstrip(".")
        found.append(f"{where}: {text}" if where else text)
    return "; ".join(found)


def check_fixed(details: dict[str, Any], http_options: dict[str, Any], proxy_location: str | None) -> None:
    """Refuse what Serve takes only when it starts, and has started without."""
    from pydantic import ValidationError
    from ray.serve.schema import HTTPOptionsSchema

    check_names("http_options", "", http_options, HTTPOptionsSchema)
    try:
        wanted = HTTPOptionsSchema.model_validate(http_options)
        live = HTTPOptionsSchema.model_validate(details.get("http_options") or {})
    except ValidationError as error:
        raise HelperError("schema", f"http_options does not fit Serve: {mistakes(error)}.") from error
    if not runs(details):
        return
    pairs = [(f"http_options.{name}", getattr(wanted, name), getattr(live, name)) for name in http_options]
    there = details.get("proxy_location")
    if proxy_location and there:
        pairs.append(("proxy_location", proxy_location, there))
    found = [f"{name} is {wanted} here and {live} there" for name, wanted, live in pairs if wanted != live]
    if found:
        message = (
            f"Serve runs with other options: {'; '.join(found)}. It takes them only when it starts: leave them as they "
            "are, or end it on the head (ray-env serve shutdown -y: all applications stop) and run this again."
        )
        raise HelperError("http_options", message)


def check_routes(wanted: dict[str, dict[str, Any]], details: dict[str, Any]) -> None:
    """Refuse two applications with one route, which Serve refuses in more words."""
    routes: dict[str, str] = {}
    for name, found in applications_of(details).items():
        if name not in wanted and found.get("route_prefix") and found.get("status") != "DELETING":
            routes[found["route_prefix"]] = name
    for name, config in wanted.items():
        route = config.get("route_prefix", "/")
        other = routes.setdefault(route, name) if route else name
        if other != name:
            message = f"Application {name} has the route_prefix {route}, which application {other} has"
            raise HelperError("schema", f"{message}: give it another.")


# Writing


def apply(
    request: dict[str, Any], dashboard: Dashboard, wanted: dict[str, dict[str, Any]], removed: list[str],
    deadline: float,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Bring the declared applications about: what Serve said before, and what changes, or would in a dry run.

    :raises HelperError: somebody else writes at the same time.
    """
    details = read(request, dashboard, deadline)
    for _attempt in range(ATTEMPTS):
        changes = changes_of(details, wanted, removed)
        if not changes or request["dry_run"]:
            return details, changes
        before, details = details, read(request, dashboard, deadline)
        if declared_configs(before) == declared_configs(details):
            break
    else:
        others(sorted(declared_configs(details)))
    live = declared_configs(details)
    configs = {name: config for name, config in live.items() if name not in removed}
    for change in changes:
        name = change["name"]
        if name in wanted:
            attempt = str(time.time_ns()) if change["action"] == "redeploy" else attempt_of(live.get(name, {}))
            configs[name] = with_attempt(wanted[name], attempt) if attempt else wanted[name]
    body = {"applications": list(configs.values()), "target_capacity": details.get("target_capacity")}
    for option in ("http_options", "proxy_location"):
        if request.get(option) or details.get(option):
            body[option] = request.get(option) or details[option]
    seconds = max(5.0, deadline - time.monotonic())
    dashboard.wanted("PUT", APPLICATIONS, {name: value for name, value in body.items() if value is not None}, seconds)
    after = read(request, dashboard, deadline)
    written = declared_configs(after)
    lost = {
        name for name, found in applications_of(after).items()
        if name not in applications_of(details) and found.get("status") == "DELETING"
    }
    strange = {name for name, config in configs.items() if written.get(name) != config} | (set(written) - set(configs))
    if lost | strange:
        others(sorted(lost | strange))
    return details, changes


def others(names: list[str]) -> None:
    message = (
        f"Somebody else changes the Serve applications at the same time ({', '.join(names[:9])}): one of the two may "
        "have lost what it declared. Let one write at a time, and run both again."
    )
    raise HelperError("second_writer", message)


def changes_of(
    details: dict[str, Any], wanted: dict[str, dict[str, Any]], removed: list[str]
) -> list[dict[str, Any]]:
    """What differs, an application each: {name, action: deploy, update, redeploy or remove, differences}."""
    live, found = declared_configs(details), []
    there = applications_of(details)
    for name, config in wanted.items():
        unlike = differences(with_attempt(config), with_attempt(live.get(name, {})))
        if unlike:
            found.append({"name": name, "action": "update" if name in live else "deploy", "differences": unlike})
        elif there[name].get("status") == "DEPLOY_FAILED":
            # Serve itself tries no more, whatever it still has of before. It may be that what was missing has come.
            found.append({"name": name, "action": "redeploy", "differences": []})
    for name in removed:
        if there.get(name, {}).get("status", "DELETING") == "DELETING":
            continue
        if name not in live:
            message = (
                f"Application {name} was not declared, but started by a program (serve.run), and Serve removes such a "
                f"one only for a program: serve.delete(\"{name}\")."
            )
            raise HelperError("imperative", message)
        found.append({"name": name, "action": "remove", "differences": differences({}, live[name])})
    return found


# Requests


def deploy_applications(request: dict[str, Any]) -> dict[str, Any]:
    """Declare applications; all others stay. Wait until they are RUNNING where request["wait"] says so.

    request: applications, http_options, proxy_location (may be None), wait, lines (of a log), dry_run, timeout.
    :returns: {changed, changes: see changes_of, applications: as they are then}.
    """
    deadline = time.monotonic() + request["timeout"]
    dashboard = reached(request)
    details = read(request, dashboard, deadline)
    live = declared_configs(details)
    # Serve's schema takes a second to load: not for what is there already.
    wanted = {
        entry["name"]: entry if entry == with_attempt(live.get(entry["name"], {})) else normal(entry)
        for entry in request["applications"]
    }
    if request["http_options"] or request["proxy_location"]:
        check_fixed(details, request["http_options"] or {}, request["proxy_location"])
    check_routes(wanted, details)
    names = list(wanted)
    details, changes = apply(request, dashboard, wanted, [], deadline)
    if not request["dry_run"]:
        if request["wait"]:
            details = until_running(request, dashboard, names, deadline, changes)
        elif changes:
            details = read(request, dashboard, deadline)
    return answered(details, changes, names)


def remove_applications(request: dict[str, Any]) -> dict[str, Any]:
    """Remove applications by name; all others stay.

    request: names, wait (until they have ended), dry_run, timeout. Returns as deploy_applications.
    """
    deadline = time.monotonic() + request["timeout"]
    dashboard = reached(request)
    names = request["names"]
    if request["wait"] and not request["dry_run"]:
        return answered(*remove_all(request, dashboard, names, deadline), names)
    return answered(*apply(request, dashboard, {}, names, deadline), names)


def remove_all(
    request: dict[str, Any], dashboard: Dashboard, names: list[str], deadline: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Remove applications and wait until they are gone. Returns as apply, what Serve says then."""
    _details, changes = apply(request, dashboard, {}, names, deadline)
    details = until(
        request, dashboard, deadline, lambda found: not set(names) & set(applications_of(found)),
        lambda found: raise_late(request, found, names, changes),
    )
    return details, changes


def serve_status(request: dict[str, Any]) -> dict[str, Any]:
    """All applications, with their configuration, and how Serve runs: {running, applications, http_options,
    proxy_location, proxies}. request: names (None for all)."""
    details = read(request, reached(request), time.monotonic() + request["timeout"])
    live = declared_configs(details)
    found = all_described(details, request["names"])
    proxies = [
        {key: proxy.get(key) for key in ("node_id", "node_ip", "status")}
        for proxy in (details.get("proxies") or {}).values()
    ]
    return {
        "running": runs(details),
        "applications": [{**entry, "config": hidden(live.get(entry["name"]))} for entry in found],
        "http_options": hidden(details.get("http_options") or {}),
        "proxy_location": details.get("proxy_location"),
        "proxies": sorted(proxies, key=lambda proxy: str(proxy["node_ip"])),
    }


def reached(request: dict[str, Any]) -> Dashboard:
    client = connect(request)
    return asked(request["address"], lambda: dashboard_of(client))


def answered(details: dict[str, Any], changes: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    return {"changed": bool(changes), "changes": changes, "applications": all_described(details, names)}


# Waiting


def until(
    request: dict[str, Any], dashboard: Dashboard, deadline: float, done: Any, late: Any
) -> dict[str, Any]:
    """Look until done(details); a dashboard that is away meanwhile is waited for. late(details) raises."""
    details: dict[str, Any] = {}
    while True:
        try:
            details = read(request, dashboard, deadline)
            if done(details):
                return details
        except HelperError as error:
            # A head that restarts, or a controller of Serve's that does: they come back.
            kind, code = error.answer["error"], error.answer.get("code")
            away = kind in ("dashboard", "unreachable", "tls") or code in (500, 503)
            if not away or (time.monotonic() >= deadline and not details):
                raise
        if time.monotonic() >= deadline:
            late(details)
        pause(deadline)


def until_running(
    request: dict[str, Any], dashboard: Dashboard, names: list[str], deadline: float, changes: list[dict[str, Any]]
) -> dict[str, Any]:
    def done(details: dict[str, Any]) -> bool:
        there = applications_of(details)
        for name in names:
            if there.get(name, {}).get("status") == "DEPLOY_FAILED":
                raise_failed(request, dashboard, details, name, names, changes)
        return all(there.get(name, {}).get("status") == "RUNNING" for name in names)

    def late(details: dict[str, Any]) -> None:
        raise_late(request, details, names, changes, dashboard)

    return until(request, dashboard, deadline, done, late)


def raise_failed(
    request: dict[str, Any], dashboard: Dashboard, details: dict[str, Any], name: str, names: list[str],
    changes: list[dict[str, Any]],
) -> None:
    """Say of an application what Serve says of the deployment that failed, and the end of a replica's log."""
    found = applications_of(details)[name]
    culprit, message, log = trouble(dashboard, found, request["lines"])
    where = f" in deployment {culprit}" if culprit else ""
    text = f"Application {name} is {found['status']}{where}: {last_line(message)}."
    raise HelperError("failed", text, status={**answered(details, changes, names), "log": log})


def raise_late(
    request: dict[str, Any], details: dict[str, Any], names: list[str], changes: list[dict[str, Any]],
    dashboard: Dashboard | None = None,
) -> None:
    there = applications_of(details)
    ends = () if dashboard is None else ("RUNNING",)
    name = next((name for name in names if name in there and there[name].get("status") not in ends), names[0])
    found = there.get(name, {})
    status, seconds = found.get("status", "not there"), request["timeout"]
    text = f"Application {name} is still {status} after {seconds:g} s, and is left as it is."
    log: list[str] = []
    if dashboard:
        culprit, message, log = trouble(dashboard, found, request["lines"])
        text += f" Deployment {culprit}: {last_line(message)}." if culprit and message.strip() else ""
    raise HelperError("late", text, status={**answered(details, changes, names), "log": log})


def trouble(dashboard: Dashboard, found: dict[str, Any], lines: int) -> tuple[str | None, str, list[str]]:
    """The deployment of an application that is not well, None where it is the application, what Serve says of it, and
    the end of the logs of its last replica, or of what Serve says."""
    sick = [(name, entry) for name, entry in sorted((found.get("deployments") or {}).items())
            if entry.get("status") != "HEALTHY"]
    # Of several, the one that failed: others wait for it.
    sick.sort(key=lambda item: item[1].get("status") not in ("DEPLOY_FAILED", "UNHEALTHY"))
    culprit, entry = sick[0] if sick else (None, {})
    message = entry.get("message") or found.get("message") or ""
    replicas = [*(entry.get("recent_dead_replicas") or []), *(entry.get("replicas") or [])]
    deadline = time.monotonic() + LOG_SECONDS
    for replica in sorted(replicas, key=lambda item: item.get("start_time_s") or 0, reverse=True)[:3]:
        log = replica_log(dashboard, replica, lines, deadline)
        if log:
            return culprit, message, log
    return culprit, message, last_lines(message, lines)


def replica_log(dashboard: Dashboard, replica: dict[str, Any], lines: int, deadline: float) -> list[str]:
    """The end of what Serve wrote about a replica, and of what the replica wrote itself, as vLLM does."""
    name = (replica.get("log_file_path") or "").lstrip("/")
    places = [{"node_id": replica.get("node_id"), "filename": name},
              *({"actor_id": replica.get("actor_id"), "suffix": suffix} for suffix in ("out", "err"))]
    found: list[str] = []
    for place in places:
        found += dashboard.log(lines, deadline - time.monotonic(), **place)
    return [line for line in found if not line.startswith(MARKS)]

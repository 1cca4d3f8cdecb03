# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: monitor_dashboard
short_description: A dashboard of Grafana, from what its panels do not have in common
version_added: 1.0.0
author: rayops.cluster contributors (@rayops)
description: The panels stand one beside the other, and in a new line where there is no room left.
options:
  _input: {description: "As in C(files/dashboards) of role C(monitor): C(uid), C(title), C(description), C(panels).
      C(queries) of a panel are by their legends; C(field) and C(options) are Grafana's own.", type: dict,
      required: true}
"""

EXAMPLES = r"""
dashboard: "{{ lookup('file', 'dashboards/ray-glance.yml') | from_yaml | rayops.cluster.monitor_dashboard }}"
"""

RETURN = r"""
_value: {description: "The dashboard, to be provisioned or imported.", type: dict}
"""

from collections.abc import Iterator
from typing import Any

from ansible.utils.vars import merge_hash

_SOURCE = {"datasource": {"type": "prometheus", "uid": "${datasource}"}}
_COLUMNS = 24
_LAST = {"reduceOptions": {"calcs": ["lastNotNull"]}}
# What a panel has unless it says something else.
_KINDS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "height": 8, "query": {}, "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "field": {"unit": "short", "min": 0,
                  "custom": {"fillOpacity": 5, "showPoints": "never", "spanNulls": 60000}},
    },
    "stat": {
        "height": 4, "query": {"instant": True},
        "options": {"colorMode": "none", "graphMode": "none", "textMode": "value", **_LAST},
    },
    "bargauge": {
        "height": 8, "query": {"instant": True},
        "options": {"orientation": "horizontal", "displayMode": "basic", **_LAST},
        "field": {"unit": "percentunit", "min": 0, "max": 1},
    },
    "table": {"height": 8, "query": {"instant": True, "format": "table"}, "options": {"showHeader": True}},
    "row": {"height": 1, "width": _COLUMNS},
}


def _field(given: dict[str, Any]) -> dict[str, Any]:
    """Grafana's options of a field. Thresholds are the colours and where each begins."""
    steps = [{"color": color, "value": value} for color, value in (given.get("thresholds") or {}).items()]
    return {**given, "thresholds": {"mode": "absolute", "steps": steps}} if steps else given


def _override(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Options of the fields of one name; one that begins with a dot is a regular expression."""
    matcher = {"id": "byRegexp" if name.startswith(".") else "byName", "options": name}
    return {"matcher": matcher, "properties": [{"id": key, "value": value} for key, value in _field(given).items()]}


def _panel(number: int, given: dict[str, Any], place: dict[str, int]) -> dict[str, Any]:
    head = {"id": number, "type": given["type"], "title": given["title"], "gridPos": place}
    if given["type"] == "row":
        return {**head, "collapsed": False, "panels": []}
    overrides = [_override(*pair) for pair in given.get("overrides", {}).items()]
    return {
        **head, **_SOURCE, "description": given.get("description", ""),
        "targets": [{"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend, **given["query"]}
                    for index, (legend, query) in enumerate(given["queries"].items())],
        "fieldConfig": {"defaults": _field(given.get("field", {})), "overrides": overrides},
        "options": given["options"], "transformations": given.get("transformations", []),
    }


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    left = top = height = 0
    for number, given in enumerate(panels, 1):
        panel = merge_hash(_KINDS[given.get("type", "timeseries")], {"type": "timeseries", **given})
        if left + panel["width"] > _COLUMNS:
            left, top, height = 0, top + height, 0
        yield _panel(number, panel, {"h": panel["height"], "w": panel["width"], "x": left, "y": top})
        left, height = left + panel["width"], max(height, panel["height"])


def _variable(given: dict[str, Any]) -> dict[str, Any]:
    query = {"query": given["query"], "refId": given["name"]}
    return {"type": "query", **_SOURCE, "refresh": 2, "sort": 1, **given, "definition": given["query"], "query": query}


def monitor_dashboard(given: dict[str, Any]) -> dict[str, Any]:
    """The dashboard; see the documentation above."""
    cluster = {"name": "cluster", "label": "Cluster", "query": "label_values(ray_up, ray_io_cluster)"}
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1,
              "hide": 0}
    alerts = {
        "name": "Alerts", **_SOURCE, "enable": True, "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing",severity="critical",ray_io_cluster="$cluster"}',
        "titleFormat": "{{alertname}}", "textFormat": "{{node}} {{pool}}", "step": "60s",
    }
    return {
        "uid": given["uid"], "title": given["title"], "description": given["description"],
        "tags": ["ray", "rayops"], "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1,
        "refresh": "30s", "time": {"from": "now-3h", "to": "now"}, "timezone": "",
        "links": [{"title": "Ray dashboards", "type": "dashboards", "tags": ["rayops"], "asDropdown": False,
                   "includeVars": True, "keepTime": True}],
        "templating": {"list": [source, *(_variable(each) for each in [cluster, *given.get("variables", [])])]},
        "annotations": {"list": [alerts]},
        "panels": list(_panels(given["panels"])),
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        return {"monitor_dashboard": monitor_dashboard}

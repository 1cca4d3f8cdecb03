# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the values of variables, by their argument specs, in the words of who wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.rayops.cluster.plugins.module_utils._system.guest import harmless

# An option of roles/<role>/meta/argument_specs.yml: type, elements, choices, default, example, no_log.
Option = Mapping[str, Any]

WIDEST = 80
_WORDS = {
    "bool": "true or false", "int": "a whole number", "float": "a number", "path": "a path", "list": "a list",
    "dict": "a dictionary",
}
# What a spec cannot say: the form of a text, and its name. The serial of a play is read before any task runs.
_FORMS = {
    "worker_batch": (r"[1-9][0-9]{0,8}|([1-9]?[0-9]|100)%", "a number or a percentage"),
}
_PLAIN = re.compile(r"[^\s\[\]{},:#'\"][^\[\]{},#'\"\n]*")


class Fault(NamedTuple):
    """One variable that cannot be used: its name, what it is, why if that does not show, and what to write."""

    name: str
    said: str
    advice: str
    why: str = ""

    def sentence(self, place: str = "") -> str:
        """place: as place() says it."""
        return f"{self.name} {self.said}{place}{self.why}: {self.advice}."


def faults(name: str, value: Any, option: Option) -> Iterator[Fault]:
    """What does not fit the option. Containers are themselves: no text that Ansible would make one of is one in a
    template."""
    if not _fits(name, value, option):
        advice = f"use {_wanted(name, option)}"
        yield Fault(name, _said(value, option), f"leave it out, or {advice}" if value is None else advice)
    elif option.get("elements") and isinstance(value, (list, tuple)):
        element = {"type": option["elements"], "no_log": option.get("no_log", False), **_first(option)}
        for number, each in enumerate(value):
            yield from (fault._replace(name=f"{name}[{number}]") for fault in faults(name, each, element))


def not_worked_out(name: str, raw: Any, option: Option, error: str) -> Fault:
    """A value whose template cannot be worked out. error: what Ansible says of it."""
    undefined = re.search(r"'([^'\n]+)' is undefined", error)
    if undefined:
        why, advice = f", where {undefined[1]} is not defined", "define it, or write the value itself"
    elif "yntax error" in error:
        why, advice = ", which is no valid template", "see to its braces and quotes, or write the value itself"
    else:
        lines = harmless(error).strip().splitlines() or ["no reason is known"]
        shown = "" if option.get("no_log") else f" ({lines[0].rstrip('.')[:WIDEST * 2]})"
        why, advice = f", which cannot be worked out{shown}", "mend that, or write the value itself"
    return Fault(name, _said(raw, option), advice, why)


def place(hosts: Collection[str], every: Collection[str], groups: Mapping[str, Collection[str]]) -> str:
    """Where a value stands; empty for everywhere. groups: the inventory's."""
    named = set(hosts)
    if named >= set(every):
        return ""
    if len(named) > 1:
        for group in sorted(groups):
            if group not in ("all", "ungrouped") and set(groups[group]) & set(every) == named:
                return f" in group {group}"
    first = [host for host in every if host in named]
    more = f" and {len(first) - 3} more" if len(first) > 4 else ""
    shown = first[:3] if more else first
    return " on " + (", ".join(shown) + more if more or len(shown) < 2 else f"{', '.join(shown[:-1])} and {shown[-1]}")


def _fits(name: str, value: Any, option: Option) -> bool:
    kind = option.get("type", "str")
    if kind == "raw":
        return True
    if kind == "dict":
        return isinstance(value, Mapping)
    if kind == "list":
        return isinstance(value, (list, tuple))
    if value is None or isinstance(value, (Mapping, list, tuple)):
        return False
    if isinstance(value, bool) and kind in ("int", "float"):
        return False
    spec = {name: {key: option[key] for key in ("type", "choices") if key in option}}
    if ArgumentSpecValidator(spec).validate({name: value}).error_messages:
        return False
    return name not in _FORMS or bool(re.fullmatch(_FORMS[name][0], str(value)))


def _said(value: Any, option: Option) -> str:
    if value is None:
        return "has no value"
    if value == "":
        return "is empty"
    if option.get("no_log"):
        kinds = {dict: "a dictionary", list: "a list", tuple: "a list", str: "text"}
        found = next((word for kind, word in kinds.items() if isinstance(value, kind)), "a number")
        return f"is {found}, which is secret and not shown"
    shown = harmless(" ".join(flow(value).split()))
    return f"is {shown if len(shown) <= WIDEST else shown[:WIDEST - 1] + '…'}"


def _wanted(name: str, option: Option) -> str:
    if option.get("choices"):
        *others, last = map(str, option["choices"])
        return f"{', '.join(others)} or {last}" if others else last
    wanted = _FORMS[name][1] if name in _FORMS else _WORDS.get(option.get("type", "str"), "text")
    example = example_of(option)
    return wanted if example is None or option.get("type") == "bool" else f"{wanted}, such as {flow(example)}"


def example_of(option: Option) -> Any:
    """What the spec has as an example, or a default that shows how it is written; None for neither."""
    default = option.get("default")
    return option.get("example", default if default and "{{" not in str(default) else None)


def _first(option: Option) -> dict[str, Any]:
    """The example of a list as one of its elements."""
    example = example_of(option)
    return {"example": example[0]} if isinstance(example, list) and example else {}


def flow(value: Any) -> str:
    """A value in one line, as YAML has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_inner, value)) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _inner(value: Any) -> str:
    quoted = isinstance(value, str) and not _PLAIN.fullmatch(value)
    return json.dumps(value, ensure_ascii=False) if quoted else flow(value)

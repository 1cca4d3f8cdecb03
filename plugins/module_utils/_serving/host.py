# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one host has for the models: their files as Ray's user reads them, its ports, and vLLM in Ray's environment."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.rayops.cluster.plugins.module_utils._environment.imported import (
    UnusableError,
    imported_version,
)
from ansible_collections.rayops.cluster.plugins.module_utils._environment.virtual_environment import has_engine
from ansible_collections.rayops.cluster.plugins.module_utils._serving.models import names_in
from ansible_collections.rayops.cluster.plugins.module_utils._system import guest
from ansible_collections.rayops.cluster.plugins.module_utils._system.listeners import listeners
from ansible_collections.rayops.cluster.plugins.module_utils._system.problem import Problem

# Ray's own units: Serve's proxy runs in them.
_RAY_UNITS = ("ray-head.service", "ray-worker.service")
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# Files of a model, bytes of an index, seconds for a mounted share, and for an import on a slow disk.
MOST_FILES, MOST_INDEX, FILE_SECONDS, IMPORT_SECONDS = 5000, 32 << 20, 60, 300
# Nobody: has what everybody has, as a user has who is not made yet.
_NOBODY: tuple[int, int, list[int]] = (65534, 65534, [])

# Runs under Ray's own Python. What a version of vLLM lacks shows in the import of Ray Serve LLM, which needs it.
IMPORTS = """
import importlib, importlib.metadata, json, sys
found = {"vllm": importlib.metadata.version("vllm"), "ray": importlib.metadata.version("ray"), "named": "", "error": ""}
for line in importlib.metadata.requires("ray") or []:
    name, _mark, extra = line.partition(";")
    if name.lower().startswith("vllm") and "llm" in extra:
        found["named"] = name.strip()
try:
    importlib.import_module("ray.serve.llm.ingress")
    importlib.import_module("ray.llm._internal.serve.engines.vllm.vllm_engine")
except Exception as error:
    found["error"] = type(error).__name__ + ": " + " ".join(str(error).split())
sys.__stdout__.write("\\n" + json.dumps(found) + "\\n")
"""


def recorded(path: str) -> dict[str, Any]:
    """What an earlier run made on this host, by its file of root's: applications, units, and what of which environment
    it has tried."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.loads(stream.read(1 << 20))
    except (OSError, ValueError):
        found = {}
    names = {key: names_in(found, key) for key in ("applications", "units", "tried")}
    return {**names, "environment": str(found.get("environment", "")) if isinstance(found, dict) else ""}


def files_of(path: str, user: str) -> dict[str, int]:
    """The files of a model with their sizes, as Ray's user sees them.

    :raises guest.GuestError: it cannot read them: one sentence.
    """
    who = None if guest.exists(user) else _NOBODY
    found = guest.as_user(user, lambda: list_files(path), FILE_SECONDS, who)
    return {str(name): int(size) for name, size in found}


def list_files(path: str) -> list[tuple[str, int]]:
    """In the child: each file below a model's directory, opened once.

    :raises ValueError: what lacks, half a sentence with the fix in it.
    """
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        raise ValueError(f"{path} is not there: copy the model to it") from None
    except NotADirectoryError:
        raise ValueError(f"{path} is no directory: name the one with config.json") from None
    except PermissionError:
        raise ValueError(f"{path} cannot be read: let others read it and go through what lies above (chmod -R o+rX "
                         f"{path})") from None
    found = []
    for name in names[:MOST_FILES]:
        place = os.path.join(path, name)
        try:
            status = os.stat(place)
        except PermissionError:
            raise ValueError(f"{place} cannot be read: let others go through its directory, and through that to which "
                             f"it leads where it is a link (chmod -R o+rX {path})") from None
        except OSError as error:
            # A cache of Hugging Face's consists of links; one that was copied without what they lead to has none.
            raise ValueError(f"{place} leads to a file that is not there ({error.strerror}): copy the model anew, with "
                             "the files and not the links (cp -rL)") from None
        if stat.S_ISREG(status.st_mode):
            if not os.access(place, os.R_OK):
                raise ValueError(f"{path}/{name} cannot be read: let others read it (chmod -R o+rX {path})")
            found.append((name, status.st_size))
    there = {name for name, _size in found}
    if "config.json" not in there:
        raise ValueError(f"{path} has no config.json: name the directory of the model itself")
    if not any(name.endswith(_WEIGHTS) for name in there):
        raise ValueError(f"{path} has no weights ({', '.join(_WEIGHTS)}): copy the model anew")
    lacking = [name for index in _INDEXES if index in there for name in _named(os.path.join(path, index))
               if name not in there]
    if lacking:
        raise ValueError(f"{path} lacks {lacking[0]}, which its index names: copy the model anew")
    return found


def _named(index: str) -> list[str]:
    try:
        with open(index, encoding="utf-8") as stream:
            shards = json.loads(stream.read(MOST_INDEX))["weight_map"].values()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{index} cannot be understood: copy the model anew") from None
    return sorted({str(shard) for shard in shards})


def taken(address: str, ports: list[dict[str, Any]]) -> Iterator[Problem]:
    """Ports that somebody else has. A port without a unit is Serve's."""
    for port in ports:
        own = (port["unit"],) if port["unit"] else _RAY_UNITS
        for found in listeners(address, port["port"]):
            if found.service not in own:
                fact = f"port {port['port']} of this host ({port['variable']}) is taken by {found}"
                yield Problem("port_taken", fact, "stop that, or choose a free port.")
                break


def misnamed(name: str, address: str) -> Iterator[str]:
    """Why Serve's proxy would not listen on the host's own address, by a name that the site itself keeps."""
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        found = []
    if found != [address]:
        yield (f"ray_manage_hosts_entry is false, and {name}, by which Ray Serve listens on the private address alone, "
               f"is {', '.join(found) or 'not known'} on this host: add the line `{address} {name}` to its /etc/hosts, "
               "or leave ray_manage_hosts_entry true.")


def engine_problem(
    environment: str, user: str, serve: bool, builds: Sequence[str] = (), known: bool = False,
    variables: dict[str, str] | None = None,
) -> str:
    """What an environment lacks to serve models; empty for nothing.

    :arg serve: whether Ray Serve LLM is wanted, too.
    :arg builds: models that are not served on this host, but that Ray Serve may build here.
    :arg known: whether it serves already. It is not loaded again then, which takes seconds.
    :arg variables: what the node will have.
    """
    if not has_engine(environment) and builds:
        return building_problem(environment, builds)
    if not has_engine(environment):
        return (f"{environment} has no vLLM: add it to ray_extra_packages (such as vllm==0.32.0), or set "
                "ray_environment_path to an environment that has it.")
    if known:
        return ""
    try:
        imported_version(environment, user, [], variables)
    except UnusableError as error:
        return str(error)
    return fit_problem(environment, user, variables) if serve or builds else ""


def building_problem(what: str, builds: Sequence[str]) -> str:
    """That an environment, or what is to be installed, has no vLLM, where the models may be built."""
    return (f"{what} has no vLLM, and Ray Serve may build {', '.join(builds)} on this host, the head: set pool of each "
            "to a group ray_pool_<pool> whose worker_config has labels: {pool: <pool>} (Ray 2.60.0 or later), or add "
            "vLLM to ray_extra_packages of the head, too.")


def fit_problem(environment: str, user: str, variables: dict[str, str] | None = None) -> str:
    """Whether the vLLM of an environment is one that its Ray can serve with; empty for nothing."""
    try:
        command = [f"{environment}/bin/python", "-I", "-c", IMPORTS]
        _code, output, errors = guest.run(command, user, IMPORT_SECONDS, variables=variables)
    except TimeoutError:
        return f"Ray Serve LLM in {environment} was not loaded within {IMPORT_SECONDS} s: see whether its disk is well."
    except (guest.GuestError, OSError) as error:
        return f"{environment} cannot be tried: {str(error).rstrip('.')}."
    try:
        found = json.loads(output.strip().rpartition("\n")[2])
    except ValueError:
        found = None
    if not isinstance(found, dict):
        found = {"error": (errors.strip().splitlines() or ["it wrote nothing"])[-1]}
    if not found.get("error"):
        return ""
    said = {key: str(guest.harmless(str(found.get(key, ""))))[:300].rstrip(".")
            for key in ("vllm", "ray", "named", "error")}
    return (f"vLLM {said['vllm']} does not fit Ray {said['ray']} in {environment} ({said['error']}): use the one that "
            f"this Ray names, {said['named'] or 'in its extra llm'}, or engine: vllm.")

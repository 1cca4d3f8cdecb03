# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Import Ray, and the packages that are named, in the environment whose Python runs this; write Ray's version.

An engine is imported with the library of its own that it loads when it serves, and only then. What hands this to that
Python needs its text alone.
"""

from __future__ import annotations

import glob
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator

# Those that are there: vLLM has none of its own on NPUs.
NATIVE = ("vllm._C", "vllm._moe_C")
# Which package has a library that a host may lack: Debian's, and that of distributions with dnf.
PACKAGES = {
    "libGL.so.1": ("libgl1", "libglvnd-glx"),
    "libglib-2.0.so.0": ("libglib2.0-0", "glib2"),
    "libgomp.so.1": ("libgomp1", "libgomp"),
    "libibverbs.so.1": ("libibverbs1", "libibverbs"),
    "libnuma.so.1": ("libnuma1", "numactl-libs"),
    "librdmacm.so.1": ("librdmacm1", "librdmacm"),
    "libsndfile.so.1": ("libsndfile1", "libsndfile"),
    "libstdc++.so.6": ("libstdc++6", "libstdc++"),
}
# The driver's. A host without such a device has none, and loads the engine for its client alone.
DRIVER = re.compile(r"lib(cuda|nvidia-.*)\.so.*")
DEVICES = "/dev/nvidia[0-9]*"
RAY = ("ray", "ray._raylet", "ray.scripts.scripts", "ray.dashboard.dashboard")


def modules(requirement: str) -> Iterator[str]:
    """The modules that an installed package brings; those with a leading underscore are its own business."""
    wanted = normalized(re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0])
    importlib.metadata.version(wanted)
    for module, packages in importlib.metadata.packages_distributions().items():
        if wanted in map(normalized, packages) and module.isidentifier() and not module.startswith("_"):
            yield module


def normalized(name: str) -> str:
    """A package's name as all its spellings have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def load_native() -> None:
    """Load what an engine loads when it serves; raises SystemExit with a sentence of what is missing."""
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return
    # The libraries link torch's, which are found once that is imported.
    importlib.import_module("torch")
    for module in NATIVE:
        if importlib.util.find_spec(module):
            try:
                importlib.import_module(module)
            except ImportError as error:
                problem = native_problem(module, str(error))
                if problem:
                    raise SystemExit(problem) from None


def native_problem(module: str, error: str) -> str:
    """What is wrong with a module that does not load; empty where it is to be so.

    :arg error: the loader's words, which begin with the library that is missing.
    """
    found = re.match(r"([^\s/:]+\.so[^\s/:]*): ", error)
    if not found:
        return f"{module} cannot be loaded: {error}"
    library = found[1]
    if DRIVER.fullmatch(library):
        if not glob.glob(DEVICES):
            return ""
        return f"{module} cannot be loaded: {library} is missing on this host: install the driver of its GPUs."
    debian = bool(shutil.which("dpkg"))
    if library in PACKAGES:
        package = PACKAGES[library][0 if debian else 1]
        advice = f"add its package, {package}, to ray_system_packages."
    else:
        search = f"apt-file search {library}" if debian else f"dnf provides {library}"
        advice = f"add the package that has it ({search}) to ray_system_packages."
    return f"{module} cannot be loaded: the shared library {library} is missing on this host: {advice}"


def main() -> None:
    # Python, isolated as it is, leaves this out.
    sys.path += [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
    for module in RAY:
        importlib.import_module(module)
    load_native()
    for requirement in sys.argv[1:]:
        try:
            for module in modules(requirement):
                importlib.import_module(module)
        except Exception as error:
            raise SystemExit(f"{requirement} cannot be imported: {type(error).__name__}: {error}") from None
    sys.stdout.write(f"{sys.modules['ray'].__version__}\n")


if __name__ == "__main__":
    main()
